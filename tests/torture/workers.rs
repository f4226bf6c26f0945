//! Four workers on one run, of which one is killed and replaced, one is stopped for longer than its lease, and one loses
//! its way to the database again and again, while a tenth of the calls goes wrong, and the database is down for longer than
//! a lease.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::dialect::Dialect;
use crate::fixture::{Fixture, Outcome, Process, eventually};
use crate::fleet;
use crate::postgres::Server;
use crate::proxy::Proxy;
use crate::sandbox::{Call, Sandbox, Transport};
use crate::trouble::{TIMEOUT, finish, fixture, is_full, pass_time, sandbox, seed};
use crate::truth::{assert_created_once, assert_true_of};

/// Commits are dated, so that the ledger itself tells what came after a worker was given up.
const DATED: [&str; 3] = ["fsync=off", "full_page_writes=off", "track_commit_timestamp=on"];

/// Whether workers settled VMs before they were given up, and how many afterwards.
const SETTLED_BY_THE_LOST: &str = "SELECT count(*) FILTER (WHERE p.at <= w.at) > 0, count(*) FILTER (WHERE p.at > w.at)
    FROM (SELECT worker, pg_xact_commit_timestamp(xmin) AS at FROM v6fleet.progress WHERE outcome IS NOT NULL) p
        JOIN (SELECT *, pg_xact_commit_timestamp(xmin) AS at FROM v6fleet.workers) w ON w.no = p.worker
    WHERE w.buried AND w.left_at IS NULL";

/// When the leases ran out of those that were given up.
const LOST: &str = "SELECT to_char(lease_until AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
    FROM v6fleet.workers WHERE buried AND left_at IS NULL";

/// Who has settled something.
const WORKING: &str = "SELECT count(DISTINCT worker) FROM v6fleet.progress WHERE outcome IS NOT NULL";

/// Who is back since the database is.
const BACK: &str =
    "SELECT count(*) FROM v6fleet.workers WHERE NOT buried AND seen_at > pg_postmaster_start_time()";

/// What keeps a call from its answer until whoever made it gives up.
const HANGING: [&str; 3] = ["hang", "hang-after", "late"];

/// A call is in the record so soon after it was made.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// A process that was stopped when it was about to call calls so soon after it goes on.
const LATE: SignedDuration = SignedDuration::from_secs(1);

/// How much of it there is.
#[derive(Clone, Copy)]
struct Scale {
    vms: usize,
    rate: &'static str,
    latency: Duration,
    lease: &'static str,
    /// For longer than the lease: one worker, and the database for all.
    stopped: Duration,
    down: Duration,
    /// For how long the way to the database is open, and is not, at most.
    open: Duration,
    shut: Duration,
}

fn scale() -> Scale {
    match is_full() {
        true => Scale {
            vms: 2_000,
            rate: "36/s",
            latency: Duration::from_millis(400),
            lease: "30s",
            stopped: Duration::from_secs(45),
            down: Duration::from_secs(32),
            open: Duration::from_secs(6),
            shut: Duration::from_secs(8),
        },
        false => Scale {
            vms: 160,
            rate: "60/s",
            latency: Duration::from_millis(100),
            lease: "3s",
            stopped: Duration::from_millis(3_500),
            down: Duration::from_millis(3_500),
            open: Duration::from_secs(1),
            shut: Duration::from_secs(3),
        },
    }
}

/// One run with all that befalls it.
struct Share {
    scale: Scale,
    fixture: Fixture,
    sandbox: Sandbox,
    proxy: Proxy,
}

/// What befell it that the record of calls is to be read by.
struct Troubles {
    outcome: Outcome,
    killed_at: Timestamp,
    continued_at: Timestamp,
}

impl Share {
    fn begin(dialect: Dialect, seed: u64) -> Option<Self> {
        let (scale, server) = (scale(), Server::set(&DATED)?);
        let proxy = Proxy::to(&server, Duration::ZERO);
        let sandbox = sandbox(Transport::Plain, seed, &format!("{}ms", scale.latency.as_millis()));
        let fixture = fixture(&sandbox, dialect, scale.vms).in_database(server);
        Some(Self { scale, fixture, sandbox, proxy })
    }

    fn run(&self) -> Process {
        let Scale { rate, lease, .. } = self.scale;
        let run = ["run", "fleet.csv", "--action", "allocate", "--rate", rate, "--lease", lease];
        let run = self.fixture.start(&[&run[..], &["--concurrency", "6", "--canary", "0"]].concat());
        self.sandbox.await_calls(1);
        run
    }

