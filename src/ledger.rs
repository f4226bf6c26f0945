//! Where a run lives: runs, their items, and the last-known allocation of every VM. SQLite.
//!
//! Selected VMs are written at the start, claimed before their call leaves, and settled before they are counted.
//! Every report is read from here. One process writes at a time; reading is always possible.

mod book;
mod burial;
mod claims;
mod comparison;
mod dating;
mod draft;
mod error;
mod fold;
mod history;
mod item;
mod job;
mod json;
mod lock;
mod pending;
mod prune;
mod rate;
mod read;
mod resume;
mod row;
mod shared;
mod sighting;
mod statements;
mod store;
mod summary;
mod sums;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

pub use comparison::Pair;
pub use draft::{Draft, NewRun, RunKey};
pub use error::LedgerError;
pub use history::{Entry, LastInventory, LastKnown, Overview};
pub use item::{Deferred, Item, LastCall, RackNo, Setback, Settled, Settlement, Tally};
pub use job::{NARROWING, PIPE};
pub use lock::Lock;
pub use read::Skipped;
pub use resume::{Left, Unfinished};
pub use row::Row;
pub use sighting::Sighting;
pub use store::beside;
pub use summary::{Counts, FailureCount, InventoryFile, Named, RackCounts, RunInfo, Since, Summary};
pub use sums::Sums;
pub use writer::{Claimed, Counted, Reply, Take, Writer};

use crate::clock;
use crate::stop::Stop;

/// The base URL of every rehearsal, whatever its port.
pub const SANDBOX: &str = "sandbox";

/// A claim older than this is renewed before its call leaves: what a crash leaves claimed was about to be sent.
pub const CLAIM_LIFE: SignedDuration = SignedDuration::from_secs(2);

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    db: Connection,
    path: PathBuf,
    /// `None` where the ledger is only read.
    lock: Option<Lock>,
}

impl Ledger {
    /// Opens `path` for writing, made where missing, waiting up to `lock_timeout` for another run to end.
    pub fn open(path: &Path, lock_timeout: Duration) -> Result<Self, LedgerError> {
        store::create(path)?;
        let mut lock = Lock::take(path, lock_timeout)?;
        let db = store::open(path)?;
        lock.watch(store::log(path)?)?;
        let ledger = Self { db, path: path.to_owned(), lock: Some(lock) };
        ledger.settle_up()?;
        Ok(ledger)
    }

