//! The inventory, read and selected: what `run` writes into the ledger and `--dry-run` only counts.

use std::fs;

use super::{CommandError, exit};
use crate::cli::RunArgs;
use crate::inventory::{
    Action, Event, Fleet, InvalidRow, InventoryError, ReadOptions, Selection, Vm, VmPattern, read,
};
use crate::ledger::{Ledger, LedgerError, RunKey};
use crate::text::counted;

/// How many invalid rows are shown before they are only counted.
const SHOWN: usize = 20;

impl From<InventoryError> for CommandError {
    fn from(error: InventoryError) -> Self {
        Self::usage(error)
    }
}

/// A VM that a run is about.
pub(super) struct Selected<'a> {
    pub(super) vm: &'a Vm,
    pub(super) action: Action,
    /// The inventory's, else the one last seen.
    pub(super) rack: Option<&'a str>,
}

/// Where selected VMs go.
pub(super) trait Stage {
    fn select(&mut self, selected: &Selected<'_>) -> Result<(), LedgerError>;
    fn skip(&mut self, row: &InvalidRow) -> Result<(), LedgerError>;
    /// Every valid VM, selected or not.
    fn see(&mut self, vm: &Vm);
}

/// What the whole inventory came to.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) fleet: Fleet,
    pub(super) selected: u64,
    pub(super) skipped: u64,
    /// The first of the skipped rows.
    pub(super) shown: Vec<InvalidRow>,
    pub(super) warnings: Vec<String>,
}

/// What earlier runs have to say.
pub(super) struct Past<'a> {
    /// `None` where there is no ledger yet.
    pub(super) ledger: Option<&'a Ledger>,
    pub(super) base_url: &'a str,
    pub(super) only_failed: Option<RunKey>,
}

impl Past<'_> {
    fn last_rack(&self, vm: &Vm) -> Result<Option<String>, LedgerError> {
        self.ledger.map_or(Ok(None), |ledger| ledger.last_rack(self.base_url, &vm.id))
    }

    fn admits(&self, vm: &Vm) -> Result<bool, LedgerError> {
        match (&self.only_failed, self.ledger) {
            (Some(run), Some(ledger)) => ledger.failed_in(run, &vm.id),
            _ => Ok(true),
        }
    }
}

/// Reads the inventory of `args` onto a stage. With an invalid row and no `--skip-invalid`, or nothing selected,
/// it ends in an error.
pub(super) fn stage(args: &RunArgs, past: &Past<'_>, stage: &mut impl Stage) -> Result<Staged, CommandError> {
    let selection = selection(args)?;
    let options = ReadOptions {
        format: args.inventory_options.inventory_format,
        mappings: args.inventory_options.column.clone(),
        action_given: args.action.is_some(),
    };
    let mut reading = Reading { args, past, selection, stage, tally: Tally::default() };
    let fleet = read(&args.inventory, &options, |event| reading.take(event))?;
    let Tally { selected, invalid, shown, overridden, elsewhere } = reading.tally;
    if invalid > 0 && !args.inventory_options.skip_invalid {
        return Err(refuse(&shown, invalid));
    }
    if selected == 0 {
        return Err(CommandError::nothing(
            "nothing selected: no VM of the inventory matches; nothing was called",
        ));
    }
    let mut warnings = Vec::new();
    let mut warn = |vms: u64, what: &str| {
        if vms > 0 {
            warnings.push(format!("{} {what}", counted(vms, "VM", "VMs")));
        }
    };
    warn(overridden, "with another action in the inventory than --action");
    warn(elsewhere, "last seen in a selected rack, but not selected: the inventory puts them elsewhere");
    warn(fleet.repeats, "named more than once, with the same contents");
    Ok(Staged { fleet, selected, skipped: invalid, shown, warnings })
}

fn selection(args: &RunArgs) -> Result<Selection, CommandError> {
    let vms = args.selection.vmid.iter().map(|text| vm_pattern(text)).collect::<Result<_, _>>()?;
    Ok(Selection { racks: args.selection.rack.clone(), vms, wheres: args.selection.r#where.clone() })
}

fn vm_pattern(text: &str) -> Result<VmPattern, CommandError> {
    let context = |error: anyhow::Error| CommandError::usage(error.context(format!("--vmid {text}")));
    let (exclude, spec) = text.strip_prefix('!').map_or((false, text), |spec| (true, spec));
    match spec.strip_prefix('@') {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| context(error.into()))?;
            VmPattern::from_file(exclude, &text).map_err(|error| context(error.into()))
        }
        None => text.parse().map_err(|error: crate::inventory::InvalidPattern| context(error.into())),
    }
}

fn refuse(shown: &[InvalidRow], invalid: u64) -> CommandError {
    let mut lines: Vec<String> = shown.iter().map(ToString::to_string).collect();
    let more = invalid - shown.len() as u64;
    if more > 0 {
        lines.push(format!("… and {} more", counted(more, "row", "rows")));
    }
    let rows = counted(invalid, "invalid row", "invalid rows");
    let error = anyhow::anyhow!(
        "{rows}; nothing was called. Mend the inventory, or go on without them: --skip-invalid\n{}",
        lines.join("\n")
    );
    CommandError { exit_code: exit::USAGE, error }
}

struct Reading<'a, S> {
    args: &'a RunArgs,
    past: &'a Past<'a>,
    selection: Selection,
    stage: &'a mut S,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    selected: u64,
    invalid: u64,
    shown: Vec<InvalidRow>,
    overridden: u64,
    elsewhere: u64,
}

impl<S: Stage> Reading<'_, S> {
    fn take(&mut self, event: Event) -> Result<(), CommandError> {
        match event {
            Event::Vm(vm) => self.vm(&vm),
            Event::Invalid(row) => {
                self.tally.invalid += 1;
                self.stage.skip(&row)?;
                if self.tally.shown.len() < SHOWN {
                    self.tally.shown.push(row);
                }
                Ok(())
            }
        }
    }

    fn vm(&mut self, vm: &Vm) -> Result<(), CommandError> {
        self.stage.see(vm);
        let own_rack = vm.expected.rack_id.as_deref();
        let last_rack = match own_rack {
            Some(_) if !self.selection.is_by_rack() => None,
            _ => self.past.last_rack(vm)?,
        };
        let rack = own_rack.or(last_rack.as_deref());
        if !self.selection.matches(vm, rack) {
            let elsewhere = last_rack.is_some() && self.selection.matches(vm, last_rack.as_deref());
            self.tally.elsewhere += u64::from(elsewhere);
            return Ok(());
        }
        let full = self.args.selection.limit.is_some_and(|limit| self.tally.selected >= limit);
        if full || !self.past.admits(vm)? {
            return Ok(());
        }
        // A row without an action is invalid where none is typed.
        let Some(action) = self.args.action.or(vm.action) else { return Ok(()) };
        self.tally.overridden += u64::from(vm.action.is_some_and(|own| own != action));
        self.tally.selected += 1;
        self.stage.select(&Selected { vm, action, rack })?;
        Ok(())
    }
}
