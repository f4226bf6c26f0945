//! The API's own rate limit, from one run to the next.

use rusqlite::{OptionalExtension, params};

use super::draft::RunKey;
use super::error::LedgerError;
use super::{Ledger, micros};
use crate::clock;

/// The base URL and the key of a run.
const OF_RUN: &str = "base = ?1 AND key_fingerprint =
    (SELECT coalesce(key_fingerprint, '') FROM runs WHERE no = ?2)";

impl Ledger {
    /// The limit that an earlier run with the same base URL and key found, in calls a second.
    pub fn remembered_rate(&self, run: &RunKey) -> Result<Option<f64>, LedgerError> {
        let sql = format!("SELECT per_second FROM rates WHERE {OF_RUN}");
        let rate = self.db.query_row(&sql, [run.base, run.no], |row| row.get(0));
        let rate: Option<f64> = rate.optional().map_err(self.sqlite())?;
        Ok(rate.filter(|rate| rate.is_finite() && *rate > 0.0))
    }

    /// Remembers it for the next run, or forgets it.
    pub fn remember_rate(&self, run: &RunKey, per_second: Option<f64>) -> Result<(), LedgerError> {
        let done = match per_second {
            Some(rate) => self.db.execute(
                "INSERT OR REPLACE INTO rates (base, key_fingerprint, per_second, found_at)
                 SELECT ?1, coalesce(key_fingerprint, ''), ?3, ?4 FROM runs WHERE no = ?2",
                params![run.base, run.no, rate, micros(clock::now())],
            ),
            None => self.db.execute(&format!("DELETE FROM rates WHERE {OF_RUN}"), [run.base, run.no]),
        };
        done.map(drop).map_err(self.sqlite())
    }
}
