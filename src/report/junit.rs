//! The report as `JUnit` XML, for CI systems: a VM is a test case, a rack a suite.
//!
//! A VM that failed is an `error`, one that is not as the inventory expects a `failure`: they are told apart.
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
        let mut head = Report::new(format!("v6fleet {}", text(&run.id)));
        head.tests = size(summary.counts.selected);
        head.errors = size(summary.counts.failed);
        head.failures = size(summary.drifted);
        head.time = Duration::try_from_secs_f64(summary.duration_s).ok();
        let head = document(&head)?;
        to.write_all(head.trim_end_matches(FOOT).as_bytes())?;
        Ok(Self { to, suites: BTreeMap::new(), held: 0 })
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        let rack = row.rack_id.as_deref().map_or("(unknown rack)".into(), text);
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
fn text(text: &str) -> String {
    escape(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn document(report: &Report) -> io::Result<String> {
    report.to_string().map_err(io::Error::other)
}

fn case(row: &Row, rack: &str) -> TestCase {
    let mut case = TestCase::new(text(&row.vmid), status(row));
    case.set_classname(rack);
    let took = row.first_sent_at.zip(row.settled_at).map(|(sent, settled)| settled.duration_since(sent));
    case.time = took.and_then(|took| took.try_into().ok());
    case.set_system_out(told(row));
    case
}

fn status(row: &Row) -> TestCaseStatus {
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
    status.set_type(ty).set_message(text(message));
    status
}

/// What the run says of a VM, one line each.
fn told(row: &Row) -> String {
    let name = row.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let basis = row.basis.map(|basis| format!(" by {basis}")).unwrap_or_default();
    let outcome = format!("{}: {}{name}{basis}", row.outcome, row.action);
    let lines = std::iter::once(outcome).chain(details(row));
    lines.map(|line| text(&line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::fixtures::{any_text, rows, run, summary, with_text};
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
    #[expect(clippy::too_many_lines, reason = "it is the whole report")]
    fn every_outcome_and_every_failure_has_its_case() {
        insta::assert_snapshot!(written(&rows()), @r##"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="v6fleet 20261123T021500Z-7f3a" tests="20" skipped="0" failures="1" errors="14" time="6.300">
            <testsuite name="(unknown rack)" tests="1" skipped="0" errors="1" failures="0">
                <testcase name="10023" classname="(unknown rack)">
                    <error message="not_attempted" type="not_attempted"/>
                    <system-out>failed: allocate
        not_attempted</system-out>
                </testcase>
            </testsuite>
            <testsuite name="dc1r28" tests="6" skipped="0" errors="0" failures="1">
                <testcase name="10000" classname="dc1r28" time="0.377">
                    <system-out>created: allocate (web-1) by created_flag
        2001:db8::1/48 via 2001:db8::1, active, on dc1r28</system-out>
                </testcase>
                <testcase name="10001" classname="dc1r28" time="0.377">
                    <system-out>created: allocate (web-1) by lost_answer
        2001:db8::1/48 via 2001:db8::1, active, on dc1r28</system-out>
                </testcase>
                <testcase name="10002" classname="dc1r28" time="0.377">
                    <system-out>unchanged: allocate (web-1) by ledger
        2001:db8::1/48 via 2001:db8::1, active, on dc1r28</system-out>
                </testcase>
                <testcase name="10003" classname="dc1r28" time="0.377">
                    <failure message="rack_id: dc1r29, dc1r28; client_id: 1, 30000" type="drift"/>
                    <system-out>updated: allocate (web-1) by ledger
        2001:db8:9::1/48 via 2001:db8::2, active, on dc1r28
        changed: prefix: 2001:db8::1/48 → 2001:db8:9::1/48
        changed: next_hop: 2001:db8::1 → 2001:db8::2
        not as expected: rack_id: dc1r29, dc1r28
        not as expected: client_id: 1, 30000
        warning: status is odd, not active
        warning: says &quot;so&quot;</system-out>
                </testcase>
                <testcase name="10004" classname="dc1r28" time="0.377">
                    <system-out>updated: allocate (web-1) by server_clock
        2001:db8::1/48 via 2001:db8::1, active, on dc1r28</system-out>
                </testcase>
                <testcase name="10005" classname="dc1r28" time="0.377">
                    <system-out>unchanged: allocate (web-1) by none
        2001:db8::1/48 via 2001:db8::1, active, on dc1r28</system-out>
                </testcase>
            </testsuite>
            <testsuite name="dc1r29" tests="13" skipped="0" errors="13" failures="0">
                <testcase name="10010" classname="dc1r29" time="5.000">
                    <error message="prefix exhausted" type="rejected"/>
                    <system-out>failed: allocate
        rejected: prefix exhausted</system-out>
                </testcase>
                <testcase name="10011" classname="dc1r29" time="5.000">
                    <error message="invalid key" type="unauthorized"/>
                    <system-out>failed: allocate
        unauthorized: invalid key</system-out>
                </testcase>
                <testcase name="10012" classname="dc1r29" time="5.000">
                    <error message="not your VM" type="forbidden"/>
                    <system-out>failed: allocate
        forbidden: not your VM</system-out>
                </testcase>
                <testcase name="10013" classname="dc1r29" time="5.000">
                    <error message="no such VM" type="not_found"/>
                    <system-out>failed: allocate
        not_found: no such VM</system-out>
                </testcase>
                <testcase name="10014" classname="dc1r29" time="5.000">
                    <error message="VPS not ready" type="conflict"/>
                    <system-out>failed: allocate
        conflict: VPS not ready</system-out>
                </testcase>
                <testcase name="10015" classname="dc1r29" time="5.000">
                    <error message="too many requests" type="rate_limited"/>
                    <system-out>failed: allocate
        rate_limited: too many requests</system-out>
                </testcase>
                <testcase name="10016" classname="dc1r29" time="5.000">
                    <error message="upstream\nunavailable \u{1b}[31m" type="server_error"/>
                    <system-out>failed: allocate
        server_error: upstream\nunavailable \u{1b}[31m
        it may have changed all the same: a call was not answered, or by an error that does not say</system-out>
                </testcase>
                <testcase name="10017" classname="dc1r29" time="5.000">
                    <error message="no answer within 30 s" type="timeout"/>
                    <system-out>failed: allocate
        timeout: no answer within 30 s
        it may have changed all the same: a call was not answered, or by an error that does not say</system-out>
                </testcase>
                <testcase name="10018" classname="dc1r29" time="5.000">
                    <error message="connection refused" type="connect"/>
                    <system-out>failed: allocate
        connect: connection refused</system-out>
                </testcase>
                <testcase name="10019" classname="dc1r29" time="5.000">
                    <error message="certificate expired" type="tls"/>
                    <system-out>failed: allocate
        tls: certificate expired</system-out>
                </testcase>
                <testcase name="10020" classname="dc1r29" time="5.000">
                    <error message="redirected to https://example.net/" type="redirected"/>
                    <system-out>failed: allocate
        redirected: redirected to https://example.net/</system-out>
                </testcase>
                <testcase name="10021" classname="dc1r29" time="5.000">
                    <error message="not JSON" type="malformed_answer"/>
                    <system-out>failed: allocate
        malformed_answer: not JSON
        it may have changed all the same: a call was not answered, or by an error that does not say</system-out>
                </testcase>
                <testcase name="10022" classname="dc1r29" time="5.000">
                    <error message="success is false" type="refused_by_api"/>
                    <system-out>failed: allocate
        refused_by_api: success is false</system-out>
                </testcase>
            </testsuite>
        </testsuites>
        "##);
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
