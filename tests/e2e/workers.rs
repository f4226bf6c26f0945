//! Several processes on one run: every VM is one worker's, whichever of them dies, hangs or is told to go.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::crash::{creations, made};
use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::postgres::Server;
use crate::sandbox::Sandbox;

const VMS: usize = 240;
const RUN: [&str; 10] =
    ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "2", "--lease", "2s"];
const WORK: [&str; 5] = ["work", "--concurrency", "2", "--output-dir", "none"];

fn fixture(sandbox: &Sandbox, server: Server) -> Fixture {
    let fixture = Fixture::at(sandbox).in_database(server);
    fixture.write("fleet.csv", fleet::csv(VMS));
    fixture
}

/// A run that `workers` work on: whoever began it first, and each of them has settled something.
fn shared(fixture: &mut Fixture, workers: usize) -> Vec<Process> {
    let mut all = vec![fixture.start(&RUN)];
    let works = |fixture: &mut Fixture| -> usize {
        let working = "SELECT count(DISTINCT worker) FROM v6fleet.progress WHERE outcome IS NOT NULL";
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
    let outcomes: Vec<_> = shared(&mut fixture, 3).into_iter().map(|worker| worker.end().exits(0)).collect();
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
fn of_workers_that_die_or_hang_others_take_the_vms_and_nothing_is_lost_or_told_twice() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let mut fixture = fixture(&sandbox, server);
    let mut workers = shared(&mut fixture, 3);
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
fn a_worker_that_is_told_to_go_leaves_the_run_to_the_others_and_stop_ends_it_for_all() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "60ms"]);
    let mut fixture = fixture(&sandbox, server);
    let mut workers = shared(&mut fixture, 3);
    let leaving = workers.pop().unwrap();
    leaving.signal("INT");
    leaving.end().exits(130).assert_in_stderr("others go on with the run");
    assert!(workers.iter_mut().all(Process::is_running));
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
