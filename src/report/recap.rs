//! The recap: what a person or a script needs to know of a run, on standard output.
//!
//! The verdict comes first, what to do about it last. A pure function of the summary: two recaps of one run are equal.

use std::fmt;
use std::path::PathBuf;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::ledger::{
    ChangeCount, Contribution, Counts, FailureCount, Named, RackCounts, ReasonCount, RunInfo, Since, Summary,
};
use crate::outcome::Kind;
use crate::text::{count, counted, duration, escape, escape_path, excerpt};

use super::advice::{MAY_HAVE_CHANGED, advice, by_weight};
use super::api::api;
use super::counts::{outcomes, word};
use super::history::way;
use super::racks::{self, Racks, total};
use super::verdict::{Tone, Verdict};
use super::{json, selection};

/// Racks in the table; of more, those with the most failures and changes.
const RACKS: usize = 20;

/// Lines of what a plan would change, and reasons for which it would not.
const CHANGES: usize = 20;
const REASONS: usize = 5;

/// VMs named for each kind of failure.
const EXAMPLES: usize = 5;

/// Characters of one text from outside.
const TEXT: usize = 160;
const NAME: usize = 40;

/// More workers than this are counted.
const WORKERS: usize = 8;

/// The commands that take a run further, ready to be typed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Next<'a> {
    /// Calls the VMs that a plan would change.
    pub carry_out: Option<&'a str>,
    /// Calls the failed VMs again, in a run of its own.
    pub rerun: Option<&'a str>,
    /// Goes on with a run that stopped.
    pub resume: Option<&'a str>,
}

/// The recap for people, ending in a line break.
pub fn text(run: &RunInfo, summary: &Summary, reports: &[PathBuf], next: Next<'_>, color: bool) -> String {
    Recap { run, summary, reports, next, color }.to_string()
}

/// What stands first in a recap, and what fails newly.
pub(super) fn head(run: &RunInfo, summary: &Summary) -> String {
    Head(Recap { run, summary, reports: &[], next: Next::default(), color: false }).to_string()
}

struct Head<'a>(Recap<'a>);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.verdict(f)?;
        self.0.run(f)?;
        if self.0.fails_newly() { self.0.since(f) } else { Ok(()) }
    }
}

/// The recap for programs: one JSON object on one line, ending in a line break.
pub fn json(run: &RunInfo, summary: &Summary, reports: &[PathBuf]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Object<'a> {
        run: &'a RunInfo,
        summary: &'a Summary,
        reports: Vec<String>,
    }
    let reports = reports.iter().map(|path| path.display().to_string()).collect();
    json::line(&Object { run, summary, reports })
}

struct Recap<'a> {
    run: &'a RunInfo,
    summary: &'a Summary,
    reports: &'a [PathBuf],
    next: Next<'a>,
    color: bool,
}

impl fmt::Display for Recap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict(f)?;
        self.run(f)?;
        self.racks(f)?;
        if let Some(forecasts) = &self.summary.forecasts {
            self.changes(f, &forecasts.would_change)?;
            self.reasons(f, &forecasts.reasons)?;
        }
        if self.fails_newly() {
            writeln!(f)?;
            self.since(f)?;
        }
        self.failures(f)?;
        self.findings(f)?;
        if !self.fails_newly() {
            self.since(f)?;
        }
        self.effort(f)?;
        self.workers(f)?;
        self.whereabouts(f)
    }
}

