//! The report as one HTML page, for the person who opens it in the morning.
//!
//! It loads nothing and sends nothing; its policy forbids both. Everything can be read without its script, which only
//! filters and sorts. What stands above the table depends on every row, so the page is kept back until the last:
//! its parts are small, or capped, however large the fleet is.

mod findings;
mod timeline;
mod vms;

use std::io::{self, Write};

use askama::Template;
use serde_json::Value;

use crate::ledger::{Counts, FailureCount, Named, RackCounts, Row, RunInfo, Summary};
use crate::outcome::{Kind, Outcome};

use self::findings::Findings;
use self::timeline::Timeline;
use self::vms::{Vms, optional};
use super::advice::{MAY_HAVE_CHANGED, by_weight};
use super::api::api;
use super::counts::word;
use super::page::functions::{advice, count, counted, examples, excerpt, moment};
use super::page::{STYLE, policy};
use super::racks::{self, Racks, total};
use super::recap::{called, effort};
use super::selection;
use super::verdict::{Tone, Verdict};

const SCRIPT: &str = include_str!("../../templates/report.js");

/// More racks than this are in the order of their failures and changes, not in the inventory's.
const RACKS: usize = 20;

/// More racks than this share one line.
const MOST_RACKS: usize = 500;

/// Width of the narrowest part of a bar, in percent: one failure in a thousand is to be seen.
const NARROWEST: f64 = 1.5;

/// An HTML report while its rows come in.
#[derive(Debug)]
pub(super) struct HtmlReport<W: Write> {
    to: W,
    page: Page,
}

#[derive(Debug, Template)]
#[template(path = "report.html")]
struct Page {
    run: RunInfo,
    summary: Summary,
    changes: Findings,
    drift: Findings,
    warnings: Findings,
    timeline: Timeline,
    vms: Vms,
}

impl<W: Write> HtmlReport<W> {
    pub(super) fn begin(to: W, run: &RunInfo, summary: &Summary) -> Self {
        let page = Page {
            run: run.clone(),
            summary: summary.clone(),
            changes: Findings::default(),
            drift: Findings::default(),
            warnings: Findings::default(),
            timeline: Timeline::new(run.started_at),
            vms: Vms::new(summary.counts.selected, !run.label_columns.is_empty()),
        };
        Self { to, page }
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        let Page { changes, drift, warnings, timeline, vms, .. } = &mut self.page;
        for change in &row.changes {
            changes.add(change.field.as_str(), [&change.before, &change.after], &row.vmid);
        }
        for difference in &row.drift {
            drift.add(difference.field.as_str(), [&difference.expected, &difference.actual], &row.vmid);
        }
        for warning in &row.warnings {
            warnings.add("", [warning, ""], &row.vmid);
        }
        timeline.add(row);
        vms.add(row).map_err(io::Error::other)
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.page.write_into(&mut self.to)?;
        Ok(self.to)
    }
}

/// One part of a rack's bar, in percent.
#[derive(Debug, PartialEq)]
struct Part {
    outcome: Outcome,
    from: f64,
    width: f64,
}

impl Page {
    fn verdict(&self) -> Verdict {
        Verdict::of(&self.summary)
    }

