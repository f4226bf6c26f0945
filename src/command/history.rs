//! `v6fleet history`: all that was ever done to one VM.

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::ledger::to_read;
use super::stdout::print;
use crate::config::{Form, HistorySettings};
use crate::ledger::{Ledger, LedgerError};
use crate::report::history;

/// A VM, and the ledger that is asked for it.
pub(super) struct Prepared<'a> {
    settings: &'a HistorySettings,
    ledger: Ledger,
}

pub(super) fn prepare(settings: &HistorySettings) -> Result<Prepared<'_>, Failure> {
    Ok(Prepared { settings, ledger: to_read(&settings.ledger)? })
}

impl Prepared<'_> {
    /// Returns the exit code.
    pub(super) fn carry_out(self) -> Result<u8, Failure> {
        let Self { settings: HistorySettings { vm, form, .. }, ledger } = self;
        let look = |ledger: &Ledger| Ok::<_, LedgerError>((ledger.last_known(vm)?, ledger.entries(vm)?));
        let (known, entries) = ledger.as_of_now(look)?;
        if known.is_empty() && entries.is_empty() {
            return Err(Refusal::nothing(format!("VM {vm} is in no run of the ledger")).into());
        }
        let text = match form {
            Form::Text => history::text(vm, &known, &entries),
            Form::Json => history::json(vm, &known, &entries).map_err(Broken::new)?,
        };
        print(text.as_bytes())?;
        Ok(exit::COMPLETE)
    }
}
