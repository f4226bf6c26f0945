//! The inventory, read and selected: what `run` writes into the ledger and `--dry-run` only counts.

use std::path::PathBuf;

use super::failure::Refusal;
use super::past::Past;
use crate::config::{InventorySettings, RunSettings};
use crate::inventory::{Event, Inputs, InvalidRow, InventoryError, Reading, Selection, Unmatched, Vm, read};
use crate::ledger::LedgerError;
use crate::text::{counted, escape, escape_path};
use crate::vm::Action;

/// How many invalid rows are shown before they are only counted.
const SHOWN: usize = 20;

/// What is read, and which VMs of it are taken.
pub(super) struct Wanted<'a> {
    pub(super) inventory: &'a InventorySettings,
    pub(super) selection: &'a Selection,
    /// The one typed for all VMs.
    pub(super) action: Option<Action>,
    /// Whether the stage asks for each VM's rack.
    pub(super) needs_rack: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn by_run(settings: &'a RunSettings, selection: &'a Selection) -> Self {
        Self { inventory: &settings.inventory, selection, action: settings.action, needs_rack: true }
    }
}

/// A VM that a run is about.
pub(super) struct Selected<'a> {
    pub(super) vm: &'a Vm,
    /// The inventory's, else the one last seen, where [`Wanted::needs_rack`] or the selection asked for it.
    pub(super) rack: Option<&'a str>,
}

/// Where selected VMs go.
pub(super) trait Stage {
    /// What a ledger that cannot be read is to the command.
    type Error: From<Refusal> + From<InventoryError> + From<LedgerError>;

    fn select(&mut self, selected: &Selected<'_>) -> Result<(), Self::Error>;
    fn skip(&mut self, row: &InvalidRow) -> Result<(), Self::Error>;
    /// Every valid VM, selected or not.
    fn see(&mut self, vm: &Vm);
}

/// What the whole inventory came to.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) reading: Reading,
    pub(super) selected: u64,
    pub(super) skipped: u64,
    /// The first of the skipped rows.
    pub(super) shown: Vec<InvalidRow>,
    pub(super) warnings: Vec<String>,
}

/// Reads an inventory onto a stage. With an invalid row and no `--skip-invalid`, too few VMs, or nothing
/// selected, it ends in an error.
pub(super) fn stage<S: Stage>(
    wanted: &Wanted<'_>,
    past: &Past<'_>,
    inputs: &mut Inputs,
    stage: &mut S,
) -> Result<Staged, S::Error> {
    let InventorySettings { files, reading, .. } = wanted.inventory;
    let unmatched = Unmatched::new(wanted.selection);
    let mut selecting = Selecting { wanted, past, unmatched, stage, tally: Tally::default() };
    let reading = read(files, inputs, reading, &mut |event| selecting.take(event))?;
    let Selecting { unmatched, tally, .. } = selecting;
    Ok(staged(wanted.inventory, past, reading, &unmatched, tally)?)
}

/// What was read, if it is fit to be gone on with.
fn staged(
    inventory: &InventorySettings,
    past: &Past<'_>,
    reading: Reading,
    unmatched: &Unmatched<'_>,
    tally: Tally,
) -> Result<Staged, Refusal> {
    if reading.rows() == 0 {
        return Err(empty(&inventory.files));
    }
    if reading.invalid > 0 && !inventory.skip_invalid {
        return Err(refuse(&tally.shown, reading.invalid));
    }
    if let Some(guard) = &past.shrink {
        guard.check(reading.vms)?;
    }
    let warnings = [warnings(&tally, &reading, unmatched), unmatched.warnings(&reading)].concat();
    if tally.selected == 0 {
        let nothing = format!("nothing selected: {}; nothing was called", past.why_nothing());
        let lines: Vec<String> = std::iter::once(nothing).chain(warnings).collect();
        return Err(Refusal::nothing(lines.join("\n")));
    }
    let (selected, skipped, shown) = (tally.selected, reading.invalid, tally.shown);
    Ok(Staged { reading, selected, skipped, shown, warnings })
}

