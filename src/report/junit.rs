//! The report as `JUnit` XML, for CI systems: a VM is a test case, a rack a suite.
//!
//! A VM that failed is an `error`, one that is not as the inventory expects a `failure`, and one that a plan found blocked
//! is skipped: they are told apart.
//! Documents are built in memory by the crate, so it gets [`HELD`] VMs at a time: memory does not grow with the
//! fleet, and a rack of a larger fleet may be several suites of one name.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::history::details;
use crate::ledger::{Row, RunInfo, Summary};
use crate::text::escape;

/// VMs that are held before their suites are written.
const HELD: usize = 10_000;

const HEAD: &str = "<testsuites";
const FOOT: &str = "</testsuites>\n";

/// A `JUnit` report while it is being written.
#[derive(Debug)]
pub(super) struct JunitReport<W> {
    to: W,
    suites: BTreeMap<String, TestSuite>,
    held: usize,
}

impl<W: Write> JunitReport<W> {
    pub(super) fn begin(mut to: W, run: &RunInfo, summary: &Summary) -> io::Result<Self> {
        let size = |vms| usize::try_from(vms).unwrap_or(usize::MAX);
        let mut head = Report::new(format!("v6fleet {}", xml_text(&run.id)));
        head.tests = size(summary.counts.selected);
        head.errors = size(summary.counts.failed);
        head.failures = size(summary.drifted);
        head.skipped = size(summary.counts.blocked);
        head.time = Duration::try_from_secs_f64(summary.duration_s).ok();
        let head = document(&head)?;
        to.write_all(head.trim_end_matches(FOOT).as_bytes())?;
        Ok(Self { to, suites: BTreeMap::new(), held: 0 })
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        let rack = row.rack_id.as_deref().map_or("(unknown rack)".into(), xml_text);
        let suite = self.suites.entry(rack.clone()).or_insert_with(|| TestSuite::new(&rack));
        suite.add_test_case(case(row, &rack));
        self.held += 1;
        if self.held == HELD { self.write_suites() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write_suites()?;
        self.to.write_all(FOOT.as_bytes())?;
        Ok(self.to)
    }

    /// Writes the suites that are held, as they stand in a document of their own.
    fn write_suites(&mut self) -> io::Result<()> {
        let mut part = Report::unnamed();
        part.add_test_suites(std::mem::take(&mut self.suites).into_values());
        self.held = 0;
        let part = document(&part)?;
        let within = part.split_once(HEAD).and_then(|(_, rest)| rest.split_once(">\n"));
        let suites = within.map(|(_, suites)| suites.trim_end_matches(FOOT)).unwrap_or_default();
        self.to.write_all(suites.as_bytes())
    }
}

/// A text from outside. Two characters that deceive nobody are forbidden in XML all the same.
fn xml_text(text: &str) -> String {
    escape(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn document(report: &Report) -> io::Result<String> {
    report.to_string().map_err(io::Error::other)
}

fn case(row: &Row, rack: &str) -> TestCase {
    let mut case = TestCase::new(xml_text(&row.vmid), status(row));
    case.set_classname(rack);
    let took = row.first_sent_at.zip(row.settled_at).map(|(sent, settled)| settled.duration_since(sent));
    case.time = took.and_then(|took| took.try_into().ok());
    case.set_system_out(system_out(row));
    case
}

fn status(row: &Row) -> TestCaseStatus {
    if let Some(reason) = row.reason() {
        let mut status = TestCaseStatus::skipped();
        status.set_type(row.outcome.as_str()).set_message(xml_text(reason));
        return status;
    }
    let drift = row.drift.iter().map(super::csv::drift).collect::<Vec<_>>().join("; ");
    let (kind, ty, message) = match row.failure {
        Some(failure) => {
            let message = row.error.as_deref().unwrap_or(failure.as_str());
            (NonSuccessKind::Error, failure.as_str(), message)
        }
        None if !drift.is_empty() => (NonSuccessKind::Failure, "drift", drift.as_str()),
        None => return TestCaseStatus::success(),
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(ty).set_message(xml_text(message));
    status
}

/// What the run says of a VM, one line each.
fn system_out(row: &Row) -> String {
    let name = row.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let basis = row.basis.map(|basis| format!(" by {basis}")).unwrap_or_default();
    let outcome = format!("{}: {}{name}{basis}", row.outcome, row.action);
    let lines = std::iter::once(outcome).chain(details(row));
    lines.map(|line| xml_text(&line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::fixtures::{any_text, forecasts, plan, plan_summary, rows, run, summary, with_text};
    use crate::report::tool;

    fn written(rows: &[Row]) -> String {
        let mut report = JunitReport::begin(Vec::new(), &run(), &summary(rows)).unwrap();
        for row in rows {
            report.row(row).unwrap();
        }
        String::from_utf8(report.finish().unwrap()).unwrap()
    }

    /// The values of an attribute, one for each element of the name.
    fn attributes<'a>(report: &'a str, element: &str, attribute: &str) -> Vec<&'a str> {
        let (element, attribute) = (format!("<{element} "), format!("{attribute}=\""));
        let value = |rest: &'a str| {
            let (_, value) = rest.split_once('>')?.0.split_once(&attribute)?;
            Some(value.split_once('"')?.0)
        };
        report.split(&element).skip(1).filter_map(value).collect()
    }

    #[test]
    fn every_outcome_and_every_failure_has_its_case() {
        assert_eq!(written(&rows()), include_str!("junit/golden.xml"));
    }

    #[test]
    fn what_a_plan_found_blocked_is_skipped_with_the_reason() {
        let mut report = JunitReport::begin(Vec::new(), &plan(), &plan_summary()).unwrap();
        for row in &forecasts() {
            report.row(row).unwrap();
        }
        let report = String::from_utf8(report.finish().unwrap()).unwrap();
        let skipped = attributes(&report, "skipped", "message");
        assert_eq!(skipped.len(), 3);
        assert_eq!(skipped[0], "cools down until 2026-12-01T00:00:00Z");
        assert_eq!(attributes(&report, "testsuites", "skipped"), ["3"]);
        assert!(report.contains(
            "update: allocate (web-1)\na call would update it, next hop 2001:db8::1 → 2001:db8::9"
        ));
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/junit.xsd");
        tool::accepts(&["xmllint", "--noout", "--schema", schema, "-"], &report);
    }

    #[test]
    fn a_run_without_rows_is_whole_xml() {
        let report = written(&[]);
        assert_eq!(attributes(&report, "testsuites", "tests"), ["0"]);
        assert!(report.ends_with("</testsuites>\n"), "{report}");
    }

    #[test]
    fn the_schema_of_junit_holds_for_every_outcome_and_for_no_row_at_all() {
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/junit.xsd");
        for rows in [rows(), vec![]] {
            tool::accepts(&["xmllint", "--noout", "--schema", schema, "-"], &written(&rows));
        }
    }

    #[test]
    fn a_fleet_of_any_size_is_one_document_that_has_every_vm_and_is_never_held_whole() {
        let row = rows().remove(0);
        let vms = 2 * HELD + 1;
        let mut report = JunitReport::begin(Vec::new(), &run(), &summary(&[])).unwrap();
        for vm in 0..vms {
            report.row(&Row { vmid: vm.to_string(), ..row.clone() }).unwrap();
            assert!(report.held < HELD);
        }
        let report = String::from_utf8(report.finish().unwrap()).unwrap();
        let expected: Vec<String> = (0..vms).map(|vm| vm.to_string()).collect();
        assert_eq!(attributes(&report, "testcase", "name"), expected);
        assert_eq!(attributes(&report, "testsuite", "tests"), ["10000", "10000", "1"]);
        tool::accepts(&["xmllint", "--noout", "-"], &report);
    }

    #[test]
    fn the_characters_that_xml_forbids_never_reach_it() {
        let evil: String =
            (0..0x20_u8).map(char::from).chain(['\u{fffe}', '\u{7f}', '\u{202e}', '<', '&']).collect();
        let report = written(&[
            with_text(&evil),
            Row { failure: Some(crate::outcome::Failure::Timeout), ..with_text(&evil) },
        ]);
        assert!(report.contains(r"\u{0}\u{1}") && report.contains(r"\u{202e}&lt;&amp;"), "{report}");
        tool::accepts(&["xmllint", "--noout", "-"], &report);
    }

    proptest! {
        #[test]
        fn any_text_stays_within_its_place(text in any_text()) {
            let report = written(&[with_text(&text)]);
            let forbidden = |c: char| (c != '\n' && crate::text::is_deceptive(c)) || matches!(c, '\u{fffe}' | '\u{ffff}');
            prop_assert!(!report.contains(forbidden), "{:?}", report);
            // Whatever the text holds, the elements are these and no others.
            let elements = report.split('<').skip(1).filter_map(|rest| rest.split([' ', '>', '?']).next());
            let elements: Vec<_> = elements.filter(|element| !element.is_empty()).collect();
            prop_assert_eq!(elements, [
                "testsuites", "testsuite", "testcase", "failure", "system-out", "/system-out", "/testcase", "/testsuite",
                "/testsuites",
            ]);
        }
    }
}
