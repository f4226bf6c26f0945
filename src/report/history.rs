//! One VM over all runs: text for people, an object for programs.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::advice::MAY_HAVE_CHANGED;
use super::api::api;
use super::csv;
use super::json::{self, JsonRow};
use crate::allocation::{Allocation, NextHop};
use crate::dialect::Dialect;
use crate::ledger::{Entry, LastKnown, Row};
use crate::outcome::{Kind, Outcome};
use crate::text::{escape, excerpt, moment_field, moment_for_people};
use crate::vm::VmId;

/// Characters of one line.
const TEXT: usize = 200;

/// The history for people, the newest run first, ending in a line break.
pub fn text(vm: &VmId, known: &[LastKnown], entries: &[Entry]) -> String {
    let name = entries.iter().find_map(|entry| entry.row.name.as_deref());
    let name = name.map(|name| format!(" ({})", excerpt(name, TEXT))).unwrap_or_default();
    let mut text = format!("VM {vm}{name}\n");
    for LastKnown { base_url, seen_at, allocation, dialect } in known {
        let seen = seen_at.map(|at| format!(" {}", moment_for_people(at))).unwrap_or_default();
        let what = allocation.as_ref().map_or("no allocation".into(), whole);
        let line = format!("Last seen{seen} at {}: {what}", api(base_url, *dialect));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", escape(&line));
    }
    let named = |entry: &Entry| api(&entry.base_url, entry.dialect);
    let several = entries.iter().any(|entry| named(entry) != named(&entries[0]));
    for entry in entries {
        let Entry { run, kind, started_at, row, .. } = entry;
        let Row { action, outcome, .. } = row;
        let at = moment_for_people(row.settled_at.unwrap_or(*started_at));
        let api = if several { format!(" at {}", named(entry)) } else { String::new() };
        let _ = writeln!(text, "\n{at}  {outcome}: {action}, {kind} {}", escape(&format!("{run}{api}")));
        for line in details(row) {
            let _ = writeln!(text, "    {}", excerpt(&line, TEXT));
        }
    }
    text
}

/// What a run says of a VM beside its outcome.
pub(super) fn details(row: &Row) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(failure) = row.failure {
        lines.push(match &row.error {
            Some(error) => format!("{failure}: {error}"),
            None => failure.to_string(),
        });
    }
    lines.extend(row.reason().cloned());
    lines.extend(planned(row));
    if row.may_have_applied {
        lines.push(format!("it {MAY_HAVE_CHANGED}"));
    }
    if row.prefix.is_some() {
        let it = place(row.prefix.as_deref(), row.next_hop.as_deref());
        let more = words(row.status.as_deref(), row.rack_id.as_deref());
        lines.push([vec![it], more].concat().join(", "));
    }
    lines.extend(row.changes.iter().map(|change| format!("changed: {}", csv::change(change))));
    lines.extend(row.drift.iter().map(|drift| format!("not as expected: {}", csv::drift(drift))));
    lines.extend(row.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines
}

/// What a call would change.
pub(super) fn planned(row: &Row) -> Option<String> {
    let would = match row.outcome {
        Outcome::Create => "a call would create an allocation",
        Outcome::Update => "a call would update it",
        _ => return None,
    };
    let hop = way(row.next_hop.as_deref(), row.planned_next_hop.as_deref());
    Some(hop.map_or(would.to_owned(), |hop| format!("{would}, {hop}")))
}

/// The next hop that is planned, behind the one that there is.
pub(super) fn way(now: Option<&str>, planned: Option<&str>) -> Option<String> {
    match (now, planned?) {
        (Some(now), planned) => Some(format!("next hop {now} → {planned}")),
        (None, planned) => Some(format!("next hop {planned}")),
    }
}

fn whole(allocation: &Allocation) -> String {
    let it = place(Some(allocation.prefix.as_str()), allocation.next_hop.as_ref().map(NextHop::as_str));
    let more = words(allocation.status.as_deref(), allocation.rack_id.as_deref());
    [vec![it], more].concat().join(", ")
}

fn words(status: Option<&str>, rack: Option<&str>) -> Vec<String> {
    [status.map(str::to_owned), rack.map(|rack| format!("on {rack}"))].into_iter().flatten().collect()
}

fn place(prefix: Option<&str>, next_hop: Option<&str>) -> String {
    format!("{} via {}", prefix.unwrap_or("?"), next_hop.unwrap_or("?"))
}