    /// The part of the name of a style.
    fn tone(&self) -> &'static str {
        match self.verdict().tone {
            Tone::Good => "good",
            Tone::Mixed => "mixed",
            Tone::Bad => "bad",
        }
    }

    fn is_plan(&self) -> bool {
        self.run.kind == Kind::Plan
    }

    /// `43 of 60 VMs would change`.
    fn would_change(&self) -> String {
        let Counts { selected, .. } = self.summary.counts;
        let changed = count(self.summary.counts.changed());
        format!("{changed} of {} would change", counted(selected, "VM", "VMs"))
    }

    /// Beside those that the summary has by rack.
    fn more_changes(&self) -> u64 {
        let told = self.summary.forecasts.iter().flat_map(|forecasts| &forecasts.would_change);
        self.summary.counts.changed() - told.map(|change| change.vms).sum::<u64>()
    }

    /// Beside those whose reason the summary has.
    fn more_blocked(&self) -> u64 {
        let told = self.summary.forecasts.iter().flat_map(|forecasts| &forecasts.reasons);
        self.summary.counts.blocked - told.map(|reason| reason.vms).sum::<u64>()
    }

    fn effort(&self) -> String {
        effort(&self.run, &self.summary)
    }

    fn called(&self) -> &'static str {
        called(self.run.kind)
    }

    fn api(&self) -> String {
        excerpt(&api(&self.run.base_url, self.run.dialect))
    }

    fn action(&self) -> &'static str {
        self.run.action.map_or("the inventory's actions", |action| action.as_str())
    }

    fn vms(&self) -> String {
        selection::vms(self.summary.counts.selected, self.run.inventory_vms)
    }

    fn selection(&self) -> Option<String> {
        selection::selection(&self.run.options, self.summary.counts.selected, self.run.inventory_vms)
    }

    fn racks(&self) -> Option<Racks<'_>> {
        let Racks { mut shown, mut rest } = Racks::of(&self.summary.racks, RACKS);
        let further = MOST_RACKS.saturating_sub(shown.len()).min(rest.len());
        shown.extend(rest.drain(..further));
        racks::tells_more(&self.summary.racks).then_some(Racks { shown, rest })
    }

    fn failures(&self) -> Vec<&FailureCount> {
        by_weight(&self.summary.failures)
    }

    fn policy() -> String {
        policy(Some(SCRIPT))
    }
}

fn rack_name(rack: &RackCounts) -> String {
    rack_id(&rack.rack_id)
}

#[expect(clippy::ref_option, reason = "as a template hands it over")]
fn rack_id(rack_id: &Option<String>) -> String {
    rack_id.as_deref().map_or("(unknown)".into(), excerpt)
}

fn named(Named { vms, examples: first }: &Named) -> String {
    match vms {
        0 => "none".into(),
        vms => format!("{} ({})", counted(vms, "VM", "VMs"), examples(vms, first)),
    }
}

fn option(value: &Value) -> String {
    match value {
        Value::String(text) => excerpt(text),
        Value::Array(values) => values.iter().map(option).collect::<Vec<_>>().join(", "),
        other => excerpt(&other.to_string()),
    }
}

/// How many VMs came out how, in the order of the outcomes.
fn outcomes(counts: &Counts) -> Vec<(Outcome, u64)> {
    counts.by_outcome().collect()
}

