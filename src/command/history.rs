//! `v6fleet history`: all that was ever done to one VM.

use super::exit;
use super::failure::{Broken, Refusal};
use super::ledger::to_read;
use super::stdout::print;
use crate::config::{Form, HistorySettings};
use crate::ledger::{Entry, LastKnown, LedgerError};
use crate::report::history;

/// What the ledger knows of a VM.
pub(super) struct Prepared<'a> {
    settings: &'a HistorySettings,
    known: Vec<LastKnown>,
    entries: Vec<Entry>,
}

pub(super) fn prepare(settings: &HistorySettings) -> Result<Prepared<'_>, Refusal> {
    let ledger = to_read(&settings.ledger)?;
    let vm = &settings.vm;
    let (known, entries) =
        ledger.as_of_now(|ledger| Ok::<_, LedgerError>((ledger.last_known(vm)?, ledger.entries(vm)?)))?;
    if known.is_empty() && entries.is_empty() {
        return Err(Refusal::nothing(format!("VM {vm} is in no run of the ledger")));
    }
    Ok(Prepared { settings, known, entries })
}

impl Prepared<'_> {
    /// Returns the exit code.
    pub(super) fn carry_out(self) -> Result<u8, Broken> {
        let Self { settings: HistorySettings { vm, form, .. }, known, entries } = self;
        let text = match form {
            Form::Text => history::text(vm, &known, &entries),
            Form::Json => history::json(vm, &known, &entries).map_err(Broken::new)?,
        };
        print(text.as_bytes())?;
        Ok(exit::COMPLETE)
    }
}
