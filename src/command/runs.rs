//! `v6fleet runs`: the runs in the ledger; `--pin` and `--unpin`.

use super::target::{ledger_to_change, ledger_to_read};
use super::{CommandError, print};
use crate::cli::{CommonArgs, RecapFormat, RunsArgs};
use crate::ledger::{Ledger, LedgerError, Overview};
use crate::report::runs;

/// Does what `args` say. Returns the exit code.
pub(super) fn runs(common: &CommonArgs, args: &RunsArgs) -> Result<u8, CommandError> {
    let sandbox = args.reading.sandbox;
    let list = match (&args.pin, &args.unpin) {
        (None, None) => overviews(&ledger_to_read(common, sandbox)?, args.limit)?,
        (pin, unpin) => {
            let ledger = ledger_to_change(common, sandbox, args.lock_timeout)?;
            let set = |run: &String, pinned| set_pin(&ledger, run, pinned);
            let pinned = pin.iter().map(|run| set(run, true)).chain(unpin.iter().map(|run| set(run, false)));
            pinned.collect::<Result<_, _>>()?
        }
    };
    let text = match args.reading.format {
        RecapFormat::Text => runs::text(&list),
        RecapFormat::Json => runs::json(&list).map_err(CommandError::internal)?,
    };
    print(text.as_bytes())
}

fn overviews(ledger: &Ledger, limit: Option<u32>) -> Result<Vec<Overview>, LedgerError> {
    let running = ledger.under_way(None)?;
    ledger.as_of_now(|ledger| {
        let mut list = ledger.overviews(limit)?;
        let running = ledger.under_way(running)?;
        for run in &mut list {
            run.running = run.ended_at.is_none() && running.as_ref() == Some(&run.id);
        }
        Ok(list)
    })
}

fn set_pin(ledger: &Ledger, run: &str, pinned: bool) -> Result<Overview, CommandError> {
    let run = ledger.find_run(run)?;
    ledger.pin(&run, pinned)?;
    Ok(ledger.overview(&run)?)
}
