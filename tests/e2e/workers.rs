//! Several processes on one run: every VM is one worker's, whichever of them dies, hangs or is told to go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::{creations, made};
use crate::faketime;
use crate::fixture::{Fixture, Outcome, Process, eventually};
use crate::fleet;
use crate::pooler::Pooler;
use crate::postgres::Server;
use crate::sandbox::Sandbox;
use crate::script::{Answer, Api, Gate, Received, error, html, json_answer, success, success_body};

const VMS: usize = 240;
pub(crate) const RUN: [&str; 10] =
    ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "2", "--lease", "2s"];
/// A little more than theirs.
const LEASE: Duration = Duration::from_millis(2_200);
pub(crate) const WORK: [&str; 5] = ["work", "--concurrency", "2", "--output-dir", "none"];

fn fixture(sandbox: &Sandbox, server: Server) -> Fixture {
    let fixture = Fixture::at(sandbox).in_database(server);
    fixture.write("fleet.csv", fleet::csv(VMS));
    fixture
}

/// [`RUN`] with these options, which `workers` work on.
fn shared(fixture: &mut Fixture, workers: usize, options: &[&str]) -> Vec<Process> {
    under_way(fixture, workers, &[&RUN[..], options].concat())
}

/// A run that `workers` work on: whoever began it first, and each of them has settled something.
pub(crate) fn under_way(fixture: &mut Fixture, workers: usize, run: &[&str]) -> Vec<Process> {
    let mut all = vec![fixture.start(run)];
    let works = |fixture: &mut Fixture| -> usize {
        let working =
            "SELECT count(DISTINCT worker) FROM v6fleet.progress JOIN v6fleet.workers w ON w.no = worker
            WHERE outcome IS NOT NULL AND w.run = (SELECT max(no) FROM v6fleet.runs)";
        fixture.database().sql(working).parse().unwrap_or_default()
    };
    eventually("the run is under way", || {
        fixture.database().sql("SELECT to_regclass('v6fleet.progress') IS NOT NULL") == "t"
            && works(fixture) == 1
    });
    all.extend((1..workers).map(|_| fixture.start(&WORK)));
    eventually("all work", || works(fixture) == workers);
    all
}

/// The recap's workers: whether each was lost, and VMs that it settled; together all.
fn told_workers(fixture: &Fixture) -> Vec<(bool, u64)> {
    let recap = fixture.run(&["report", "--format", "json"]).exits(0);
    let recap: Value = serde_json::from_str(&recap.stdout).unwrap();
    let workers = recap["summary"]["workers"].as_array().unwrap().iter();
    let workers: Vec<_> = workers
        .map(|worker| (worker["lost"].as_bool().unwrap(), worker["settled"].as_u64().unwrap()))
        .collect();
    assert_eq!(workers.iter().map(|worker| worker.1).sum::<u64>(), VMS as u64, "{workers:?}");
    workers
}

#[test]
fn three_workers_call_each_vm_once_and_end_with_the_run() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "40ms"]);
    let mut fixture = fixture(&sandbox, server);
    let outcomes: Vec<_> =
        shared(&mut fixture, 3, &[]).into_iter().map(|worker| worker.end().exits(0)).collect();
    let mut called = sandbox.called_vmids();
    called.sort_unstable();
    let all = called.len();
    called.dedup();
    assert_eq!((all, called.len()), (VMS, VMS), "each is called once");
    assert_eq!(outcomes[0].rows().len(), VMS, "whoever began the run reports it");
    outcomes[0].assert_in_stdout("\n3 workers: pid ");
    let workers = told_workers(&fixture);
    assert!(workers.len() == 3 && workers.iter().all(|worker| !worker.0), "{workers:?}");
    assert_eq!(fixture.reported_runs(), 1);
}

