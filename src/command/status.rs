//! `v6fleet status`: how the run stands that is under way, told from the lock, or how one ended.

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::ledger::{to_read, view};
use super::stdout::print;
use crate::clock;
use crate::config::{Form, LedgerSettings, StatusSettings};
use crate::ledger::{Bulletin, Ledger, LedgerError, Overview, Presence, RunKey, SANDBOX, Worker};
use crate::report::status::{self, Status};

/// How often it is looked at, where somebody watches.
const EVERY: Duration = Duration::from_secs(1);

/// Takes what was shown before off the screen.
const ANEW: &str = "\u{1b}[H\u{1b}[J";

/// Returns the exit code.
pub(super) fn status(settings: &StatusSettings) -> Result<u8, Failure> {
    match settings.watch {
        true => watch(settings)?,
        false => print(told(&look(settings, settings.run.as_deref())?, settings)?.as_bytes())?,
    }
    Ok(exit::COMPLETE)
}

fn watch(settings: &StatusSettings) -> Result<(), Failure> {
    if !io::stdout().is_terminal() {
        return Err(Refusal::usage(anyhow::anyhow!(
            "--watch is for a terminal; elsewhere ask again and again: v6fleet status --format json"
        ))
        .into());
    }
    let mut status = look(settings, settings.run.as_deref())?;
    loop {
        print(format!("{ANEW}{}", told(&status, settings)?).as_bytes())?;
        if !status.run.running {
            return Ok(());
        }
        std::thread::sleep(EVERY);
        // The same one, also once it has ended.
        let run = status.run.id.clone();
        status = look(settings, Some(&run))?;
    }
}

fn look(settings: &StatusSettings, run: Option<&str>) -> Result<Status, Failure> {
    let ledger = to_read(&settings.ledger)?;
    let under_way = ledger.under_way(vec![])?;
    let newest = under_way.last().map(String::as_str);
    let run = ledger.find_run(run.or(newest).unwrap_or("latest"))?;
    match ledger.bulletin()?.filter(|_| under_way.contains(&run.id)) {
        // All that changes is in it: the rows of a run that goes on are left alone.
        Some(bulletin) => told_by_itself(&ledger, &run, bulletin),
        None => view(&ledger, |ledger| kept(ledger, under_way, &run)),
    }
}

fn told_by_itself(ledger: &Ledger, run: &RunKey, bulletin: Bulletin) -> Result<Status, Failure> {
    let workers = workers(ledger, run)?;
    let run = Overview::under_way(ledger.run_info(run)?, &bulletin);
    let pending = run.counts.selected.saturating_sub(run.counts.settled());
    Ok(Status { run, pending, workers, bulletin: Some(bulletin) })
}

/// As the ledger has it.
fn kept(ledger: &Ledger, under_way: Vec<String>, run: &RunKey) -> Result<Status, Failure> {
    let overview = ledger.overview(run)?;
    let pending = if overview.complete { 0 } else { ledger.sums(run)?.pending.iter().sum() };
    let running = overview.ended_at.is_none() && ledger.under_way(under_way)?.contains(&run.id);
    let workers = if running { workers(ledger, run)? } else { vec![] };
    Ok(Status { run: Overview { running, ..overview }, pending, workers, bulletin: None })
}

/// Who carries a run out that is under way.
fn workers(ledger: &Ledger, run: &RunKey) -> Result<Vec<String>, LedgerError> {
    if !ledger.is_shared() {
        return Ok(ledger.holder()?.into_iter().collect());
    }
    let live = ledger.workers(run)?.into_iter().filter(|worker| worker.presence == Presence::Live);
    let words = |worker: Worker| {
        let Worker { host, pid, since, holds, settled, .. } = worker;
        format!("pid {pid} on {host} since {since:.0}, {} settled, {holds} held", settled.settled())
    };
    Ok(live.map(words).collect())
}

fn told(status: &Status, settings: &StatusSettings) -> Result<String, Broken> {
    let args = args(&settings.ledger, status);
    match settings.form {
        Form::Text => Ok(status::text(status, &args, clock::now())),
        Form::Json => status::json(status).map_err(Broken::new),
    }
}

/// What names the ledger in commands that are told.
fn args(ledger: &LedgerSettings, status: &Status) -> String {
    ledger.args(ledger.sandbox || status.run.base_url == SANDBOX)
}
