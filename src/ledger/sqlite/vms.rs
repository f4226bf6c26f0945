//! The VMs of a run, and what each has come to.

use crate::ledger::numbers::span;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, Error, OptionalExtension, Params, Row as SqlRow, params};

use super::Sqlite;
use super::column::{self, calls, count, kind, time, timestamp};
use crate::difference::Standing;
use crate::inventory::Vm;
use crate::ledger::engine::{Each, IN_FLIGHT, Vms};
use crate::ledger::error::LedgerError;
use crate::ledger::record::{Entry, Pair, PendingVms, Row, RunKey, Skipped};
use crate::ledger::sums::{Line, Sums};
use crate::outcome::{Basis, Failure, Kind, Outcome};
use crate::vm::VmId;

/// What [`row`] reads of an item `i`. What most items do not need is not looked up for them.
const ROW: &str = "
    vmid, name, coalesce(i.rack_id, CASE rack_expected WHEN 1
        THEN (SELECT r.rack_id FROM racks r WHERE r.run = i.run AND r.no = i.rack) END), i.action, in_flight, outcome,
    basis, prefix, next_hop, status, previous_prefix, previous_next_hop, changes, drift, failure,
    may_have_applied, http_status, error, attempts, first_sent_at, settled_at, latency_us, request_id,
    i.warnings, labels, throttled, planned_next_hop";

/// How many they are.
const ROWS: usize = 27;

/// What [`line`] reads of an item.
const LINE: &str = "rack, vmid, outcome, failure, error, may_have_applied, in_flight, attempts, throttled,
    drift IS NOT NULL, warnings IS NOT NULL, prefix, next_hop, planned_next_hop";

/// What stands in an event for a previous text that was answered again.
pub(super) const SAME: &str = "";

impl Vms for Sqlite {
    fn racks(&self, run: &RunKey) -> Result<Vec<Option<Arc<str>>>, LedgerError> {
        let run = self.run(run)?;
        self.ask(|db| racks(db, run.no))
    }

