//! The statements by which a writer appends to its run, prepared once for a whole batch.

use crate::ledger::numbers::number;
use jiff::Timestamp;
use rusqlite::{CachedStatement, Error, Row, Transaction, params};

use super::Run;
use super::column::micros;
use super::vms::SAME;
use crate::allocation::{Allocation, Drift, NextHop};
use crate::difference::Ids;
use crate::ledger::dating::{Attempts, Dating};
use crate::ledger::record::{Deferred, Item, Setback, Settled, Settlement};
use crate::ledger::stored;
use crate::outcome::{Forecast, Unanswered, Verdict};
use crate::stop::Stop;
use crate::vm::VmId;

/// What a call needs of an item `?1`, and what is known of its VM at base `?2`.
const ITEM: &str =
    "SELECT i.vmid, action, expected, rack, rack_expected, v.allocation, v.unanswered, attempts, throttled,
        first_sent_at, first_sent_clock, failure, error, may_have_applied
    FROM items i LEFT JOIN latest l ON l.item = i.no LEFT JOIN vms v ON v.base = ?2 AND v.vmid = i.vmid
    WHERE i.no = ?1";

/// The same in a run that has just begun.
const NEW_ITEM: &str =
    "SELECT i.vmid, action, expected, rack, rack_expected, v.allocation, v.unanswered, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL
    FROM items i LEFT JOIN vms v ON v.base = ?2 AND v.vmid = i.vmid WHERE i.no = ?1";

const CLAIM: &str = "INSERT INTO claims (run, since, claimed_at, positions) VALUES (?1, ?2, ?3, ?4)";

/// Says by which clock the run's claims are dated.
const DATE: &str = "UPDATE runs SET clock = ?2 WHERE no = ?1";

const DEFER: &str = "INSERT INTO events (no, item, event, attempts, throttled, first_sent_at, first_sent_clock, failure, error,
        may_have_applied, http_status, latency_us, request_id, unanswered)
    VALUES (?1, ?2, 'deferred', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

const SUCCEED: &str = "INSERT INTO events (no, item, event, attempts, throttled, first_sent_at, settled_at, http_status,
        latency_us, request_id, previous_prefix, previous_next_hop, outcome, basis, changes, drift, warnings, rack_id,
        prefix, next_hop, status, ids, allocation)
    VALUES (?1, ?2, 'settled', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)";

/// The answer to a look. Attempts that are unanswered stay so.
const FORESEE: &str = "INSERT INTO events (no, item, event, attempts, throttled, first_sent_at, settled_at, http_status,
        latency_us, request_id, outcome, error, drift, warnings, planned_next_hop, prefix, next_hop, status, rack_id, ids,
        allocation, unanswered)
    VALUES (?1, ?2, 'settled', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";

const FAIL: &str = "INSERT INTO events (no, item, event, attempts, throttled, first_sent_at, settled_at, http_status,
        latency_us, request_id, previous_prefix, previous_next_hop, outcome, failure, error, may_have_applied, unanswered)
    VALUES (?1, ?2, 'settled', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'failed', ?12, ?13, ?14, ?15)";

const REMEMBER: &str = "INSERT INTO events (no, item, event, unanswered)
    SELECT ?1, no, 'remembered', ?2 FROM items WHERE run = ?3 AND vmid = ?4";

/// All of them, for one run.
pub(super) struct Statements<'t> {
    db: &'t Transaction<'t>,
    run: Run,
    last_event: i64,
    item: CachedStatement<'t>,
    claim: CachedStatement<'t>,
    succeed: CachedStatement<'t>,
}

impl<'t> Statements<'t> {
    /// `is_new` where nothing had happened before this sitting.
    pub(super) fn prepare(
        db: &'t Transaction<'t>,
        run: Run,
        is_new: bool,
        last_event: i64,
    ) -> Result<Self, Error> {
        let item = db.prepare_cached(if is_new { NEW_ITEM } else { ITEM })?;
        let claim = db.prepare_cached(CLAIM)?;
        Ok(Self { db, run, last_event, item, claim, succeed: db.prepare_cached(SUCCEED)? })
    }

    /// The number of the newest event.
    pub(super) fn last_event(&self) -> i64 {
        self.last_event
    }

    fn next_event(&mut self) -> i64 {
        self.last_event += 1;
        self.last_event
    }

