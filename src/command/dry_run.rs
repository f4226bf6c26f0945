//! `v6fleet run --dry-run`: what would be called, and for how long. Calls nothing, writes nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::job::{Course, course, job};
use super::past::Past;
use super::planned::Planned;
use super::staging::{Selected, Stage, Staged, Wanted, stage};
use super::stdout::print_as;
use crate::config::{Form, RunSettings};
use crate::inventory::{Inputs, InvalidRow, Selection, Vm};
use crate::ledger::{Ledger, LedgerError, NewRun, PendingVms, Unfinished};
use crate::text::{counted, duration, excerpt};

const NOTHING_CALLED: &str = "Dry run: nothing is called, nothing is written.";

/// Racks shown one by one.
const RACKS: usize = 50;

/// How much of a rack's name is shown.
const NAME: usize = 40;

/// What a run would do.
struct Prospect<'a> {
    settings: &'a RunSettings,
    job: &'a NewRun,
    course: Course,
    selected: u64,
    skipped: u64,
    planned: Option<Planned>,
    racks: Racks,
    warnings: Vec<String>,
}

pub(super) fn prepare(settings: &RunSettings) -> Result<Prepared, Failure> {
    let selection = settings.inventory.selection.read().map_err(Refusal::from)?;
    let mut inputs = Inputs::default();
    match Ledger::open_read_only(&settings.ledger.location) {
        Ok(ledger) => ledger.as_of_now(|ledger| foresee(settings, &selection, Some(ledger), &mut inputs)),
        Err(LedgerError::Missing(_)) => foresee(settings, &selection, None, &mut inputs),
        Err(error) => Err(error.into()),
    }
}

/// What is to be said of a run.
pub(super) struct Prepared {
    form: Form,
    text: String,
    /// VMs that would be called.
    pub(super) selected: u64,
    /// Of what, in a line.
    pub(super) says: String,
    pub(super) warnings: Vec<String>,
    pub(super) exit_code: u8,
}

impl Prepared {
    /// Returns the exit code.
    pub(super) fn carry_out(self) -> Result<u8, Broken> {
        print_as(self.form, &self.text)?;
        Ok(self.exit_code)
    }
}

/// Tells what the run would do; `None` where there is no ledger yet.
pub(super) fn foresee(
    settings: &RunSettings,
    selection: &Selection,
    ledger: Option<&Ledger>,
    inputs: &mut Inputs,
) -> Result<Prepared, Failure> {
    let job = job(settings, selection, None);
    let prospect = match (course::<Failure>(ledger, &job, settings, inputs)?, ledger) {
        (Course::GoOn(unfinished), Some(ledger)) => Prospect::of_rest(settings, &job, unfinished, ledger)?,
        (course, ledger) => {
            let wanted = Wanted::by_run(settings, selection);
            Prospect::of_new(settings, &job, course, ledger, &wanted, inputs)?
        }
    };
    let text = match settings.reports.recap {
        Form::Text => prospect.text(),
        Form::Json => prospect.json(),
    };
    Ok(Prepared {
        form: settings.reports.recap,
        text,
        selected: prospect.selected,
        says: prospect.gist(),
        exit_code: if prospect.skipped > 0 { exit::FAILED } else { exit::COMPLETE },
        warnings: prospect.warnings,
    })
}

impl<'a> Prospect<'a> {
    /// Of a run that is gone on with: all that it needs is in the ledger.
    fn of_rest(
        settings: &'a RunSettings,
        job: &'a NewRun,
        unfinished: Unfinished,
        ledger: &Ledger,
    ) -> Result<Self, Failure> {
        let racks = ledger.pending(&unfinished.run)?;
        let rack = |PendingVms { rack_id, vms, known }| (rack_id, Rack { selected: vms, known });
        let racks = racks.into_iter().map(rack).collect();
        let skipped = ledger.course(&unfinished.run)?.skipped;
        let (selected, course) = (unfinished.pending, Course::GoOn(unfinished));
        Ok(Self { settings, job, course, selected, skipped, planned: None, racks, warnings: Vec::new() })
    }

    fn of_new(
        settings: &'a RunSettings,
        job: &'a NewRun,
        course: Course,
        ledger: Option<&Ledger>,
        wanted: &Wanted<'_>,
        inputs: &mut Inputs,
    ) -> Result<Self, Failure> {
        let past = Past::of_run::<Failure>(ledger, job, settings, inputs)?;
        let mut counting = Counting { past: &past, racks: BTreeMap::new() };
        let Staged { selected, skipped, warnings, .. } = stage(wanted, &past, inputs, &mut counting)?;
        let warnings = course.warning().into_iter().chain(warnings).collect();
        let racks = counting.racks;
        let planned = past.only_planned;
        Ok(Self { settings, job, course, selected, skipped, planned, racks, warnings })
    }
}

type Racks = BTreeMap<Option<String>, Rack>;

#[derive(Default)]
struct Rack {
    selected: u64,
    /// Of these, an allocation is on record.
    known: u64,
}

struct Counting<'a> {
    past: &'a Past<'a>,
    racks: Racks,
}

