//! Where a run lives: runs, their items, and the last-known allocation of every VM. SQLite.
//!
//! Selected VMs are written at the start, claimed before their call leaves, and settled before they are counted.
//! Every report is read from here. One process writes at a time; reading is always possible.

mod book;
mod comparison;
mod dating;
mod draft;
mod error;
mod history;
mod item;
mod job;
mod json;
mod lock;
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

use crate::clock::{self, Clock};
use crate::outcome::Unanswered;
use crate::stop::Stop;
use dating::Dating;

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
        let mut ledger = Self { db, path: path.to_owned(), lock: Some(lock) };
        ledger.bury_the_dead()?;
        Ok(ledger)
    }

    /// Opens `path` for reading only.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { db: store::open_read_only(path)?, path: path.to_owned(), lock: None })
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
        let result = read(self);
        self.db.execute_batch("COMMIT").map_err(self.sqlite())?;
        result
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

    /// Turns what a dead process left claimed into pending items with an unanswered attempt.
    fn bury_the_dead(&mut self) -> Result<(), LedgerError> {
        let sqlite = store::sqlite(&self.path);
        let burial = self.db.transaction().map_err(sqlite)?;
        bury(&burial).and_then(|()| burial.commit()).map_err(sqlite)
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
        self.bury_the_dead()?;
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

fn bury(db: &rusqlite::Transaction<'_>) -> Result<(), rusqlite::Error> {
    let mut claimed = db.prepare(
        "SELECT c.run, c.position, i.vmid, claimed_at, r.base, r.timeout_us, v.unanswered, r.clock,
            max(claimed_at) OVER (PARTITION BY c.run)
         FROM claims c JOIN runs r ON r.no = c.run JOIN items i ON i.run = c.run AND i.position = c.position
            LEFT JOIN vms v ON v.base = r.base AND v.vmid = i.vmid",
    )?;
    let mut remember = db.prepare(statements::REMEMBER)?;
    let mut free = db.prepare(
        "UPDATE items SET attempts = attempts + 1, may_have_applied = 1,
            first_sent_clock = iif(first_sent_at IS NULL, ?4, first_sent_clock),
            first_sent_at = coalesce(first_sent_at, ?3), failure = coalesce(failure, 'not_attempted'),
            error = 'the run ended while a call for this VM was in flight, or about to leave'
         WHERE run = ?1 AND position = ?2",
    )?;
    let mut rows = claimed.query([])?;
    while let Some(row) = rows.next()? {
        let (run, position, vmid): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (from, base, timeout): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let dating: Dating = json::read(row, 7)?.unwrap_or_else(|| Dating::ours(None));
        let until =
            last_moment(timestamp(from), timestamp(row.get(8)?), SignedDuration::from_micros(timeout));
        let mut unanswered = dating::read(row, 6)?;
        Unanswered::record(&mut unanswered, dating.attempt(timestamp(from), until, Clock::ours()));
        remember.execute(params![base, vmid, dating::write(&unanswered)])?;
        free.execute(params![run, position, from, json::write(&dating)])?;
    }
    db.execute("DELETE FROM claims", []).map(drop)
}

/// When the call of a claim was over at the latest. One that is still there when `newest` was made, though its time was
/// up, belongs to a process that was held up: its call may have left as late as that.
fn last_moment(claimed: Timestamp, newest: Timestamp, timeout: SignedDuration) -> Timestamp {
    let lasts = timeout.saturating_add(CLAIM_LIFE);
    let held_up = newest.duration_since(claimed) > lasts;
    let left = if held_up { newest } else { claimed };
    left.saturating_add(lasts).unwrap_or(Timestamp::MAX)
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The ledger holds what [`micros`] wrote; anything else is clamped.
fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