    fn rack_ids(&self) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT DISTINCT rack_id FROM racks WHERE rack_id IS NOT NULL ORDER BY rack_id";
        self.ask(|db| db.prepare(sql)?.query_map([], |row| row.get(0))?.collect())
    }

    fn sums(&self, run: &RunKey) -> Result<Sums, LedgerError> {
        let run = self.run(run)?;
        self.ask(|db| {
            let mut sums = Sums::new(&racks(db, run.no)?, run.kind);
            let sql = format!("SELECT {LINE} FROM listed i WHERE i.no BETWEEN ?1 AND ?2 ORDER BY i.no");
            let mut items = db.prepare_cached(&sql)?;
            let mut items = items.query(span(run.no))?;
            while let Some(item) = items.next()? {
                sums.add(&line(item, run.kind)?);
            }
            Ok(sums.sorted())
        })
    }

    fn rows(&self, run: &RunKey, each: Each<'_, Row>) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = format!("SELECT {ROW} FROM listed i WHERE i.no BETWEEN ?1 AND ?2 ORDER BY i.no");
        self.ask(|db| show(db, &sql, span(run.no), |item| row(item, run.kind), each)).map(drop)
    }

    fn skipped(&self, run: &RunKey, each: Each<'_, Skipped>) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = "SELECT file, line, field, reason FROM skipped WHERE run = ?1 ORDER BY rowid";
        let skipped = |row: &SqlRow<'_>| {
            Ok(Skipped { file: row.get(0)?, line: row.get(1)?, column: row.get(2)?, reason: row.get(3)? })
        };
        self.ask(|db| show(db, sql, [run.no], skipped, each)).map(drop)
    }

    fn pairs(&self, from: &RunKey, to: &RunKey, each: Each<'_, Pair>) -> Result<(), LedgerError> {
        let (from, to) = (self.run(from)?, self.run(to)?);
        self.ask(|db| {
            let both = |vm, rack, own, other| each(Pair { vm, rack, before: other, after: Some(own) });
            if each_beside(db, to.no, from.no, both)?.is_break() {
                return Ok(());
            }
            let gone = |vm, rack, own, other: Option<_>| match other {
                Some(_) => ControlFlow::Continue(()),
                None => each(Pair { vm, rack, before: Some(own), after: None }),
            };
            each_beside(db, from.no, to.no, gone).map(drop)
        })
    }

    fn each_vm(&self, run: &RunKey, each: &mut dyn FnMut(&str, Option<&str>)) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = "SELECT vmid, CASE rack_expected WHEN 1 THEN r.rack_id END
                   FROM items i JOIN racks r ON r.run = i.run AND r.no = i.rack WHERE i.no BETWEEN ?1 AND ?2 ORDER BY i.no";
        self.ask(|db| {
            let mut items = db.prepare(sql)?;
            let mut items = items.query(span(run.no))?;
            while let Some(item) = items.next()? {
                each(item.get_ref(0)?.as_str()?, item.get_ref(1)?.as_str_or_null()?);
            }
            Ok(())
        })
    }

    fn each_prefix(&self, run: &RunKey, each: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = "SELECT vmid, prefix FROM listed i WHERE i.no BETWEEN ?1 AND ?2 AND prefix IS NOT NULL ORDER BY i.no";
        self.ask(|db| {
            let mut items = db.prepare(sql)?;
            let mut items = items.query(span(run.no))?;
            while let Some(item) = items.next()? {
                each(item.get_ref(0)?.as_str()?, item.get_ref(1)?.as_str()?);
            }
            Ok(())
        })
    }

    fn pending(&self, run: &RunKey) -> Result<Vec<PendingVms>, LedgerError> {
        let run = self.run(run)?;
        let sql = "SELECT r.rack_id, count(*), count((SELECT k.rack_id FROM known k WHERE k.base = ?3 AND k.vmid = i.vmid))
             FROM listed i JOIN racks r ON r.run = i.run AND r.no = i.rack
             WHERE i.no BETWEEN ?1 AND ?2 AND outcome IS NULL GROUP BY i.rack";
        let pending = |row: &SqlRow<'_>| {
            Ok(PendingVms { rack_id: row.get(0)?, vms: count(row, 1)?, known: count(row, 2)? })
        };
        let [first, last] = span(run.no);
        self.ask(|db| db.prepare(sql)?.query_map([first, last, run.base], pending)?.collect())
    }

    fn outcome_in(&self, run: &RunKey, vm: &VmId) -> Result<Option<Outcome>, LedgerError> {
        let run = self.run(run)?;
        let sql = "SELECT outcome FROM listed i WHERE vmid = ?1 AND run = ?2";
        self.ask(|db| {
            db.prepare_cached(sql)?.query_row(params![vm.as_str(), run.no], |row| outcome(row, 0)).optional()
        })
    }

    fn names(&self, only: Option<&str>) -> Result<Vec<(String, VmId)>, LedgerError> {
        let sql = "SELECT DISTINCT i.name, i.vmid FROM items i JOIN runs ON runs.no = i.run
            WHERE i.name IS NOT NULL AND (?1 IS NULL OR i.name = ?1) AND NOT pruned ORDER BY i.name, i.vmid";
        self.ask(|db| {
            db.prepare(sql)?.query_map([only], |row| Ok((row.get(0)?, column::word(row, 1)?)))?.collect()
        })
    }

    fn entries(&self, vm: &VmId) -> Result<Vec<Entry>, LedgerError> {
        let sql = format!(
            "SELECT {ROW}, ru.id, url, started_at, dialect, kind
             FROM runs ru JOIN bases ON bases.id = ru.base CROSS JOIN listed i
             WHERE i.run = ru.no AND vmid = ?1 AND NOT pruned ORDER BY ru.no DESC"
        );
        let entry = |entry: &SqlRow<'_>| {
            let kind = kind(entry, ROWS + 4)?;
            Ok(Entry {
                run: entry.get(ROWS)?,
                kind,
                base_url: entry.get(ROWS + 1)?,
                dialect: column::word(entry, ROWS + 3)?,
                started_at: timestamp(entry.get(ROWS + 2)?),
                row: row(entry, kind)?,
            })
        };
        self.ask(|db| db.prepare(&sql)?.query_map([vm.as_str()], entry)?.collect())
    }
}

