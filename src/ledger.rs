//! Where a run lives: runs, their VMs, and the last-known allocation of every VM.
//!
//! Selected VMs are written at the start, claimed before their call leaves, and settled before they are counted.
//! Every report is read from here. One process writes at a time; reading is always possible.
//!
//! `record` is plain data, `protocol` what a writer is asked and answers, `engine` what an engine must do, `stored` the
//! shapes of what stands on disk, and `contract` what every engine is held to. There are two: `sqlite` keeps a ledger in a
//! file, `postgres` in a database.

mod copying;
mod dating;
mod engine;
mod error;
mod forecasts;
mod host;
mod job;
mod location;
mod nearest;
mod numbers;
mod outage;
mod plain;
mod postgres;
mod protocol;
mod record;
mod shared;

mod sqlite;
mod stored;
mod sums;
mod writer;

#[cfg(test)]
mod contract;

use std::ops::{ControlFlow, Deref};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::difference::Difference;
use crate::outcome::Kind;
use crate::stop::Stop;

pub use copying::{Copied, Found, Headway};
pub use engine::{Board, Draft, Engine};
pub use error::LedgerError;
pub use host::host;
pub use job::{NARROWING, SANDBOX};
pub use location::Location;
pub use nearest::nearest;
pub use postgres::{DatabaseUrl, InvalidUrl};
pub use protocol::{CLAIM_LIFE, Claimed, Counted, LeftAlone, Reply, Seen, Sick, Take, Trial, Tried};
pub(crate) use record::as_object;
pub use record::{
    Baseline, Begun, Bulletin, ChangeCount, Closing, Contribution, Counts, Course, Deferred, Ending, Entry,
    FailureCount, Finish, Forecasts, Item, LastCall, LastInventory, LastKnown, Named, NewRun, OpenBreakers,
    Overview, Pacing, Pair, PendingVms, Presence, RackCounts, RackNo, ReasonCount, Row, RunInfo, RunKey,
    Setback, Settled, Settlement, Sighting, Since, Skipped, Start, Summary, Tally, Terms, Unfinished, Worker,
    WrittenFile, is_complete, is_resumable,
};
pub use sqlite::beside;
pub use sums::Sums;
pub use writer::Writer;

/// How many VMs stand for a kind of difference.
const EXAMPLES: usize = 5;

/// An open ledger, by whatever engine it is kept: all that an [`Engine`] does can be asked of it.
#[derive(Debug)]
pub struct Ledger {
    engine: Box<dyn Engine>,
}

/// How the end of a run came out.
#[derive(Debug)]
pub enum End {
    /// It is noted.
    Noted { summary: Box<Summary>, info: Box<RunInfo> },
    /// Another worker had noted it.
    Before,
    /// Other workers go on with the run, or are about to end it: we have left it.
    Held,
}

impl End {
    fn noted(summary: Summary, info: RunInfo) -> Self {
        Self::Noted { summary: Box::new(summary), info: Box::new(info) }
    }
}

impl Deref for Ledger {
    type Target = dyn Engine;

    fn deref(&self) -> &Self::Target {
        &*self.engine
    }
}

impl Ledger {
    fn of(engine: Box<dyn Engine>) -> Self {
        Self { engine }
    }

    /// Opens a ledger for writing, made where missing, waiting up to `lock_timeout` for another run to end.
    pub fn open(location: &Location, lock_timeout: Duration) -> Result<Self, LedgerError> {
        Ok(Self::of(match location {
            Location::File(path) => Box::new(sqlite::Sqlite::open(path, lock_timeout)?),
            Location::Database(url) => Box::new(postgres::Postgres::open(url, lock_timeout)?),
        }))
    }

    /// Opens a ledger for reading only. What a run has not folded yet is seen in [`Self::as_of_now`] alone.
    pub fn open_read_only(location: &Location) -> Result<Self, LedgerError> {
        Ok(Self::of(match location {
            Location::File(path) => Box::new(sqlite::Sqlite::open_read_only(path)?),
            Location::Database(url) => Box::new(postgres::Postgres::open_read_only(url)?),
        }))
    }

    /// Opens a ledger that is to be copied: one in which no run is under way.
    pub fn open_to_copy(location: &Location) -> Result<Self, LedgerError> {
        let ledger = Self::open_read_only(location)?;
        copying::refuse_under_way(&*ledger)?;
        Ok(ledger)
    }

    /// Opens the place of a copy, made where missing, in which there is nothing yet.
    pub fn open_for_copy(location: &Location) -> Result<Self, LedgerError> {
        Self::open(location, Duration::ZERO).map_err(|error| match error {
            LedgerError::Locked { holder, .. } => LedgerError::UnderWay { path: location.as_path(), holder },
            error => error,
        })
    }

