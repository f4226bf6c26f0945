//! The ledger's database crashes, is taken over by another, has no room or falls silent: nothing settled is lost, each VM has
//! one row, and no call is told otherwise than the sandbox saw it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::dialect::Dialect;
use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::postgres::{Part, Server};
use crate::proxy::Proxy;
use crate::sandbox::{Sandbox, Transport};
use crate::trouble::{count, finish, fixture, impatient_sandbox, is_full, sandbox, seed};
use crate::truth::{Settled, assert_created_once, assert_true};

const RUN: [&str; 8] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "8"];

/// What is said once when the database is gone, and once when it is back.
const GONE: &str = "until it is back";
const BACK: &str = "the ledger can be reached again";

const LATENCY: &str = "10ms..40ms";

/// How long the database is down, in the suite and in full.
const AWAY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// An API that goes wrong, and a fleet whose ledger is kept by `server`.
fn fleet(server: Server, dialect: Dialect, vms: usize) -> (Sandbox, Fixture) {
    let sandbox = sandbox(Transport::Plain, seed(), LATENCY);
    let fixture = fixture(&sandbox, dialect, vms).in_database(server);
    (sandbox, fixture)
}

/// The process has lived through all of it: it asks for nothing twice, and every VM is told as the sandbox saw it. Returns how
/// often the database was gone.
fn assert_unharmed(run: Process, sandbox: &Sandbox, vms: usize) -> usize {
    let outcome = finish(run);
    let expected: Vec<String> = fleet::vmids(100_000, vms).map(|id| id.to_string()).collect();
    assert_eq!(outcome.vmids(), expected);
    let [gone, back] = [GONE, BACK].map(|told| outcome.stderr.matches(told).count());
    assert!(gone > 0 && gone == back, "gone {gone} times, and back {back} times: {}", outcome.stderr);
    assert_true(&outcome, sandbox, &[]);
    println!("{} calls, gone {gone} times", sandbox.calls().len());
    gone
}

/// What the database has of settled VMs.
fn settled(server: &Server) -> BTreeSet<String> {
    let rows =
        "SELECT i.vmid, p.outcome, p.settled_at FROM v6fleet.progress p JOIN v6fleet.items i ON i.no = p.item
        WHERE p.outcome IS NOT NULL";
    server.sql(rows).lines().map(str::to_owned).collect()
}

/// Takes all room that a part of the database has. Returns what takes it.
fn run_full(fixture: &mut Fixture, part: Part) -> PathBuf {
    let filler = fixture.database().disk().fill();
    if part == Part::Log {
        // What is written next needs a file of its own.
        fixture.database().try_sql("SELECT pg_switch_wal()");
    }
    filler
}

/// A database without a log cannot go on by itself.
fn make_room(fixture: &mut Fixture, part: Part, filler: &Path) {
    fs::remove_file(filler).unwrap();
    if part == Part::Log {
        fixture.database().crash();
        fixture.database().start_again();
    }
}

/// Both in full; in the suite one.
fn parts(one: Part) -> &'static [Part] {
    match (is_full(), one) {
        (true, _) => &[Part::Data, Part::Log],
        (false, Part::Data) => &[Part::Data],
        (false, Part::Log) => &[Part::Log],
    }
}

#[test]
fn a_database_that_crashes_again_and_again_costs_a_run_nothing_but_time() {
    let Some(server) = Server::durable() else { return };
    let (crashes, vms) = (count(2, 10), count(60, 2_000));
    let (sandbox, mut fixture) = fleet(server, Dialect::V1, vms);
    let run = fixture.start(&RUN);
    for crash in 1..=crashes {
        sandbox.await_calls(crash * vms / (crashes + 1));
        fixture.database().crash();
        thread::sleep(AWAY[usize::from(is_full())]);
        fixture.database().start_again();
    }
    assert_eq!(assert_unharmed(run, &sandbox, vms), crashes);
    assert_created_once(&fixture);
}

#[test]
fn a_standby_that_takes_the_databases_place_has_all_that_was_settled_and_the_run_goes_on_with_it() {
    let Some(primary) = Server::durable() else { return };
    let standby = primary.standby();
    let vms = count(60, 1_000);
    // Whichever is named first, and wherever chance begins.
    let (url, later) =
        (standby.url_with(&primary), primary.url_with(&standby) + "&load_balance_hosts=random");
    let (sandbox, mut fixture) = fleet(primary, Dialect::V2, vms);
    fixture.set("V6FLEET_LEDGER", &url);
    let run = fixture.start(&RUN);
    sandbox.await_calls(vms / 2);
    // Whatever it says by now, it has confirmed.
    let before = settled(fixture.database());
    fixture.database().crash();
    standby.promote();
    fixture.set("V6FLEET_LEDGER", &later);
    assert_unharmed(run, &sandbox, vms);
    assert!(!before.is_empty() && before.is_subset(&settled(&standby)));
    assert_created_once(&fixture);
}

