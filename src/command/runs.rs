//! `v6fleet runs`: the runs in the ledger; `--pin` and `--unpin`.

use super::target::ledger_to_read;
use super::{BeforeTheFirstCall, CommandError, print};
use crate::cli::{CommonArgs, RecapFormat, RunsArgs};
use crate::ledger::{Ledger, Overview};
use crate::report::runs;

/// Does what `args` say. Returns the exit code.
pub(super) fn runs(common: &CommonArgs, args: &RunsArgs) -> Result<u8, CommandError> {
    // Opened for reading first: where there is no ledger, none is made.
    let ledger = ledger_to_read(common, args.reading.sandbox)?;
    let list = match (&args.pin, &args.unpin) {
        (None, None) => ledger.as_of_now(|ledger| ledger.overviews(args.limit))?,
        (pin, unpin) => {
            let path = ledger.path().to_owned();
            drop(ledger);
            let ledger = Ledger::open(&path, args.lock_timeout).before_the_first_call()?;
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

fn set_pin(ledger: &Ledger, run: &str, pinned: bool) -> Result<Overview, CommandError> {
    let run = ledger.find_run(run)?;
    ledger.pin(&run, pinned)?;
    Ok(ledger.overview(&run)?)
}
