//! `v6fleet runs`: the runs in the ledger; `--pin` and `--unpin`.

use super::exit;
use super::failure::{Broken, Failure};
use super::ledger::{to_change, to_read};
use super::stdout::{columns, print_as};
use crate::config::{Form, RunsSettings, Show, Wanted};
use crate::ledger::{Ledger, LedgerError, Overview, RunKey};
use crate::report::runs;

/// The ledger, and what it is asked for.
pub(super) struct Prepared {
    ledger: Ledger,
    asked: Asked,
    form: Form,
}

enum Asked {
    /// With a run of the job that is wanted.
    Newest(Option<u32>, Wanted, Option<RunKey>),
    /// Whether each run is pinned from now on.
    Pinned(Vec<(RunKey, bool)>),
}

pub(super) fn prepare(settings: RunsSettings) -> Result<Prepared, Failure> {
    let RunsSettings { ledger, show, form } = settings;
    let (ledger, asked) = match show {
        Show::Newest(limit, wanted) => {
            let ledger = to_read(&ledger)?;
            let job = wanted.job.as_deref().map(|job| ledger.find_run(job)).transpose()?;
            (ledger, Asked::Newest(limit, wanted, job))
        }
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
            Asked::Newest(limit, wanted, job) => overviews(&ledger, limit, &wanted, job.as_ref())?,
            Asked::Pinned(runs) => {
                let pinned = runs.iter().map(|(run, pinned)| set_pin(&ledger, run, *pinned));
                pinned.collect::<Result<_, _>>()?
            }
        };
        let text = match form {
            Form::Text => runs::text(&list, columns()),
            Form::Json => runs::json(&list).map_err(Broken::new)?,
        };
        print_as(form, &text)?;
        Ok(exit::COMPLETE)
    }
}

fn overviews(
    ledger: &Ledger,
    limit: Option<u32>,
    wanted: &Wanted,
    job: Option<&RunKey>,
) -> Result<Vec<Overview>, LedgerError> {
    let running = ledger.under_way(vec![])?;
    ledger.as_of_now(|ledger| {
        let job = job.map(|run| ledger.of_same_job(run)).transpose()?;
        let read = limit.filter(|_| *wanted == Wanted::default());
        let mut list = ledger.overviews(read)?;
        let running = ledger.under_way(running)?;
        for run in list.iter_mut().filter(|run| run.ended_at.is_none() && running.contains(&run.id)) {
            goes_on(ledger, run)?;
        }
        list.retain(|run| is_wanted(run, wanted, job.as_deref()));
        list.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(list)
    })
}

/// What has no outcome yet has not failed while somebody is at work on it.
fn goes_on(ledger: &Ledger, run: &mut Overview) -> Result<(), LedgerError> {
    run.running = true;
    run.counts = ledger.start(&RunKey { id: run.id.clone() })?.so_far();
    Ok(())
}

/// `job` are all runs of the job that is wanted.
fn is_wanted(run: &Overview, wanted: &Wanted, job: Option<&[RunKey]>) -> bool {
    let Wanted { failed, action, base_url, job: _ } = wanted;
    (!failed || run.counts.failed > 0)
        && (action.is_none() || run.action == *action)
        && base_url.as_ref().is_none_or(|url| run.base_url == url.as_str())
        && job.is_none_or(|runs| runs.iter().any(|other| other.id == run.id))
}

fn set_pin(ledger: &Ledger, run: &RunKey, pinned: bool) -> Result<Overview, LedgerError> {
    ledger.pin(run, pinned)?;
    ledger.overview(run)
}
