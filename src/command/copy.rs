//! `v6fleet ledger copy`: a whole ledger, from one place to another.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use super::exit;
use super::failure::{Failure, Refusal};
use super::stdout::print;
use crate::config::CopySettings;
use crate::ledger::{Copied, Found, Ledger, LedgerError};
use crate::progress::{CopyProgress, Screen};
use crate::text::escape_path;

/// The ledger that is copied, and the place of its copy.
pub(super) struct Prepared<'s> {
    from: Ledger,
    to: To,
    screen: &'s Screen,
}

enum To {
    /// In which there is nothing yet.
    Empty(Ledger),
    /// By whoever was killed before he came to say so.
    Copied(Copied, PathBuf),
}

/// Nothing is made in TO before FROM has shown to be fit for it.
pub(super) fn prepare<'s>(settings: &CopySettings, screen: &'s Screen) -> Result<Prepared<'s>, Refusal> {
    let CopySettings { from, to } = settings;
    if from.is_the_very(to) {
        return Err(Refusal::usage(anyhow::anyhow!(
            "FROM and TO are one and the same ledger: name another TO"
        )));
    }
    let from = Ledger::open_to_copy(from)?;
    let to = match from.find_copy(to)? {
        Found::Nothing => To::Empty(Ledger::open_for_copy(to)?),
        Found::Copy(copied) => To::Copied(copied, to.as_path()),
    };
    Ok(Prepared { from, to, screen })
}

impl Prepared<'_> {
    /// Returns the exit code.
    pub(super) fn carry_out(self) -> Result<u8, Failure> {
        let Self { from, to, screen } = self;
        let (copied, place) = match to {
            To::Empty(to) => (copy(&from, &to, screen)?, close(to)?),
            To::Copied(copied, place) => (copied, place),
        };
        let line =
            format!("copied to {}, and the same on both sides: {}\n", escape_path(&place), copied.in_words());
        print(line.as_bytes())?;
        Ok(exit::COMPLETE)
    }
}

fn copy(from: &Ledger, to: &Ledger, screen: &Screen) -> Result<Copied, LedgerError> {
    let mut progress = CopyProgress::new(io::stderr().is_terminal(), screen, Instant::now());
    from.copy_to(to, &mut |headway| progress.tell(headway, Instant::now()))
}

/// Returns where it is.
fn close(ledger: Ledger) -> Result<PathBuf, LedgerError> {
    let place = ledger.path().to_owned();
    ledger.close().map(|()| place)
}
