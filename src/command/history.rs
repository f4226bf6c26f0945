//! `v6fleet history`: all that was ever done to one VM.

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::ledger::to_read;
use super::named::{self, Unnamed};
use super::stdout::print_as;
use crate::config::{Form, HistorySettings};
use crate::ledger::{Entry, LastKnown, Ledger, LedgerError};
use crate::report::history;
use crate::vm::VmId;

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
        let Self { settings: HistorySettings { vm, form, ledger: named }, ledger } = self;
        let ledger_args = named.args(named.sandbox);
        let Past { vm, known, entries } = ledger.as_of_now(|ledger| past_of(ledger, vm, &ledger_args))?;
        let text = match form {
            Form::Text => history::text(&vm, &known, &entries),
            Form::Json => history::json(&vm, &known, &entries).map_err(Broken::new)?,
        };
        print_as(*form, &text)?;
        Ok(exit::COMPLETE)
    }
}

struct Past {
    vm: VmId,
    known: Vec<LastKnown>,
    entries: Vec<Entry>,
}

impl Past {
    fn of(ledger: &Ledger, vm: VmId) -> Result<Self, LedgerError> {
        Ok(Self { known: ledger.last_known(&vm)?, entries: ledger.entries(&vm)?, vm })
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.entries.is_empty()
    }
}

/// The past of the VM that has this id, or else this name. `ledger_args` name the ledger in commands that are told.
fn past_of(ledger: &Ledger, typed: &str, ledger_args: &str) -> Result<Past, Failure> {
    let past = Past::of(ledger, typed.into())?;
    if !past.is_empty() {
        return Ok(past);
    }
    let vm = named::meant(typed, &names(ledger, typed)?, ledger_args).map_err(|unnamed| match unnamed {
        Unnamed::Nobody(_) => Refusal::nothing(unnamed),
        Unnamed::Several(_) => Refusal::usage(unnamed),
    })?;
    Ok(Past::of(ledger, vm)?)
}

/// Those that are typed so; if there are none, all: one that is like it may be meant.
fn names(ledger: &Ledger, typed: &str) -> Result<Vec<(String, VmId)>, LedgerError> {
    let same = ledger.names(Some(typed))?;
    if same.is_empty() { ledger.names(None) } else { Ok(same) }
}
