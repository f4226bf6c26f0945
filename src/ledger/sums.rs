//! A run's items, added up in one pass.

use std::cmp::Reverse;
use std::sync::Arc;

use rusqlite::{Error, Row};

use super::draft::RunKey;
use super::error::LedgerError;
use super::read::ITEMS;
use super::shared::Suspects;
use super::summary::{Counts, FailureCount, RackCounts};
use super::{Ledger, span};
use crate::outcome::{Failure, Outcome};

/// How many VMs stand for a failure.
const EXAMPLES: usize = 3;

/// What the items of a run add up to.
#[derive(Debug, Default)]
pub struct Sums {
    /// By number.
    pub racks: Vec<RackCounts>,
    pub rows: u64,
    /// By rack.
    pub pending: Vec<u64>,
    pub drifted: u64,
    pub warned: u64,
    pub calls: u64,
    pub retries: u64,
    pub throttled: u64,
    /// The most frequent first.
    pub failures: Vec<FailureCount>,
    /// Prefixes that more than one VM may have been answered with.
    pub(super) suspects: Suspects,
}

impl Sums {
    pub fn counts(&self) -> Counts {
        Counts::sum(self.racks.iter().map(|rack| rack.counts))
    }

    /// Reads the columns of [`Ledger::add_items`].
    fn add(&mut self, item: &Row<'_>) -> Result<(), Error> {
        let rack = item.get::<_, u32>(0)? as usize;
        let (attempts, throttled): (u32, u32) = (item.get(5)?, item.get(6)?);
        self.rows += 1;
        self.drifted += u64::from(item.get::<_, bool>(3)?);
        self.warned += u64::from(item.get::<_, bool>(4)?);
        self.calls += u64::from(attempts) + u64::from(throttled);
        self.retries += u64::from(attempts.saturating_sub(1));
        self.throttled += u64::from(throttled);
        if let Some(pending) = self.pending.get_mut(rack) {
            *pending += u64::from(item.get::<_, bool>(1)?);
        }
        if let Some(prefix) = item.get_ref(11)?.as_str_or_null()? {
            self.suspects.note(prefix);
        }
        let Some(outcome) = Outcome::from_word(item.get_ref(2)?.as_str()?) else { return Ok(()) };
        let failure = match outcome {
            Outcome::Failed => Some(failure(item)?),
            Outcome::Created | Outcome::Unchanged | Outcome::Updated => None,
        };
        if let Some(rack) = self.racks.get_mut(rack) {
            rack.counts.add_vm(outcome, failure);
        }
        failure.map_or(Ok(()), |failure| self.add_failure(failure, item))
    }

    fn add_failure(&mut self, failure: Failure, item: &Row<'_>) -> Result<(), Error> {
        let known = self.failures.iter().position(|group| group.failure == failure);
        let index = known.unwrap_or(self.failures.len());
        if known.is_none() {
            let first =
                FailureCount { failure, vms: 0, may_have_applied: 0, examples: vec![], error: item.get(10)? };
            self.failures.push(first);
        }
        let group = &mut self.failures[index];
        group.vms += 1;
        group.may_have_applied += u64::from(item.get::<_, bool>(9)?);
        if group.examples.len() < EXAMPLES {
            group.examples.push(item.get(7)?);
        }
        Ok(())
    }
}

/// Why an item failed: one that has no failure of its own was never called.
fn failure(item: &Row<'_>) -> Result<Failure, Error> {
    let failure = item.get_ref(8)?.as_str_or_null()?.and_then(Failure::from_word);
    Ok(failure.unwrap_or(Failure::NotAttempted))
}

impl Ledger {
    /// Adds up a run's items, as they are now.
    pub fn sums(&self, run: &RunKey) -> Result<Sums, LedgerError> {
        let named = |rack_id: Option<Arc<str>>| RackCounts {
            rack_id: rack_id.as_deref().map(str::to_owned),
            counts: Counts::default(),
        };
        let racks: Vec<RackCounts> = self.racks(run)?.into_iter().map(named).collect();
        let mut sums = Sums { pending: vec![0; racks.len()], racks, ..Sums::default() };
        self.add_items(run, &mut sums).map_err(self.sqlite())?;
        sums.failures.sort_by_key(|group| (Reverse(group.vms), group.failure.as_str()));
        Ok(sums)
    }

    fn add_items(&self, run: &RunKey, sums: &mut Sums) -> Result<(), Error> {
        let mut items = self.db.prepare_cached(&format!(
            "SELECT rack, outcome IS NULL, coalesce(outcome, 'failed'), drift IS NOT NULL, warnings IS NOT NULL,
                    coalesce(attempts, 0), coalesce(throttled, 0), vmid, failure,
                    coalesce(may_have_applied, 0) OR in_flight, error, prefix
             {ITEMS} WHERE i.no BETWEEN ?1 AND ?2 ORDER BY i.no"
        ))?;
        let mut items = items.query(span(run.no))?;
        while let Some(item) = items.next()? {
            sums.add(item)?;
        }
        Ok(())
    }
}
