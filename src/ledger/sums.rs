//! A run's items, added up in one pass.

use std::sync::Arc;

use rusqlite::{Error, Row};

use super::Ledger;
use super::draft::RunKey;
use super::error::LedgerError;
use super::read::OUTCOME;
use super::summary::{Counts, RackCounts};
use crate::outcome::Outcome;

/// What the items of a run add up to.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// By number.
    pub(super) racks: Vec<RackCounts>,
    pub(super) rows: u64,
    /// By rack.
    pub(super) pending: Vec<u64>,
    pub(super) drifted: u64,
    pub(super) warned: u64,
    pub(super) calls: u64,
    pub(super) retries: u64,
    pub(super) throttled: u64,
}

impl Sums {
    /// Reads the columns `rack, pending, outcome, drifted, warned, attempts, throttled`.
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
        let outcome = Outcome::from_word(item.get_ref(2)?.as_str()?);
        if let (Some(rack), Some(outcome)) = (self.racks.get_mut(rack), outcome) {
            rack.counts.selected += 1;
            rack.counts.add(outcome, 1);
        }
        Ok(())
    }
}

impl Ledger {
    /// How a run's VMs came out, as they are now.
    pub fn counts(&self, run: &RunKey) -> Result<Counts, LedgerError> {
        Ok(Counts::sum(self.sums(run)?.racks.iter().map(|rack| rack.counts)))
    }

    /// How many VMs of a run are pending, by rack.
    pub fn pending(&self, run: &RunKey) -> Result<Vec<u64>, LedgerError> {
        Ok(self.sums(run)?.pending)
    }

    /// Adds up all items in one pass: by rack they lie all over the file.
    pub(super) fn sums(&self, run: &RunKey) -> Result<Sums, LedgerError> {
        let named = |rack_id: Option<Arc<str>>| RackCounts {
            rack_id: rack_id.as_deref().map(str::to_owned),
            counts: Counts::default(),
        };
        let racks: Vec<RackCounts> = self.racks(run)?.into_iter().map(named).collect();
        let mut sums = Sums { pending: vec![0; racks.len()], racks, ..Sums::default() };
        self.add_items(run, &mut sums).map_err(self.sqlite())?;
        Ok(sums)
    }

    fn add_items(&self, run: &RunKey, sums: &mut Sums) -> Result<(), Error> {
        let mut items = self.db.prepare_cached(&format!(
            "SELECT rack, state < 2, {OUTCOME}, drift IS NOT NULL, warnings IS NOT NULL, attempts, throttled
             FROM items NOT INDEXED WHERE run = ?1"
        ))?;
        let mut items = items.query([run.no])?;
        while let Some(item) = items.next()? {
            sums.add(item)?;
        }
        Ok(())
    }
}