/// The outcomes side by side, failures first.
fn bar(counts: &Counts) -> Vec<Part> {
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let wide = |vms| f64::max(100.0 * vms as f64 / counts.selected as f64, NARROWEST);
    let parts = outcomes(counts).into_iter().rev().filter(|(_, vms)| *vms > 0);
    let parts: Vec<_> = parts.map(|(outcome, vms)| (outcome, wide(vms))).collect();
    let all: f64 = parts.iter().map(|(_, width)| width).sum();
    let mut end = 0.0;
    let part = |(outcome, width)| {
        let (from, width) = (end, width * 100.0 / all);
        end += width;
        Part { outcome, from, width }
    };
    parts.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Contribution, Since};
    use crate::report::fixtures::{forecasts, plan, plan_summary, rows, run, summary, with_text};

    fn written(rows: &[Row], run: &RunInfo, summary: &Summary) -> String {
        let mut report = HtmlReport::begin(Vec::new(), run, summary);
        for row in rows {
            report.row(row).unwrap();
        }
        String::from_utf8(report.finish().unwrap()).unwrap()
    }

    /// The page without its style and script, which have files of their own.
    fn body(rows: &[Row], run: &RunInfo, summary: &Summary) -> String {
        let page = written(rows, run, summary);
        let (_, body) = page.split_once("</style>").unwrap();
        body.split_once("<script>").unwrap().0.to_owned()
    }

    #[test]
    fn all_four_outcomes_and_every_failure_with_what_to_do() {
        insta::assert_snapshot!(body(&rows(), &run(), &summary(&rows())));
    }

    #[test]
    fn a_plan_shows_what_would_change_by_rack_and_what_is_blocked_and_why() {
        insta::assert_snapshot!(body(&forecasts(), &plan(), &plan_summary()));
    }

    #[test]
    fn a_run_without_rows_is_a_whole_page() {
        let body = body(&[], &run(), &summary(&[]));
        for part in ["No call was made", "No VM was changed", "No VM drifted", "There are no warnings"] {
            assert!(body.contains(part), "{part} is not in\n{body}");
        }
    }

    #[test]
    fn what_has_changed_since_the_last_run_and_how_to_go_on_stand_above_all_else() {
        let named = |vms: u64, examples: &[&str]| Named {
            vms,
            examples: examples.iter().map(ToString::to_string).collect(),
        };
        let since = Since {
            run: "20261122T021500Z-0001".into(),
            newly_failing: named(7, &["1", "2"]),
            recovered: named(0, &[]),
        };
        let summary = Summary { since: Some(since), pending: 3, resumable: true, ..summary(&rows()) };
        let body = body(&rows(), &run(), &summary);
        let (header, _) = body.split_once("</header>").unwrap();
        for part in [
            "Since run 20261122T021500Z-0001: 7 VMs (1, 2, …) newly failing, none recovered.",
            "3 VMs are not settled yet, and failed until then: <code>v6fleet resume 20261123T021500Z-7f3a</code>",
        ] {
            assert!(header.contains(part), "{part} is not in\n{header}");
        }
    }

    #[test]
    fn of_several_workers_it_is_told_what_each_did() {
        let worker = |host: &str, lost| Contribution {
            host: host.into(),
            pid: 7,
            since: "2026-11-23T02:15:00Z".parse().unwrap(),
            until: "2026-11-23T02:15:06.3Z".parse().unwrap(),
            lost,
            settled: 1_200,
            failed: 3,
        };
        let told = |workers| body(&rows(), &run(), &Summary { workers, ..summary(&rows()) });
        assert!(!told(vec![worker("alone", false)]).contains("Workers"));
        let two = told(vec![worker("a<b", false), worker("c", true)]);
        let since = "<td>2026-11-23 02:15:00Z<td>2026-11-23 02:15:06Z";
        for row in [
            format!("pid 7 on a&#60;b{since}<td>1,200<td>3"),
            format!("pid 7 on c{since}, then lost<td>1,200<td>3"),
        ] {
            assert!(two.contains(&row), "{row} is not in\n{two}");
        }
    }

    #[test]
    fn style_and_script_are_those_that_the_policy_allows_and_nothing_else_is() {
        let page = written(&rows(), &run(), &summary(&rows()));
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
        assert!(page.contains(&Page::policy().replace('\'', "&#39;")));
        for foreign in ["http://", " style=", " src=", "url(", "@import", " onclick"] {
            assert!(!page.replace("http://www.w3.org", "").contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn hostile_text_is_text_wherever_it_comes_from() {
        let evil = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'\u{202e}";
        let run = RunInfo {
            base_url: evil.into(),
            options: [(evil.into(), evil.into())].into_iter().collect(),
            label_columns: vec![evil.into()],
            ..run()
        };
        let with_error = |row| Row { error: Some(evil.into()), ..row };
        let rows: Vec<Row> = rows().into_iter().map(with_error).chain([with_text(evil)]).collect();
        let summary = Summary { warnings: vec![evil.into()], ..summary(&rows) };
        let page = written(&rows, &run, &summary);
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains("<img") && !page.contains('\u{202e}'));
    }

    #[test]
    fn a_fleet_too_large_for_a_browser_says_where_the_rest_is() {
        let mut summary = summary(&rows());
        summary.counts.selected = 1_000_000;
        let body = body(&rows(), &run(), &summary);
        assert!(body.contains("15 of 1,000,000 VMs: those that need attention"), "{body}");
        assert!(body.contains("v6fleet report 20261123T021500Z-7f3a -o"), "{body}");
    }

    #[test]
    fn one_failure_among_thousands_is_seen_in_a_bar_that_is_full() {
        let counts = Counts { selected: 5_000, unchanged: 4_999, failed: 1, ..Counts::default() };
        let parts = bar(&counts);
        assert_eq!(
            parts.iter().map(|part| part.outcome).collect::<Vec<_>>(),
            [Outcome::Failed, Outcome::Unchanged]
        );
        assert!(parts[0].width > 1.0, "{parts:?}");
        assert!((parts.iter().map(|part| part.width).sum::<f64>() - 100.0).abs() < 1e-9, "{parts:?}");
        assert_eq!(bar(&Counts::default()), []);
    }
}
