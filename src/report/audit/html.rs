//! The audit as one HTML page, for the person who mends what it found.
//!
//! It loads nothing and has no script. Findings come by VM and are shown by kind, so the page is kept back until the
//! last of them: of each kind the first rows and the number of the others, however large the fleet is.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use askama::Template;

use super::advice::advice;
use super::evidence::{actual, company};
use super::{AuditInfo, AuditSummary};
use crate::audit::{Finding, Kind, Severity};
use crate::report::page::functions::{TEXT, count, counted, excerpt};
use crate::report::page::{STYLE, policy};

/// Rows for each kind of finding: more are for programs.
const ROWS: usize = 1_000;

/// What a table says of a VM. A column that is empty for a whole kind is left out of its table.
const COLUMNS: [Column; 6] = [
    Column { heading: "Name", class: "name" },
    Column { heading: "Rack", class: "rack" },
    Column { heading: "Actual", class: "actual" },
    Column { heading: "Expected", class: "expected" },
    Column { heading: "Other VMs", class: "others" },
    Column { heading: "Last seen (UTC)", class: "seen" },
];

#[derive(Debug)]
struct Column {
    heading: &'static str,
    class: &'static str,
}

/// An HTML page while its findings come in.
#[derive(Debug)]
pub(super) struct HtmlAudit<W> {
    to: W,
    info: AuditInfo,
    rows: BTreeMap<Kind, Vec<Row>>,
}

/// One VM, all of it as it is shown.
#[derive(Debug)]
struct Row {
    vmid: String,
    cells: [String; COLUMNS.len()],
}

/// All findings of one kind.
#[derive(Debug)]
struct Group {
    kind: Kind,
    advice: String,
    findings: u64,
    /// The columns in which anything is said.
    columns: Vec<usize>,
    rows: Vec<Row>,
}

#[derive(Debug, Template)]
#[template(path = "audit.html")]
struct Page<'a> {
    info: AuditInfo,
    summary: &'a AuditSummary,
    groups: Vec<Group>,
}

impl<W: Write> HtmlAudit<W> {
    pub(super) fn begin(to: W, info: &AuditInfo) -> Self {
        Self { to, info: info.clone(), rows: BTreeMap::new() }
    }

    pub(super) fn finding(&mut self, finding: &Finding) {
        let rows = self.rows.entry(finding.kind).or_default();
        if rows.len() < ROWS {
            rows.push(Row::of(finding));
        }
    }

    pub(super) fn finish(mut self, summary: &AuditSummary) -> io::Result<W> {
        let info = self.info;
        let group = |(kind, rows)| Group::of(kind, rows, &info, summary);
        let groups: Vec<Group> = self.rows.into_iter().map(group).collect();
        Page { info, summary, groups }.write_into(&mut self.to)?;
        Ok(self.to)
    }
}

impl Row {
    fn of(finding: &Finding) -> Self {
        let Finding { vmid, name, rack_id, expected, seen_at, .. } = finding;
        let text = |text: &Option<String>| text.as_deref().map(excerpt).unwrap_or_default();
        let cells = [
            text(name),
            text(rack_id),
            actual(finding, TEXT).unwrap_or_default(),
            text(expected),
            company(finding).unwrap_or_default(),
            seen_at.map(|at| at.strftime("%F %T").to_string()).unwrap_or_default(),
        ];
        Self { vmid: excerpt(vmid), cells }
    }
}

impl Group {
    fn of(kind: Kind, rows: Vec<Row>, info: &AuditInfo, summary: &AuditSummary) -> Self {
        let says = |&column: &usize| rows.iter().any(|row| !row.cells[column].is_empty());
        let columns = (0..COLUMNS.len()).filter(says).collect();
        Self { kind, advice: advice(kind, info), findings: summary.of(kind), columns, rows }
    }

    fn has_more(&self) -> bool {
        self.findings > self.rows.len() as u64
    }
}

impl Page<'_> {
    fn policy() -> String {
        policy(None)
    }

    /// Of the worst finding.
    fn tone(&self) -> &'static str {
        self.groups.iter().map(|group| group.kind.severity()).max().map_or("good", tone)
    }

    /// The severities that were looked for, the worst first, with the number of findings.
    fn severities(&self) -> impl Iterator<Item = (Severity, u64)> {
        let looked_for = Severity::ALL.iter().rev().filter(|severity| **severity >= self.info.min_severity);
        looked_for
            .map(|&severity| (severity, self.summary.severities.get(&severity).copied().unwrap_or_default()))
    }

    fn groups_of(&self, severity: &Severity) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.kind.severity() == *severity)
    }
}