fn warnings(tally: &Tally, reading: &Reading, unmatched: &Unmatched<'_>) -> Vec<String> {
    let counts = [
        (tally.overridden, "with another action in the inventory than --action"),
        (
            tally.elsewhere,
            "last seen in a selected rack, but not selected: the inventory puts them elsewhere",
        ),
        (reading.repeats, "named more than once, with the same contents"),
    ];
    let counts = counts.into_iter().filter(|(vms, _)| *vms > 0);
    let counts = counts.map(|(vms, what)| format!("{} {what}", counted(vms, "VM", "VMs")));
    let unknown = unmatched.labels().filter_map(|label| Some((label, reading.nearest(label)?)));
    let unknown = unknown.map(|(label, nearest)| {
        let nearest = if nearest.is_empty() { nearest } else { format!("; the nearest: {nearest}") };
        format!("--where {}: no VM has such a column{nearest}", escape(label))
    });
    counts.chain(unknown).collect()
}

/// An export that failed is no fleet without VMs.
fn empty(files: &[PathBuf]) -> Refusal {
    let names: Vec<String> = files.iter().map(|file| escape_path(file)).collect();
    let (names, verb) = (names.join(", "), if files.len() == 1 { "is" } else { "are" });
    Refusal::usage(anyhow::anyhow!("{names} {verb} empty: not a single row; nothing was called"))
}

fn refuse(shown: &[InvalidRow], invalid: u64) -> Refusal {
    let mut lines: Vec<String> = shown.iter().map(ToString::to_string).collect();
    let more = invalid - shown.len() as u64;
    if more > 0 {
        lines.push(format!("… and {}", counted(more, "more row", "more rows")));
    }
    let rows = counted(invalid, "invalid row", "invalid rows");
    let error = anyhow::anyhow!(
        "{rows}; nothing was called. Mend the inventory, or go on without them: --skip-invalid\n{}",
        lines.join("\n")
    );
    Refusal::usage(error)
}

struct Selecting<'a, S> {
    wanted: &'a Wanted<'a>,
    past: &'a Past<'a>,
    unmatched: Unmatched<'a>,
    stage: &'a mut S,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    selected: u64,
    shown: Vec<InvalidRow>,
    overridden: u64,
    elsewhere: u64,
}

impl<S: Stage> Selecting<'_, S> {
    fn take(&mut self, event: Event) -> Result<(), S::Error> {
        match event {
            Event::Vm(vm) => self.vm(&vm),
            Event::Repeat { .. } => Ok(()),
            Event::Invalid(row) => {
                self.stage.skip(&row)?;
                if self.tally.shown.len() < SHOWN {
                    self.tally.shown.push(row);
                }
                Ok(())
            }
        }
    }

    fn vm(&mut self, vm: &Vm) -> Result<(), S::Error> {
        self.stage.see(vm);
        let own_rack = vm.expected.rack_id.as_deref();
        let asked = match own_rack {
            Some(_) => self.wanted.selection.names_racks(),
            None => self.wanted.needs_rack || self.wanted.selection.asks_for_rack(),
        };
        let last_rack = if asked { self.past.last_rack(vm)? } else { None };
        let rack = own_rack.or(last_rack.as_deref());
        self.unmatched.see(vm, rack);
        if !self.wanted.selection.matches(vm, rack) {
            let elsewhere = last_rack.is_some() && self.wanted.selection.matches(vm, last_rack.as_deref());
            self.tally.elsewhere += u64::from(elsewhere);
            return Ok(());
        }
        let full = self.wanted.inventory.selection.limit.is_some_and(|limit| self.tally.selected >= limit);
        if full || !self.past.admits(vm)? {
            return Ok(());
        }
        let overridden = self.wanted.action.zip(vm.action).is_some_and(|(typed, own)| typed != own);
        self.tally.overridden += u64::from(overridden);
        self.tally.selected += 1;
        self.stage.select(&Selected { vm, rack })
    }
}
