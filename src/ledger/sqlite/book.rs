//! A run as its writer changes it: batches of requests, each in one transaction. No item is changed where it lies: claims
//! and events are appended, and a row of claims goes once all of its items have an event.

use crate::ledger::numbers::{number, position, span};
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Error, Row, Rows};

use super::claims::Claims;
use super::column::{self, calls, time};
use super::engine_error::engine_error;
use super::pending::Pending;
use super::statements::Statements;
use super::{Run, Sqlite, fold, log};
use crate::allocation::Expected;
use crate::clock;
use crate::ledger::dating::{Dating, first_call};
use crate::ledger::engine::{self, Engine, Vms};
use crate::ledger::error::LedgerError;
use crate::ledger::protocol::{Claimed, Counted, Reply, Request, Take};
use crate::ledger::record::{Deferred, Item, RackNo, RunKey, Setback, Settled, Settlement, Tally};
use crate::outcome::{Failure, Offset};

/// The items of run `?1` without an outcome that have a turn before the others.
const LEFT_OVERS: &str = "SELECT i.no, rack FROM listed i
    WHERE run = ?1 AND turn IS NOT NULL AND outcome IS NULL ORDER BY turn";

/// Those of a span without one, in the order of the inventory.
const OTHERS: &str = "SELECT i.no, rack FROM listed i
    WHERE i.no BETWEEN ?1 AND ?2 AND turn IS NULL AND outcome IS NULL ORDER BY i.no";

/// Items that are read together: a rack's lie side by side in most inventories, and its turns far apart.
const TOGETHER: usize = 4;

/// The most items that are read before their turn.
const AHEAD_CAP: usize = 4096;

/// A run that is written, and its ledger.
pub(super) struct Book {
    sqlite: Sqlite,
    page: Page,
}

/// What the writer knows of its run, whose events before are folded.
struct Page {
    run: Run,
    racks: Vec<Option<Arc<str>>>,
    pending: Pending,
    /// Read before their turn, by position: until then nothing happens to them.
    ahead: HashMap<u32, Item>,
    claims: Claims,
    settled: Positions,
    /// Nothing had happened before this sitting.
    is_new: bool,
    last_event: i64,
    /// What the ledger says of our clock, for whoever finds our claims.
    dating: Option<Dating>,
    /// By whose clock items that wait for another call were first called; `None` where an older ledger does not say.
    first_sent: HashMap<i64, Option<Dating>>,
}

/// Why a batch was not written.
enum WriteError {
    Sqlite(Error),
    SettledTwice(i64),
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A set of them.
#[derive(Default)]
struct Positions(Vec<u64>);

impl Positions {
    fn contains(&self, position: u32) -> bool {
        self.0.get(position as usize / 64).is_some_and(|word| word & 1 << (position % 64) != 0)
    }

