//! The recap: what a person or a script needs to know of a run, on standard output.
//!
//! The verdict comes first, what to do about it last. A pure function of the summary: two recaps of one run are equal.

use std::cmp::Reverse;
use std::fmt;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::ledger::{Counts, FailureCount, RackCounts, RunInfo, Summary};
use crate::outcome::Failure;
use crate::stop::Stop;
use crate::text::{count, counted, duration, escape, shortened};

use super::json;

/// Racks in the table; of more, those with the most failures and changes.
const RACKS: usize = 20;

/// VMs named for each kind of failure.
const EXAMPLES: usize = 5;

/// Characters of one text from outside.
const TEXT: usize = 160;
const NAME: usize = 40;

/// The commands that take a run further, ready to be typed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Next<'a> {
    /// Calls the failed VMs again, in a run of its own.
    pub rerun: Option<&'a str>,
    /// Goes on with a run that stopped.
    pub resume: Option<&'a str>,
}

/// The recap for people, ending in a line break.
pub fn text(run: &RunInfo, summary: &Summary, reports: &[PathBuf], next: Next<'_>, color: bool) -> String {
    Recap { run, summary, reports, next, color }.to_string()
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
    let mut line = Vec::new();
    json::write(&mut line, &Object { run, summary, reports }).map_err(serde_json::Error::io)?;
    line.push(b'\n');
    Ok(String::from_utf8_lossy(&line).into_owned())
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
        self.failures(f)?;
        self.findings(f)?;
        self.effort(f)?;
        self.whereabouts(f)
    }
}

impl Recap<'_> {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { selected, created, unchanged, updated, failed } = self.summary.counts;
        let (color, word, why) = match (self.summary.stopped_by, self.summary.complete) {
            (Some(stop), _) => (RED, "Stopped", Some(reason(stop))),
            (None, false) => (YELLOW, "Not finished", Some("it is still running, or its process died")),
            (None, true) if failed > 0 => (YELLOW, "Complete", Some("some VMs failed")),
            (None, true) => (GREEN, "Complete", None),
        };
        write!(f, "{}", self.paint(color, word))?;
        if let Some(why) = why {
            write!(f, " ({why})")?;
        }
        writeln!(
            f,
            ": {}: {} created, {} unchanged, {} updated, {} failed",
            counted(selected, "VM", "VMs"),
            count(created),
            count(unchanged),
            count(updated),
            count(failed),
        )
    }

    fn run(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunInfo { id, base_url, action, resumes, .. } = self.run;
        let action = action.map_or("the inventory's actions", |action| action.as_str());
        write!(f, "Run {}: {action}, {}", escape(id), shortened(base_url, TEXT))?;
        match resumes {
            0 => writeln!(f),
            1 => writeln!(f, ", resumed once"),
            _ => writeln!(f, ", resumed {resumes} times"),
        }
    }

    fn racks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.summary.racks.as_slice() {
            [] | [RackCounts { rack_id: None, .. }] => Ok(()),
            racks => writeln!(f, "\n{}", table(racks)),
        }
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut failures: Vec<_> = self.summary.failures.iter().filter(|failure| failure.vms > 0).collect();
        failures.sort_by_key(|failure| (Reverse(failure.vms), failure.failure));
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
        if unsure > 0 {
            let (vms, have) = (counted(unsure, "failed VM", "failed VMs"), if unsure == 1 { "has" } else { "have" });
            writeln!(f, "{vms} may have changed all the same: a call {have} no answer. The next run tells.")?;
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
            let rows = counted(*skipped, "invalid row of the inventory was", "invalid rows of the inventory were");
            writeln!(f, "{rows} skipped, and not called.")?;
        }
        warnings.iter().try_for_each(|warning| writeln!(f, "Warning: {}", shortened(warning, TEXT)))
    }

    fn effort(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { calls, retries, throttled, duration_s, calls_per_s, .. } = self.summary;
        writeln!(
            f,
            "{} in {}, {calls_per_s:.1}/s; {}, {} answered 429.",
            counted(*calls, "call", "calls"),
            duration(*duration_s),
            counted(*retries, "retry", "retries"),
            count(*throttled),
        )
    }

    fn whereabouts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| escape(&path.display().to_string()).into_owned();
        let rerun = self.next.rerun.filter(|_| self.summary.counts.failed > 0);
        let mut lines: Vec<(&str, String)> = Vec::new();
        for (i, path) in self.reports.iter().enumerate() {
            lines.push((if i == 0 { "Reports:" } else { "" }, shown(path)));
        }
        lines.extend(self.next.resume.map(|command| ("Go on:", escape(command).into_owned())));
        lines.extend(rerun.map(|command| ("Failed again:", escape(command).into_owned())));
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