#[test]
fn workers_share_a_run_through_a_pooler_that_shares_their_connections() {
    let Some(server) = Server::start() else { return };
    let Some(pooler) = Pooler::to(&server, 2) else { return };
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let mut fixture = fixture(&sandbox, server);
    fixture.set("V6FLEET_LEDGER", &pooler.url());
    let outcomes: Vec<_> =
        shared(&mut fixture, 3, &[]).into_iter().map(|worker| worker.end().exits(0)).collect();
    let mut called = sandbox.called_vmids();
    called.sort_unstable();
    called.dedup();
    assert_eq!((sandbox.calls().len(), called.len()), (VMS, VMS), "each is called once");
    assert_eq!(outcomes[0].rows().len(), VMS);
    let is_told = |outcome: &Outcome| outcome.stderr.contains("a pooler shares connections to the database");
    assert!(outcomes.iter().any(is_told), "{}", outcomes[0].stderr);
    let warned: Vec<&str> = outcomes
        .iter()
        .flat_map(|outcome| outcome.stderr.lines())
        .filter(|line| line.contains("WARN"))
        .collect();
    assert_eq!(warned, Vec::<&str>::new(), "nothing goes wrong");
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
}

#[test]
fn of_workers_that_die_or_hang_others_take_the_vms_and_nothing_is_lost_or_told_twice() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let mut fixture = fixture(&sandbox, server);
    let mut workers = shared(&mut fixture, 3, &[]);
    workers.pop().unwrap().kill();
    let hung = workers.pop().unwrap();
    hung.signal("STOP");
    let outcome = workers.pop().unwrap().end().exits(0);
    assert_eq!(outcome.rows().len(), VMS);
    hung.signal("CONT");
    hung.end().exits(0);
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for vmid in sandbox.called_vmids() {
        *calls.entry(vmid).or_default() += 1;
    }
    assert_eq!(calls.len(), VMS);
    assert!(calls.values().all(|&calls| calls <= 3), "once more for each worker that was lost: {calls:?}");
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
    // The one that hung came back under another number.
    let lost: Vec<_> = told_workers(&fixture).iter().map(|worker| worker.0).collect();
    assert_eq!(lost.iter().filter(|lost| **lost).count(), 2, "{lost:?}");
}

#[test]
fn workers_whose_database_was_away_for_longer_than_their_leases_lose_nothing_whoever_is_back_first() {
    let Some(server) = Server::durable() else { return };
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let mut fixture = fixture(&sandbox, server);
    let workers = shared(&mut fixture, 4, &[]);
    fixture.database().crash();
    thread::sleep(LEASE);
    // By now all that was in flight is answered.
    workers[1..].iter().for_each(|worker| worker.signal("STOP"));
    fixture.database().start_again();
    let mut written = || {
        let last =
            "SELECT coalesce(max(batch), 0) FROM v6fleet.workers WHERE seen_at > pg_postmaster_start_time()";
        fixture.database().sql(last).parse::<u64>().unwrap()
    };
    let mut first = 0;
    eventually("one is back", || {
        first = written();
        first > 0
    });
    eventually("it has looked around", || written() > first);
    workers[1..].iter().for_each(|worker| worker.signal("CONT"));
    for worker in workers {
        worker.end().exits(0);
    }
    let mut called = sandbox.called_vmids();
    called.sort_unstable();
    called.dedup();
    assert_eq!((sandbox.calls().len(), called.len()), (VMS, VMS), "each is called once");
    let told = told_workers(&fixture);
    assert!(told.len() == 4 && told.iter().all(|worker| !worker.0), "{told:?}");
}

