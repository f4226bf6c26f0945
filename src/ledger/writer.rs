//! The one thread that writes the ledger while a run goes on.
//!
//! Requests that arrive while a commit is on its way to the disk share the next one: the busier the run,
//! the larger the batch. A reply is sent once its request is on disk. After an error nothing more is written.

use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::draft::RunKey;
use super::error::LedgerError;
use super::item::{Deferred, Item, RackNo, Setback, Settled, Settlement, Tally};
use super::{Ledger, json, micros, store, timestamp};
use crate::allocation::Expected;
use crate::difference::Ids;
use crate::outcome::{Outcome, Unanswered};

/// The most requests that share a commit.
const BATCH: usize = 1024;

/// How many VMs to claim from one rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    pub rack: RackNo,
    pub vms: u32,
}

enum Request {
    Claim { again: Vec<i64>, take: Vec<Take> },
    Release(Vec<i64>),
    Defer(Box<Deferred>),
    Settle(Box<Settled>),
}

/// What is on disk now.
#[derive(Debug)]
pub enum Reply {
    /// Calls for these may leave.
    Claimed(Claimed),
    Settled(Vec<Counted>),
    /// Nothing more will be written.
    Failed(LedgerError),
}

/// The answer to one claim.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Items that were claimed afresh.
    pub again: Vec<i64>,
    pub items: Vec<Item>,
}

/// A settled VM, as far as counting it goes.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub rack: RackNo,
    pub outcome: Outcome,
    pub drifted: bool,
}

/// A run's write access to its ledger.
#[derive(Debug)]
pub struct Writer {
    requests: std::sync::mpsc::Sender<Request>,
    replies: UnboundedReceiver<Reply>,
    thread: JoinHandle<Ledger>,
}

impl Writer {
    /// Moves `ledger` into a thread of its own, for one run.
    pub(super) fn start(ledger: Ledger, run: &RunKey) -> Result<Self, LedgerError> {
        let racks = ledger.racks(run)?;
        let cursors = vec![-1; racks.len()];
        let (requests, inbox) = std::sync::mpsc::channel();
        let (outbox, replies) = unbounded_channel();
        let book = Book { run: run.no, base: run.base, racks, cursors };
        let thread = std::thread::spawn(move || serve(ledger, book, &inbox, &outbox));
        Ok(Self { requests, replies, thread })
    }

    /// The next thing that has reached the disk; `None` after a failure.
    pub async fn reply(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }

    /// Claims pending VMs, and claims `again` those that wait for another call.
    pub fn claim(&self, again: Vec<i64>, take: Vec<Take>) {
        self.send(Request::Claim { again, take });
    }

    /// Gives back claimed items whose call never left.
    pub fn release(&self, positions: Vec<i64>) {
        self.send(Request::Release(positions));
    }

    pub fn defer(&self, deferred: Deferred) {
        self.send(Request::Defer(Box::new(deferred)));
    }

    pub fn settle(&self, settled: Settled) {
        self.send(Request::Settle(Box::new(settled)));
    }

    /// A writer that is gone has said why: its failure is the last reply.
    fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// Waits until all is on disk. The remaining replies tell whether it is.
    pub fn close(self) -> (Option<Ledger>, Vec<Reply>) {
        drop(self.requests);
        let ledger = self.thread.join().ok();
        let mut replies = self.replies;
        let rest = std::iter::from_fn(|| replies.try_recv().ok()).collect();
        (ledger, rest)
    }
}

fn serve(
    mut ledger: Ledger,
    mut book: Book,
    inbox: &std::sync::mpsc::Receiver<Request>,
    outbox: &UnboundedSender<Reply>,
) -> Ledger {
    while let Ok(first) = inbox.recv() {
        let batch: Vec<Request> = std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)).collect();
        match book.write(&mut ledger.db, batch) {
            // The run may have gone already; what was written stays.
            Ok(replies) => replies.into_iter().for_each(|reply| drop(outbox.send(reply))),
            Err(error) => {
                drop(outbox.send(Reply::Failed(error.at(&ledger.path))));
                break;
            }
        }
    }
    ledger
}