    pub(super) fn item(
        &mut self,
        position: u32,
        read: impl FnOnce(&Row<'_>) -> Result<Item, Error>,
    ) -> Result<Item, Error> {
        self.item.query_row(params![number(self.run.no, position.into()), self.run.base], read)
    }

    /// Returns the row in which the claims stand.
    pub(super) fn claim(&mut self, positions: &[u32], at: Timestamp) -> Result<i64, Error> {
        self.claim.execute(params![self.run.no, self.last_event, micros(at), stored::json(positions)])?;
        Ok(self.db.last_insert_rowid())
    }

    /// Of a row of claims, these are open.
    pub(super) fn keep_claims(&self, row: i64, positions: &[u32]) -> Result<(), Error> {
        match positions {
            [] => self.db.prepare_cached("DELETE FROM claims WHERE no = ?1")?.execute([row]),
            open => self
                .db
                .execute("UPDATE claims SET positions = ?2 WHERE no = ?1", params![row, stored::json(open)]),
        }
        .map(drop)
    }

    pub(super) fn date(&self, dating: &Dating) -> Result<(), Error> {
        self.db.prepare_cached(DATE)?.execute(params![self.run.no, stored::json(dating)]).map(drop)
    }

    pub(super) fn brake(&self, brake: Stop) -> Result<(), Error> {
        let note = "UPDATE runs SET braked = ?2 WHERE no = ?1";
        self.db.execute(note, params![self.run.no, brake.as_str()]).map(drop)
    }

    /// `first_sent` is the clock of the item's first call, where that is known.
    pub(super) fn defer(&mut self, deferred: &Deferred, first_sent: Option<&Dating>) -> Result<(), Error> {
        let Deferred { tally, last, setback, .. } = deferred;
        let no = self.next_event();
        self.db.prepare_cached(DEFER)?.execute(params![
            no,
            number(self.run.no, deferred.position),
            tally.attempts,
            tally.throttled,
            tally.first_sent.map(micros),
            first_sent.and_then(stored::json),
            setback.failure.as_str(),
            setback.error,
            setback.may_have_applied,
            last.http_status,
            last.latency_us(),
            last.request_id,
            Attempts::written(&deferred.unanswered),
        ])?;
        Ok(())
    }

    pub(super) fn settle(&mut self, settled: &Settled) -> Result<(), Error> {
        match &settled.settlement {
            Settlement::Success { verdict, allocation, drift } => {
                self.succeed(settled, verdict, allocation, drift)
            }
            Settlement::Forecast { forecast, allocation, drift } => {
                self.foresee(settled, forecast, allocation.as_deref(), drift)
            }
            Settlement::Failed(setback) => self.fail(settled, setback),
        }
    }

    fn succeed(
        &mut self,
        Settled { item, last, at, .. }: &Settled,
        verdict: &Verdict,
        allocation: &Allocation,
        drift: &[Drift],
    ) -> Result<(), Error> {
        let before = item.before.as_ref();
        let no = self.next_event();
        self.succeed.execute(params![
            no,
            number(self.run.no, item.position),
            item.tally.attempts,
            item.tally.throttled,
            item.tally.first_sent.map(micros),
            micros(*at),
            last.http_status,
            last.latency_us(),
            last.request_id,
            before.map(|before| unless_same(before.prefix.as_str(), Some(allocation.prefix.as_str()))),
            before.and_then(next_hop).map(|before| unless_same(before, next_hop(allocation))),
            verdict.outcome.as_str(),
            verdict.basis.as_str(),
            stored::write_list(&verdict.changes),
            stored::write_list(drift),
            stored::json_list(&verdict.warnings),
            allocation.rack_id,
            allocation.prefix.as_str(),
            next_hop(allocation),
            allocation.status,
            stored::write(&Ids::from(allocation)),
            item.news(allocation).and_then(|news| stored::write(&*news)),
        ])?;
        Ok(())
    }

    fn foresee(
        &mut self,
        Settled { item, last, at, .. }: &Settled,
        forecast: &Forecast,
        allocation: Option<&Allocation>,
        drift: &[Drift],
    ) -> Result<(), Error> {
        let no = self.next_event();
        self.db.prepare_cached(FORESEE)?.execute(params![
            no,
            number(self.run.no, item.position),
            item.tally.attempts,
            item.tally.throttled,
            item.tally.first_sent.map(micros),
            micros(*at),
            last.http_status,
            last.latency_us(),
            last.request_id,
            forecast.outcome.as_str(),
            forecast.reason,
            stored::write_list(drift),
            stored::json_list(&forecast.warnings),
            forecast.next_hop.as_ref().map(NextHop::as_str),
            allocation.map(|allocation| allocation.prefix.as_str()),
            allocation.and_then(next_hop),
            allocation.and_then(|allocation| allocation.status.as_deref()),
            allocation.and_then(|allocation| allocation.rack_id.as_deref()),
            allocation.and_then(|allocation| stored::write(&Ids::from(allocation))),
            allocation.and_then(|allocation| stored::write(&*item.news(allocation)?)),
            Attempts::written(&item.unanswered),
        ])?;
        Ok(())
    }

    fn fail(&mut self, Settled { item, last, at, .. }: &Settled, setback: &Setback) -> Result<(), Error> {
        let before = item.before.as_ref();
        let no = self.next_event();
        self.db.prepare_cached(FAIL)?.execute(params![
            no,
            number(self.run.no, item.position),
            item.tally.attempts,
            item.tally.throttled,
            item.tally.first_sent.map(micros),
            micros(*at),
            last.http_status,
            last.latency_us(),
            last.request_id,
            before.map(|before| before.prefix.as_str()),
            before.and_then(next_hop),
            setback.failure.as_str(),
            setback.error,
            setback.may_have_applied,
            Attempts::written(&item.unanswered),
        ])?;
        Ok(())
    }

    /// Keeps what is known by now of the attempts of a VM that is settled.
    pub(super) fn remember(&mut self, vm: &VmId, attempts: &[Unanswered]) -> Result<(), Error> {
        let (no, run) = (self.next_event(), self.run.no);
        let values = params![no, Attempts::written(attempts), run, vm.as_str()];
        self.db.prepare_cached(REMEMBER)?.execute(values).map(drop)
    }
}

/// What was before takes no room where it is the same to the letter.
fn unless_same<'b>(before: &'b str, now: Option<&str>) -> &'b str {
    if now == Some(before) { SAME } else { before }
}

fn next_hop(allocation: &Allocation) -> Option<&str> {
    allocation.next_hop.as_ref().map(NextHop::as_str)
}