    /// Returns whether it is new.
    fn insert(&mut self, position: u32) -> bool {
        let (word, bit) = (position as usize / 64, 1 << (position % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}

impl Book {
    pub(super) fn open(sqlite: Sqlite, run: &RunKey) -> Result<Self, LedgerError> {
        let racks = sqlite.racks(run)?;
        let run = sqlite.run(run)?;
        let pending = sqlite.ask(|db| pending(db, run.no, racks.len()))?;
        let (is_new, last_event) =
            sqlite.ask(|db| Ok((is_new(db, run.no)?, fold::last_event(db, run.no)?)))?;
        let page = Page {
            run,
            racks,
            pending,
            ahead: HashMap::new(),
            claims: Claims::default(),
            settled: Positions::default(),
            is_new: is_new && last_event.is_none(),
            last_event: last_event.unwrap_or(number(run.no, 0)),
            dating: None,
            first_sent: HashMap::new(),
        };
        Ok(Self { sqlite, page })
    }
}

impl engine::Book for Book {
    fn write(&mut self, batch: &mut dyn Iterator<Item = Request>) -> Result<Vec<Reply>, LedgerError> {
        self.sqlite.check()?;
        self.page.write(&mut self.sqlite.db, batch).map_err(|error| match error {
            WriteError::Sqlite(error) => engine_error(&self.sqlite.path)(error),
            WriteError::SettledTwice(position) => LedgerError::SettledTwice(position),
        })
    }

    fn shut(self: Box<Self>) -> Box<dyn Engine> {
        Box::new(self.sqlite)
    }
}

impl Page {
    /// Writes a batch in one transaction.
    fn write(
        &mut self,
        db: &mut Connection,
        batch: &mut dyn Iterator<Item = Request>,
    ) -> Result<Vec<Reply>, WriteError> {
        let commit = db.transaction()?;
        let mut replies = Vec::new();
        let mut counted = Vec::new();
        let mut statements = Statements::prepare(&commit, self.run, self.is_new, self.last_event)?;
        for request in batch {
            match request {
                Request::Claim { again, take, offset, .. } => {
                    replies.push(Reply::Claimed(self.claim(&mut statements, again, take, offset)?));
                }
                Request::Release(positions) | Request::GiveBack(positions) => {
                    for position in positions {
                        self.claims.release(short(position));
                    }
                }
                Request::Defer(deferred) => self.defer(&mut statements, &deferred)?,
                Request::Brake(brake) => statements.brake(brake)?,
                Request::Remember(vm, unanswered) => statements.remember(&vm, &unanswered)?,
                // It has one worker, whose lease never runs out, and whose pace is its own.
                Request::Stop(_)
                | Request::Rejoin
                | Request::Tick
                | Request::Pace(_)
                | Request::Breaker(..) => {}
                Request::Settle(settled) => counted.push(self.settle(&mut statements, &settled)?),
            }
        }
        for (row, positions) in self.claims.outdated() {
            statements.keep_claims(row, &positions)?;
        }
        self.last_event = statements.last_event();
        drop(statements);
        commit.commit()?;
        log::checkpoint_when_long(db)?;
        if !counted.is_empty() {
            replies.push(Reply::Settled(counted));
        }
        Ok(replies)
    }

    fn claim(
        &mut self,
        statements: &mut Statements<'_>,
        again: Vec<i64>,
        take: Vec<Take>,
        offset: Option<Offset>,
    ) -> Result<Claimed, Error> {
        if !self.dating.as_ref().is_some_and(|dating| dating.still_says(offset)) {
            statements.date(self.dating.insert(Dating::ours(offset)))?;
        }
        let mut items = Vec::new();
        for Take { rack, vms } in take {
            let taken: Vec<u32> = (0..vms).map_while(|_| self.pending.take(rack.0)).collect();
            for position in taken {
                items.push(self.read(statements, position)?);
            }
        }
        let claimed: Vec<u32> =
            again.iter().copied().chain(items.iter().map(|item: &Item| item.position)).map(short).collect();
        let at = clock::now();
        if !claimed.is_empty() {
            self.claims.claim(statements.claim(&claimed, at)?, claimed.into_iter());
        }
        Ok(Claimed { at, again, items })
    }

    /// An item whose turn has come; those behind it are read ahead.
    fn read(&mut self, statements: &mut Statements<'_>, position: u32) -> Result<Item, Error> {
        if let Some(item) = self.ahead.remove(&position) {
            return Ok(item);
        }
        let room = (AHEAD_CAP - self.ahead.len()).min(TOGETHER - 1);
        let behind: Vec<u32> = self.pending.behind(position).take(room).collect();
        let item = statements.item(position, |row| self.item(position, row))?;
        for position in behind {
            let item = statements.item(position, |row| self.item(position, row))?;
            self.ahead.insert(position, item);
        }
        Ok(item)
    }

    fn defer(&mut self, statements: &mut Statements<'_>, deferred: &Deferred) -> Result<(), WriteError> {
        let position = short(deferred.position);
        if self.settled.contains(position) {
            return Err(WriteError::SettledTwice(deferred.position));
        }
        self.claims.settle(position);
        let first_sent = match deferred.tally.first_sent {
            Some(_) => {
                self.first_sent.entry(deferred.position).or_insert_with(|| self.dating.clone()).as_ref()
            }
            None => None,
        };
        Ok(statements.defer(deferred, first_sent)?)
    }

    /// An item is settled once, and after its claim where it succeeded.
    fn settle(&mut self, statements: &mut Statements<'_>, settled: &Settled) -> Result<Counted, WriteError> {
        let Settled { item, settlement, .. } = settled;
        let position = short(item.position);
        let may_be = self.claims.settle(position) || matches!(settlement, Settlement::Failed(_));
        if !may_be || !self.settled.insert(position) {
            return Err(WriteError::SettledTwice(item.position));
        }
        self.first_sent.remove(&item.position);
        statements.settle(settled)?;
        Ok(Counted { rack: item.rack, outcome: settlement.outcome(), drifted: settlement.has_drift() })
    }

    /// Reads the columns of [`Statements::item`].
    fn item(&mut self, position: u32, row: &Row<'_>) -> Result<Item, Error> {
        let rack: u32 = row.get(3)?;
        let mut expected: Expected = column::json(row, 2)?.unwrap_or_default();
        if row.get(4)? {
            expected.rack_id = self.racks[rack as usize].as_deref().map(str::to_owned);
        }
        let position = i64::from(position);
        let first_sent = time(row, 9)?;
        let dating: Option<Dating> = column::json(row, 10)?;
        let first_call = first_sent.map(|at| first_call(at, dating.as_ref()));
        if first_sent.is_some() {
            self.first_sent.insert(position, dating);
        }
        Ok(Item {
            position,
            rack: RackNo(rack),
            vm: column::word(row, 0)?,
            action: column::word(row, 1)?,
            expected,
            before: column::shaped(row, 5)?,
            unanswered: column::attempts(row, 6)?,
            first_call,
            tally: Tally { attempts: calls(row, 7)?, throttled: calls(row, 8)?, first_sent },
            setback: setback(row)?,
        })
    }
}

/// What an item's calls had come to before this sitting, of the columns of [`Statements::item`].
fn setback(row: &Row<'_>) -> Result<Option<Setback>, Error> {
    let Some(failure) = row.get_ref(11)?.as_str_or_null()?.and_then(Failure::from_word) else {
        return Ok(None);
    };
    let error: Option<String> = row.get(12)?;
    Ok(Some(Setback { failure, error: error.unwrap_or_default(), may_have_applied: row.get(13)? }))
}

/// Whether nothing has happened to a run's items.
fn is_new(db: &Connection, run: i64) -> Result<bool, Error> {
    let is_new = "SELECT NOT EXISTS (SELECT 1 FROM latest WHERE item BETWEEN ?1 AND ?2)";
    db.query_row(is_new, span(run), |row| row.get(0))
}

fn pending(db: &Connection, run: i64, racks: usize) -> Result<Pending, Error> {
    let mut pending = Pending::new(racks);
    let mut push = |mut items: Rows<'_>| -> Result<(), Error> {
        while let Some(item) = items.next()? {
            pending.push(item.get(1)?, short(position(item.get(0)?)));
        }
        Ok(())
    };
    push(db.prepare(LEFT_OVERS)?.query([run])?)?;
    push(db.prepare(OTHERS)?.query(span(run))?)?;
    Ok(pending)
}

/// No run has 2^32 VMs.
fn short(position: i64) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
