//! The looks of `audit --live`: a plan, of which nothing is told but what the audit makes of it.

use crate::command::execution::{Plan, Role};
use crate::command::failure::{Broken, Failure};
use crate::command::run::prepare;
use crate::config::RunSettings;
use crate::inventory::{Inputs, Selection};
use crate::ledger::{RunKey, Summary};
use crate::progress::Screen;
use crate::stop::Stop;
use crate::text::counted;

/// A plan that has come to its end.
pub(super) struct Looked {
    pub(super) run: RunKey,
    /// VMs of which nothing new is known.
    failed: u64,
    ledger_args: String,
}

impl Looked {
    /// Looks at every selected VM. Where that was stopped, nothing is to be audited.
    pub(super) fn at(
        settings: &RunSettings,
        selection: &Selection,
        inputs: &mut Inputs,
        screen: &Screen,
    ) -> Result<Self, Failure> {
        let RunSettings { ledger, calls, reports, inventory, .. } = settings;
        let ledger_args = ledger.args(ledger.sandbox);
        // The audit reads them again.
        inputs.digests(&inventory.files)?;
        let plan = Plan { calls, reports, screen, ledger_args: &ledger_args, role: Role::Begins };
        match prepare(settings, plan, selection, inputs)?.carry_out_unreported()? {
            (run, Ok(Summary { counts, .. })) => Ok(Self { run, failed: counts.failed, ledger_args }),
            (run, Err(stop)) => Err(stopped(&run, stop, &ledger_args).into()),
        }
    }

    /// What is to be said of VMs that could not be looked at.
    pub(super) fn warning(&self) -> Option<String> {
        let Self { run, failed, ledger_args } = self;
        let vms = counted(*failed, "VM", "VMs");
        (*failed > 0).then(|| {
            format!(
                "{vms} could not be looked at, and what is said of these is older: v6fleet report {}{ledger_args}",
                run.id
            )
        })
    }
}

fn stopped(run: &RunKey, stop: Stop, ledger_args: &str) -> Broken {
    let error = anyhow::anyhow!(
        "the looks were stopped ({stop}), and nothing was audited.\nGo on with them: v6fleet resume {}{ledger_args}\n\
         Then audit what is known, or what already is: the same command without --live",
        run.id
    );
    Broken::stopped(stop, error)
}