#[test]
fn a_worker_that_is_told_to_go_leaves_the_run_to_the_others_and_stop_ends_it_for_all() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "60ms"]);
    let mut fixture = fixture(&sandbox, server);
    let mut workers = shared(&mut fixture, 3, &[]);
    let leaving = workers.pop().unwrap();
    leaving.signal("INT");
    leaving.end().exits(130).assert_in_stderr("others go on with the run");
    assert!(workers.iter_mut().all(Process::is_running));
    let on = fixture.run(&["status", "--format", "json"]).exits(0);
    let on: Value = serde_json::from_str(&on.stdout).unwrap();
    assert_eq!((&on["run"]["running"], &on["workers"].as_array().unwrap().len()), (&true.into(), &2));
    assert_eq!(on["run"]["failed"], 0, "what has no outcome yet has not failed: {on}");
    assert_eq!(on["settled"].as_u64().unwrap() + on["pending"].as_u64().unwrap(), VMS as u64, "{on}");
    fixture.run(&["stop"]).exits(0).assert_in_stdout("are asked to stop; v6fleet resume ");
    for worker in workers {
        worker.end().exits(143);
    }
    fixture.run(&["stop"]).exits(7).assert_in_stderr("nobody works on a run");
    fixture.run(&["work"]).exits(7).assert_in_stderr("no run is under way");
    let outcome = fixture.run(&["resume", "--concurrency", "16"]).exits(0);
    assert_eq!(outcome.rows().len(), VMS);
    assert_eq!(sandbox.called_vmids().len(), VMS, "what was settled is not called again");
}

#[test]
fn a_run_that_a_worker_ends_has_the_exit_code_that_it_was_begun_for_and_deletes_no_older_one() {
    let Some(server) = Server::start() else { return };
    let gate = Gate::default();
    let at_gate = gate.clone();
    let api = Api::start(move |vmid, _| {
        if vmid != "100001" {
            at_gate.pass();
        }
        success(201, true, 0).into()
    });
    let fixture = api.fixture().in_database(server);
    fixture.write(
        "fleet.csv",
        fleet::vmids(100_000, 40).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n")),
    );
    fixture.run(&[&RUN[..], &["--vmid", "100001"]].concat()).exits(0);
    let begun = ["--detailed-exitcode", "--keep-runs", "1", "--vmid", "!100001"];
    let first = fixture.start(&[&RUN[..], &begun].concat());
    eventually("the run is under way", || api.received().len() == 1 + 2);
    let worker = fixture.start(&WORK);
    eventually("all work", || api.received().len() == 1 + 2 + 2);
    first.signal("INT");
    gate.open();
    first.end().exits(130);
    worker.end().exits(10);
    let runs = fixture.run(&["runs", "--format", "json"]).exits(0);
    let runs: Value = serde_json::from_str(&runs.stdout).unwrap();
    let ended: Vec<_> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["exit_code"].as_u64()).collect();
    assert_eq!(ended, [Some(10), Some(0)]);
}

#[test]
fn a_ledger_in_a_file_has_one_worker() {
    let fixture = Fixture::new();
    for command in ["work", "stop"] {
        fixture.run(&[command]).exits(2).assert_in_stderr("several machines share one in PostgreSQL");
    }
}

#[test]
fn who_waits_for_a_run_takes_part_in_the_first_of_a_database_in_which_there_is_nothing_yet() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let mut fixture = fixture(&sandbox, server);
    let waiting = fixture.start(&[&WORK[..], &["--wait"]].concat());
    eventually("it waits", || {
        fixture.database().sql("SELECT to_regclass('v6fleet.workers') IS NOT NULL") == "t"
    });
    let began = fixture.start(&RUN);
    assert_eq!(began.end().exits(0).rows().len(), VMS);
    waiting.end().exits(0);
    assert_eq!(fixture.database().sql("SELECT count(DISTINCT worker) FROM v6fleet.progress"), "2");
}

/// Where the VMs are expected.
const NEXT_HOP: &str = "2001:db8::1";

