//! A run's items, added up in one pass.

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
    pub(super) settled: u64,
    pub(super) drifted: u64,
    pub(super) warned: u64,
    pub(super) calls: u64,
    pub(super) retries: u64,
    pub(super) throttled: u64,
}

impl Sums {
    /// Reads the columns `rack, state, outcome, drifted, warned, attempts, throttled`.
    fn add(&mut self, item: &Row<'_>) -> Result<(), Error> {
        let rack: u32 = item.get(0)?;
        let (attempts, throttled): (u32, u32) = (item.get(5)?, item.get(6)?);
        self.rows += 1;
        self.settled += u64::from(item.get::<_, i64>(1)? == 2);
        self.drifted += u64::from(item.get::<_, bool>(3)?);
        self.warned += u64::from(item.get::<_, bool>(4)?);
        self.calls += u64::from(attempts) + u64::from(throttled);
        self.retries += u64::from(attempts.saturating_sub(1));
        self.throttled += u64::from(throttled);
        let outcome = Outcome::from_word(item.get_ref(2)?.as_str()?);
        if let (Some(rack), Some(outcome)) = (self.racks.get_mut(rack as usize), outcome) {
            rack.counts.selected += 1;
            rack.counts.add(outcome, 1);
        }
        Ok(())
    }
}

impl Ledger {
    /// How a run's VMs came out, as they are now.
    pub fn counts(&self, run: &RunKey) -> Result<Counts, LedgerError> {
        let sums = self.sums(run).map_err(self.sqlite())?;
        Ok(Counts::sum(sums.racks.iter().map(|rack| rack.counts)))
    }

    /// Adds up all items in one pass.
    pub(super) fn sums(&self, run: &RunKey) -> Result<Sums, Error> {
        let mut racks = self.db.prepare_cached("SELECT rack_id FROM racks WHERE run = ?1 ORDER BY no")?;
        let racks = racks
            .query_map([run.no], |row| Ok(RackCounts { rack_id: row.get(0)?, counts: Counts::default() }))?;
        let mut sums = Sums { racks: racks.collect::<Result<_, _>>()?, ..Sums::default() };
        let mut items = self.db.prepare_cached(&format!(
            "SELECT rack, state, {OUTCOME}, drift IS NOT NULL, warnings IS NOT NULL, attempts, throttled
             FROM items NOT INDEXED WHERE run = ?1"
        ))?;
        let mut items = items.query([run.no])?;
        while let Some(item) = items.next()? {
            sums.add(item)?;
        }
        Ok(sums)
    }
}
