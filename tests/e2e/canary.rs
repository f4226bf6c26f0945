//! A canary that several workers call: no other VM is called before all of it have succeeded.

use std::collections::BTreeSet;

use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::postgres::Server;
use crate::script::{Api, Gate, error, success};
use crate::workers::RUN;

const VMS: usize = 40;

/// Of the canary, and called first or soon after.
const LAST: &str = "100003";

/// A run with a canary of five VMs, each in a rack of its own, and three more workers with slots for all; the first two of it
/// are called, and all work.
fn begun(fixture: &mut Fixture, api: &Api) -> (Process, Vec<Process>) {
    let rows = fleet::vmids(100_000, VMS).zip(0..).map(|(id, n)| format!("{id},r{}\n", n % 10));
    fixture.write("fleet.csv", rows.fold("vmid,rack_id\n".to_owned(), |csv, row| csv + &row));
    let began = fixture.start(&[&RUN[..], &["--canary", "5"]].concat());
    eventually("the first are called", || api.received().len() == 2);
    let work = ["work", "--concurrency", "8", "--output-dir", "none"];
    let workers: Vec<Process> = (0..3).map(|_| fixture.start(&work)).collect();
    let working = "SELECT count(*) FROM v6fleet.workers WHERE seen_at > since";
    eventually("all work", || fixture.database().sql(working) == "4");
    (began, workers)
}

fn called(api: &Api) -> BTreeSet<String> {
    api.received().into_iter().map(|request| request.vmid).collect()
}

#[test]
fn of_a_canary_no_other_vms_are_called_though_the_worker_dies_that_called_them() {
    let Some(server) = Server::start() else { return };
    let gate = Gate::default();
    let at_gate = gate.clone();
    let api = Api::start(move |_, _| {
        at_gate.pass();
        success(201, true, 0).into()
    });
    let mut fixture = api.fixture().in_database(server);
    let (began, workers) = begun(&mut fixture, &api);
    began.kill();
    // What it had claimed and not called yet may have been called, as far as anybody knows.
    eventually("others call what it had claimed", || api.received().len() == 2 + 5);
    assert_eq!(called(&api).len(), 5);
    gate.open();
    for worker in workers {
        worker.end().exits(0);
    }
    assert_eq!(api.received().len(), VMS + 2, "those that the dead one had called are called once more");
}

/// A canary of which one VM `fails`, and is answered after the others: how many calls there are in all, and with what exit code
/// all end. Nothing but the canary is called before.
fn answered_last(fails: bool) -> Option<(usize, Vec<Option<i32>>)> {
    let server = Server::start()?;
    let [first, last] = [(); 2].map(|()| Gate::default());
    let gates = [first.clone(), last.clone()];
    let api = Api::start(move |vmid, _| {
        gates[usize::from(vmid == LAST)].pass();
        match fails && vmid == LAST {
            true => error(404, "NOT_FOUND").into(),
            false => success(201, true, 0).into(),
        }
    });
    let mut fixture = api.fixture().in_database(server);
    let (began, workers) = begun(&mut fixture, &api);
    first.open();
    let settled = "SELECT count(*) FROM v6fleet.progress WHERE outcome IS NOT NULL";
    eventually("the others are settled", || fixture.database().sql(settled).parse::<usize>().unwrap() >= 4);
    let batches = |fixture: &mut Fixture| -> Vec<u32> {
        let batches = fixture.database().sql("SELECT batch FROM v6fleet.workers ORDER BY no");
        batches.lines().map(|batch| batch.parse().unwrap()).collect()
    };
    // What was asked before may be answered still, and what is asked then is not.
    let then = batches(&mut fixture);
    eventually("each has seen it", || {
        let now = batches(&mut fixture);
        now.iter().zip(&then).all(|(batch, then)| *batch >= then + 2)
    });
    assert_eq!((api.received().len(), called(&api).contains(LAST)), (5, true));
    last.open();
    let codes = [began].into_iter().chain(workers).map(|worker| worker.end().code).collect();
    Some((api.received().len(), codes))
}

#[test]
fn of_a_canary_of_which_one_fails_no_other_vm_is_called_by_any_worker() {
    let Some(ended) = answered_last(true) else { return };
    assert_eq!(ended, (5, vec![Some(4); 4]));
}

#[test]
fn of_a_canary_that_succeeds_no_other_vm_is_called_before_the_last_of_it_has() {
    let Some(ended) = answered_last(false) else { return };
    assert_eq!(ended, (VMS, vec![Some(0); 4]));
}