impl Recap<'_> {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.summary.counts;
        let Verdict { tone, word, why } = Verdict::of(self.summary);
        write!(f, "{}", self.paint(color(tone), word))?;
        if let Some(why) = why {
            write!(f, " ({why})")?;
        }
        writeln!(f, ": {}, {}", selection::vms(counts.selected, self.run.inventory_vms), outcomes(counts))
    }

    fn run(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunInfo { id, kind, base_url, dialect, action, resumes, .. } = self.run;
        let action = action.map_or("the inventory's actions", |action| action.as_str());
        let what = match kind {
            Kind::Run => "Run",
            Kind::Plan => "Plan",
        };
        write!(f, "{what} {}: {action}, {}", escape(id), excerpt(&api(base_url, *dialect), TEXT))?;
        let selected = self.summary.counts.selected;
        if let Some(selection) = selection::selection(&self.run.options, selected, self.run.inventory_vms) {
            write!(f, ", {selection}")?;
        }
        match resumes {
            0 => {}
            1 => write!(f, ", resumed once")?,
            _ => write!(f, ", resumed {resumes} times")?,
        }
        writeln!(f, "{}", self.nothing_changed())
    }

    /// Said first and last of a plan.
    fn nothing_changed(&self) -> &'static str {
        match self.run.kind {
            Kind::Run => "",
            Kind::Plan => "; nothing was changed",
        }
    }

    fn racks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match racks::tells_more(&self.summary.racks) {
            false => Ok(()),
            true => writeln!(f, "\n{}", table(&self.summary.racks)),
        }
    }

    fn changes(&self, f: &mut fmt::Formatter<'_>, changes: &[ChangeCount]) -> fmt::Result {
        let all = self.summary.counts.changed();
        if all == 0 {
            return Ok(());
        }
        writeln!(f, "\n{}", self.paint(YELLOW, "Would change"))?;
        let shown = &changes[..changes.len().min(CHANGES)];
        shown.iter().try_for_each(|change| write_change(f, change))?;
        match all - shown.iter().map(|change| change.vms).sum::<u64>() {
            0 => Ok(()),
            more => writeln!(f, "  and {}: the reports have every one", counted(more, "more VM", "more VMs")),
        }
    }

    fn reasons(&self, f: &mut fmt::Formatter<'_>, reasons: &[ReasonCount]) -> fmt::Result {
        let all = self.summary.counts.blocked;
        if all == 0 {
            return Ok(());
        }
        writeln!(f, "\n{}", self.paint(YELLOW, "Blocked"))?;
        let shown = &reasons[..reasons.len().min(REASONS)];
        for ReasonCount { reason, vms, examples } in shown {
            writeln!(f, "  {}{}", counted(*vms, "VM", "VMs"), named_after_colon(*vms, examples))?;
            writeln!(f, "    {}", excerpt(reason, TEXT))?;
        }
        match all - shown.iter().map(|reason| reason.vms).sum::<u64>() {
            0 => Ok(()),
            more => writeln!(f, "  {} for other reasons", counted(more, "VM", "VMs")),
        }
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = by_weight(&self.summary.failures);
        if failures.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{}", self.paint(RED, "Failed"))?;
        failures.into_iter().try_for_each(|failure| write_failure(f, failure))
    }

    fn findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { skipped, drifted, warned, warnings, failures, .. } = self.summary;
        let unsure: u64 = failures.iter().map(|failure| failure.may_have_applied).sum();
        writeln!(f)?;
        match unsure {
            0 => {}
            n => writeln!(f, "{} {MAY_HAVE_CHANGED}.", counted(n, "failed VM", "failed VMs"))?,
        }
        let drift = match drifted {
            0 => "No VM drifted from the inventory".into(),
            n => format!("{} drifted from the inventory", counted(*n, "VM", "VMs")),
        };
        let warned = match warned {
            0 => "none has a warning".into(),
            1 => "1 has a warning".into(),
            n => format!("{} have warnings", count(*n)),
        };
        writeln!(f, "{drift}; {warned}.")?;
        if *skipped > 0 {
            let rows =
                counted(*skipped, "invalid row of the inventory was", "invalid rows of the inventory were");
            writeln!(f, "{rows} skipped, and not {}.", called(self.run.kind))?;
        }
        warnings.iter().try_for_each(|warning| writeln!(f, "Warning: {}", excerpt(warning, TEXT)))
    }

    fn fails_newly(&self) -> bool {
        self.summary.since.as_ref().is_some_and(|since| since.newly_failing.vms > 0)
    }

    fn since(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Since { run, newly_failing, recovered }) = &self.summary.since else { return Ok(()) };
        let run = escape(run);
        writeln!(f, "Newly failing since {run}: {}", named(newly_failing))?;
        writeln!(f, "Recovered since {run}: {}", named(recovered))
    }

    fn effort(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}.", effort(self.run, self.summary), self.nothing_changed())
    }

    /// Of one alone nobody asks.
    fn workers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = &self.summary.workers;
        if workers.len() < 2 {
            return Ok(());
        }
        let shown: Vec<_> = workers.iter().take(WORKERS).map(worker).collect();
        let more = workers.len().saturating_sub(WORKERS);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        writeln!(f, "{} workers: {}{more}.", workers.len(), shown.join("; "))
    }

    fn whereabouts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A run that stopped is gone on with; that takes its failed VMs too.
        let rerun = self.next.rerun.filter(|_| self.summary.counts.failed > 0 && self.next.resume.is_none());
        let mut lines: Vec<(&str, String)> = Vec::new();
        for (i, path) in self.reports.iter().enumerate() {
            lines.push((if i == 0 { "Reports:" } else { "" }, escape_path(path)));
        }
        let carry_out = self.next.carry_out.filter(|_| self.summary.counts.changed() > 0);
        lines.extend(carry_out.map(|command| ("Carry out:", escape(command).into_owned())));
        lines.extend(self.next.resume.map(|command| ("Go on:", escape(command).into_owned())));
        lines.extend(rerun.map(|command| ("Retry failed:", escape(command).into_owned())));
        if !lines.is_empty() {
            writeln!(f)?;
        }
        lines.into_iter().try_for_each(|(what, text)| writeln!(f, "{what:<13} {text}"))
    }

    fn paint(&self, color: &str, text: &str) -> String {
        match self.color {
            true => format!("{color}{text}{PLAIN}"),
            false => text.into(),
        }
    }
}

