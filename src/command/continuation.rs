//! A run of the ledger that is gone on with, by `resume` or by `run --resume`.

use tracing::info;

use super::access::Access;
use super::execution::{Execution, Plan};
use super::failure::Refusal;
use super::rehearsal::{Callee, Played, world};
use crate::api::BaseUrl;
use crate::ledger::{Begun, Ledger, NewRun, RunKey, SANDBOX};

/// A run that is gone on with; what `job` has of it that may change is noted.
pub(super) struct Continued {
    pub(super) ledger: Ledger,
    pub(super) run: RunKey,
    pub(super) job: NewRun,
}

/// `played` is for a rehearsal.
pub(super) fn go_on<'a>(
    continued: Continued,
    access: &Access<'_>,
    played: Played<'_>,
    plan: Plan<'a>,
) -> Result<Execution<'a>, Refusal> {
    let Continued { ledger, run, job } = continued;
    let callee = match job.base_url == SANDBOX {
        false => {
            let base_url: BaseUrl = job.base_url.parse().map_err(Refusal::usage)?;
            Callee::real(access.api(&base_url, job.dialect)?)
        }
        true => {
            let mut world = world(played.file)?;
            if played.file.is_none() {
                ledger.each_vm(&run, &mut |vmid, rack| world.take_in(vmid, rack))?;
            }
            Callee::embedded(access, played.state, world, job.dialect)?
        }
    };
    ledger.resume(&run, &job)?;
    info!(run = run.id, "{} goes on", job.kind);
    let start = ledger.start(&run)?;
    Execution::prepare(plan, ledger, Begun { run, start }, callee)
}
