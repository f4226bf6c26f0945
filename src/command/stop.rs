//! `v6fleet stop`: a run ends, whichever machines work on it.

use std::time::Duration;

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::ledger::to_change;
use super::stdout::print;
use super::work::{refuse_file, under_way};
use crate::config::StopSettings;
use crate::stop::Stop;

/// Returns the exit code.
pub(super) fn stop(settings: &StopSettings) -> Result<u8, Failure> {
    refuse_file(&settings.ledger, "here, stop that process with Ctrl-C or SIGTERM")?;
    let ledger = to_change(&settings.ledger, Duration::ZERO).map_err(Refusal::from)?;
    let nobody = || Refusal::nothing("nothing to stop: nobody works on a run");
    let run = under_way(&ledger, settings.run.as_deref())?.ok_or_else(nobody)?;
    if !ledger.request_stop(&run, Stop::Terminated).map_err(Broken::from)? {
        return Err(Refusal::nothing(format!("nothing to stop: nobody works on run {}", run.id)).into());
    }
    let (id, ledger_args) = (&run.id, settings.ledger.args(settings.ledger.sandbox));
    let asked = format!(
        "All who work on run {id} are asked to stop; v6fleet resume {id}{ledger_args} goes on with it.\n"
    );
    print(asked.as_bytes())?;
    Ok(exit::COMPLETE)
}
