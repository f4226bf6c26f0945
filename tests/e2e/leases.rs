//! Leases of workers that work on one run: what becomes of those that run out, and of those that are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::fixture::{Fixture, eventually};
use crate::fleet;
use crate::postgres::Server;
use crate::sandbox::Sandbox;
use crate::script::{Api, Gate, success};
use crate::workers::{RUN, WORK};

/// So many slots the worker has that is stopped.
const SLOTS: usize = 8;

#[test]
fn a_worker_that_comes_back_after_its_lease_sends_nothing_and_settles_nothing_of_what_it_held() {
    let Some(server) = Server::start() else { return };
    let gate = Gate::default();
    let at_gate = gate.clone();
    let api = Api::to_each(move |request| {
        if request.key() == Some("held-up") {
            at_gate.pass();
        }
        success(201, true, 0).after(Duration::from_millis(20)).into()
    });
    let mut fixture = api.fixture().in_database(server);
    fixture.write("fleet.csv", fleet::csv(120));
    let began = fixture.start(&RUN);
    eventually("the run is under way", || !api.received().is_empty());
    fixture.set("HOSTUP_API_KEY", "held-up");
    let held_up = fixture.start(&["work", "--concurrency", &SLOTS.to_string(), "--output-dir", "none"]);
    let its_calls = || api.received().iter().filter(|request| request.key() == Some("held-up")).count();
    eventually("all that it may call are called", || its_calls() == SLOTS);
    held_up.signal("STOP");
    let its_vms = |fixture: &mut Fixture, are: &str| -> usize {
        let no = "(SELECT max(no) FROM v6fleet.workers)";
        let vms = format!("SELECT count(*) FROM v6fleet.progress WHERE worker = {no} AND {are}");
        fixture.database().sql(&vms).parse().unwrap()
    };
    let held = its_vms(&mut fixture, "outcome IS NULL");
    assert!(held > SLOTS, "{held}: it may have called all that it holds");
    began.end().exits(0);
    gate.open();
    held_up.signal("CONT");
    held_up.end().exits(0);
    assert_eq!((its_calls(), its_vms(&mut fixture, "true")), (SLOTS, 0));
    assert_eq!(api.received().len(), 120 + SLOTS, "what had left is called once more by the other one");
}

#[test]
fn a_run_whose_workers_have_ended_it_while_it_was_held_up_reports_the_same_all_the_same() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "10ms"]);
    let fixture = Fixture::at(&sandbox).in_database(server);
    fixture.write("fleet.csv", format!("{}100099,gone,\n", fleet::csv(60)));
    let began = fixture.start(&[&RUN[..], &["-o", "own.json", "--output-dir", "own"]].concat());
    sandbox.await_calls(4);
    began.signal("STOP");
    let work = fixture.start(&["work", "-o", "works.json", "--output-dir", "works"]);
    work.end().exits(3);
    assert!(!fixture.path("own.json").exists());
    began.signal("CONT");
    began.end().exits(3);
    let [own, works] = ["own.json", "works.json"].map(|file| fixture.read(file));
    assert_eq!(own, works);
    let own: Value = serde_json::from_str(&own).unwrap();
    assert_eq!(own["vms"].as_array().unwrap().len(), 61);
    for dir in ["own", "works"] {
        assert_eq!(fixture.path(dir).read_dir().unwrap().count(), 1, "{dir}");
    }
}

#[test]
fn a_call_that_takes_longer_than_a_lease_costs_nobody_its_vms() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "2500ms"]);
    let mut fixture = Fixture::at(&sandbox).in_database(server);
    fixture.write("fleet.csv", fleet::csv(4));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--lease", "2s"];
    let began = fixture.start(&run);
    sandbox.await_calls(4);
    let work = fixture.start(&WORK);
    let outcome = began.end().exits(0);
    work.end().exits(0);
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for vmid in sandbox.called_vmids() {
        *calls.entry(vmid).or_default() += 1;
    }
    assert!(calls.len() == 4 && calls.values().all(|&calls| calls == 1), "{calls:?}");
    assert_eq!(outcome.vms_that_are("failed").len(), 0);
    let workers = "SELECT count(*), count(DISTINCT worker) FROM v6fleet.workers, v6fleet.progress";
    // Who had lost its lease would have come back under another number.
    assert_eq!(fixture.database().sql(workers), "8|1");
}
