//! The ledger of a command: opened for reading or for writing, and looked at as it is at one moment.

use std::time::Duration;

use super::failure::{Broken, Failure};
use crate::config::LedgerSettings;
use crate::ledger::{Ledger, LedgerError, SANDBOX};

/// Opens the ledger for reading. `--sandbox` asks for a rehearsal's, and is given no other.
pub(super) fn to_read(settings: &LedgerSettings) -> Result<Ledger, LedgerError> {
    let ledger = Ledger::open_read_only(&settings.location).map_err(|error| match error {
        LedgerError::Missing(path) if settings.rehearsals().is_some() => LedgerError::OnlyRehearsed(path),
        error => error,
    })?;
    if settings.sandbox {
        ledger.check_kind(SANDBOX)?;
    }
    Ok(ledger)
}

/// Opens that ledger for writing, waiting so long for another process; where there is none, none is made.
pub(super) fn to_change(settings: &LedgerSettings, wait: Duration) -> Result<Ledger, LedgerError> {
    to_read(settings)?;
    Ledger::open(&settings.location, wait)
}

/// Lets `look` see one state of the ledger: a run that is on goes on meanwhile, and another may begin or be deleted.
pub(super) fn view<T>(
    ledger: &Ledger,
    look: impl FnOnce(&Ledger) -> Result<T, Failure>,
) -> Result<T, Failure> {
    ledger.as_of_now(|ledger| Ok::<_, Broken>(look(ledger)))?
}
