//! The statements by which a writer changes its run, prepared once for a whole batch.

use jiff::Timestamp;
use rusqlite::{CachedStatement, Error, Transaction, params};

use super::item::{Deferred, Setback, Settled, Settlement};
use super::{json, micros};
use crate::allocation::{Allocation, Drift};
use crate::difference::Ids;
use crate::outcome::{Unanswered, Verdict};

const CLAIM: &str = "INSERT OR REPLACE INTO claims (run, position, claimed_at) VALUES (?1, ?2, ?3)";

const UNCLAIM: &str = "DELETE FROM claims WHERE run = ?1 AND position = ?2";

const DEFER: &str =
    "UPDATE items SET attempts = ?3, throttled = ?4, first_sent_at = ?5, failure = ?6, error = ?7,
        may_have_applied = ?8, http_status = ?9, latency_us = ?10, request_id = ?11
    WHERE run = ?1 AND position = ?2";

const SUCCEED: &str = "UPDATE items SET state = 2, attempts = ?3, throttled = ?4, first_sent_at = ?5, settled_at = ?6,
        outcome = ?7, basis = ?8, rack_id = ?9, prefix = ?10, next_hop = ?11, status = ?12, previous_prefix = ?13,
        previous_next_hop = ?14, changes = ?15, drift = ?16, warnings = ?17, failure = NULL, error = NULL,
        may_have_applied = 0, http_status = ?18, latency_us = ?19, request_id = ?20, ids = ?21
    WHERE run = ?1 AND position = ?2 AND state = 0";

const FAIL: &str = "UPDATE items SET state = 2, attempts = ?3, throttled = ?4, first_sent_at = ?5, settled_at = ?6,
        outcome = 'failed', failure = ?7, error = ?8, may_have_applied = ?9, http_status = ?10, latency_us = ?11,
        request_id = ?12, previous_prefix = ?13, previous_next_hop = ?14
    WHERE run = ?1 AND position = ?2 AND state = 0";

const SEE: &str = "INSERT INTO vms (base, vmid, rack_id, allocation, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (base, vmid) DO UPDATE SET rack_id = excluded.rack_id, allocation = excluded.allocation,
        seen_at = excluded.seen_at, unanswered = NULL";

const REMEMBER: &str = "INSERT INTO vms (base, vmid, unanswered) VALUES (?1, ?2, ?3)
    ON CONFLICT (base, vmid) DO UPDATE SET unanswered = excluded.unanswered";

/// All of them, for one run.
pub(super) struct Statements<'t> {
    run: i64,
    base: i64,
    claim: CachedStatement<'t>,
    unclaim: CachedStatement<'t>,
    defer: CachedStatement<'t>,
    succeed: CachedStatement<'t>,
    fail: CachedStatement<'t>,
    see: CachedStatement<'t>,
    remember: CachedStatement<'t>,
}

impl<'t> Statements<'t> {
    pub(super) fn prepare(db: &'t Transaction<'_>, run: i64, base: i64) -> Result<Self, Error> {
        Ok(Self {
            run,
            base,
            claim: db.prepare_cached(CLAIM)?,
            unclaim: db.prepare_cached(UNCLAIM)?,
            defer: db.prepare_cached(DEFER)?,
            succeed: db.prepare_cached(SUCCEED)?,
            fail: db.prepare_cached(FAIL)?,
            see: db.prepare_cached(SEE)?,
            remember: db.prepare_cached(REMEMBER)?,
        })
    }

    pub(super) fn claim(
        &mut self,
        mut positions: impl Iterator<Item = i64>,
        at: Timestamp,
    ) -> Result<(), Error> {
        positions
            .try_for_each(|position| self.claim.execute(params![self.run, position, micros(at)]).map(drop))
    }

    /// Gives a claim back. Returns whether there was one.
    pub(super) fn unclaim(&mut self, position: i64) -> Result<bool, Error> {
        self.unclaim.execute(params![self.run, position]).map(|claims| claims == 1)
    }

    pub(super) fn defer(&mut self, deferred: &Deferred) -> Result<(), Error> {
        self.unclaim(deferred.position)?;
        let Deferred { tally, last, setback, .. } = deferred;
        self.defer.execute(params![
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
        self.remember(deferred.vm.as_str(), &deferred.unanswered)
    }

    /// Returns whether the item was there to be settled: never before, and after its claim where it succeeded.
    pub(super) fn settle(&mut self, settled: &Settled) -> Result<bool, Error> {
        let claimed = self.unclaim(settled.item.position)?;
        match &settled.settlement {
            Settlement::Success { verdict, allocation, drift } => {
                Ok(claimed && self.succeed(settled, verdict, allocation, drift)?)
            }
            Settlement::Failed(setback) => self.fail(settled, setback),
        }
    }

    fn succeed(
        &mut self,
        settled: &Settled,
        verdict: &Verdict,
        allocation: &Allocation,
        drift: &[Drift],
    ) -> Result<bool, Error> {
        let Settled { item, last, at, .. } = settled;
        let before = item.before.as_ref();
        let items = self.succeed.execute(params![
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
            json::write(&Ids::from(allocation)),
        ])?;
        let (vmid, seen_at) = (item.vm.as_str(), micros(*at));
        let allocated = json::write(allocation);
        self.see.execute(params![self.base, vmid, allocation.rack_id, allocated, seen_at])?;
        Ok(items == 1)
    }

    fn fail(&mut self, settled: &Settled, setback: &Setback) -> Result<bool, Error> {
        let Settled { item, last, at, .. } = settled;
        let before = item.before.as_ref();
        let items = self.fail.execute(params![
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
        self.remember(item.vm.as_str(), &item.unanswered)?;
        Ok(items == 1)
    }

    fn remember(&mut self, vmid: &str, unanswered: &[Unanswered]) -> Result<(), Error> {
        if unanswered.is_empty() {
            return Ok(());
        }
        self.remember.execute(params![self.base, vmid, json::write(unanswered)]).map(drop)
    }
}
