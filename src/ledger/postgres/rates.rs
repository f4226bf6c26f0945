//! The API's own rate limit, from one run to the next.

use super::column::moment;
use super::database::Postgres;
use crate::clock;
use crate::ledger::engine::Rates;
use crate::ledger::error::LedgerError;
use crate::ledger::record::RunKey;

/// The base URL and the key of a run.
const OF_RUN: &str = "base = $1 AND key_fingerprint =
    (SELECT coalesce(key_fingerprint, '') FROM v6fleet.runs WHERE no = $2)";

impl Rates for Postgres {
    fn remembered_rate(&self, run: &RunKey) -> Result<Option<f64>, LedgerError> {
        let run = self.run(run)?;
        let sql = format!("SELECT per_second FROM v6fleet.rates WHERE {OF_RUN}");
        let rate: Option<f64> = self.session.first(&sql, &[&run.base, &run.no], |row| row.try_get(0))?;
        Ok(rate.filter(|rate| rate.is_finite() && *rate > 0.0))
    }

    fn shares_pace(&self, run: &RunKey) -> Result<bool, LedgerError> {
        let sql = "SELECT coalesce(key_fingerprint, '') <> '' FROM v6fleet.runs WHERE no = $1";
        self.session.one(sql, &[&self.run(run)?.no], |row| row.try_get(0))
    }

    fn remember_rate(&self, run: &RunKey, per_second: Option<f64>) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let remember = "INSERT INTO v6fleet.rates (base, key_fingerprint, per_second, found_at)
            SELECT $1, coalesce(key_fingerprint, ''), $3, $4 FROM v6fleet.runs WHERE no = $2
            ON CONFLICT (base, key_fingerprint) DO UPDATE SET per_second = excluded.per_second, found_at = excluded.found_at";
        let forget = format!("DELETE FROM v6fleet.rates WHERE {OF_RUN}");
        match per_second {
            Some(rate) => self.session.execute(remember, &[&run.base, &run.no, &rate, &moment(clock::now())]),
            None => self.session.execute(&forget, &[&run.base, &run.no]),
        }
        .map(drop)
    }
}
