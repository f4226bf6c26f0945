//! The API's own rate limit, from one run to the next.

use rusqlite::{OptionalExtension, params};

use super::Sqlite;
use super::column::micros;
use crate::clock;
use crate::ledger::engine::Rates;
use crate::ledger::error::LedgerError;
use crate::ledger::record::RunKey;

/// The base URL and the key of a run.
const OF_RUN: &str = "base = ?1 AND key_fingerprint =
    (SELECT coalesce(key_fingerprint, '') FROM runs WHERE no = ?2)";

impl Rates for Sqlite {
    fn remembered_rate(&self, run: &RunKey) -> Result<Option<f64>, LedgerError> {
        let run = self.run(run)?;
        let sql = format!("SELECT per_second FROM rates WHERE {OF_RUN}");
        let rate: Option<f64> =
            self.ask(|db| db.query_row(&sql, [run.base, run.no], |row| row.get(0)).optional())?;
        Ok(rate.filter(|rate| rate.is_finite() && *rate > 0.0))
    }

    fn shares_pace(&self, _: &RunKey) -> Result<bool, LedgerError> {
        Ok(false)
    }

    fn remember_rate(&self, run: &RunKey, per_second: Option<f64>) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let remember = "INSERT OR REPLACE INTO rates (base, key_fingerprint, per_second, found_at)
            SELECT ?1, coalesce(key_fingerprint, ''), ?3, ?4 FROM runs WHERE no = ?2";
        let forget = format!("DELETE FROM rates WHERE {OF_RUN}");
        let done = self.ask(|db| match per_second {
            Some(rate) => db.execute(remember, params![run.base, run.no, rate, micros(clock::now())]),
            None => db.execute(&forget, [run.base, run.no]),
        });
        done.map(drop)
    }
}
