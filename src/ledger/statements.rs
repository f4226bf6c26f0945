//! The statements by which a writer changes its run, prepared once for a whole batch.

use jiff::Timestamp;
use rusqlite::{CachedStatement, Error, Transaction, params};

use super::dating::{self, Dating};
use super::item::{Deferred, Settled, Settlement};
use super::{json, micros};
use crate::allocation::Allocation;
use crate::difference::Ids;
use crate::outcome::Unanswered;

const CLAIM: &str = "INSERT OR REPLACE INTO claims (run, position, claimed_at) VALUES (?1, ?2, ?3)";

const UNCLAIM: &str = "DELETE FROM claims WHERE run = ?1 AND position = ?2";

/// Says by which clock the run's claims are dated.
const DATE: &str = "UPDATE runs SET clock = ?2 WHERE no = ?1";

const DEFER: &str =
    "UPDATE items SET attempts = ?3, throttled = ?4, first_sent_at = ?5, failure = ?6, error = ?7,
        may_have_applied = ?8, http_status = ?9, latency_us = ?10, request_id = ?11,
        first_sent_clock = iif(first_sent_at IS NULL, ?12, first_sent_clock)
    WHERE run = ?1 AND position = ?2";

const SETTLE: &str =
    "UPDATE items SET state = 2, attempts = ?3, throttled = ?4, first_sent_at = ?5, settled_at = ?6,
        http_status = ?7, latency_us = ?8, request_id = ?9, previous_prefix = ?10, previous_next_hop = ?11,
        outcome = ?12, basis = ?13, changes = ?14, drift = ?15, warnings = ?16, rack_id = ?17, prefix = ?18,
        next_hop = ?19, status = ?20, ids = ?21, failure = ?22, error = ?23, may_have_applied = ?24
    WHERE run = ?1 AND position = ?2 AND state = 0";

const SEE: &str = "INSERT INTO vms (base, vmid, rack_id, allocation, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (base, vmid) DO UPDATE SET rack_id = excluded.rack_id, allocation = excluded.allocation,
        seen_at = excluded.seen_at, unanswered = NULL";

/// Keeps the attempts whose answer was lost, of a VM at a base URL.
pub(super) const REMEMBER: &str = "INSERT INTO vms (base, vmid, unanswered) VALUES (?1, ?2, ?3)
    ON CONFLICT (base, vmid) DO UPDATE SET unanswered = excluded.unanswered";

/// All of them, for one run.
pub(super) struct Statements<'t> {
    run: i64,
    base: i64,
    claim: CachedStatement<'t>,
    unclaim: CachedStatement<'t>,
    date: CachedStatement<'t>,
    defer: CachedStatement<'t>,
    settle: CachedStatement<'t>,
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
            date: db.prepare_cached(DATE)?,
            defer: db.prepare_cached(DEFER)?,
            settle: db.prepare_cached(SETTLE)?,
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

    pub(super) fn date(&mut self, dating: &Dating) -> Result<(), Error> {
        self.date.execute(params![self.run, json::write(dating)]).map(drop)
    }

    /// `dating` is our clock.
    pub(super) fn defer(&mut self, deferred: &Deferred, dating: Option<&Dating>) -> Result<(), Error> {
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
            dating.and_then(json::write),
        ])?;
        self.remember(deferred.vm.as_str(), &deferred.unanswered)
    }

    /// Returns whether the item was there to be settled: never before, and after its claim where it succeeded.
    pub(super) fn settle(&mut self, settled: &Settled) -> Result<bool, Error> {
        let claimed = self.unclaim(settled.item.position)?;
        match &settled.settlement {
            Settlement::Success { .. } if !claimed => return Ok(false),
            Settlement::Success { allocation, .. } => self.see(settled, allocation)?,
            Settlement::Failed(_) => self.remember(settled.item.vm.as_str(), &settled.item.unanswered)?,
        }
        self.settle_item(settled)
    }

    fn settle_item(&mut self, settled: &Settled) -> Result<bool, Error> {
        let Settled { item, last, at, settlement } = settled;
        let before = item.before.as_ref();
        let (success, setback) = match settlement {
            Settlement::Success { verdict, allocation, drift } => (Some((verdict, allocation, drift)), None),
            Settlement::Failed(setback) => (None, Some(setback)),
        };
        let verdict = success.map(|(verdict, ..)| verdict);
        let allocation = success.map(|(_, allocation, _)| allocation);
        let items = self.settle.execute(params![
            self.run,
            item.position,
            item.tally.attempts,
            item.tally.throttled,
            item.tally.first_sent.map(micros),
            micros(*at),
            last.http_status,
            last.latency_us(),
            last.request_id,
            before.map(|before| before.prefix.as_str()),
            before.map(|before| before.next_hop.as_str()),
            settlement.outcome().as_str(),
            verdict.map(|verdict| verdict.basis.as_str()),
            verdict.and_then(|verdict| json::write_list(&verdict.changes)),
            success.and_then(|(.., drift)| json::write_list(drift)),
            verdict.and_then(|verdict| json::write_list(&verdict.warnings)),
            allocation.and_then(|allocation| allocation.rack_id.as_ref()),
            allocation.map(|allocation| allocation.prefix.as_str()),
            allocation.map(|allocation| allocation.next_hop.as_str()),
            allocation.and_then(|allocation| allocation.status.as_ref()),
            allocation.and_then(|allocation| json::write(&Ids::from(&**allocation))),
            setback.map(|setback| setback.failure.as_str()),
            setback.map(|setback| &setback.error),
            setback.is_some() && !item.unanswered.is_empty(),
        ])?;
        Ok(items == 1)
    }

    /// What the answer left unknown stays as it was known.
    fn see(&mut self, settled: &Settled, allocation: &Allocation) -> Result<(), Error> {
        let allocation = &*allocation.or_as_before(settled.item.before.as_ref());
        let (vmid, seen_at) = (settled.item.vm.as_str(), micros(settled.at));
        let allocated = json::write(allocation);
        self.see.execute(params![self.base, vmid, allocation.rack_id, allocated, seen_at]).map(drop)
    }

    pub(super) fn remember(&mut self, vmid: &str, unanswered: &[Unanswered]) -> Result<(), Error> {
        if unanswered.is_empty() {
            return Ok(());
        }
        self.remember.execute(params![self.base, vmid, dating::write(unanswered)]).map(drop)
    }
}