/// Four workers on an API that is well until all work, and from then on says this: when calls come that are answered so, and
/// with what exit code all end.
fn turned_away(
    options: &[&str],
    says: impl Fn() -> Answer + Send + Sync + 'static,
) -> Option<(Vec<Instant>, Vec<Option<i32>>)> {
    let server = Server::start()?;
    let (is_ill, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(vec![])));
    let (turns, noted) = (Arc::clone(&is_ill), Arc::clone(&answered));
    let api = Api::to_each(move |request| match turns.load(Ordering::SeqCst) {
        false => success(201, true, 0).after(Duration::from_millis(60)).into(),
        true => {
            noted.lock().unwrap().push(request.at);
            says().after(Duration::from_millis(20)).into()
        }
    });
    let mut fixture = api.fixture().in_database(server);
    let rows = fleet::vmids(100_000, VMS).map(|id| format!("{id},{NEXT_HOP}\n"));
    fixture.write("fleet.csv", rows.fold("vmid,next_hop\n".to_owned(), |csv, row| csv + &row));
    let workers = shared(&mut fixture, 4, options);
    is_ill.store(true, Ordering::SeqCst);
    let codes = workers.into_iter().map(|worker| worker.end().code).collect();
    let answered = answered.lock().unwrap().clone();
    Some((answered, codes))
}

#[test]
fn a_key_that_is_revoked_on_the_way_draws_few_calls_of_each_worker() {
    let Some((refused, codes)) = turned_away(&[], || error(401, "UNAUTHORIZED")) else { return };
    assert_eq!(codes, [Some(8); 4]);
    assert!((5..=4 * (2 + 5)).contains(&refused.len()), "{} calls", refused.len());
}

/// So many VMs that are answered so are more than these options allow: all workers stop within a lease of the last of them, and
/// call no more than is under way then.
fn assert_braked(options: &[&str], most: usize, says: fn() -> Answer) {
    let Some((counted, codes)) = turned_away(options, says) else { return };
    assert_eq!(codes, [Some(4); 4]);
    assert!((most + 1..=most + 4 * 2).contains(&counted.len()), "{} calls", counted.len());
    let late = counted[counted.len() - 1].duration_since(counted[most]);
    assert!(late <= Duration::from_secs(2), "{late:?} after the brake");
}

#[test]
fn vms_that_fail_are_counted_of_all_workers_and_stop_each_within_a_lease() {
    assert_braked(&["--max-failed", "10"], 10, || error(404, "NOT_FOUND"));
}

#[test]
fn a_share_of_vms_that_fail_is_one_of_all_that_there_are() {
    assert_braked(&["--max-failed", "5%"], VMS / 20, || error(404, "NOT_FOUND"));
}

#[test]
fn vms_that_drift_are_counted_of_all_workers_and_stop_each() {
    assert_braked(&["--max-drift", "10"], 10, || {
        let mut elsewhere = success_body(true, 0);
        elsewhere["data"]["allocation"]["next_hop"] = "2001:db8::2".into();
        json_answer(201, &elsewhere)
    });
}

#[test]
fn an_api_that_asks_to_wait_for_longer_than_max_wait_ends_all_workers_at_once() {
    let says = || error(429, "RATE_LIMITED").header("retry-after", "3600");
    let Some((refused, codes)) = turned_away(&["--max-wait", "30m"], says) else { return };
    assert_eq!(codes, [Some(5); 4]);
    assert!((1..=4 * 2).contains(&refused.len()), "{} calls", refused.len());
}

#[test]
fn an_api_that_is_down_for_longer_than_max_wait_ends_all_workers() {
    let Some((failed, codes)) = turned_away(&["--max-wait", "1s"], || error(503, "DOWN")) else { return };
    assert_eq!(codes, [Some(5); 4]);
    assert!(!failed.is_empty());
}

/// Calls slowly, until the deadline.
const LIMITED: [&str; 8] =
    ["run", "fleet.csv", "--action", "allocate", "--rate", "20/s", "--deadline", "1500ms"];

