//! `v6fleet runs`: the runs in the ledger; `--pin` and `--unpin`.

use super::exit;
use super::failure::{Broken, Failure};
use super::ledger::{to_change, to_read};
use super::stdout::print;
use crate::config::{Form, RunsSettings, Show};
use crate::ledger::{Ledger, LedgerError, Overview, RunKey};
use crate::report::runs;

/// The ledger, and what it is asked for.
pub(super) struct Prepared {
    ledger: Ledger,
    asked: Asked,
    form: Form,
}

enum Asked {
    Newest(Option<u32>),
    /// Whether each run is pinned from now on.
    Pinned(Vec<(RunKey, bool)>),
}

pub(super) fn prepare(settings: RunsSettings) -> Result<Prepared, Failure> {
    let RunsSettings { ledger, show, form } = settings;
    let (ledger, asked) = match show {
        Show::Newest(limit) => (to_read(&ledger)?, Asked::Newest(limit)),
        Show::Pinned { pins, wait } => {
            let ledger = to_change(&ledger, wait)?;
            let found = pins.iter().map(|(run, pinned)| Ok((ledger.find_run(run)?, *pinned)));
            let found = found.collect::<Result<_, LedgerError>>()?;
            (ledger, Asked::Pinned(found))
        }
    };
    Ok(Prepared { ledger, asked, form })
}

impl Prepared {
    /// Returns the exit code.
    pub(super) fn carry_out(self) -> Result<u8, Broken> {
        let Self { ledger, asked, form } = self;
        let list = match asked {
            Asked::Newest(limit) => overviews(&ledger, limit)?,
            Asked::Pinned(runs) => {
                let pinned = runs.iter().map(|(run, pinned)| set_pin(&ledger, run, *pinned));
                pinned.collect::<Result<_, _>>()?
            }
        };
        let text = match form {
            Form::Text => runs::text(&list),
            Form::Json => runs::json(&list).map_err(Broken::new)?,
        };
        print(text.as_bytes())?;
        Ok(exit::COMPLETE)
    }
}

fn overviews(ledger: &Ledger, limit: Option<u32>) -> Result<Vec<Overview>, LedgerError> {
    let running = ledger.under_way(vec![])?;
    ledger.as_of_now(|ledger| {
        let mut list = ledger.overviews(limit)?;
        let running = ledger.under_way(running)?;
        for run in &mut list {
            run.running = run.ended_at.is_none() && running.contains(&run.id);
        }
        Ok(list)
    })
}

fn set_pin(ledger: &Ledger, run: &RunKey, pinned: bool) -> Result<Overview, LedgerError> {
    ledger.pin(run, pinned)?;
    ledger.overview(run)
}
