//! `v6fleet status`: how the run stands that is under way, told from the lock, or how one ended.

use std::io::{self, IsTerminal};
use std::time::Duration;

use jiff::Timestamp;

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::ledger::{to_read, view};
use super::stdout::print_as;
use crate::clock;
use crate::config::{Form, LedgerSettings, StatusSettings};
use crate::ledger::{Bulletin, Counts, Ledger, LedgerError, Overview, Presence, RunKey, SANDBOX, Worker};
use crate::report::status::{self, Deeds, Hand, Status};
use crate::text::moment_for_people;

/// How often it is looked at, where somebody watches.
const EVERY: Duration = Duration::from_secs(1);

/// Takes what was shown before off the screen.
const ANEW: &str = "\u{1b}[H\u{1b}[J";

/// Returns the exit code.
pub(super) fn status(settings: &StatusSettings) -> Result<u8, Failure> {
    match settings.watch {
        true => watch(settings)?,
        false => print_as(settings.form, &told(&look(settings, settings.run.as_deref())?, settings)?)?,
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
        print_as(settings.form, &format!("{ANEW}{}", told(&status, settings)?))?;
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
    let run = ledger.run_info(run)?;
    let counts = bulletin.counts(run.kind);
    let run = Overview::under_way(run, counts);
    Ok(Status { pending: pending(&counts), run, workers: alone(ledger)?, bulletin: Some(bulletin) })
}

fn pending(counts: &Counts) -> u64 {
    counts.selected.saturating_sub(counts.settled())
}

/// As the ledger has it.
fn kept(ledger: &Ledger, under_way: Vec<String>, key: &RunKey) -> Result<Status, Failure> {
    let course = ledger.course(key)?;
    if course.ended_at.is_none() && ledger.under_way(under_way)?.contains(&key.id) {
        return going_on(ledger, key, course.begun_at);
    }
    let run = ledger.overview(key)?;
    let pending = if run.complete { 0 } else { ledger.start(key)?.pending.iter().sum() };
    Ok(Status { run, pending, workers: vec![], bulletin: None })
}

fn going_on(ledger: &Ledger, key: &RunKey, begun_at: Timestamp) -> Result<Status, Failure> {
    let counts = ledger.start(key)?.so_far();
    let run = Overview::under_way(ledger.run_info(key)?, counts);
    match ledger.is_shared() {
        true => Ok(of_several(run, ledger.workers(key)?, begun_at)),
        false => Ok(Status { pending: pending(&counts), run, workers: alone(ledger)?, bulletin: None }),
    }
}

/// As those have told it who work on it, and those who did since it was begun.
fn of_several(run: Overview, workers: Vec<Worker>, begun_at: Timestamp) -> Status {
    let pending = pending(&run.counts);
    let (live, gone): (Vec<Worker>, Vec<Worker>) =
        workers.into_iter().partition(|worker| worker.presence == Presence::Live);
    let told: Vec<_> = live.iter().filter_map(|worker| worker.bulletin.as_ref()).collect();
    let gone = gone.iter().filter_map(|worker| worker.bulletin.as_ref());
    let before = gone.filter(|bulletin| bulletin.at >= begun_at).map(|bulletin| bulletin.calls).sum::<u64>();
    let all = Bulletin::together(&told, pending);
    let bulletin = all.map(|all| Bulletin { begun_at, calls: all.calls + before, ..all });
    Status { run, pending, bulletin, workers: live.into_iter().map(hand).collect() }
}

/// Who carries out the run of a ledger that one process has.
fn alone(ledger: &Ledger) -> Result<Vec<Hand>, LedgerError> {
    Ok(ledger.holder_alone()?.map(|name| Hand { name, deeds: None }).into_iter().collect())
}

fn hand(worker: Worker) -> Hand {
    let Worker { host, pid, since, holds, settled, bulletin, .. } = worker;
    let deeds = Deeds {
        since,
        settled: settled.settled(),
        held: holds,
        calls_per_s: bulletin.as_ref().and_then(|told| told.calls_per_s),
        in_flight: bulletin.as_ref().map(|told| told.in_flight),
        hindrance: bulletin.and_then(|told| told.hindrance),
    };
    Hand { name: format!("pid {pid} on {host} since {}", moment_for_people(since)), deeds: Some(deeds) }
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