/// `pid 7 on host-a settled 12 VMs`.
fn worker(worker: &Contribution) -> String {
    let Contribution { host, pid, settled, .. } = worker;
    let lost = if worker.lost { ", then was lost" } else { "" };
    format!("pid {pid} on {} settled {}{lost}", excerpt(host, NAME), counted(*settled, "VM", "VMs"))
}

const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[1;32m";
const YELLOW: &str = "\x1b[1;33m";
const PLAIN: &str = "\x1b[0m";

fn color(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => GREEN,
        Tone::Mixed => YELLOW,
        Tone::Bad => RED,
    }
}

/// What is said of VMs that had their turn.
pub(super) fn called(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "called",
        Kind::Plan => "looked at",
    }
}

/// The calls, and how fast they left. Of a resumed run both are told apart: the calls of all of it, and those of the time since
/// its last resume.
pub(super) fn effort(run: &RunInfo, summary: &Summary) -> String {
    let Summary { calls, calls_in_duration, retries, throttled, duration_s, calls_per_s, .. } = summary;
    let made = |calls| calls_made(run.kind, calls);
    let waste = format!("{}, {} answered 429", counted(*retries, "retry", "retries"), count(*throttled));
    let timed = format!("{} in {}, {calls_per_s:.1}/s", made(*calls_in_duration), duration(*duration_s));
    match run.resumes {
        0 => format!("{timed}; {waste}"),
        _ => format!("{} in all, {waste}; since the last resume {timed}", made(*calls)),
    }
}

fn calls_made(kind: Kind, calls: u64) -> String {
    match kind {
        Kind::Run => counted(calls, "call", "calls"),
        Kind::Plan => counted(calls, "look", "looks"),
    }
}

fn write_change(f: &mut fmt::Formatter<'_>, change: &ChangeCount) -> fmt::Result {
    let ChangeCount { rack_id, outcome, next_hop, planned_next_hop, vms, examples } = change;
    let rack = rack_id.as_deref().map_or("(unknown)".into(), |rack| excerpt(rack, NAME));
    let way = way(next_hop.as_deref(), planned_next_hop.as_deref());
    let way = way.map(|way| format!(", {}", excerpt(&way, TEXT))).unwrap_or_default();
    let vms_to = format!("{} {}", counted(*vms, "VM", "VMs"), word(*outcome));
    writeln!(f, "  {rack}: {vms_to}{way}{}", named_after_colon(*vms, examples))
}

fn write_failure(f: &mut fmt::Formatter<'_>, failure: &FailureCount) -> fmt::Result {
    let FailureCount { failure, vms, may_have_applied, examples, error } = failure;
    write!(f, "  {failure}: {}", counted(*vms, "VM", "VMs"))?;
    if *may_have_applied > 0 {
        write!(f, " ({} may have changed all the same)", count(*may_have_applied))?;
    }
    writeln!(f, "{}", named_after_colon(*vms, examples))?;
    if let Some(error) = error {
        writeln!(f, "    {}", excerpt(error, TEXT))?;
    }
    writeln!(f, "    → {}", advice(*failure))
}

fn named(Named { vms, examples }: &Named) -> String {
    match vms {
        0 => "none".into(),
        vms => format!("{}{}", counted(*vms, "VM", "VMs"), named_after_colon(*vms, examples)),
    }
}

