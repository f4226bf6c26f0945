//! What earlier runs have to say of the VMs of an inventory: where they were, and which of them are meant.

use super::failure::Refusal;
use super::planned::{Planned, plan};
use crate::config::RunSettings;
use crate::dialect::Dialect;
use crate::inventory::{Inputs, InventoryError, Vm};
use crate::ledger::{LastInventory, Ledger, LedgerError, NewRun, RunKey};
use crate::outcome::{Kind, Outcome};
use crate::shrink::{Guard, Share};

/// The word for the newest one.
const LATEST: &str = "latest";

/// What earlier runs have to say.
pub(super) struct Past<'a> {
    /// `None` where there is no ledger yet.
    pub(super) ledger: Option<&'a Ledger>,
    pub(super) base_url: &'a str,
    pub(super) dialect: Dialect,
    /// The run whose failed VMs are meant.
    pub(super) only_failed: Option<RunKey>,
    /// The plan whose changes are meant.
    pub(super) only_planned: Option<Planned>,
    pub(super) shrink: Option<Guard>,
}

impl<'a> Past<'a> {
    /// As far as the ledger alone is asked for it.
    pub(super) fn of(ledger: Option<&'a Ledger>, base_url: &'a str, dialect: Dialect) -> Self {
        Self { ledger, base_url, dialect, only_failed: None, only_planned: None, shrink: None }
    }

    /// As a run asks for it. What a ledger that cannot be read is to the command, its error type says.
    pub(super) fn of_run<E: From<Refusal> + From<InventoryError> + From<LedgerError>>(
        ledger: Option<&'a Ledger>,
        job: &'a NewRun,
        settings: &RunSettings,
        inputs: &mut Inputs,
    ) -> Result<Self, E> {
        let only_failed = settings.only_failed.as_deref().map(|typed| match ledger {
            // A plan may be of VMs that an earlier one could not look at.
            Some(ledger) if settings.kind == Kind::Plan && typed != LATEST => ledger.find_run(typed),
            Some(ledger) => ledger.find_run_of(Kind::Run, typed),
            None => Err(LedgerError::UnknownRun(typed.to_owned())),
        });
        let only_planned =
            settings.only_planned.as_ref().map(|only| plan::<E>(ledger, only, job, settings, inputs));
        Ok(Self {
            only_failed: only_failed.transpose()?,
            only_planned: only_planned.transpose()?,
            shrink: guard(settings.max_shrink, ledger, job)?,
            ..Self::of(ledger, &job.base_url, job.dialect)
        })
    }

    /// The rack in which a VM was last seen.
    pub(super) fn last_rack(&self, vm: &Vm) -> Result<Option<String>, LedgerError> {
        self.ledger.map_or(Ok(None), |ledger| ledger.last_rack(self.base_url, self.dialect, &vm.id))
    }

    /// Whether a VM is meant, as far as that is asked of earlier runs.
    pub(super) fn admits(&self, vm: &Vm) -> Result<bool, LedgerError> {
        let planned = self.only_planned.as_ref().map(|plan| &plan.run);
        Ok(self.came_to(self.only_failed.as_ref(), vm, |outcome| outcome == Outcome::Failed)?
            && self.came_to(planned, vm, Outcome::would_change)?)
    }

    fn came_to(
        &self,
        run: Option<&RunKey>,
        vm: &Vm,
        is_meant: fn(Outcome) -> bool,
    ) -> Result<bool, LedgerError> {
        match (run, self.ledger) {
            (Some(run), Some(ledger)) => Ok(ledger.outcome_in(run, &vm.id)?.is_some_and(is_meant)),
            _ => Ok(true),
        }
    }

    /// Why no VM at all is meant.
    pub(super) fn why_nothing(&self) -> String {
        match (&self.only_planned, &self.only_failed) {
            (Some(Planned { run, changes: 0 }), _) => format!("plan {} found nothing to do", run.id),
            (Some(Planned { run, .. }), _) => {
                format!("of the VMs that plan {} would change none matches", run.id)
            }
            (None, Some(run)) => format!("of the VMs that failed in run {} none matches", run.id),
            (None, None) => "no VM of the inventory matches".to_owned(),
        }
    }
}

/// What `--max-shrink` asks of the inventory, where it was run before.
fn guard(most: Option<Share>, ledger: Option<&Ledger>, job: &NewRun) -> Result<Option<Guard>, LedgerError> {
    let (Some(most), Some(ledger)) = (most, ledger) else { return Ok(None) };
    let last = ledger.last_inventory(job)?;
    Ok(last.map(|LastInventory { run, vms }| Guard { most, run, vms }))
}
