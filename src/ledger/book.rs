//! A run's items as its writer changes them: batches of requests, each in one transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::{Connection, Row, Transaction, params};

use super::dating::{self, Dating};
use super::draft::RunKey;
use super::item::{Item, RackNo, Tally};
use super::statements::Statements;
use super::writer::{Claimed, Counted, Reply, Request, Take, WriteError};
use super::{json, store, timestamp};
use crate::allocation::Expected;
use crate::clock::{self, Clock};
use crate::outcome::FirstCall;

/// The most pending VMs that are read ahead of their claims, over all racks; at least one a rack.
const READ_AHEAD: usize = 4096;

/// The next pending VMs of a rack of those that have a turn before the others.
const NEXT_OF_TURN: &str =
    "SELECT position, i.vmid, action, expected, rack_expected, attempts, throttled, first_sent_at,
        v.allocation, v.unanswered, first_sent_clock, turn
    FROM items i INDEXED BY items_by_turn LEFT JOIN vms v ON v.base = ?5 AND v.vmid = i.vmid
    WHERE run = ?1 AND rack = ?2 AND turn > ?3 AND state = 0 ORDER BY turn LIMIT ?4";

/// The next pending VMs of a rack of all others. Left to itself, SQLite walks through those of all other racks on its way.
const NEXT: &str =
    "SELECT position, i.vmid, action, expected, rack_expected, attempts, throttled, first_sent_at,
        v.allocation, v.unanswered, first_sent_clock, position
    FROM items i INDEXED BY items_by_rack LEFT JOIN vms v ON v.base = ?5 AND v.vmid = i.vmid
    WHERE run = ?1 AND rack = ?2 AND position > ?3 AND state = 0 AND turn IS NULL ORDER BY position LIMIT ?4";

/// What the writer knows of its run.
pub(super) struct Book {
    run: i64,
    base: i64,
    queues: Vec<Queue>,
    /// What the ledger says of our clock, for whoever finds our claims.
    dating: Option<Dating>,
}

/// A rack's pending VMs: first those that have a turn, then the others in the order of the inventory.
struct Queue {
    rack: RackNo,
    rack_id: Option<Arc<str>>,
    /// Read, and not claimed yet.
    next: VecDeque<Item>,
    /// Those with a turn are all read.
    turns_over: bool,
    /// The last turn read or, once they are over, the last position.
    cursor: i64,
}

impl Book {
    pub(super) fn new(run: &RunKey, racks: Vec<Option<Arc<str>>>) -> Self {
        let queue = |(no, rack_id)| Queue {
            rack: RackNo(no),
            rack_id,
            next: VecDeque::new(),
            turns_over: false,
            cursor: -1,
        };
        Self { run: run.no, base: run.base, queues: (0..).zip(racks).map(queue).collect(), dating: None }
    }

    /// Writes a batch in one transaction; the replies hold once this has returned.
    pub(super) fn write(
        &mut self,
        db: &mut Connection,
        batch: impl Iterator<Item = Request>,
    ) -> Result<Vec<Reply>, WriteError> {
        let commit = db.transaction()?;
        let mut replies = Vec::new();
        let mut counted = Vec::new();
        let mut statements = Statements::prepare(&commit, self.run, self.base)?;
        for request in batch {
            match request {
                Request::Claim { again, take, told } => {
                    if !self.dating.as_ref().is_some_and(|dating| dating.still_says(told)) {
                        statements.date(self.dating.insert(Dating::ours(told)))?;
                    }
                    let items = self.take(&commit, take)?;
                    let positions = items.iter().map(|item| item.position);
                    let at = clock::now();
                    statements.claim(positions.chain(again.iter().copied()), at)?;
                    replies.push(Reply::Claimed(Claimed { at, again, items }));
                }
                Request::Release(positions) => {
                    positions.into_iter().try_for_each(|position| statements.unclaim(position).map(drop))?;
                }
                Request::Defer(deferred) => statements.defer(&deferred, self.dating.as_ref())?,
                Request::Brake(brake) => {
                    let note = "UPDATE runs SET braked = ?2 WHERE no = ?1";
                    commit.execute(note, params![self.run, brake.as_str()])?;
                }
                Request::Remember(vm, unanswered) => statements.remember(vm.as_str(), &unanswered)?,
                Request::Settle(settled) => {
                    if !statements.settle(&settled)? {
                        return Err(WriteError::SettledTwice(settled.item.position));
                    }
                    counted.push(Counted {
                        rack: settled.item.rack,
                        outcome: settled.settlement.outcome(),
                        drifted: settled.settlement.has_drift(),
                    });
                }
            }
        }
        drop(statements);
        commit.commit()?;
        store::fold_when_long(db)?;
        if !counted.is_empty() {
            replies.push(Reply::Settled(counted));
        }
        Ok(replies)
    }