/// Shows each row that `sql` finds, as `read` reads it.
fn show<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&SqlRow<'_>) -> Result<T, Error>,
    each: Each<'_, T>,
) -> Result<ControlFlow<()>, Error> {
    let mut rows = db.prepare(sql)?;
    let mut rows = rows.query(values)?;
    while let Some(row) = rows.next()? {
        if each(read(row)?).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn racks(db: &Connection, run: i64) -> Result<Vec<Option<Arc<str>>>, Error> {
    let mut racks = db.prepare("SELECT rack_id FROM racks WHERE run = ?1 ORDER BY no")?;
    racks.query_map([run], |row| row.get(0))?.collect()
}

/// What stands in `column`; an item without one has failed so far.
fn outcome(item: &SqlRow<'_>, column: usize) -> Result<Outcome, Error> {
    Ok(text(item, column)?.and_then(Outcome::from_word).unwrap_or(Outcome::Failed))
}

fn row(item: &SqlRow<'_>, kind: Kind) -> Result<Row, Error> {
    let in_flight: bool = item.get(4)?;
    let word = |column| text(item, column).map(Option::unwrap_or_default);
    let outcome = outcome(item, 5)?;
    let failure = Failure::from_word(word(14)?).unwrap_or(Failure::NotAttempted);
    Ok(Row {
        vmid: item.get(0)?,
        name: item.get(1)?,
        rack_id: item.get(2)?,
        action: column::word(item, 3)?,
        outcome,
        basis: Basis::from_word(word(6)?),
        prefix: item.get(7)?,
        next_hop: item.get(8)?,
        planned_next_hop: item.get(26)?,
        status: item.get(9)?,
        previous_prefix: previous(item, 10, 7)?,
        previous_next_hop: previous(item, 11, 8)?,
        changes: column::list(item, 12)?,
        drift: column::list(item, 13)?,
        failure: (outcome == Outcome::Failed).then_some(failure),
        may_have_applied: item.get::<_, Option<bool>>(15)? == Some(true) || may_act(in_flight, kind),
        http_status: item.get(16)?,
        error: if in_flight { Some(IN_FLIGHT.to_owned()) } else { item.get(17)? },
        attempts: calls(item, 18)?,
        throttled: calls(item, 25)?,
        first_sent_at: time(item, 19)?,
        settled_at: time(item, 20)?,
        latency_ms: item.get::<_, Option<u32>>(21)?.map(|micros| f64::from(micros) / 1000.0),
        request_id: item.get(22)?,
        warnings: column::json(item, 23)?.unwrap_or_default(),
        labels: column::json(item, 24)?.unwrap_or_default(),
    })
}

/// The text of `column`, or of `now` where it was answered again.
fn previous(item: &SqlRow<'_>, column: usize, now: usize) -> Result<Option<String>, Error> {
    match text(item, column)? {
        Some(SAME) => item.get(now),
        _ => item.get(column),
    }
}

/// Whether the call that is in flight can do anything.
fn may_act(in_flight: bool, kind: Kind) -> bool {
    in_flight && kind == Kind::Run
}

fn line<'r>(item: &'r SqlRow<'_>, kind: Kind) -> Result<Line<'r>, Error> {
    let text = |column| text(item, column);
    Ok(Line {
        rack: item.get(0)?,
        vmid: item.get_ref(1)?.as_str()?,
        outcome: text(2)?.and_then(Outcome::from_word),
        failure: text(3)?.and_then(Failure::from_word),
        error: text(4)?,
        may_have_applied: item.get::<_, Option<bool>>(5)? == Some(true) || may_act(item.get(6)?, kind),
        attempts: calls(item, 7)?,
        throttled: calls(item, 8)?,
        has_drift: item.get(9)?,
        has_warnings: item.get(10)?,
        prefix: text(11)?,
        next_hop: text(12)?,
        planned_next_hop: text(13)?,
    })
}

/// Shows the items of one run, each with what another run says of its VM.
fn each_beside(
    db: &Connection,
    own: i64,
    other: i64,
    mut each: impl FnMut(Vm, Option<String>, Standing, Option<Standing>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let mut others = db.prepare(&format!("SELECT {STANDING} FROM listed WHERE run = ?1 AND vmid = ?2"))?;
    let mut items = db.prepare(&format!(
        "SELECT {STANDING}, vmid, name, action, expected, labels,
            (SELECT r.rack_id FROM racks r WHERE r.run = i.run AND r.no = i.rack)
         FROM listed i WHERE i.no BETWEEN ?1 AND ?2 ORDER BY i.no"
    ))?;
    let mut items = items.query(span(own))?;
    while let Some(item) = items.next()? {
        let vm = vm(item, STANDINGS)?;
        let beside = others.query_row(params![other, vm.id.as_str()], standing).optional()?;
        if each(vm, item.get(STANDINGS + 5)?, standing(item)?, beside).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What [`standing`] reads of an item.
const STANDING: &str = "outcome, failure, error, rack_id, prefix, next_hop, status, ids, planned_next_hop";

/// How many they are.
const STANDINGS: usize = 9;

fn standing(row: &SqlRow<'_>) -> Result<Standing, Error> {
    let outcome = outcome(row, 0)?;
    let failure = text(row, 1)?.and_then(Failure::from_word).unwrap_or(Failure::NotAttempted);
    Ok(Standing {
        outcome,
        failure: (outcome == Outcome::Failed).then_some(failure),
        error: row.get(2)?,
        rack_id: row.get(3)?,
        prefix: row.get(4)?,
        next_hop: row.get(5)?,
        planned_next_hop: row.get(8)?,
        status: row.get(6)?,
        ids: column::shaped(row, 7)?,
    })
}

fn vm(row: &SqlRow<'_>, at: usize) -> Result<Vm, Error> {
    Ok(Vm {
        id: column::word(row, at)?,
        name: row.get(at + 1)?,
        action: Some(column::word(row, at + 2)?),
        expected: column::json(row, at + 3)?.unwrap_or_default(),
        labels: column::json(row, at + 4)?.unwrap_or_default(),
    })
}

fn text<'r>(row: &'r SqlRow<'_>, column: usize) -> Result<Option<&'r str>, Error> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}