/// The part of the name of a style.
fn tone(severity: impl Borrow<Severity>) -> &'static str {
    match severity.borrow() {
        Severity::Error => "bad",
        Severity::Warning => "mixed",
        Severity::Notice => "minor",
    }
}

fn heading(severity: impl Borrow<Severity>) -> &'static str {
    match severity.borrow() {
        Severity::Error => "Errors",
        Severity::Warning => "Warnings",
        Severity::Notice => "Notices",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::InventoryFile;
    use crate::report::audit::tests::{finding, findings, info, summary};

    fn written(findings: &[Finding], info: &AuditInfo, summary: &AuditSummary) -> String {
        let mut page = HtmlAudit::begin(Vec::new(), info);
        for finding in findings {
            page.finding(finding);
        }
        String::from_utf8(page.finish(summary).unwrap()).unwrap()
    }

    /// The page without its style, which has a file of its own.
    fn body(findings: &[Finding], info: &AuditInfo) -> String {
        let page = written(findings, info, &summary(findings));
        page.split_once("</style>").unwrap().1.replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[test]
    fn every_kind_with_its_evidence_and_what_to_do() {
        insta::assert_snapshot!(body(&findings(), &info()));
    }

    #[test]
    fn a_clean_fleet_is_a_whole_page_in_the_tone_of_good_news() {
        let info = AuditInfo { min_severity: Severity::Error, whole_fleet: false, ..info() };
        let body = body(&[], &info);
        for part in
            ["<header class=\"good\">", "<h1>No finding</h1>", "60</b> VMs audited", "less bad than an error"]
        {
            assert!(body.contains(part), "{part} is not in\n{body}");
        }
        assert!(!body.contains("<table") && !body.contains("notices"), "{body}");
    }

    #[test]
    fn of_many_findings_the_first_have_rows_and_the_others_are_counted() {
        let findings: Vec<Finding> = (1..=2_005).map(|vmid| finding(Kind::NeverSeen, vmid)).collect();
        let body = body(&findings, &info());
        assert_eq!(body.matches("<tr><th scope=\"row\">").count(), ROWS);
        assert!(body.contains("The first 1,000 of 2,005:"), "{body}");
        let whole = self::body(&findings[..ROWS], &info());
        assert!(!whole.contains("The first"), "{whole}");
    }

    #[test]
    fn the_tone_is_that_of_the_worst_finding() {
        for (kinds, tone) in [
            (&[Kind::HostBits, Kind::SamePrefix][..], "bad"),
            (&[Kind::HostBits, Kind::OddNextHop], "mixed"),
            (&[Kind::HostBits], "minor"),
        ] {
            let findings: Vec<Finding> = kinds.iter().map(|&kind| finding(kind, 1)).collect();
            assert!(body(&findings, &info()).contains(&format!("<header class=\"{tone}\">")), "{kinds:?}");
        }
    }

    #[test]
    fn the_style_is_the_one_that_the_policy_allows_and_nothing_else_is() {
        let page = written(&findings(), &info(), &summary(&findings()));
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.contains(&policy(None).replace('\'', "&#39;")));
        for foreign in ["<script", "script-src", "http://", " style=", " src=", "url(", "@import", " onclick"]
        {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn hostile_text_is_text_wherever_it_comes_from() {
        let evil = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'\u{202e}";
        let text = || Some(evil.to_owned());
        let spoiled = |mut finding: Finding| {
            for other in &mut finding.others {
                (other.vmid, other.prefix) = (evil.into(), evil.into());
            }
            Finding {
                vmid: evil.into(),
                name: text(),
                rack_id: text(),
                expected: text(),
                actual: text(),
                ..finding
            }
        };
        let findings: Vec<Finding> = findings().into_iter().map(spoiled).collect();
        let info = AuditInfo { base_url: evil.into(), ..info() };
        let inventory = vec![InventoryFile { path: evil.into(), sha256: String::new() }];
        let summary = AuditSummary { inventory, warnings: vec![evil.into()], ..summary(&findings) };
        let page = written(&findings, &info, &summary);
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'), "{page}");
        assert!(page.matches("&#60;img src=x").count() > 5 * findings.len(), "{page}");
    }
}
