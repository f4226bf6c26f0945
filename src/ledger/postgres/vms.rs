//! The VMs of a run, and what each has come to. They are read as they come in, however many there are.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio_postgres::{Error, Row as SqlRow};

use super::column::{self, count};
use super::database::Postgres;
use super::question::Question;
use crate::difference::Standing;
use crate::inventory::Vm;
use crate::ledger::engine::{Each, IN_FLIGHT, Vms};
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::span;
use crate::ledger::record::{Entry, Pair, PendingVms, Row, RunKey, Skipped};
use crate::ledger::sums::{Line, Sums};
use crate::outcome::{Basis, Failure, Kind, Outcome};
use crate::vm::VmId;

/// What is looked for is mostly found among so many VMs; the others are asked for once it is not.
const FIRST: i64 = 2_000;

/// A run's items, with what has become of each.
const LISTED: &str = "v6fleet.items i LEFT JOIN v6fleet.progress p ON p.item = i.no";

/// The items from the number `$1` to `$2`.
const ORDERED: &str = "WHERE i.no BETWEEN $1 AND $2 ORDER BY i.no";

/// That a call is in flight, or was when the process died.
const IS_IN_FLIGHT: &str = "(p.claimed_at IS NOT NULL AND p.outcome IS NULL)";

/// The inventory's rack of an item.
const EXPECTED_RACK: &str = "CASE WHEN i.rack_expected THEN (SELECT r.rack_id FROM v6fleet.racks r WHERE r.run = i.run AND r.no = i.rack) END";

/// What [`row`] reads of an item, behind its number.
const ROW: &str = "i.vmid, i.name, p.rack_id, i.action, p.outcome, p.basis, p.prefix, p.next_hop, p.status, p.previous_prefix,
    p.previous_next_hop, p.changes, p.drift, p.failure, p.may_have_applied, p.http_status, p.error, p.attempts,
    p.first_sent_at, p.settled_at, p.latency_us, p.request_id, p.warnings, i.labels, p.throttled, p.planned_next_hop";

/// How many they are, with the number, the expected rack and whether a call is in flight.
const ROW_COLUMNS: usize = 29;

/// The racks of run `$1`.
pub(super) const RACKS: &str = "SELECT rack_id FROM v6fleet.racks WHERE run = $1 ORDER BY no";

/// What [`standing`] reads of an item.
macro_rules! standing {
    ($of:literal) => {
        concat!(
            $of,
            ".outcome, ",
            $of,
            ".failure, ",
            $of,
            ".error, ",
            $of,
            ".rack_id, ",
            $of,
            ".prefix, ",
            $of,
            ".next_hop, ",
            $of,
            ".status, ",
            $of,
            ".ids, ",
            $of,
            ".planned_next_hop"
        )
    };
}

impl Postgres {
    /// Shows what `sql` finds of a run's items, each as `read` reads it.
    fn show<T>(
        &self,
        sql: &str,
        run: i64,
        read: impl Fn(&SqlRow) -> Result<T, Error>,
        each: Each<'_, T>,
    ) -> Result<(), LedgerError> {
        let [first, last] = span(run);
        self.session.each(sql, &[&first, &last], &mut |row| Ok(each(read(row)?))).map(drop)
    }

    /// A run's VMs added up, and the answers to what else is asked in the same round trip.
    pub(super) fn sums_beside<const N: usize>(
        &self,
        run: &RunKey,
        asked: &[Question; N],
    ) -> Result<(Sums, [Vec<SqlRow>; N]), LedgerError> {
        let racks = self.racks(run)?;
        let run = self.run(run)?;
        let mut sums = Sums::new(&racks, run.kind);
        let sql = format!("SELECT i.no, {LINE} FROM {LISTED} {ORDERED}");
        let [first, last] = span(run.no);
        let mut add = |row: &SqlRow| {
            let error = column::text(row, 5)?;
            sums.add(&Line { error: error.as_deref(), ..line(row, run.kind)? });
            Ok(ControlFlow::Continue(()))
        };
        let (answers, _) = self.session.each_beside(asked, &sql, &[&first, &last], &mut add)?;
        Ok((sums.sorted(), answers))
    }