/// The first few of so many VMs, behind a colon.
fn named_after_colon(vms: u64, examples: &[String]) -> String {
    let named: Vec<_> = examples.iter().take(EXAMPLES).map(|vm| excerpt(vm, NAME)).collect();
    let more = if vms > named.len() as u64 { ", …" } else { "" };
    if named.is_empty() { String::new() } else { format!(": {}{more}", named.join(", ")) }
}

/// One line a rack, the inventory's order kept where all of them fit.
fn table(racks: &[RackCounts]) -> String {
    let Racks { shown, rest } = Racks::of(racks, RACKS);

    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─')));
    let all = total(racks);
    // Where every VM had its turn, nobody looks for those that had none.
    let last = (all.not_attempted > 0).then_some("not attempted");
    let outcomes = all.by_outcome().map(|(outcome, _)| outcome.as_str());
    table.set_header(["Rack", "VMs"].into_iter().chain(outcomes).chain(last));
    let mut add = |name: String, counts: Counts| {
        let last = last.map(|_| counts.not_attempted);
        let outcomes = counts.by_outcome().map(|(_, vms)| vms);
        let numbers = [counts.selected].into_iter().chain(outcomes).chain(last).map(count);
        table.add_row([name].into_iter().chain(numbers)).is_empty()
    };
    for rack in shown {
        let name = rack.rack_id.as_deref().map_or("(unknown)".into(), |rack| excerpt(rack, NAME));
        add(name, rack.counts);
    }
    if !rest.is_empty() {
        add(format!("and {}", counted(rest.len() as u64, "more rack", "more racks")), total(rest));
    }
    if racks.len() > 1 {
        add("all".into(), all);
    }
    for numbers in table.column_iter_mut().skip(1) {
        numbers.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Forecasts;
    use crate::outcome::Failure;
    use crate::report::fixtures::{plan, plan_summary, rows, run, summary};
    use crate::stop::Stop;

    const NEXT: Next<'_> = Next {
        carry_out: None,
        rerun: Some("v6fleet run fleet.csv --action allocate --only-failed=20261123T021500Z-7f3a"),
        resume: None,
    };

    fn reports() -> Vec<PathBuf> {
        ["csv", "json"].map(|kind| format!("reports/20261123T021500Z-7f3a/report.{kind}").into()).to_vec()
    }

    fn recap(summary: &Summary, next: Next<'_>) -> String {
        text(&run(), summary, &reports(), next, false)
    }

    fn rack(rack_id: Option<&str>, created: u64, unchanged: u64, failed: u64) -> RackCounts {
        let counts = Counts {
            selected: created + unchanged + failed,
            created,
            unchanged,
            failed,
            ..Counts::default()
        };
        RackCounts { rack_id: rack_id.map(Into::into), counts }
    }

    /// A summary of the racks alone.
    fn of_racks(racks: Vec<RackCounts>) -> Summary {
        let counts = total(&racks);
        Summary { counts, racks, ..summary(&[]) }
    }

    #[test]
    fn all_four_outcomes_and_every_failure_with_what_to_do() {
        insta::assert_snapshot!(recap(&summary(&rows()), NEXT), @r"
        Complete: 20 VMs, 2 created, 2 unchanged, 2 updated, 14 failed, 1 of them not attempted
        Run 20261123T021500Z-7f3a: allocate, https://cloud.hostup.se

         Rack       VMs  created  unchanged  updated  failed  not attempted
        ────────────────────────────────────────────────────────────────────
         dc1r28       6        2          2        2       0              0
         dc1r29      13        0          0        0      13              0
         (unknown)    1        0          0        0       1              1
         all         20        2          2        2      14              1

        Failed
          rejected: 1 VM: 10010
            prefix exhausted
            → the API takes the request for invalid: check these VMs' rows and their action
          unauthorized: 1 VM: 10011
            invalid key
            → the API does not know the key: check that it is whole, current and not revoked
          forbidden: 1 VM: 10012
            not your VM
            → the key may not do this: check its rights and that these VMs are of its account
          not_found: 1 VM: 10013
            no such VM
            → the API knows no such VM: is that HostUp's vmid, not NetBox's or Proxmox's? if all fail so, check --base-url
          conflict: 1 VM: 10014
            VPS not ready
            → the VM's state is in the way: is it still being built, or without an allocation to refresh?
          rate_limited: 1 VM: 10015
            too many requests
            → the API is asked for too much: run them again later, or with a lower --rate
          server_error: 1 VM (1 may have changed all the same): 10016
            upstream\nunavailable \u{1b}[31m
            → the API failed: run them again later; if it lasts, give HostUp the request ids of the report
          timeout: 1 VM (1 may have changed all the same): 10017
            no answer within 30 s
            → no answer came in time: run them again, with a longer --timeout if it lasts
          connect: 1 VM: 10018
            connection refused
            → the API cannot be reached: check network, name service, firewall and proxy
          tls: 1 VM: 10019
            certificate expired
            → the certificate cannot be trusted: check --base-url, --ca-file, the clock and any proxy
          redirected: 1 VM: 10020
            redirected to https://example.net/
            → redirects are never followed, they could leak the key: check --base-url
          malformed_answer: 1 VM (1 may have changed all the same): 10021
            not JSON
            → this is not how the API answers: check --base-url, and whether a proxy answers in its place
          refused_by_api: 1 VM: 10022
            success is false
            → the API answered, and refused: its words above say why
          not_attempted: 1 VM: 10023
            → the run ended before their turn, or before their answer: go on with it

        3 failed VMs may have changed all the same: a call was not answered, or by an error that does not say.
        1 VM drifted from the inventory; 1 has a warning.
        71 calls in 6.3 s, 11.3/s; 52 retries, 3 answered 429.

        Reports:      reports/20261123T021500Z-7f3a/report.csv
                      reports/20261123T021500Z-7f3a/report.json
        Retry failed: v6fleet run fleet.csv --action allocate --only-failed=20261123T021500Z-7f3a
        ");
    }

    #[test]
    fn nothing_failed() {
        let unchanged = of_racks(vec![rack(Some("dc1r28"), 0, 6_000, 0)]);
        insta::assert_snapshot!(recap(&unchanged, NEXT), @r"
        Complete: 6,000 VMs, 0 created, 6,000 unchanged, 0 updated, 0 failed
        Run 20261123T021500Z-7f3a: allocate, https://cloud.hostup.se

         Rack      VMs  created  unchanged  updated  failed
        ────────────────────────────────────────────────────
         dc1r28  6,000        0      6,000        0       0

        No VM drifted from the inventory; none has a warning.
        71 calls in 6.3 s, 11.3/s; 52 retries, 3 answered 429.

        Reports:      reports/20261123T021500Z-7f3a/report.csv
                      reports/20261123T021500Z-7f3a/report.json
        ");
    }

    #[test]
    fn stopped_by_a_brake() {
        let stopped = Summary {
            failures: vec![
                FailureCount {
                    failure: Failure::Timeout,
                    vms: 30,
                    may_have_applied: 30,
                    examples: (1..=7).map(|vmid| vmid.to_string()).collect(),
                    error: Some("no answer within 30 s".into()),
                },
                FailureCount {
                    failure: Failure::NotAttempted,
                    vms: 1_470,
                    may_have_applied: 0,
                    examples: vec!["31".into()],
                    error: None,
                },
            ],
            complete: false,
            stopped_by: Some(Stop::MaxFailed),
            skipped: 2,
            drifted: 1,
            warned: 1_200,
            calls_in_duration: 30,
            calls_per_s: 4.76,
            warnings: vec!["12 rows ask for another action than --action".into()],
            ..of_racks(vec![rack(Some("dc1r28"), 4, 1_200, 1_400), rack(None, 0, 0, 100)])
        };
        let next = Next { resume: Some("v6fleet resume 20261123T021500Z-7f3a"), ..NEXT };
        let run = RunInfo { action: None, base_url: "sandbox".into(), resumes: 2, ..run() };
        insta::assert_snapshot!(text(&run, &stopped, &reports(), next, false), @"
        Stopped (more VMs failed than --max-failed allows): 2,704 VMs, 4 created, 1,200 unchanged, 0 updated, 1,500 failed
        Run 20261123T021500Z-7f3a: the inventory's actions, sandbox, resumed 2 times

         Rack         VMs  created  unchanged  updated  failed
        ───────────────────────────────────────────────────────
         dc1r28     2,604        4      1,200        0   1,400
         (unknown)    100        0          0        0     100
         all        2,704        4      1,200        0   1,500

        Failed
          timeout: 30 VMs (30 may have changed all the same): 1, 2, 3, 4, 5, …
            no answer within 30 s
            → no answer came in time: run them again, with a longer --timeout if it lasts
          not_attempted: 1,470 VMs: 31, …
            → the run ended before their turn, or before their answer: go on with it

        30 failed VMs may have changed all the same: a call was not answered, or by an error that does not say.
        1 VM drifted from the inventory; 1,200 have warnings.
        2 invalid rows of the inventory were skipped, and not called.
        Warning: 12 rows ask for another action than --action
        71 calls in all, 52 retries, 3 answered 429; since the last resume 30 calls in 6.3 s, 4.8/s.

        Reports:      reports/20261123T021500Z-7f3a/report.csv
                      reports/20261123T021500Z-7f3a/report.json
        Go on:        v6fleet resume 20261123T021500Z-7f3a
        ");
    }

    #[test]
    fn a_plan_says_what_would_change_and_what_is_in_its_way_and_that_nothing_was_changed() {
        let next =
            Next { carry_out: Some("v6fleet run fleet.csv --only-planned=20261123T020000Z-91c2"), ..NEXT };
        insta::assert_snapshot!(text(&plan(), &plan_summary(), &[], next, false));
    }

    #[test]
    fn of_many_changes_and_reasons_a_few_are_shown_and_the_rest_counted() {
        let mut summary = plan_summary();
        let Some(Forecasts { would_change, reasons }) = &mut summary.forecasts else { panic!("no plan") };
        *would_change = vec![would_change[0].clone(); 30];
        *reasons = vec![reasons[1].clone(); 30];
        (summary.counts.create, summary.counts.blocked) = (60, 40);
        let text = text(&plan(), &summary, &[], Next::default(), false);
        assert!(!text.contains(|c: char| c != '\n' && crate::text::is_deceptive(c)), "{text:?}");
        assert_eq!(text.matches("2 VMs to create").count(), CHANGES);
        assert_eq!(text.matches("an IPv4 address first").count(), REASONS);
        assert!(text.contains("  and 21 more VMs: the reports have every one\n"), "{text}");
        assert!(text.contains("  35 VMs for other reasons\n"), "{text}");
    }

    #[test]
    fn nothing_is_to_be_carried_out_where_nothing_would_change() {
        let mut summary = Summary { forecasts: Some(Forecasts::default()), ..plan_summary() };
        (summary.counts.create, summary.counts.update, summary.counts.blocked) = (0, 0, 0);
        let next = Next { carry_out: Some("v6fleet run"), ..Next::default() };
        let text = text(&plan(), &summary, &[], next, false);
        for part in ["Would change", "Blocked", "Carry out"] {
            assert!(!text.contains(part), "{part} is in\n{text}");
        }
    }

    #[test]
    fn of_many_racks_the_worst_are_shown_and_the_rest_added_up() {
        let racks = (0..33).map(|n| rack(Some(&format!("r{n:02}")), n % 3, 1_000, u64::from(n == 30)));
        insta::assert_snapshot!(table(&racks.collect::<Vec<_>>()), @r"
         Rack                  VMs  created  unchanged  updated  failed
        ────────────────────────────────────────────────────────────────
         r30                 1,001        0      1,000        0       1
         r02                 1,002        2      1,000        0       0
         r05                 1,002        2      1,000        0       0
         r08                 1,002        2      1,000        0       0
         r11                 1,002        2      1,000        0       0
         r14                 1,002        2      1,000        0       0
         r17                 1,002        2      1,000        0       0
         r20                 1,002        2      1,000        0       0
         r23                 1,002        2      1,000        0       0
         r26                 1,002        2      1,000        0       0
         r29                 1,002        2      1,000        0       0
         r32                 1,002        2      1,000        0       0
         r01                 1,001        1      1,000        0       0
         r04                 1,001        1      1,000        0       0
         r07                 1,001        1      1,000        0       0
         r10                 1,001        1      1,000        0       0
         r13                 1,001        1      1,000        0       0
         r16                 1,001        1      1,000        0       0
         r19                 1,001        1      1,000        0       0
         r22                 1,001        1      1,000        0       0
         and 13 more racks  13,003        3     13,000        0       0
         all                33,034       33     33,000        0       1
        ");
    }

    #[test]
    fn what_fails_newly_and_what_has_recovered_is_said_where_there_is_a_run_to_compare_with() {
        let named = |vms, examples: &[&str]| Named {
            vms,
            examples: examples.iter().map(ToString::to_string).collect(),
        };
        let since = |newly_failing, recovered| {
            let since = Since { run: "20261122T021500Z-0001".into(), newly_failing, recovered };
            let summary = Summary { since: Some(since), ..summary(&rows()) };
            let text = recap(&summary, NEXT);
            text.lines().filter(|line| line.contains("since")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            since(named(1_200, &["1", "2", "3", "4", "5"]), named(1, &["7"])),
            [
                "Newly failing since 20261122T021500Z-0001: 1,200 VMs: 1, 2, 3, 4, 5, …",
                "Recovered since 20261122T021500Z-0001: 1 VM: 7"
            ]
        );
        assert_eq!(
            since(Named::default(), Named::default()),
            [
                "Newly failing since 20261122T021500Z-0001: none",
                "Recovered since 20261122T021500Z-0001: none"
            ]
        );
    }

    #[test]
    fn without_racks_there_is_no_table_and_without_reports_no_paths() {
        let unknown = Summary { complete: false, ..of_racks(vec![rack(None, 0, 1, 0)]) };
        insta::assert_snapshot!(text(&run(), &unknown, &[], Next::default(), false), @r"
        Not finished (its process died): 1 of 20 VMs, 0 created, 1 unchanged, 0 updated, 0 failed
        Run 20261123T021500Z-7f3a: allocate, https://cloud.hostup.se

        No VM drifted from the inventory; none has a warning.
        71 calls in 6.3 s, 11.3/s; 52 retries, 3 answered 429.
        ");
    }

    #[test]
    fn text_from_outside_is_escaped_and_cut() {
        let evil = "\u{1b}]0;gone\u{7}\n".repeat(50);
        let mut summary = summary(&rows());
        summary.warnings = vec![evil.clone()];
        summary.racks[0].rack_id = Some(evil.clone());
        for failure in &mut summary.failures {
            failure.error = Some(evil.clone());
            failure.examples = vec![evil.clone(); 9];
        }
        let run = RunInfo { id: evil.clone(), base_url: evil.clone(), ..run() };
        let paths = [PathBuf::from("a\u{1b}.csv")];
        let recap = text(
            &run,
            &summary,
            &paths,
            Next { carry_out: Some(&evil), rerun: Some(&evil), resume: Some(&evil) },
            false,
        );
        assert!(!recap.contains(|c: char| c != '\n' && crate::text::is_deceptive(c)), "{recap:?}");
        let json = json(&run, &summary, &paths).unwrap();
        assert_eq!(json.find(crate::text::is_deceptive), Some(json.len() - 1));
    }

    #[test]
    fn several_workers_are_named_with_what_each_did() {
        let worker = |host: &str, pid, lost, settled| Contribution {
            host: host.into(),
            pid,
            since: "2026-11-23T02:15:00Z".parse().unwrap(),
            until: "2026-11-23T02:15:06Z".parse().unwrap(),
            lost,
            settled,
            failed: 0,
        };
        let of = |workers| recap(&Summary { workers, ..summary(&rows()) }, NEXT);
        let alone = vec![worker("rack-1", 7, false, 15)];
        assert_eq!(of(alone), of(vec![]));
        let two = of(vec![worker("rack-1", 7, false, 14), worker("\u{1b}x", 8, true, 1)]);
        let line =
            "2 workers: pid 7 on rack-1 settled 14 VMs; pid 8 on \\u{1b}x settled 1 VM, then was lost.\n";
        assert!(two.contains(line), "{two}");
        let many = of((1..=10).map(|pid| worker("h", pid, false, 1)).collect());
        assert!(many.contains("pid 8 on h settled 1 VM; and 2 more.\n"), "{many}");
    }

    #[test]
    fn colors_mark_the_verdict_and_nothing_is_said_by_color_alone() {
        let summary = summary(&rows());
        let colored = text(&run(), &summary, &reports(), NEXT, true);
        let plain =
            [RED, GREEN, YELLOW, PLAIN].iter().fold(colored.clone(), |text, color| text.replace(color, ""));
        assert!(colored.starts_with(YELLOW));
        assert_eq!(plain, recap(&summary, NEXT));
    }

    #[test]
    fn for_programs_it_is_one_object_on_one_line() {
        let summary = summary(&rows());
        let json = json(&run(), &summary, &reports()).unwrap();
        assert_eq!(json.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["run"], serde_json::to_value(run()).unwrap());
        assert_eq!(read["summary"], serde_json::to_value(&summary).unwrap());
        assert_eq!(read["reports"][1], "reports/20261123T021500Z-7f3a/report.json");
    }
}