#[test]
fn at_a_runs_deadline_all_workers_end_whoever_sees_it_first_and_what_is_left_was_not_attempted() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "40ms"]);
    let mut fixture = fixture(&sandbox, server);
    let began = fixture.start(&LIMITED);
    sandbox.await_calls(1);
    began.signal("STOP");
    let workers = [(); 2].map(|()| fixture.start(&WORK));
    eventually("the others stop the run", || {
        fixture.database().sql("SELECT stop FROM v6fleet.sittings") == "deadline"
    });
    began.signal("CONT");
    let outcome = began.end().exits(5);
    assert_eq!(outcome.summary()["stopped_by"], "deadline");
    for worker in workers {
        worker.end().exits(5);
    }
    let calls = sandbox.calls().len();
    assert!(calls <= 33, "{calls} calls");
    let spared = outcome.rows().iter().filter(|row| row["failure"] == "not_attempted").count();
    assert_eq!((spared, outcome.vms_that_are("failed").len()), (VMS - calls, VMS - calls));
}

/// For long enough that a worker comes in time for it.
const SLOW: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "8/s"];

/// A run of two workers. The second one was stopped when it worked, and its lease is over: how many VMs it holds is told.
fn held_up(fixture: &mut Fixture) -> (Process, Process, usize) {
    let [began, held_up] = under_way(fixture, 2, &SLOW).try_into().ok().unwrap();
    held_up.signal("STOP");
    let no = fixture.database().sql("SELECT max(worker) FROM v6fleet.progress WHERE outcome IS NOT NULL");
    let held = format!("SELECT count(*) FROM v6fleet.progress WHERE worker = {no} AND outcome IS NULL");
    let held = fixture.database().sql(&held).parse().unwrap();
    let over = format!("UPDATE v6fleet.workers SET lease_until = clock_timestamp() WHERE no = {no}");
    fixture.database().sql(&over);
    (began, held_up, held)
}

#[test]
fn a_worker_that_was_held_up_calls_nothing_more_once_the_last_other_one_has_ended_the_run() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture(&sandbox, server);
    let (began, held_up, held) = held_up(&mut fixture);
    began.signal("INT");
    began.end().exits(130).assert_in_stdout("v6fleet resume ");
    let settled = "SELECT count(*) FROM v6fleet.progress WHERE outcome IS NOT NULL";
    let (calls, settled_then) = (sandbox.calls().len(), fixture.database().sql(settled));
    held_up.signal("CONT");
    held_up.end().exits(130).assert_in_stderr("another worker has ended the run");
    assert_eq!(fixture.database().sql(settled), settled_then);
    let late = sandbox.calls().len() - calls;
    assert!(late <= held, "{late} calls, and it held {held} VMs when it was stopped");
}

#[test]
fn a_worker_that_was_held_up_takes_no_part_in_a_run_that_others_have_resumed() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture(&sandbox, server);
    let (began, held_up, _) = held_up(&mut fixture);
    began.signal("INT");
    began.end().exits(130);
    let calls = sandbox.calls().len();
    let mut resumed = fixture.start(&["resume"]);
    sandbox.await_calls(calls + 1);
    held_up.signal("CONT");
    held_up.end().exits(6).assert_in_stderr("others have resumed it");
    assert!(resumed.is_running());
    assert_eq!(fixture.database().sql("SELECT stop IS NULL FROM v6fleet.sittings"), "t");
    fixture.run(&["stop"]).exits(0);
    resumed.end().exits(143);
}

