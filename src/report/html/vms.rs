//! The table of the VMs: every one of a fleet that a browser can hold, of a larger one those that need attention.

use std::fmt;

use askama::Template;

use crate::allocation::{Change, Drift};
use crate::ledger::Row;
use crate::outcome::{Failure, Outcome};

use crate::report::page::functions::excerpt;

/// What a browser filters and sorts at once.
const ROWS: u64 = 50_000;

/// Rows that a browser lays out before the script has taken over.
const FIRST: u64 = 100;

/// The rows of the table, as HTML.
#[derive(Debug)]
pub(super) struct Vms {
    html: String,
    kept: u64,
    left_out: u64,
    only_attention: bool,
    has_labels: bool,
}

#[derive(Template)]
#[template(path = "row.html")]
struct Line<'a> {
    row: &'a Row,
    attention: bool,
    notes: Vec<String>,
    labels: Option<String>,
}

impl Vms {
    pub(super) fn new(selected: u64, has_labels: bool) -> Self {
        let only_attention = selected > ROWS;
        Self { html: String::new(), kept: 0, left_out: 0, only_attention, has_labels }
    }

    pub(super) fn add(&mut self, row: &Row) -> Result<(), fmt::Error> {
        let attention = needs_attention(row);
        if self.only_attention && (!attention || self.kept == ROWS) {
            self.left_out += u64::from(attention);
            return Ok(());
        }
        if self.kept == FIRST {
            self.html.push_str("<tbody class=\"rest\">\n");
        }
        self.kept += 1;
        let labels = self.has_labels.then(|| labels(row));
        let line = Line { row, attention, notes: notes(row), labels };
        line.render_into(&mut self.html).map_err(|_| fmt::Error)
    }

    pub(super) fn html(&self) -> &str {
        &self.html
    }

    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// VMs that need attention and are not in the table.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether VMs are missing because there is nothing to say of them.
    pub(super) fn only_attention(&self) -> bool {
        self.only_attention
    }
}

fn needs_attention(row: &Row) -> bool {
    row.failure.is_some()
        || row.outcome == Outcome::Blocked
        || !row.drift.is_empty()
        || !row.warnings.is_empty()
}

pub(super) fn optional(text: Option<&String>) -> String {
    text.map_or_else(String::new, |text| excerpt(text))
}

/// The next hop, and behind it the one that a call would set.
fn next_hops(row: &Row) -> String {
    let now = optional(row.next_hop.as_ref());
    let planned = row.planned_next_hop.as_ref().map(|planned| format!("→ {}", excerpt(planned)));
    [now, planned.unwrap_or_default()].join(" ").trim().to_owned()
}

fn milliseconds(row: &Row) -> String {
    row.latency_ms.map_or_else(String::new, |ms| format!("{ms:.1}"))
}

fn labels(row: &Row) -> String {
    let labels: Vec<_> = row.labels.iter().map(|(column, value)| format!("{column}: {value}")).collect();
    excerpt(&labels.join("; "))
}

/// Everything that is to be said of the VM, a sentence each.
fn notes(row: &Row) -> Vec<String> {
    let failure = row.failure.map(|failure| failed(row, failure));
    let changes = row
        .changes
        .iter()
        .map(|Change { field, before, after }| format!("{}: {before} → {after}", field.as_str()));
    let drift = row.drift.iter().map(|Drift { field, expected, actual }| {
        format!("drift: {} is {actual}, the inventory expects {expected}", field.as_str())
    });
    let warnings = row.warnings.iter().map(|warning| format!("warning: {warning}"));
    let reason = row.reason().cloned();
    let notes = failure.into_iter().chain(reason).chain(changes).chain(drift).chain(warnings);
    notes.map(|note| excerpt(&note)).collect()
}

fn failed(row: &Row, failure: Failure) -> String {
    let status = row.http_status.map(|status| format!("HTTP {status}"));
    let request = row.request_id.as_ref().map(|id| format!("request {id}"));
    let unsure = row.may_have_applied.then(|| "it may have changed all the same".to_owned());
    let facts: Vec<String> = status.into_iter().chain(request).chain(unsure).collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    let error = row.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    format!("{failure}{facts}{error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{rows, with_text};

    fn added(rows: &[Row], selected: u64) -> Vms {
        let mut vms = Vms::new(selected, true);
        for row in rows {
            vms.add(row).unwrap();
        }
        vms
    }

    #[test]
    fn of_a_fleet_too_large_for_a_browser_the_table_has_what_needs_attention() {
        let rows = rows();
        let vms = added(&rows, ROWS + 1);
        let attention = rows.iter().filter(|row| needs_attention(row)).count();
        assert!(attention > 10 && attention < rows.len());
        assert_eq!(vms.html().matches("<tr").count(), attention);
        assert_eq!((vms.kept(), vms.left_out(), vms.only_attention()), (attention as u64, 0, true));
    }

    #[test]
    fn even_of_those_that_need_attention_a_browser_gets_no_more_than_it_can_hold() {
        let failed = rows().pop().unwrap();
        let mut vms = Vms::new(1_000_000, false);
        for _ in 0..ROWS + 7 {
            vms.add(&failed).unwrap();
        }
        assert_eq!((vms.kept(), vms.left_out()), (ROWS, 7));
    }

    #[test]
    fn hostile_text_is_text() {
        let html = added(&[with_text("<script>alert(1)</script>\"'&\u{202e}\0")], 1).html;
        assert!(!html.contains("<script") && !html.contains(['\u{202e}', '\0']), "{html}");
        assert!(html.contains("alert(1)"), "{html}");
    }
}