    /// The next pending VMs of some racks: fewer where there are no more.
    fn take(&mut self, db: &Transaction<'_>, take: Vec<Take>) -> Result<Vec<Item>, rusqlite::Error> {
        let mut items = Vec::new();
        for Take { rack, vms } in take {
            let vms = vms as usize;
            self.read_ahead(db, rack, vms)?;
            let next = &mut self.queues[rack.0 as usize].next;
            items.extend(next.drain(..vms.min(next.len())));
            if next.is_empty() {
                // Of many racks most have been empty for long: their room would be most of our memory.
                *next = VecDeque::new();
            }
        }
        Ok(items)
    }

    /// Reads pending VMs of a rack until `vms` of them are there, or no more are.
    fn read_ahead(&mut self, db: &Transaction<'_>, rack: RackNo, vms: usize) -> Result<(), rusqlite::Error> {
        let share = READ_AHEAD / self.queues.len();
        let queue = &mut self.queues[rack.0 as usize];
        loop {
            let missing = vms.saturating_sub(queue.next.len());
            if missing == 0 {
                return Ok(());
            }
            let mut next = db.prepare_cached(if queue.turns_over { NEXT } else { NEXT_OF_TURN })?;
            let limit = i64::try_from(missing.max(share)).unwrap_or(i64::MAX);
            let mut rows = next.query(params![self.run, rack.0, queue.cursor, limit, self.base])?;
            while let Some(row) = rows.next()? {
                queue.cursor = row.get(11)?;
                queue.next.push_back(queue.item(row)?);
            }
            if queue.turns_over {
                return Ok(());
            }
            if vms > queue.next.len() {
                (queue.turns_over, queue.cursor) = (true, -1);
            }
        }
    }
}

impl Queue {
    fn item(&self, row: &Row<'_>) -> Result<Item, rusqlite::Error> {
        let mut expected: Expected = json::read(row, 3)?.unwrap_or_default();
        if row.get(4)? {
            expected.rack_id = self.rack_id.as_deref().map(str::to_owned);
        }
        let first_sent = row.get::<_, Option<i64>>(7)?.map(timestamp);
        let dating: Option<Dating> = json::read(row, 10)?;
        let first_call = first_sent.map(|at| match &dating {
            Some(dating) => dating.first_call(at, Clock::ours()),
            None => FirstCall { at, told: None },
        });
        let tally = Tally { attempts: row.get(5)?, throttled: row.get(6)?, first_sent };
        Ok(Item {
            position: row.get(0)?,
            rack: self.rack,
            vm: json::word(row, 1)?,
            action: json::word(row, 2)?,
            expected,
            before: json::read(row, 8)?,
            unanswered: dating::read(row, 9)?,
            first_call,
            tally,
        })
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{StatementStatus, params};

    use super::{Book, NEXT};
    use crate::ledger::tests::{Fixture, begin, take};

    #[test]
    fn the_vms_of_a_rack_are_found_without_a_look_at_those_of_others() {
        let fixture = Fixture::new();
        let ledger = fixture.ledger();
        let mut racks = vec![Some("a"); 1_000];
        racks.extend([Some("b"); 2]);
        racks.extend([Some("c"); 1_000]);
        let run = begin(&ledger, &racks);
        let mut next = ledger.db.prepare(NEXT).unwrap();
        let mut rows = next.query(params![run.no, 1, -1, 9, run.base]).unwrap();
        for position in [1_000, 1_001] {
            assert_eq!(rows.next().unwrap().unwrap().get::<_, i64>(0).unwrap(), position);
        }
        assert!(rows.next().unwrap().is_none());
        drop(rows);
        let steps = next.get_status(StatementStatus::VmStep);
        assert!(steps < 500, "{steps} steps of SQLite's machine");
    }

    #[test]
    fn a_rack_whose_vms_are_taken_holds_no_memory_for_more() {
        let fixture = Fixture::new();
        let mut ledger = fixture.ledger();
        let run = begin(&ledger, &[Some("a"), Some("b"), Some("b")]);
        let mut book = Book::new(&run, ledger.racks(&run).unwrap());
        let transaction = ledger.db.transaction().unwrap();
        let mut room_after = |rack, vms| {
            book.take(&transaction, take(rack, vms)).unwrap();
            book.queues[rack as usize].next.capacity()
        };
        assert_eq!(room_after(0, 1), 0);
        assert!(room_after(1, 1) > 0, "another VM was read ahead");
        assert_eq!(room_after(1, 1), 0);
    }
}