    /// Shows the items of one run, each with what another run says of its VM: the first ones, then all others.
    fn each_beside(
        &self,
        own: i64,
        other: i64,
        each: Each<'_, Beside>,
    ) -> Result<ControlFlow<()>, LedgerError> {
        let sql = format!(
            "SELECT i.no, i.vmid, i.name, i.action, i.expected, i.labels,
                (SELECT r.rack_id FROM v6fleet.racks r WHERE r.run = i.run AND r.no = i.rack),
                o.no IS NOT NULL, {}, {}
             FROM {LISTED} LEFT JOIN v6fleet.items o ON o.run = $4 AND o.vmid = i.vmid
                LEFT JOIN v6fleet.progress q ON q.item = o.no
             {ORDERED} LIMIT $3",
            standing!("p"),
            standing!("q")
        );
        let [mut next, last] = span(own);
        for limit in [Some(FIRST), None] {
            let (first, mut found) = (next, 0);
            let shown = self.session.each(&sql, &[&first, &last, &limit, &other], &mut |row| {
                (next, found) = (row.try_get::<_, i64>(0)? + 1, found + 1);
                Ok(each(beside(row)?))
            })?;
            if shown.is_break() || limit.is_some_and(|limit| found < limit) {
                return Ok(shown);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A VM of one run, and what another says of it.
struct Beside {
    vm: Vm,
    rack: Option<String>,
    own: Standing,
    other: Option<Standing>,
}

impl Vms for Postgres {
    fn racks(&self, run: &RunKey) -> Result<Vec<Option<Arc<str>>>, LedgerError> {
        let run = self.run(run)?;
        if let Some((_, known)) = self.last_racks.borrow().as_ref().filter(|(last, _)| *last == run.no) {
            return Ok(known.clone());
        }
        let racks = self.session.all(RACKS, &[&run.no], rack)?;
        self.last_racks.replace(Some((run.no, racks.clone())));
        Ok(racks)
    }

    fn rack_ids(&self) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT DISTINCT rack_id FROM v6fleet.racks WHERE rack_id IS NOT NULL ORDER BY rack_id";
        self.session.all(sql, &[], |row| Ok(column::text(row, 0)?.unwrap_or_default()))
    }

    fn sums(&self, run: &RunKey) -> Result<Sums, LedgerError> {
        self.sums_beside(run, &[]).map(|(sums, [])| sums)
    }

    fn rows(&self, run: &RunKey, each: Each<'_, Row>) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = format!("SELECT i.no, {EXPECTED_RACK}, {IS_IN_FLIGHT}, {ROW} FROM {LISTED} {ORDERED}");
        self.show(&sql, run.no, |item| row(item, run.kind), each)
    }

    fn skipped(&self, run: &RunKey, each: Each<'_, Skipped>) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = "SELECT no, file, line, field, reason FROM v6fleet.skipped WHERE run = $1 ORDER BY no";
        let skipped = |row: &SqlRow| {
            let text = |nth| column::text(row, nth).map(Option::unwrap_or_default);
            Ok(Skipped { file: text(1)?, line: row.try_get(2)?, column: text(3)?, reason: text(4)? })
        };
        self.session.each(sql, &[&run.no], &mut |row| Ok(each(skipped(row)?))).map(drop)
    }

    fn pairs(&self, from: &RunKey, to: &RunKey, each: Each<'_, Pair>) -> Result<(), LedgerError> {
        let (from, to) = (self.run(from)?, self.run(to)?);
        let both = self.each_beside(to.no, from.no, &mut |Beside { vm, rack, own, other }| {
            each(Pair { vm, rack, before: other, after: Some(own) })
        });
        if both?.is_break() {
            return Ok(());
        }
        let gone = self.each_beside(from.no, to.no, &mut |Beside { vm, rack, own, other }| match other {
            Some(_) => ControlFlow::Continue(()),
            None => each(Pair { vm, rack, before: Some(own), after: None }),
        });
        gone.map(drop)
    }

    fn each_vm(&self, run: &RunKey, each: &mut dyn FnMut(&str, Option<&str>)) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = format!("SELECT i.vmid, {EXPECTED_RACK} FROM v6fleet.items i {ORDERED}");
        let [first, last] = span(run.no);
        let mut show = |row: &SqlRow| {
            each(row.try_get(0)?, column::text(row, 1)?.as_deref());
            Ok(ControlFlow::Continue(()))
        };
        self.session.each(&sql, &[&first, &last], &mut show).map(drop)
    }

    fn each_prefix(&self, run: &RunKey, each: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = format!("SELECT i.vmid, p.prefix FROM {LISTED} {ORDERED}");
        let [first, last] = span(run.no);
        let mut show = |row: &SqlRow| {
            if let Some(prefix) = row.try_get(1)? {
                each(row.try_get(0)?, prefix);
            }
            Ok(ControlFlow::Continue(()))
        };
        self.session.each(&sql, &[&first, &last], &mut show).map(drop)
    }

    fn pending(&self, run: &RunKey) -> Result<Vec<PendingVms>, LedgerError> {
        let run = self.run(run)?;
        let sql = format!(
            "SELECT r.rack_id, count(*), count(v.rack_id) FROM {LISTED}
                JOIN v6fleet.racks r ON r.run = i.run AND r.no = i.rack
                LEFT JOIN v6fleet.vms v ON v.base = $3 AND v.vmid = i.vmid
             WHERE i.no BETWEEN $1 AND $2 AND p.outcome IS NULL GROUP BY r.no, r.rack_id ORDER BY r.no"
        );
        let [first, last] = span(run.no);
        let pending = |row: &SqlRow| {
            Ok(PendingVms { rack_id: column::text(row, 0)?, vms: count(row, 1)?, known: count(row, 2)? })
        };
        self.session.all(&sql, &[&first, &last, &run.base], pending)
    }

    fn outcome_in(&self, run: &RunKey, vm: &VmId) -> Result<Option<Outcome>, LedgerError> {
        let sql = format!(
            "SELECT i.vmid, p.outcome FROM {LISTED} WHERE i.run = (SELECT no FROM v6fleet.runs WHERE id = $1)
                AND i.vmid >= $2 ORDER BY i.vmid LIMIT $3"
        );
        let read = |vms: i64| {
            let values = [&run.id as _, &vm.as_str() as _, &vms as _];
            self.session.all(&sql, &values, |row| Ok((row.try_get(0)?, outcome(row, 1)?)))
        };
        self.outcomes_ahead.borrow_mut().ask(&run.id, vm.as_str(), read)
    }

    fn names(&self, only: Option<&str>) -> Result<Vec<(String, VmId)>, LedgerError> {
        let sql = r#"SELECT DISTINCT i.name COLLATE "C", i.vmid COLLATE "C" FROM v6fleet.items i JOIN v6fleet.runs r ON r.no = i.run
            WHERE i.name IS NOT NULL AND ($1::text IS NULL OR i.name = $1) AND NOT r.pruned ORDER BY 1, 2"#;
        self.session
            .all(sql, &[&only], |row| Ok((column::text(row, 0)?.unwrap_or_default(), column::word(row, 1)?)))
    }

    fn entries(&self, vm: &VmId) -> Result<Vec<Entry>, LedgerError> {
        let sql = format!(
            "SELECT i.no, {EXPECTED_RACK}, {IS_IN_FLIGHT}, {ROW}, ru.id, b.url, ru.started_at, b.dialect, ru.kind
             FROM {LISTED} JOIN v6fleet.runs ru ON ru.no = i.run JOIN v6fleet.bases b ON b.id = ru.base
             WHERE i.vmid = $1 AND NOT ru.pruned ORDER BY ru.no DESC"
        );
        self.session.all(&sql, &[&vm.as_str()], |entry| {
            let kind = column::kind(entry, ROW_COLUMNS + 4)?;
            Ok(Entry {
                run: entry.try_get(ROW_COLUMNS)?,
                kind,
                dialect: column::word(entry, ROW_COLUMNS + 3)?,
                base_url: entry.try_get(ROW_COLUMNS + 1)?,
                started_at: column::at(entry, ROW_COLUMNS + 2)?,
                row: row(entry, kind)?,
            })
        })
    }
}

pub(super) fn rack(row: &SqlRow) -> Result<Option<Arc<str>>, Error> {
    Ok(column::text(row, 0)?.map(Arc::from))
}

/// What stands in `column`; an item without one has failed so far.
fn outcome(row: &SqlRow, column: usize) -> Result<Outcome, Error> {
    Ok(column::known_word(row, column, Outcome::from_word)?.unwrap_or(Outcome::Failed))
}

/// Whether the call that is in flight can do anything.
fn may_act(in_flight: bool, kind: Kind) -> bool {
    in_flight && kind == Kind::Run
}

fn row(item: &SqlRow, kind: Kind) -> Result<Row, Error> {
    let text = |nth| column::text(item, nth);
    let in_flight: bool = item.try_get(2)?;
    let outcome = outcome(item, 7)?;
    let failure = column::known_word(item, 16, Failure::from_word)?.unwrap_or(Failure::NotAttempted);
    let latency: Option<u32> = column::small(item, 23)?;
    Ok(Row {
        vmid: item.try_get(3)?,
        name: text(4)?,
        rack_id: text(5)?.or(text(1)?),
        action: column::word(item, 6)?,
        outcome,
        basis: column::known_word(item, 8, Basis::from_word)?,
        prefix: text(9)?,
        next_hop: text(10)?,
        planned_next_hop: text(28)?,
        status: text(11)?,
        previous_prefix: text(12)?,
        previous_next_hop: text(13)?,
        changes: column::list(item, 14)?,
        drift: column::list(item, 15)?,
        failure: (outcome == Outcome::Failed).then_some(failure),
        may_have_applied: item.try_get::<_, Option<bool>>(17)? == Some(true) || may_act(in_flight, kind),
        http_status: column::small(item, 18)?,
        error: if in_flight { Some(IN_FLIGHT.to_owned()) } else { text(19)? },
        attempts: column::small(item, 20)?.unwrap_or_default(),
        throttled: column::small(item, 27)?.unwrap_or_default(),
        first_sent_at: column::time(item, 21)?,
        settled_at: column::time(item, 22)?,
        latency_ms: latency.map(|micros| f64::from(micros) / 1000.0),
        request_id: text(24)?,
        warnings: column::json(item, 25)?.unwrap_or_default(),
        labels: column::json(item, 26)?.unwrap_or_default(),
    })
}

/// What [`line`] reads of an item, behind its number; the error is the fifth.
const LINE: &str =
    "i.rack, i.vmid, p.outcome, p.failure, p.error, p.may_have_applied, p.attempts, p.throttled,
    p.drift IS NOT NULL, p.warnings IS NOT NULL, p.prefix, (p.claimed_at IS NOT NULL AND p.outcome IS NULL),
    p.next_hop, p.planned_next_hop";

fn line(item: &SqlRow, kind: Kind) -> Result<Line<'_>, Error> {
    Ok(Line {
        rack: column::small(item, 1)?.unwrap_or_default(),
        vmid: item.try_get(2)?,
        outcome: column::known_word(item, 3, Outcome::from_word)?,
        failure: column::known_word(item, 4, Failure::from_word)?,
        error: None,
        may_have_applied: item.try_get::<_, Option<bool>>(6)? == Some(true)
            || may_act(item.try_get(12)?, kind),
        attempts: column::small(item, 7)?.unwrap_or_default(),
        throttled: column::small(item, 8)?.unwrap_or_default(),
        has_drift: item.try_get(9)?,
        has_warnings: item.try_get(10)?,
        prefix: item.try_get(11)?,
        next_hop: item.try_get(13)?,
        planned_next_hop: item.try_get(14)?,
    })
}

fn beside(row: &SqlRow) -> Result<Beside, Error> {
    let vm = Vm {
        id: column::word(row, 1)?,
        name: column::text(row, 2)?,
        action: Some(column::word(row, 3)?),
        expected: column::json(row, 4)?.unwrap_or_default(),
        labels: column::json(row, 5)?.unwrap_or_default(),
    };
    let other = if row.try_get(7)? { Some(standing(row, 17)?) } else { None };
    Ok(Beside { vm, rack: column::text(row, 6)?, own: standing(row, 8)?, other })
}

fn standing(row: &SqlRow, at: usize) -> Result<Standing, Error> {
    let text = |nth: usize| column::text(row, at + nth);
    let outcome = outcome(row, at)?;
    let failure = column::known_word(row, at + 1, Failure::from_word)?.unwrap_or(Failure::NotAttempted);
    Ok(Standing {
        outcome,
        failure: (outcome == Outcome::Failed).then_some(failure),
        error: text(2)?,
        rack_id: text(3)?,
        prefix: text(4)?,
        next_hop: text(5)?,
        planned_next_hop: text(8)?,
        status: text(6)?,
        ids: column::shaped(row, at + 7)?,
    })
}
