//! Several runs of one account at once: no VM is in two calls of theirs, and they share its rate.

use jiff::{SignedDuration, Timestamp};

use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::pace::{Moments, TRIES};
use crate::postgres::Server;
use crate::sandbox::{Call, Sandbox};

const VMS: usize = 300;

/// Claims take their time, in which others would claim the same.
const LINGER: &str =
    "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END';
     CREATE TRIGGER linger AFTER INSERT ON v6fleet.progress EXECUTE FUNCTION linger()";

/// How long the API takes for a call.
const LATENCY_MS: i64 = 40;

#[test]
fn no_vm_is_in_calls_of_two_runs_at_once() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", &format!("{LATENCY_MS}ms")]);
    let mut fixture = Fixture::at(&sandbox).in_database(server);
    // A refresh of what is not there is refused.
    let vmids = fleet::vmids(100_000, 1_000).filter(|id| fleet::is_allocated(*id)).take(VMS);
    fixture.write("fleet.csv", fleet::csv_of(vmids));
    let run = ["--rate", "none", "--output-dir", "none", "--concurrency", "16"];
    fixture.run(&["run", "fleet.csv", "--action", "allocate", "--limit", "1"]).exits(0);
    fixture.database().sql(LINGER);
    let runs = ["allocate", "refresh_next_hop"]
        .map(|action| fixture.start(&[&["run", "fleet.csv", "--action", action], &run[..]].concat()));
    let mut ids = vec![];
    eventually("both are under way", || {
        ids = begun(&mut fixture);
        ids.len() == 2
    });
    let work = |id: &String| fixture.start(&["work", id, "--concurrency", "16", "--output-dir", "none"]);
    let workers: Vec<Process> = ids.iter().map(work).collect();
    for process in runs.into_iter().chain(workers) {
        process.end().exits(0);
    }
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 1 + 2 * VMS);
    let at_once = calls.iter().zip(1..).find_map(|(call, next)| Some((call, again(call, &calls[next..])?)));
    assert!(at_once.is_none(), "in two calls at once: {at_once:?}");
}

/// Ids of the runs but for the first one, as they were begun.
fn begun(fixture: &mut Fixture) -> Vec<String> {
    fixture
        .database()
        .sql("SELECT id FROM v6fleet.runs WHERE no > 1 ORDER BY no")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The call of the same VM that arrived before this one was answered.
fn again<'a>(call: &Call, later: &'a [Call]) -> Option<&'a Call> {
    let is_soon = |next: &&Call| next.at.duration_since(call.at) < SignedDuration::from_millis(LATENCY_MS);
    later.iter().take_while(is_soon).find(|next| next.vmid == call.vmid)
}

/// Two jobs of one account at 100/s: when their calls arrived while both ran.
fn two_jobs() -> Option<Moments> {
    let server = Server::start()?;
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).in_database(server);
    let run = ["--action", "allocate", "--rate", "100/s", "--output-dir", "none"];
    let jobs = [("a.csv", 100_000), ("b.csv", 200_000)].map(|(file, first)| {
        fixture.write(file, fleet::csv_of(fleet::vmids(first, 160)));
        fixture.start(&[&["run", file], &run[..]].concat())
    });
    for job in jobs {
        job.end().exits(0);
    }
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 320);
    let of_job = |first: &str| -> Vec<Timestamp> {
        calls.iter().filter(|call| call.vmid.starts_with(first)).map(|call| call.at).collect()
    };
    let jobs = ["1", "2"].map(of_job);
    let begun = jobs.iter().filter_map(|calls| calls.first()).max()?;
    let ended = jobs.iter().filter_map(|calls| calls.last()).min()?;
    Some(Moments::new(calls.iter().map(|call| call.at).filter(|at| (begun..=ended).contains(&at))))
}

/// On a machine that stands still now and then, calls are late: such a measurement is made again.
#[test]
fn two_jobs_of_one_account_share_its_rate() {
    let mut missed = vec![];
    for _ in 0..TRIES {
        let Some(arrived) = two_jobs() else { return };
        let (mean, second) = (arrived.per_second(), arrived.most_within(1.0));
        if (95.0..=101.0).contains(&mean) && second <= 103.0 + 1.0 {
            return;
        }
        missed.push((mean, second));
    }
    panic!("on average and in the worst second: {missed:?}");
}
