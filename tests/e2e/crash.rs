//! kill -9 at any moment: the ledger stays whole, nothing is told twice, and each allocation that was made is
//! `created` in exactly one run.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Outcome};
use crate::fleet::{self, is_allocated};
use crate::sandbox::{Call, Sandbox, Transport, asked_twice};

const VMS: usize = 300;
const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

fn sandbox() -> Sandbox {
    Sandbox::start(&["--latency", "1ms..20ms"])
}

fn sandbox_of_http_2() -> Sandbox {
    Sandbox::speaking(Transport::Http2, &["--latency", "1ms..20ms"])
}

fn fixture(sandbox: &Sandbox, dialect: Dialect) -> Fixture {
    let fixture = Fixture::at(sandbox).speaking(dialect);
    fixture.write_fleet(fleet::csv(VMS));
    fixture
}

/// Starts a run and kills it once so many more calls have arrived.
fn kill_after(fixture: &Fixture, sandbox: &Sandbox, calls: usize) {
    let before = sandbox.calls().len();
    let process = fixture.start(&RUN);
    sandbox.await_calls(before + calls);
    process.kill();
}

/// The ledger's file is sound, and of every run each VM has one row.
pub(crate) fn assert_whole(fixture: &Fixture) {
    fixture.assert_file_is_sound();
    fixture.reports_of_all();
}

/// What the ledger says of the newest run: every settled VM with its outcome.
pub(crate) fn settled(fixture: &Fixture) -> HashMap<String, String> {
    let word = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let report = fixture.report_of("latest");
    report.settled().map(|row| (word(row, "vmid"), word(row, "outcome"))).collect()
}

/// How often each VM was `created`, over all runs of the ledger.
pub(crate) fn creations(fixture: &Fixture) -> BTreeMap<String, usize> {
    fixture.times_that_vms_were("created")
}

/// Every allocation that the sandbox made, once.
pub(crate) fn made(calls: &[Call]) -> BTreeMap<String, usize> {
    calls.iter().filter(|call| call.created).map(|call| (call.vmid.clone(), 1)).collect()
}

/// What the next run must say of a VM, given what the killed one had settled and what the sandbox answered last.
fn expected(vmid: &str, was_settled: bool, last: &Call) -> String {
    let verdict = match (was_settled, is_allocated(vmid.parse().unwrap())) {
        (true, _) => "unchanged ledger",
        (false, true) => "unchanged server_clock",
        (false, false) if last.created => "created created_flag",
        (false, false) => "created lost_answer",
    };
    format!("{vmid} {verdict}")
}

/// Where v2 is spoken, whoever lost an answer looks: of these calls of one run none asks for what is done.
fn assert_not_asked_twice<'a>(dialect: Dialect, calls: impl IntoIterator<Item = &'a Call>) {
    let twice = if dialect == Dialect::V2 { asked_twice(calls) } else { None };
    assert!(twice.is_none(), "{twice:?}");
}

#[test]
fn whenever_a_run_is_killed_the_next_one_tells_the_truth_of_every_vm() {
    in_each(kill_at_any_moment);
}

fn kill_at_any_moment(dialect: Dialect) {
    // Of a late moment the kill may come too late.
    let mut cut_short = 0;
    for part in 0..5 {
        let moment = fastrand::usize(1 + part * VMS / 5..(part + 1) * VMS / 5);
        let sandbox = sandbox();
        let fixture = fixture(&sandbox, dialect);
        kill_after(&fixture, &sandbox, moment);
        assert_whole(&fixture);
        let settled = settled(&fixture);
        let record = sandbox.calls();
        let called: HashSet<&str> = record.iter().map(|call| call.vmid.as_str()).collect();
        assert_eq!(called.len(), record.len(), "killed after {moment}: a VM was called twice");
        for (vmid, outcome) in &settled {
            let call = record.iter().find(|call| call.vmid == *vmid);
            let created = call.unwrap_or_else(|| panic!("{vmid} was settled, and never called")).created;
            assert_eq!(outcome, if created { "created" } else { "unchanged" }, "{vmid}");
        }
        cut_short += usize::from(settled.len() < VMS);

        let outcome = fixture.run(&RUN).exits(0);
        let record = sandbox.calls();
        let last: HashMap<&str, &Call> = record.iter().map(|call| (call.vmid.as_str(), call)).collect();
        let truth = fleet::vmids(100_000, VMS).map(|vmid| vmid.to_string());
        let truth = truth.map(|vmid| expected(&vmid, settled.contains_key(&vmid), last[vmid.as_str()]));
        assert_eq!(outcome.verdicts(), truth.collect::<Vec<_>>(), "killed after {moment}");
        assert_eq!(creations(&fixture), made(&record), "killed after {moment}");
        let unsettled = record.iter().filter(|call| !settled.contains_key(&call.vmid));
        assert_not_asked_twice(dialect, unsettled);
        assert_whole(&fixture);
    }
    assert!(cut_short > 0, "every run had ended before it was killed");
}