enum WriteError {
    Sqlite(rusqlite::Error),
    SettledTwice(i64),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl WriteError {
    fn at(self, path: &std::path::Path) -> LedgerError {
        match self {
            Self::Sqlite(error) => LedgerError::Sqlite { path: path.to_owned(), error },
            Self::SettledTwice(position) => LedgerError::SettledTwice(position),
        }
    }
}

/// What the writer knows of its run.
struct Book {
    run: i64,
    base: i64,
    racks: Vec<Option<Arc<str>>>,
    /// The last position taken, by rack.
    cursors: Vec<i64>,
}

impl Book {
    /// Writes a batch in one transaction; the replies hold once this has returned.
    fn write(&mut self, db: &mut Connection, batch: Vec<Request>) -> Result<Vec<Reply>, WriteError> {
        let commit = db.transaction()?;
        let mut replies = Vec::new();
        let mut counted = Vec::new();
        for request in batch {
            match request {
                Request::Claim { again, take } => {
                    replies.push(Reply::Claimed(self.claim(&commit, again, take)?));
                }
                Request::Release(positions) => self.release(&commit, &positions)?,
                Request::Defer(deferred) => self.defer(&commit, &deferred)?,
                Request::Settle(settled) => {
                    self.settle(&commit, &settled)?;
                    counted.push(Counted {
                        rack: settled.item.rack,
                        outcome: settled.settlement.outcome(),
                        drifted: settled.settlement.has_drift(),
                    });
                }
            }
        }
        commit.commit()?;
        store::fold_when_long(db)?;
        if !counted.is_empty() {
            replies.push(Reply::Settled(counted));
        }
        Ok(replies)
    }

    fn claim(
        &mut self,
        db: &Transaction<'_>,
        again: Vec<i64>,
        take: Vec<Take>,
    ) -> Result<Claimed, WriteError> {
        let mut claimed = Claimed { again, ..Claimed::default() };
        for take in take {
            self.next_of_rack(db, take, &mut claimed.items)?;
        }
        let now = micros(Timestamp::now());
        let mut mark = db
            .prepare_cached("UPDATE items SET state = 1, claimed_at = ?3 WHERE run = ?1 AND position = ?2")?;
        let fresh = claimed.items.iter().map(|item| item.position);
        for position in fresh.chain(claimed.again.iter().copied()) {
            mark.execute(params![self.run, position, now])?;
        }
        Ok(claimed)
    }

    fn next_of_rack(
        &mut self,
        db: &Transaction<'_>,
        take: Take,
        items: &mut Vec<Item>,
    ) -> Result<(), rusqlite::Error> {
        let rack = take.rack.0 as usize;
        let mut next = db.prepare_cached(
            "SELECT position, i.vmid, action, expected, rack_expected, attempts, throttled, first_sent_at,
                    v.allocation, v.unanswered
             FROM items i LEFT JOIN vms v ON v.base = ?5 AND v.vmid = i.vmid
             WHERE run = ?1 AND rack = ?2 AND position > ?3 AND state = 0 ORDER BY position LIMIT ?4",
        )?;
        let mut rows = next.query(params![self.run, take.rack.0, self.cursors[rack], take.vms, self.base])?;
        while let Some(row) = rows.next()? {
            let mut expected: Expected = json::read(row, 3)?.unwrap_or_default();
            if row.get(4)? {
                expected.rack_id = self.racks[rack].as_deref().map(str::to_owned);
            }
            let tally = Tally {
                attempts: row.get(5)?,
                throttled: row.get(6)?,
                first_sent: row.get::<_, Option<i64>>(7)?.map(timestamp),
            };
            items.push(Item {
                position: row.get(0)?,
                rack: take.rack,
                vm: json::word(row, 1)?,
                action: json::word(row, 2)?,
                expected,
                before: json::read(row, 8)?,
                unanswered: json::read(row, 9)?.unwrap_or_default(),
                tally,
            });
        }
        if let Some(last) = items.last().filter(|item| item.rack == take.rack) {
            self.cursors[rack] = last.position;
        }
        Ok(())
    }

    fn release(&self, db: &Transaction<'_>, positions: &[i64]) -> Result<(), rusqlite::Error> {
        let mut release = db.prepare_cached(
            "UPDATE items SET state = 0, claimed_at = NULL WHERE run = ?1 AND position = ?2 AND state = 1",
        )?;
        positions.iter().try_for_each(|position| release.execute(params![self.run, position]).map(drop))
    }

    fn defer(&self, db: &Transaction<'_>, deferred: &Deferred) -> Result<(), rusqlite::Error> {
        let Deferred { tally, last, setback, .. } = deferred;
        db.prepare_cached(
            "UPDATE items SET state = 0, claimed_at = NULL, attempts = ?3, throttled = ?4, first_sent_at = ?5,
                failure = ?6, error = ?7, may_have_applied = ?8, http_status = ?9, latency_us = ?10, request_id = ?11
             WHERE run = ?1 AND position = ?2",
        )?
        .execute(params![
            self.run,
            deferred.position,
            tally.attempts,
            tally.throttled,
            tally.first_sent.map(micros),
            setback.failure.as_str(),
            setback.error,
            !deferred.unanswered.is_empty(),
            last.http_status,
            last.latency_us(),
            last.request_id,
        ])?;
        self.remember_unanswered(db, deferred.vm.as_str(), &deferred.unanswered)
    }