impl Stage for Counting<'_> {
    type Error = Failure;

    fn select(&mut self, selected: &Selected<'_>) -> Result<(), Failure> {
        let known = match self.past.ledger {
            Some(ledger) => {
                let last = ledger.sighting(self.past.base_url, self.past.dialect, &selected.vm.id)?;
                last.is_some_and(|last| last.allocation.is_some())
            }
            None => false,
        };
        let rack = self.racks.entry(selected.rack.map(str::to_owned)).or_default();
        rack.selected += 1;
        rack.known += u64::from(known);
        Ok(())
    }

    fn skip(&mut self, _: &InvalidRow) -> Result<(), Failure> {
        Ok(())
    }

    fn see(&mut self, _: &Vm) {}
}

impl Prospect<'_> {
    /// Seconds that the calls take at the typed rate, each VM called once; `None` without a rate.
    #[expect(clippy::cast_precision_loss, reason = "no fleet has 2^53 VMs")]
    fn at_least(&self) -> Option<f64> {
        self.settings.calls.rate.per_second().map(|rate| self.selected as f64 / rate)
    }

    /// The same in a line, with what is left out.
    fn gist(&self) -> String {
        match self.skipped {
            0 => self.says(),
            skipped => format!("{}; {}", self.says(), would_be_skipped(skipped)),
        }
    }

    /// Which VMs would be called, for what and where.
    fn says(&self) -> String {
        let action = self.job.action.map_or("each row's own action", |action| action.as_str());
        let vms = counted(self.selected, "VM", "VMs");
        let which = if matches!(self.course, Course::GoOn(_)) { "left" } else { "selected" };
        format!("{vms} {which} for {action} at {}", self.job.base_url)
    }

    fn text(&self) -> String {
        let Self { settings, course, skipped, planned, warnings, .. } = self;
        let mut out = format!("{NOTHING_CALLED}\n\n");
        if settings.resume {
            out.extend([&*resumed(course), "\n"]);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", self.says());
        if let Some(Planned { run, changes }) = planned {
            let vms = counted(*changes, "VM", "VMs");
            let _ = writeln!(out, "Only what plan {} said would change: {vms}.", run.id);
        }
        self.list_racks(&mut out);
        match self.at_least() {
            Some(seconds) => {
                let _ =
                    writeln!(out, "At {}, that takes {} at least.", settings.calls.rate, duration(seconds));
            }
            None => out.push_str("Without a rate limit, that takes as long as the API makes it.\n"),
        }
        if *skipped > 0 {
            let _ = writeln!(out, "{}.", would_be_skipped(*skipped));
        }
        for warning in warnings {
            let _ = writeln!(out, "Warning: {warning}");
        }
        let _ = writeln!(out, "\n{NOTHING_CALLED}");
        out
    }

    fn list_racks(&self, out: &mut String) {
        let racks = &self.racks;
        let names = racks.keys().take(RACKS).map(|rack| rack_name(rack.as_deref()));
        let width = names.map(|name| name.chars().count()).max().unwrap_or_default();
        for (rack, Rack { selected, known }) in racks.iter().take(RACKS) {
            let unseen = selected - known;
            let rack = rack_name(rack.as_deref());
            let _ = writeln!(out, "  {rack:width$}  {selected:>9}  ({known} seen before, {unseen} never)");
        }
        if racks.len() > RACKS {
            let _ = writeln!(out, "  and {} more racks", racks.len() - RACKS);
        }
    }

    fn json(&self) -> String {
        let racks = self.racks.iter().map(
            |(rack, Rack { selected, known })| json!({"rack_id": rack, "selected": selected, "known": known}),
        );
        let mut object = json!({
            "dry_run": true,
            "base_url": self.job.base_url,
            "action": self.job.action,
            "selected": self.selected,
            "skipped": self.skipped,
            "plan": self.planned.as_ref().map(|plan| &plan.run.id),
            "racks": racks.collect::<Vec<_>>(),
            "at_least_s": self.at_least(),
            "warnings": self.warnings,
        });
        if self.settings.resume {
            object["goes_on_with"] = match &self.course {
                Course::GoOn(unfinished) => unfinished.run.id.as_str().into(),
                Course::Begin | Course::Supersede(_) => Value::Null,
            };
        }
        format!("{object}\n")
    }
}

fn would_be_skipped(rows: u64) -> String {
    format!("{} would be skipped", counted(rows, "invalid row", "invalid rows"))
}

/// What `--resume` would come to.
fn resumed(course: &Course) -> String {
    match course {
        Course::GoOn(Unfinished { run, pending, vms, .. }) => {
            format!("--resume goes on with run {}: {pending} of {} left.", run.id, counted(*vms, "VM", "VMs"))
        }
        Course::Begin => "--resume begins a new run: this job has no unfinished one.".to_owned(),
        Course::Supersede(Unfinished { run, .. }) => {
            format!("--resume begins a new run: the inventory has changed since run {} was stopped.", run.id)
        }
    }
}

fn rack_name(rack: Option<&str>) -> String {
    rack.map_or_else(|| "(no rack)".to_owned(), |rack| excerpt(rack, NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rack_is_so_long_that_it_is_a_width() {
        for length in [1, NAME, 70_000, 1 << 20] {
            assert!(rack_name(Some(&"å".repeat(length))).chars().count() <= NAME);
        }
        assert_eq!(rack_name(None), "(no rack)");
    }
}
