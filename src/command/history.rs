//! `v6fleet history`: all that was ever done to one VM.

use super::target::ledger_to_read;
use super::{CommandError, print};
use crate::cli::{CommonArgs, HistoryArgs, RecapFormat};
use crate::ledger::LedgerError;
use crate::report::history;

/// Does what `args` say. Returns the exit code.
pub(super) fn history(common: &CommonArgs, args: &HistoryArgs) -> Result<u8, CommandError> {
    let ledger = ledger_to_read(common, args.reading.sandbox)?;
    let vm = &args.vmid;
    let (known, entries) =
        ledger.as_of_now(|ledger| Ok::<_, LedgerError>((ledger.last_known(vm)?, ledger.entries(vm)?)))?;
    if known.is_empty() && entries.is_empty() {
        return Err(CommandError::nothing(format!("VM {vm} is in no run of the ledger")));
    }
    let text = match args.reading.format {
        RecapFormat::Text => history::text(vm, &known, &entries),
        RecapFormat::Json => history::json(vm, &known, &entries).map_err(CommandError::internal)?,
    };
    print(text.as_bytes())
}