    fn remember_unanswered(
        &self,
        db: &Transaction<'_>,
        vmid: &str,
        unanswered: &[Unanswered],
    ) -> Result<(), rusqlite::Error> {
        if unanswered.is_empty() {
            return Ok(());
        }
        db.prepare_cached(
            "INSERT INTO vms (base, vmid, unanswered) VALUES (?1, ?2, ?3)
             ON CONFLICT (base, vmid) DO UPDATE SET unanswered = excluded.unanswered",
        )?
        .execute(params![self.base, vmid, json::write(unanswered)])
        .map(drop)
    }

    fn settle(&self, db: &Transaction<'_>, settled: &Settled) -> Result<(), WriteError> {
        let rows = match &settled.settlement {
            Settlement::Success { .. } => self.settle_success(db, settled)?,
            Settlement::Failed(setback) => self.settle_failed(db, settled, setback)?,
        };
        match rows {
            1 => Ok(()),
            _ => Err(WriteError::SettledTwice(settled.item.position)),
        }
    }

    fn settle_success(&self, db: &Transaction<'_>, settled: &Settled) -> Result<usize, rusqlite::Error> {
        let Settlement::Success { verdict, allocation, drift } = &settled.settlement else { return Ok(0) };
        let Settled { item, last, at, .. } = settled;
        let before = item.before.as_ref();
        let rows = db
            .prepare_cached(
                "UPDATE items SET state = 2, claimed_at = NULL, attempts = ?3, throttled = ?4, first_sent_at = ?5,
                    settled_at = ?6, outcome = ?7, basis = ?8, rack_id = ?9, prefix = ?10, next_hop = ?11,
                    status = ?12, previous_prefix = ?13, previous_next_hop = ?14, changes = ?15, drift = ?16,
                    warnings = ?17, failure = NULL, error = NULL, may_have_applied = 0, http_status = ?18,
                    latency_us = ?19, request_id = ?20, ids = ?21
                 WHERE run = ?1 AND position = ?2 AND state = 1",
            )?
            .execute(params![
                self.run,
                item.position,
                item.tally.attempts,
                item.tally.throttled,
                item.tally.first_sent.map(micros),
                micros(*at),
                verdict.outcome.as_str(),
                verdict.basis.as_str(),
                allocation.rack_id,
                allocation.prefix.as_str(),
                allocation.next_hop.as_str(),
                allocation.status,
                before.map(|before| before.prefix.as_str()),
                before.map(|before| before.next_hop.as_str()),
                json::write_list(&verdict.changes),
                json::write_list(drift),
                json::write_list(&verdict.warnings),
                last.http_status,
                last.latency_us(),
                last.request_id,
                json::write(&Ids::from(&**allocation)),
            ])?;
        db.prepare_cached(
            "INSERT INTO vms (base, vmid, rack_id, allocation, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (base, vmid) DO UPDATE SET rack_id = excluded.rack_id, allocation = excluded.allocation,
                seen_at = excluded.seen_at, unanswered = NULL",
        )?
        .execute(params![
            self.base,
            item.vm.as_str(),
            allocation.rack_id,
            json::write(allocation),
            micros(*at)
        ])?;
        Ok(rows)
    }

    fn settle_failed(
        &self,
        db: &Transaction<'_>,
        settled: &Settled,
        setback: &Setback,
    ) -> Result<usize, rusqlite::Error> {
        let Settled { item, last, at, .. } = settled;
        let before = item.before.as_ref();
        let rows = db
            .prepare_cached(
                "UPDATE items SET state = 2, claimed_at = NULL, attempts = ?3, throttled = ?4, first_sent_at = ?5,
                    settled_at = ?6, outcome = 'failed', failure = ?7, error = ?8, may_have_applied = ?9,
                    http_status = ?10, latency_us = ?11, request_id = ?12, previous_prefix = ?13,
                    previous_next_hop = ?14
                 WHERE run = ?1 AND position = ?2 AND state < 2",
            )?
            .execute(params![
                self.run,
                item.position,
                item.tally.attempts,
                item.tally.throttled,
                item.tally.first_sent.map(micros),
                micros(*at),
                setback.failure.as_str(),
                setback.error,
                !item.unanswered.is_empty(),
                last.http_status,
                last.latency_us(),
                last.request_id,
                before.map(|before| before.prefix.as_str()),
                before.map(|before| before.next_hop.as_str()),
            ])?;
        self.remember_unanswered(db, item.vm.as_str(), &item.unanswered)?;
        Ok(rows)
    }
}