/// The object, on one line.
pub fn json(vm: &VmId, known: &[LastKnown], entries: &[Entry]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Object<'a> {
        schema: &'a str,
        vmid: &'a str,
        last_known: &'a [LastKnown],
        runs: Vec<JsonEntry<'a>>,
    }
    let runs = entries.iter().map(JsonEntry::from).collect();
    json::line(&Object { schema: "v6fleet.history/1", vmid: vm.as_str(), last_known: known, runs })
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    run: &'a str,
    kind: Kind,
    base_url: &'a str,
    api: Dialect,
    #[serde(serialize_with = "moment_field")]
    started_at: Timestamp,
    #[serde(flatten)]
    row: JsonRow<'a>,
}

impl<'a> From<&'a Entry> for JsonEntry<'a> {
    fn from(entry: &'a Entry) -> Self {
        let Entry { run, kind, base_url, dialect, started_at, row } = entry;
        let row = JsonRow::of(*kind, row);
        Self { run, kind: *kind, base_url, api: *dialect, started_at: *started_at, row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::tests::example;
    use crate::report::fixtures::rows;

    fn entry(run: &str, row: Row) -> Entry {
        Entry {
            run: run.into(),
            kind: Kind::Run,
            base_url: "https://cloud.hostup.se".into(),
            dialect: Dialect::V1,
            started_at: "2026-11-23T02:15:00Z".parse().unwrap(),
            row,
        }
    }

    fn known(base_url: &str) -> LastKnown {
        let seen_at = Some("2026-11-23T02:15:00.5Z".parse().unwrap());
        let base_url = base_url.into();
        LastKnown { base_url, dialect: Dialect::V1, seen_at, allocation: Some(example()) }
    }

    /// An update with changes, drift and warnings, a failure that may have changed it all the same, and one before its turn.
    fn entries() -> Vec<Entry> {
        let rows = rows();
        let row = |vmid: &str| rows.iter().find(|row| row.vmid == vmid).unwrap().clone();
        let runs = [("r3", "10003"), ("r2", "10016"), ("r1", "10023")];
        runs.into_iter().map(|(run, vmid)| entry(run, row(vmid))).collect()
    }

    #[test]
    fn every_run_says_what_came_of_it_and_what_changed() {
        let vm = "10003".parse().unwrap();
        insta::assert_snapshot!(text(&vm, &[known("https://cloud.hostup.se")], &entries()), @r#"
        VM 10003 (web-1)
        Last seen 2026-11-23 02:15:00Z at https://cloud.hostup.se: 2001:db8::1/48 via 2001:db8::1, active, on dc1r28

        2026-11-23 02:15:00Z  updated: allocate, run r3
            2001:db8:9::1/48 via 2001:db8::2, active, on dc1r28
            changed: prefix: 2001:db8::1/48 → 2001:db8:9::1/48
            changed: next_hop: 2001:db8::1 → 2001:db8::2
            not as expected: rack_id: dc1r29, dc1r28
            not as expected: client_id: 1, 30000
            warning: status is odd, not active
            warning: says "so"

        2026-11-23 02:15:06Z  failed: allocate, run r2
            server_error: upstream\nunavailable \u{1b}[31m
            it may have changed all the same: a call was not answered, or by an error that does not say

        2026-11-23 02:15:00Z  failed: allocate, run r1
            not_attempted
        "#);
    }

    #[test]
    fn a_vm_of_which_only_the_last_allocation_is_left_still_has_that() {
        let vm = "10003".parse().unwrap();
        let text = text(&vm, &[known("https://a.example"), known("https://b.example")], &[]);
        insta::assert_snapshot!(text, @"
        VM 10003
        Last seen 2026-11-23 02:15:00Z at https://a.example: 2001:db8::1/48 via 2001:db8::1, active, on dc1r28
        Last seen 2026-11-23 02:15:00Z at https://b.example: 2001:db8::1/48 via 2001:db8::1, active, on dc1r28
        ");
    }

    #[test]
    fn for_programs_it_is_one_object() {
        let json = json(&"10003".parse().unwrap(), &[known("https://a.example")], &entries()).unwrap();
        assert_eq!(json.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&read["schema"], &read["vmid"]), (&"v6fleet.history/1".into(), &"10003".into()));
        assert_eq!(read["last_known"][0]["allocation"]["rack_id"], "dc1r28");
        assert_eq!((&read["runs"][0]["run"], &read["runs"][0]["outcome"]), (&"r3".into(), &"updated".into()));
    }
}