const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[1;32m";
const YELLOW: &str = "\x1b[1;33m";
const PLAIN: &str = "\x1b[0m";

fn write_failure(f: &mut fmt::Formatter<'_>, failure: &FailureCount) -> fmt::Result {
    let FailureCount { failure, vms, may_have_applied, examples, error } = failure;
    write!(f, "  {failure}: {}", counted(*vms, "VM", "VMs"))?;
    if *may_have_applied > 0 {
        write!(f, " ({} may have changed all the same)", count(*may_have_applied))?;
    }
    let named: Vec<_> = examples.iter().take(EXAMPLES).map(|vm| shortened(vm, NAME)).collect();
    if !named.is_empty() {
        let more = if *vms > named.len() as u64 { ", …" } else { "" };
        write!(f, ": {}{more}", named.join(", "))?;
    }
    writeln!(f)?;
    if let Some(error) = error {
        writeln!(f, "    {}", shortened(error, TEXT))?;
    }
    writeln!(f, "    → {}", advice(*failure))
}

/// One line a rack, the inventory's order kept where all of them fit.
fn table(racks: &[RackCounts]) -> String {
    let mut order: Vec<&RackCounts> = racks.iter().collect();
    if racks.len() > RACKS {
        order.sort_by_key(|rack| (Reverse(rack.counts.failed), Reverse(rack.counts.changed())));
    }
    let (shown, rest) = order.split_at(RACKS.min(order.len()));

    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─')));
    table.set_header(["Rack", "VMs", "created", "unchanged", "updated", "failed"]);
    for rack in shown {
        let name = rack.rack_id.as_deref().map_or("(unknown)".into(), |rack| shortened(rack, NAME));
        table.add_row(line(name, rack.counts));
    }
    if !rest.is_empty() {
        table.add_row(line(format!("and {} more", counted(rest.len() as u64, "rack", "racks")), total(rest)));
    }
    if racks.len() > 1 {
        table.add_row(line("all".into(), total(&order)));
    }
    for numbers in table.column_iter_mut().skip(1) {
        numbers.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn line(name: String, counts: Counts) -> [String; 6] {
    let Counts { selected, created, unchanged, updated, failed } = counts;
    [name, count(selected), count(created), count(unchanged), count(updated), count(failed)]
}

fn total(racks: &[&RackCounts]) -> Counts {
    racks.iter().fold(Counts::default(), |sum, rack| Counts {
        selected: sum.selected + rack.counts.selected,
        created: sum.created + rack.counts.created,
        unchanged: sum.unchanged + rack.counts.unchanged,
        updated: sum.updated + rack.counts.updated,
        failed: sum.failed + rack.counts.failed,
    })
}

fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::MaxWait => "the API kept it waiting for longer than --max-wait",
        Stop::Deadline => "its --deadline was reached",
        Stop::MaxDrift => "more VMs drifted than --max-drift allows",
        Stop::MaxChanged => "more VMs changed than --max-changed allows",
        Stop::MaxFailed => "more VMs failed than --max-failed allows",
        Stop::Canary => "a VM of the canary failed",
        Stop::AllFailed => "the first VMs all failed",
        Stop::CertificateRefused => "the API's certificate was refused",
        Stop::KeyRefused => "the API refused the key",
        Stop::Interrupted => "interrupted",
        Stop::Terminated => "asked to terminate",
    }
}

/// What a person can do about a failure.
fn advice(failure: Failure) -> &'static str {
    match failure {
        Failure::Rejected => "the API takes the request for invalid: check these VMs' rows and their action",
        Failure::Unauthorized => "the API does not know the key: check that it is whole, current and not revoked",
        Failure::Forbidden => "the key may not do this: check its rights and that these VMs are of its account",
        Failure::NotFound => {
            "the API knows no such VM: check that the column holds HostUp's vmid, not NetBox's or Proxmox's"
        }
        Failure::Conflict => {
            "the VM's state is in the way: is it still being built, or without an allocation to refresh?"
        }
        Failure::RateLimited => "the API is asked for too much: run them again later, or with a lower --rate",
        Failure::ServerError => {
            "the API failed: run them again later; if it lasts, give HostUp the request ids of the report"
        }
        Failure::Timeout => "no answer came in time: run them again, with a longer --timeout if it lasts",
        Failure::Connect => "the API cannot be reached: check network, name service, firewall and proxy",
        Failure::Tls => "the certificate cannot be trusted: check --base-url, --ca-file, the clock and any proxy",
        Failure::Redirected => "redirects are never followed, they could leak the key: check --base-url",
        Failure::MalformedAnswer => {
            "this is not how the API answers: check --base-url, and whether a proxy answers in its place"
        }
        Failure::RefusedByApi => "the API answered, and refused: its words above say why",
        Failure::NotAttempted => "the run stopped before their turn: nothing was sent for them",
    }
}