    /// Cuts off one worker again and again until the run is over.
    fn cut(proxy: &Proxy, scale: Scale, mut chance: fastrand::Rng, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            pass_time(&mut chance, scale.open);
            proxy.fall_silent();
            pass_time(&mut chance, scale.shut);
            proxy.let_go();
        }
    }

    fn befall(&mut self, chance: &mut fastrand::Rng) -> Troubles {
        let url = self.proxy.url();
        let first = self.run();
        let Self { scale, fixture, proxy, .. } = self;
        let (killed, stopped) = (work(fixture, &[]), work(fixture, &[]));
        let cut_off = work(fixture, &["--ledger", &url]);
        await_workers(fixture, 4);
        let is_over = AtomicBool::new(false);
        let (own, scale) = (chance.fork(), *scale);
        thread::scope(|scope| {
            scope.spawn(|| Self::cut(proxy, scale, own, &is_over));
            lose_database(fixture, scale.down, &[&first, &killed, &stopped]);
            pass_time(chance, Duration::from_secs(1));
            killed.kill();
            let killed_at = Timestamp::now();
            let replacement = work(fixture, &[]);
            pass_time(chance, Duration::from_secs(1));
            stopped.signal("STOP");
            thread::sleep(scale.stopped);
            let continued_at = Timestamp::now();
            stopped.signal("CONT");
            let outcome = finish(first);
            let ended = [stopped, replacement, cut_off].map(|worker| worker.end().code);
            is_over.store(true, Ordering::Relaxed);
            assert!(ended.iter().all(|code| *code == outcome.code), "{:?} and {ended:?}", outcome.code);
            Troubles { outcome, killed_at, continued_at }
        })
    }

    fn judge(&mut self, troubles: &Troubles) {
        let Troubles { outcome, killed_at, continued_at } = troubles;
        let expected: Vec<String> = fleet::vmids(100_000, self.scale.vms).map(|id| id.to_string()).collect();
        assert_eq!(outcome.vmids(), expected);
        let lost = self.fixture.database().sql(LOST);
        let lost: Vec<Timestamp> = lost.lines().map(|at| at.parse().unwrap()).collect();
        assert!(lost.len() >= 2, "one was killed, and one was stopped for longer than its lease");
        assert_eq!(self.fixture.database().sql(SETTLED_BY_THE_LOST), "t|0");
        let record = self.sandbox.calls();
        let deaths = |record: &[Call]| -> Vec<usize> {
            let place = |at: &Timestamp| record.partition_point(|call| call.at < *at);
            lost.iter().chain([killed_at]).map(place).collect()
        };
        let after = *continued_at..*continued_at + LATE;
        self.assert_one_at_a_time(&record, &deaths(&record), &after);
        let (in_time, late) = split(&record, outcome);
        assert!(late.iter().all(|call| after.contains(&call.at)), "called once it was settled: {late:?}");
        assert_true_of(&in_time, outcome, &self.sandbox, &deaths(&in_time));
        assert_created_once(&self.fixture);
        println!("{} calls, {} workers lost, {} calls late", record.len(), lost.len(), late.len());
    }

    /// For how long a call is under way at the least, once it is in the record.
    fn lasts(&self, call: &Call) -> SignedDuration {
        let hangs = call.fault.as_deref().is_some_and(|fault| HANGING.contains(&fault));
        let lasts = if hangs { TIMEOUT.saturating_sub(ON_ITS_WAY) } else { self.scale.latency };
        SignedDuration::try_from(lasts).unwrap()
    }

    /// No call begins before the one before it of the same VM can have ended, unless whoever made that was lost, or makes
    /// this one after it was.
    fn assert_one_at_a_time(&self, record: &[Call], deaths: &[usize], after: &Range<Timestamp>) {
        for (place, call) in record.iter().enumerate() {
            let lasts = self.lasts(call);
            let soon = |(_, next): &(usize, &Call)| next.at.duration_since(call.at) < lasts;
            let mut next = record.iter().enumerate().skip(place + 1).take_while(soon);
            let Some((again, next)) = next.find(|(_, next)| next.vmid == call.vmid) else { continue };
            let is_lost = deaths.iter().any(|death| (place + 1..=again).contains(death));
            let is_late = after.contains(&call.at) || after.contains(&next.at);
            assert!(is_lost || is_late, "in two calls at once: {call:?} and {next:?}");
        }
    }
}

fn work(fixture: &Fixture, options: &[&str]) -> Process {
    let work = ["work", "--concurrency", "6", "--output-dir", "none"];
    fixture.start(&[&work[..], options].concat())
}

fn await_workers(fixture: &mut Fixture, workers: usize) {
    eventually("all work", || fixture.database().sql(WORKING).parse::<usize>().unwrap() >= workers);
}

/// The database is down for longer than a lease. That costs none of these its own.
fn lose_database(fixture: &mut Fixture, down: Duration, workers: &[&Process]) {
    fixture.database().crash();
    thread::sleep(down);
    fixture.database().start_again();
    let ids: Vec<String> = workers.iter().map(|worker| worker.id().to_string()).collect();
    let of_them = |sql| format!("{sql} AND pid IN ({})", ids.join(", "));
    let back = of_them(BACK);
    eventually("they are back", || fixture.database().sql(&back) == ids.len().to_string());
    assert_eq!(fixture.database().sql(&of_them(LOST)), "");
}

/// Those of before a VM was settled, and later ones: of a process that was stopped when it was about to make them.
fn split(record: &[Call], outcome: &Outcome) -> (Vec<Call>, Vec<Call>) {
    let settled_at =
        |vmid: &str| outcome.row(vmid)["settled_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    record.iter().cloned().partition(|call| call.at <= settled_at(&call.vmid))
}

fn share(dialect: Dialect, seed: u64) {
    println!("sandbox --seed {seed}, {dialect:?}");
    let Some(mut share) = Share::begin(dialect, seed) else { return };
    let troubles = share.befall(&mut fastrand::Rng::with_seed(seed));
    share.judge(&troubles);
}

/// Side by side, since they mostly wait.
#[test]
fn whatever_becomes_of_workers_each_vm_has_one_row_that_is_true_and_one_call_at_a_time() {
    let seeds = if is_full() { 1..6 } else { one() };
    thread::scope(|scope| {
        for seed in seeds {
            let dialect = if seed.is_multiple_of(2) { Dialect::V2 } else { Dialect::V1 };
            scope.spawn(move || share(dialect, seed));
        }
    });
}

fn one() -> Range<u64> {
    let seed = seed();
    seed..seed + 1
}