    /// What there is in the place of a copy; anything else than the copy itself, or nothing, is an error. It stays as it is.
    pub fn find_copy(&self, location: &Location) -> Result<Found, LedgerError> {
        match Self::open_read_only(location) {
            Err(LedgerError::Missing(_)) => Ok(Found::Nothing),
            to => {
                let to = to?;
                copying::refuse_under_way(&*to)?;
                self.as_of_now(|from| to.as_of_now(|to| copying::find(&*from.engine, &*to.engine)))
            }
        }
    }

    /// Copies all of it, and compares what was written; all of it or nothing. `told` hears now and then how far it has come.
    pub fn copy_to(&self, to: &Self, told: &mut dyn FnMut(Headway)) -> Result<Copied, LedgerError> {
        copying::copy(&*self.engine, &*to.engine, told)
    }

    /// Closes a ledger that was written without trouble. Dropped instead, it is left to the next run as it is.
    pub fn close(self) -> Result<(), LedgerError> {
        self.engine.close()
    }

    /// Lets `read` see one state of the ledger, whatever a run writes meanwhile.
    pub fn as_of_now<T, E: From<LedgerError>>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.hold_still()?;
        let result = read(self);
        let let_go = self.let_go();
        // What went wrong in between is told first.
        let value = result?;
        let_go?;
        Ok(value)
    }

    /// Retries `ask` for up to `patience` while the ledger is unreachable. `ask` must be idempotent: only its answer may have
    /// been lost.
    pub fn outlast<T>(
        &mut self,
        patience: Duration,
        mut ask: impl FnMut(&Self) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        match ask(self) {
            Err(error) if error.is_away() => outage::persevere(error, patience, || {
                self.engine.reach()?;
                ask(self)
            }),
            answer => answer,
        }
    }

    /// Hands the ledger to a thread of its own that writes `run` as it goes on. Where it cannot be reached any more, it is
    /// waited for up to `patience`.
    pub fn write_for(self, run: &RunKey, patience: Duration) -> Result<Writer, LedgerError> {
        Writer::start(self.engine, run, patience)
    }

    /// The same, but that one which cannot be reached any more is not waited for.
    pub fn write(self, run: &RunKey) -> Result<Writer, LedgerError> {
        self.write_for(run, Duration::ZERO)
    }

    /// Notes how a run ended, and the exit code that its summary comes to, which knows the run before it; unless other workers
    /// go on with it, or one has ended it before. What we still have claimed then has an unanswered attempt.
    pub fn end(
        &self,
        run: &RunKey,
        stopped_by: Option<Stop>,
        exit_code: impl FnOnce(&Summary) -> u8,
    ) -> Result<End, LedgerError> {
        self.check()?;
        let (mut end, mut exit_code) = (End::Held, Some(exit_code));
        self.settle_up(&mut || {
            end = match self.closing(run, stopped_by)? {
                Closing::Held => End::Held,
                Closing::Before => End::Before,
                // The answer to that was lost.
                Closing::Noted => End::noted(self.summary_since(run)?, self.run_info(run)?),
                Closing::Ours => self.note(run, stopped_by, exit_code.take())?.unwrap_or(End::Held),
            };
            Ok(())
        })?;
        if matches!(end, End::Held) {
            // Who holds it may be gone.
            self.bury_lost()?;
        }
        Ok(end)
    }

    /// `None` where others have ended it meanwhile, or gone on with it.
    fn note(
        &self,
        run: &RunKey,
        stopped_by: Option<Stop>,
        exit_code: Option<impl FnOnce(&Summary) -> u8>,
    ) -> Result<Option<End>, LedgerError> {
        let at = now();
        let Finish { sums, course, baseline } = self.finish(run)?;
        let mut summary = self.summed_up(run, sums, course, at)?;
        summary.since = self.since_then(baseline, run, summary.counts.failed)?;
        summary.exit_code = exit_code.map_or(0, |exit_code| exit_code(&summary));
        let Summary { exit_code, counts, .. } = summary;
        let ending = Ending { at, stopped_by, exit_code, counts, workers: &summary.workers };
        let info = self.note_end(run, &ending)?;
        let complete = is_complete(Some(at), stopped_by);
        let resumable = is_resumable(Some(at), stopped_by, summary.pending);
        Ok(info.map(|info| End::noted(Summary { complete, resumable, stopped_by, ..summary }, info)))
    }

    /// Notes what a run has written, beside what it wrote before.
    pub fn add_written(&self, run: &RunKey, files: Vec<WrittenFile>) -> Result<(), LedgerError> {
        let mut all = self.written(run)?;
        all.retain(|old| files.iter().all(|file| file.path != old.path));
        all.extend(files);
        self.note_written(run, &all)
    }

    /// The run of that kind whose id starts with what was typed, or the newest one of it for `latest`.
    pub fn find_run_of(&self, kind: Kind, typed: &str) -> Result<RunKey, LedgerError> {
        if typed == "latest" {
            return self.newest(kind)?.ok_or(LedgerError::NoneOfKind(kind));
        }
        let run = self.find_run(typed)?;
        match self.overview(&run)?.kind {
            found if found == kind => Ok(run),
            found => Err(LedgerError::OfOtherKind { run: run.id, found, wanted: kind }),
        }
    }

    /// Adds up a run's rows, as they are now.
    pub fn summary(&self, run: &RunKey) -> Result<Summary, LedgerError> {
        self.summed_up(run, self.sums(run)?, self.course(run)?, now())
    }

    /// The same, with which VMs fail and have recovered since the last run with which this one can be compared.
    pub fn summary_since(&self, run: &RunKey) -> Result<Summary, LedgerError> {
        Ok(Summary { since: self.since(run)?, ..self.summary(run)? })
    }

    /// `now` is the end of a run that goes on.
    fn summed_up(
        &self,
        run: &RunKey,
        sums: Sums,
        course: Course,
        now: Timestamp,
    ) -> Result<Summary, LedgerError> {
        let shared = self.shared_prefixes(run, &sums)?;
        sums.summary(course, shared, now)
    }

    /// Which VMs of a run were answered with one and the same prefix, for people.
    fn shared_prefixes(&self, run: &RunKey, sums: &Sums) -> Result<Option<String>, LedgerError> {
        if sums.suspects.is_empty() {
            return Ok(None);
        }
        let mut shared = sums.suspects.look_into();
        self.each_prefix(run, &mut |vmid, prefix| shared.note(vmid, prefix))?;
        Ok(shared.warning())
    }

    /// Calls `each` with every row of a run, in inventory order.
    pub fn each_row<E: From<LedgerError>>(
        &self,
        run: &RunKey,
        each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        until_error(each, |each| self.rows(run, each))
    }

    /// Calls `each` with every invalid inventory row that a run went on without, in the order of the files.
    pub fn each_skipped<E: From<LedgerError>>(
        &self,
        run: &RunKey,
        each: impl FnMut(Skipped) -> Result<(), E>,
    ) -> Result<(), E> {
        until_error(each, |each| self.skipped(run, each))
    }

    /// Calls `each` with every VM of two runs: those of `to` in inventory order, then those of `from` alone.
    pub fn each_pair<E: From<LedgerError>>(
        &self,
        from: &RunKey,
        to: &RunKey,
        each: impl FnMut(Pair) -> Result<(), E>,
    ) -> Result<(), E> {
        until_error(each, |each| self.pairs(from, to, each))
    }

    /// Which VMs fail, and which have recovered, since the last run with which this one can be compared.
    pub fn since(&self, run: &RunKey) -> Result<Option<Since>, LedgerError> {
        self.since_then(self.baseline(run)?, run, self.overview(run)?.counts.failed)
    }

    /// `failed` is how many VMs of `run` fail.
    fn since_then(
        &self,
        baseline: Option<Baseline>,
        run: &RunKey,
        failed: u64,
    ) -> Result<Option<Since>, LedgerError> {
        let Some(baseline) = baseline else { return Ok(None) };
        let mut since = Since { run: baseline.run.id.clone(), ..Since::default() };
        if baseline.failed == 0 && failed == 0 {
            return Ok(Some(since));
        }
        self.each_pair(&baseline.run, run, |pair| {
            if pair.fails_newly() {
                name(&mut since.newly_failing, &pair);
            } else if pair.difference() == Some(Difference::Recovered) {
                name(&mut since.recovered, &pair);
            }
            Ok::<_, LedgerError>(())
        })?;
        Ok(Some(since))
    }
}

impl Writer {
    /// Waits until all is on disk. The remaining replies tell whether it is.
    pub fn close(self) -> (Option<Ledger>, Vec<Reply>) {
        let (engine, replies) = self.finish();
        (engine.map(Ledger::of), replies)
    }
}

/// To the microsecond, as it is kept.
fn now() -> Timestamp {
    let now = clock::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn name(named: &mut Named, pair: &Pair) {
    named.vms += 1;
    if named.examples.len() < EXAMPLES {
        named.examples.push(pair.vm.id.to_string());
    }
}

/// Goes through all there is, up to the first error of `each`.
fn until_error<T, E: From<LedgerError>>(
    mut each: impl FnMut(T) -> Result<(), E>,
    go_through: impl FnOnce(engine::Each<'_, T>) -> Result<(), LedgerError>,
) -> Result<(), E> {
    let mut result = Ok(());
    go_through(&mut |item| match each(item) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            result = Err(error);
            ControlFlow::Break(())
        }
    })?;
    result
}
