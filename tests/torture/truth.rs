//! The judge: what the sandbox's record says of a run, against what the program does.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::fixture::{Fixture, Outcome};
use crate::sandbox::{Call, Sandbox, asked_twice};
use crate::trouble::{RUN, finish};

/// One VM's calls, each with its place in the record.
type Calls<'a> = Vec<(usize, &'a Call)>;

/// Every row is right, and no VM was called again without need. `deaths` are the places in the record at which the
/// process died.
pub(crate) fn assert_true(outcome: &Outcome, sandbox: &Sandbox, deaths: &[usize]) {
    assert_true_of(&sandbox.calls(), outcome, sandbox, deaths);
}

/// The same of a part of the record.
pub(crate) fn assert_true_of(record: &[Call], outcome: &Outcome, sandbox: &Sandbox, deaths: &[usize]) {
    let mut calls: HashMap<&str, Calls<'_>> = HashMap::new();
    for (place, call) in record.iter().enumerate() {
        calls.entry(&call.vmid).or_default().push((place, call));
    }
    let prefixes = prefixes(sandbox);
    for row in outcome.rows() {
        let vmid = row["vmid"].as_str().unwrap();
        let calls = calls.remove(vmid).unwrap_or_default();
        assert_row(row, &calls);
        assert_needed(&calls, deaths);
        // What no call has touched is in no list, and is seen by looks.
        let was_seen = calls.last().is_some_and(|(_, call)| call.kind == "look");
        if row["outcome"] != "failed" && (!was_seen || prefixes.contains_key(vmid)) {
            assert_eq!(Some(&row["prefix"]), prefixes.get(vmid), "{row}");
        }
    }
    assert!(calls.is_empty(), "calls for VMs without a row: {:?}", calls.keys());
    let in_v2 = record.iter().filter(|call| call.dialect == "v2");
    assert!(asked_twice(in_v2).is_none(), "done already: {:?}", asked_twice(record));
}

fn prefixes(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    let line =
        |line: &Value| (line["vmid"].as_str().unwrap().to_owned(), line["allocation"]["prefix"].clone());
    sandbox.allocations().iter().map(line).collect()
}

/// What is made is `created`, or failed and may have applied; what was not made is neither `created` nor `updated`.
#[track_caller]
fn assert_row(row: &Value, calls: &Calls<'_>) {
    let made = calls.iter().any(|(_, call)| call.created);
    let last = calls.last().map(|(_, call)| *call);
    if row["outcome"] == "failed" {
        let look = last.filter(|last| last.kind == "look" && !went_wrong(last));
        // Over HTTP/2 its answer may have gone down with the connection.
        let was_seen = look.is_some_and(|look| look.http == "1" || row["http_status"] == look.status);
        assert!(!made || row["may_have_applied"] == true, "{row}\n{calls:?}");
        assert!(!was_seen || row["may_have_applied"] == false, "{row}\n{calls:?}");
        assert!(look.is_some() || last.is_none_or(went_wrong), "it was answered well: {row}\n{calls:?}");
        return;
    }
    let last = last.unwrap_or_else(|| panic!("it was never called: {row}"));
    assert!(!went_wrong(last), "nothing tells: {row}\n{calls:?}");
    let expected = match (made, last.created) {
        (true, true) => ("created", "created_flag"),
        (true, false) => ("created", "lost_answer"),
        (false, _) => ("unchanged", "server_clock"),
    };
    let told = (row["outcome"].as_str().unwrap(), row["basis"].as_str().unwrap());
    assert_eq!(told, expected, "{row}\n{calls:?}");
}

/// A VM is called again only after a call that went wrong, or whose answer died with the process, or after a look that
/// found nothing.
#[track_caller]
fn assert_needed(calls: &Calls<'_>, deaths: &[usize]) {
    for pair in calls.windows(2) {
        let [(earlier, call), (later, next)] = pair else { continue };
        let died = deaths.iter().any(|death| earlier < death && death <= later);
        // Over HTTP/2 an answer goes down with the connection, whichever call's fault that was.
        let shared = call.http == "2";
        // Who goes on with a run looks once more at what was looked for in vain.
        let was_in_vain = next.created || next.kind == "look" || went_wrong(next);
        let is_needed = went_wrong(call) || call.kind == "look" && was_in_vain;
        assert!(died || shared || is_needed, "called again after a good answer: {calls:?}");
    }
}

/// It was not served, or its answer did not say so.
fn went_wrong(call: &Call) -> bool {
    call.fault.is_some() || !call.answered || !(200..300).contains(&call.status)
}

/// One more run, of some of the VMs, creates nothing that was told to be created.
pub(crate) fn assert_created_once(fixture: &Fixture) {
    finish(fixture.start(&[&RUN[..], &["--limit", "400", "--concurrency", "64"]].concat()));
    let twice = fixture.times_that_vms_were("created").into_iter().find(|(_, times)| *times > 1);
    assert_eq!(twice, None);
}

/// What is settled, as the ledger has it.
#[derive(Default)]
pub(crate) struct Settled(BTreeMap<String, String>);

impl Settled {
    pub(crate) fn of(fixture: &Fixture) -> Self {
        let report = fixture.report_of("latest");
        let settled: HashSet<&str> = report.settled().filter_map(|row| row["vmid"].as_str()).collect();
        let verdicts = report.verdicts();
        let verdicts = verdicts.iter().filter_map(|verdict| verdict.split_once(' '));
        let of_settled = verdicts.filter(|(vmid, _)| settled.contains(vmid));
        Self(of_settled.map(|(vmid, verdict)| (vmid.to_owned(), verdict.to_owned())).collect())
    }

    /// None of it was called again, and all of it is as it was.
    pub(crate) fn assert_kept(&self, calls_since: &[Call], now: &Self) {
        let again = calls_since.iter().find(|call| self.0.contains_key(&call.vmid));
        assert!(again.is_none(), "a settled VM was called again: {again:?}");
        for (vmid, verdict) in &self.0 {
            assert_eq!(now.0.get(vmid), Some(verdict), "{vmid}");
        }
    }
}