#[test]
fn of_runs_killed_one_after_another_each_allocation_is_created_in_exactly_one() {
    in_each(|dialect| {
        for (sandbox, kills) in [(sandbox(), 5), (sandbox_of_http_2(), 2)] {
            kill_one_after_another(dialect, &sandbox, kills);
        }
    });
}

fn kill_one_after_another(dialect: Dialect, sandbox: &Sandbox, kills: usize) {
    let fixture = fixture(sandbox, dialect);
    for _ in 0..kills {
        kill_after(&fixture, sandbox, fastrand::usize(1..VMS / 2));
        assert_whole(&fixture);
    }
    let outcome = fixture.run(&RUN).exits(0);
    assert_eq!(outcome.rows().len(), VMS);
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
    assert!(fixture.reports_of_all().iter().all(|report| report.in_flight().is_empty()));
    let again = fixture.run(&RUN).exits(0);
    assert!(again.verdicts().iter().all(|verdict| verdict.ends_with(" unchanged ledger")));
}

#[test]
fn a_killed_run_that_is_resumed_has_one_report_over_all_of_it() {
    in_each(|dialect| {
        for sandbox in [sandbox(), sandbox_of_http_2()] {
            kill_and_resume(dialect, &sandbox);
        }
    });
}

fn kill_and_resume(dialect: Dialect, sandbox: &Sandbox) {
    let fixture = fixture(sandbox, dialect);
    kill_after(&fixture, sandbox, VMS / 2);
    let killed = fixture.report_of("latest");
    let outcome: Outcome = fixture.run(&["resume"]).exits(0);
    assert_eq!(outcome.vmids(), fleet::vmids(100_000, VMS).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_eq!(outcome.report()["run"]["resumes"], 1);
    assert_eq!(fixture.runs().len(), 1);
    let record = sandbox.calls();
    assert_eq!(creations(&fixture), made(&record));
    assert_not_asked_twice(dialect, &record);
    let in_flight = killed.in_flight();
    for vmid in outcome.vmids() {
        let calls: Vec<&Call> = record.iter().filter(|call| call.vmid == vmid).collect();
        // A look that finds nothing is followed by the call that it was to spare.
        let found_nothing = calls.len() == 3 && calls[1].kind == "look";
        let most = 1 + usize::from(in_flight.contains(&vmid)) + usize::from(found_nothing);
        assert!((1..=most).contains(&calls.len()), "{vmid}: {calls:?}, and at most {most} were due");
    }
}

#[test]
fn a_refresh_whose_answer_was_lost_in_a_crash_is_updated_once() {
    in_each(kill_a_refresh);
}

fn kill_a_refresh(dialect: Dialect) {
    let sandbox = sandbox();
    let fixture = fixture(&sandbox, dialect);
    fixture.run(&RUN).exits(0);
    for (rack, hop) in
        [("dc1r27", "fd00::7"), ("dc1r28", "fd00::8"), ("dc1r29", "fd00::9"), ("dc2r01", "fd00::1")]
    {
        sandbox.set_next_hop(rack, hop);
    }
    let refresh = ["run", "fleet.csv", "--action", "refresh_next_hop", "--rate", "none"];
    let before = sandbox.calls().len();
    let process = fixture.start(&refresh);
    sandbox.await_calls(before + VMS / 2);
    process.kill();
    let settled = settled(&fixture);
    fixture.run(&refresh).exits(0);
    let expected = fleet::vmids(100_000, VMS).map(|id| (id.to_string(), 1)).collect();
    assert_eq!(fixture.times_that_vms_were("updated"), expected, "every VM is updated in exactly one run");
    let record = &sandbox.calls()[before..];
    assert_not_asked_twice(dialect, record.iter().filter(|call| !settled.contains_key(&call.vmid)));
}