    /// Opens `path` for reading only.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        let ledger = Self { db: store::open_read_only(path)?, path: path.to_owned(), lock: None };
        ledger.as_of_now(|_| Ok::<_, LedgerError>(()))?;
        Ok(ledger)
    }

    /// Closes a ledger that was written without trouble. Dropped instead, it is left to the next run as it is.
    pub fn close(self) -> Result<(), LedgerError> {
        store::close(self.db, &self.path)
    }

    /// Lets `read` see one state of the ledger, whatever a run writes meanwhile.
    pub fn as_of_now<T, E: From<LedgerError>>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.db.execute_batch("BEGIN").map_err(self.sqlite())?;
        let result = self.fold_aside().map_err(E::from).and_then(|()| read(self));
        self.db.execute_batch("COMMIT").map_err(self.sqlite())?;
        result
    }

    /// What is not folded yet counts for a reader all the same.
    fn fold_aside(&self) -> Result<(), LedgerError> {
        match (&self.lock, store::is_old(&self.db)) {
            (None, Ok(false)) => fold::fold_aside(&self.db).map_err(self.sqlite()),
            (None, Err(error)) => Err(self.sqlite()(error)),
            (Some(_), _) | (None, Ok(true)) => Ok(()),
        }
    }

    /// The id of the run that is under way, or was a moment `before`: asked before and after reading, it is known of
    /// every state that was read between.
    pub fn under_way(&self, before: Option<String>) -> Result<Option<String>, LedgerError> {
        before.map_or_else(|| Lock::held_for(&self.path), |run| Ok(Some(run)))
    }

    /// An error where what is written would be seen by nobody, or another run may have begun.
    fn check_lock(&self) -> Result<(), LedgerError> {
        self.lock.as_ref().map_or(Ok(()), Lock::check)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn sqlite(&self) -> impl Fn(rusqlite::Error) -> LedgerError + Copy {
        store::sqlite(&self.path)
    }

    /// The number that stands for a base URL; `None` where it was never called.
    fn base(&self, url: &str) -> Result<Option<i64>, LedgerError> {
        let base = self.db.query_row("SELECT id FROM bases WHERE url = ?1", [url], |row| row.get(0));
        base.optional().map_err(self.sqlite())
    }

    /// Refuses to mix rehearsals and real runs in one ledger.
    pub fn check_kind(&self, base_url: &str) -> Result<(), LedgerError> {
        let of_the_other_kind = "SELECT count(*) FROM bases WHERE (url = ?1) <> (?2 = ?1)";
        let others: i64 = self
            .db
            .query_row(of_the_other_kind, [SANDBOX, base_url], |row| row.get(0))
            .map_err(self.sqlite())?;
        match (others, base_url) {
            (0, _) => Ok(()),
            (_, SANDBOX) => Err(LedgerError::Mixed { held: "real runs", wanted: "the rehearsal" }),
            _ => Err(LedgerError::Mixed { held: "rehearsals", wanted: "the real run" }),
        }
    }

    /// Makes up for what a process did not come to: what it left claimed becomes pending, with an unanswered attempt, and
    /// all that happened is folded.
    fn settle_up(&self) -> Result<(), LedgerError> {
        let settle_up = || {
            fold::fold(&self.db)?;
            burial::bury(&self.db)?;
            fold::fold(&self.db)
        };
        settle_up().map_err(self.sqlite())
    }

    /// The racks of a run, by number; `None` stands for VMs whose rack nobody knows.
    pub fn racks(&self, run: &RunKey) -> Result<Vec<Option<Arc<str>>>, LedgerError> {
        let mut racks =
            self.db.prepare("SELECT rack_id FROM racks WHERE run = ?1 ORDER BY no").map_err(self.sqlite())?;
        let racks =
            racks.query_map([run.no], |row| row.get::<_, Option<Arc<str>>>(0)).map_err(self.sqlite())?;
        racks.collect::<Result<_, _>>().map_err(self.sqlite())
    }

    /// Hands the ledger to a thread of its own that writes `run` as it goes on.
    pub fn write(mut self, run: &RunKey) -> Result<Writer, LedgerError> {
        self.lock.as_mut().map_or(Ok(()), |lock| lock.hold_for(&run.id))?;
        Writer::start(self, run)
    }

    /// Notes how a run ended, and the exit code that its summary comes to. What is still claimed then has an
    /// unanswered attempt.
    pub fn end(
        &mut self,
        run: &RunKey,
        stopped_by: Option<Stop>,
        exit_code: impl FnOnce(&Summary) -> u8,
    ) -> Result<Summary, LedgerError> {
        self.check_lock()?;
        self.settle_up()?;
        let now = timestamp(micros(clock::now()));
        let summary = self.summary_at(run, now)?;
        let exit_code = exit_code(&summary);
        let end = "UPDATE runs SET ended_at = ?2, stopped_by = ?3, exit_code = ?4, counts = ?5 WHERE no = ?1";
        let ended = params![
            run.no,
            micros(now),
            stopped_by.map(Stop::as_str),
            exit_code,
            json::write(&summary.counts)
        ];
        self.db.execute(end, ended).map_err(self.sqlite())?;
        let complete = stopped_by.is_none() && summary.pending == 0;
        Ok(Summary { complete, stopped_by, exit_code, ..summary })
    }
}

/// How a run's items and events are numbered: the same in all of its tables, in the order of each.
fn number(run: i64, number: i64) -> i64 {
    run << 32 | number
}

/// The first and the last number of a run.
fn span(run: i64) -> [i64; 2] {
    [number(run, 0), number(run, u32::MAX.into())]
}

/// The position of an item in the inventory.
fn position(item: i64) -> i64 {
    item & i64::from(u32::MAX)
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The ledger holds what [`micros`] wrote; anything else is clamped.
fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