#[test]
fn a_database_whose_disk_runs_full_is_waited_for_until_there_is_room_again() {
    for &part in parts(Part::Log) {
        let Some(server) = Server::on_a_small_disk(part) else { return };
        let vms = count(60, 1_000);
        let (sandbox, mut fixture) = fleet(server, Dialect::V2, vms);
        let run = fixture.start(&RUN);
        sandbox.await_calls(vms / 3);
        let filler = run_full(&mut fixture, part);
        eventually("it is told", || run.stderr().contains(GONE));
        make_room(&mut fixture, part, &filler);
        assert_unharmed(run, &sandbox, vms);
    }
}

#[test]
fn a_run_whose_database_has_no_room_for_longer_than_it_may_wait_is_gone_on_with_once_there_is() {
    for &part in parts(Part::Data) {
        let Some(server) = Server::on_a_small_disk(part) else { return };
        let vms = count(60, 1_000);
        // It is far from its end when there is no room any more.
        let sandbox = impatient_sandbox(seed(), "200ms..400ms");
        let mut fixture = fixture(&sandbox, Dialect::V1, vms).in_database(server);
        let run = fixture.start(&[&RUN[..], &["--max-wait", "1s"]].concat());
        sandbox.await_calls(vms / 3);
        let filler = run_full(&mut fixture, part);
        run.end().exits(1).assert_in_stderr("go on: v6fleet resume ");
        let death = sandbox.calls().len();
        make_room(&mut fixture, part, &filler);
        let settled = Settled::of(&fixture);
        let outcome = finish(fixture.start(&["resume", "--max-wait", "5m"]));
        assert_eq!(outcome.rows().len(), vms);
        assert_true(&outcome, &sandbox, &[death]);
        settled.assert_kept(&sandbox.calls()[death..], &Settled::of(&fixture));
    }
}

/// What the database makes a command wait for, how that is recognised, and what the command ends with when nothing comes
/// from there any more.
struct Wait {
    command: &'static [&'static str],
    lock: &'static str,
    is_like: &'static str,
    exits: i32,
}

/// As it begins a run, reads, and copies.
const WAITS: [Wait; 4] = [
    Wait {
        command: &["run", "fleet.csv", "--action", "allocate"],
        lock: "LOCK TABLE v6fleet.items",
        is_like: "%INSERT INTO v6fleet.items%",
        exits: 2,
    },
    Wait {
        command: &["report", "latest"],
        lock: "LOCK TABLE v6fleet.items",
        is_like: "%v6fleet.items%",
        exits: 1,
    },
    Wait {
        command: &["history", "100000"],
        lock: "LOCK TABLE v6fleet.items",
        is_like: "%v6fleet.items%",
        exits: 1,
    },
    Wait { command: &["runs"], lock: "LOCK TABLE v6fleet.runs", is_like: "%v6fleet.runs%", exits: 1 },
];

/// As `--ledger` takes it; who is there says something within so many seconds.
fn soon_given_up(proxy: &Proxy) -> String {
    format!("{}?connect_timeout=2", proxy.url())
}

/// The command does not wait for what will never come, and costs nothing.
fn assert_given_up(wait: &Wait) {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(&server, Duration::ZERO);
    let (sandbox, mut fixture) = fleet(server, Dialect::V1, 20);
    finish(fixture.start(&RUN));
    let calls = sandbox.calls().len();
    let _lock = fixture.database().lock(wait.lock);
    fixture.set("V6FLEET_LEDGER", &soon_given_up(&proxy));
    let command = fixture.start(wait.command);
    fixture.database().await_waiting(wait.is_like);
    proxy.fall_silent();
    command.end().exits(wait.exits).assert_in_stderr("the database has not answered for ");
    assert_eq!(sandbox.calls().len(), calls);
}

#[test]
fn a_command_to_which_its_database_says_nothing_any_more_ends() {
    let waits = if is_full() { &WAITS[..] } else { &WAITS[..1] };
    thread::scope(|scope| waits.iter().for_each(|wait| drop(scope.spawn(|| assert_given_up(wait)))));
}

#[test]
fn a_run_whose_database_falls_silent_at_its_end_ends_as_ever_once_that_answers_again() {
    let Some(server) = Server::start() else { return };
    let (proxy, vms) = (Proxy::to(&server, Duration::ZERO), 20);
    let (sandbox, mut fixture) = fleet(server, Dialect::V2, vms);
    fixture.set("V6FLEET_LEDGER", &soon_given_up(&proxy));
    let run = fixture.start(&[&RUN[..], &["--lease", "2s"]].concat());
    sandbox.await_calls(1);
    let lock = fixture.database().lock("SELECT 1 FROM v6fleet.runs FOR NO KEY UPDATE");
    fixture.database().await_waiting("%v6fleet.runs WHERE no = $1 FOR NO KEY UPDATE%");
    proxy.fall_silent();
    eventually("it is told", || run.stderr().contains(GONE));
    fixture.database().unlock(lock);
    proxy.let_go();
    assert_unharmed(run, &sandbox, vms);
}