#[test]
fn a_worker_whose_clock_is_an_hour_off_keeps_to_the_runs_deadline_all_the_same() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "40ms"]);
    let mut fixture = fixture(&sandbox, server);
    if !faketime::can_set_the_time(&mut fixture) {
        return;
    }
    let began = fixture.start(&[&RUN[..], &["--limit", "60", "--deadline", "10m"]].concat());
    sandbox.await_calls(1);
    faketime::set(&fixture, 3_600);
    let joined = fixture.start(&WORK);
    for worker in [began, joined] {
        worker.end().exits(0);
    }
    faketime::set(&fixture, 0);
    let calls = sandbox.calls().len();
    let began = fixture.start(&LIMITED);
    sandbox.await_calls(calls + 1);
    began.kill();
    let is_past = "SELECT clock_timestamp() > max(since) + interval '1500 milliseconds' FROM v6fleet.workers";
    eventually("it is past the deadline", || fixture.database().sql(is_past) == "t");
    let calls = sandbox.calls().len();
    faketime::set(&fixture, -3_600);
    fixture.run(&[&WORK[..], &["latest"]].concat()).exits(5);
    assert_eq!(sandbox.calls().len(), calls, "no call leaves after it");
}

/// Four workers, each by a key of its own, `key-0` to `key-3`, by which it is known; all have called.
fn known_by_their_keys(fixture: &mut Fixture, api: &Api, run: &[&str]) -> Vec<Process> {
    let mut start = |key: &str, command: &[&str]| {
        fixture.set("HOSTUP_API_KEY", key);
        fixture.start(command)
    };
    let mut workers = vec![start("key-0", run)];
    eventually("the run is under way", || api.received().len() > 4);
    workers.extend(["key-1", "key-2", "key-3"].map(|key| start(key, &WORK)));
    let key = |request: &Received| request.key().map(str::to_owned);
    let callers = || api.received().iter().map(key).collect::<BTreeSet<_>>().len();
    eventually("all work", || callers() == 4);
    workers
}

#[test]
fn an_api_that_fails_is_tried_by_one_worker_after_the_other_and_left_alone_by_the_rest() {
    let Some(server) = Server::start() else { return };
    let is_ill = Arc::new(AtomicBool::new(false));
    let turns = Arc::clone(&is_ill);
    let api = Api::start(move |_, _| match turns.load(Ordering::SeqCst) {
        false => success(201, true, 0).after(Duration::from_millis(20)).into(),
        true => error(503, "UPSTREAM").into(),
    });
    let mut fixture = api.fixture().in_database(server);
    fixture.write("fleet.csv", fleet::csv(400));
    let workers = known_by_their_keys(&mut fixture, &api, &RUN);
    is_ill.store(true, Ordering::SeqCst);
    let leaves_it = |worker: &Process| worker.stderr().contains("leaving the API alone");
    eventually("all leave it alone", || workers.iter().all(leaves_it));
    // What was on its way by then comes before a second is over, and the second trial two seconds after the first.
    let last_two = || api.received().split_off(api.received().len() - 2);
    let are_apart = |two: &[Received]| two[1].at.duration_since(two[0].at) >= Duration::from_millis(1_500);
    eventually("it is tried, and again later", || are_apart(&last_two()));
    let two = last_two();
    assert_ne!(two[0].key(), two[1].key());
    fixture.run(&["stop"]).exits(0);
    for worker in workers {
        worker.end().exits(143);
    }
}

#[test]
fn a_worker_that_something_on_its_way_answers_in_the_apis_place_keeps_nobody_else_from_it() {
    let Some(server) = Server::start() else { return };
    let api = Api::to_each(|request| match request.key() {
        Some("key-2") => html(502).into(),
        _ => success(201, true, 0).after(Duration::from_millis(20)).into(),
    });
    let mut fixture = api.fixture().in_database(server);
    fixture.write("fleet.csv", fleet::csv(VMS));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "40/s", "--deadline", "1m"];
    for worker in known_by_their_keys(&mut fixture, &api, &run) {
        worker.end().exits(0);
    }
    let turned_away = api.received().iter().filter(|request| request.key() == Some("key-2")).count();
    // Fifteen VMs until it is noticed, each as often as it may be called, and single probes from then on.
    assert!((10..=15 * 5 + 10).contains(&turned_away), "{turned_away} calls");
    assert_eq!(
        api.received().len() - turned_away,
        VMS,
        "each of the others' calls is one that makes something"
    );
}
