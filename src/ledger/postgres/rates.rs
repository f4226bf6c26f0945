//! The API's own rate limit, from one run to the next.

use std::sync::LazyLock;

use tokio_postgres::{Error, Row};

use super::column::moment;
use super::database::Postgres;
use super::question::{Question, Value};
use crate::clock;
use crate::ledger::engine::Rates;
use crate::ledger::error::LedgerError;
use crate::ledger::record::RunKey;

/// The base URL and the key of a run.
const OF_RUN: &str = "base = $1 AND key_fingerprint =
    (SELECT coalesce(key_fingerprint, '') FROM v6fleet.runs WHERE no = $2)";

/// The limit that was found for run `$2` of base `$1`.
pub(super) static REMEMBERED: LazyLock<String> =
    LazyLock::new(|| format!("SELECT per_second FROM v6fleet.rates WHERE {OF_RUN}"));

/// Whether run `$1` is of an account.
pub(super) const SHARED: &str = "SELECT coalesce(key_fingerprint, '') <> '' FROM v6fleet.runs WHERE no = $1";

/// Reads the column of [`REMEMBERED`].
pub(super) fn remembered(row: &Row) -> Result<Option<f64>, Error> {
    let rate: f64 = row.try_get(0)?;
    Ok(Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0))
}

impl Rates for Postgres {
    fn remembered_rate(&self, run: &RunKey) -> Result<Option<f64>, LedgerError> {
        let run = self.run(run)?;
        Ok(self.session.first(&REMEMBERED, &[&run.base, &run.no], remembered)?.flatten())
    }

    fn shares_pace(&self, run: &RunKey) -> Result<bool, LedgerError> {
        self.session.one(SHARED, &[&self.run(run)?.no], |row| row.try_get(0))
    }

    fn remember_rate(&self, run: &RunKey, per_second: Option<f64>) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let remember = "INSERT INTO v6fleet.rates (base, key_fingerprint, per_second, found_at)
            SELECT $1, coalesce(key_fingerprint, ''), $3, $4 FROM v6fleet.runs WHERE no = $2
            ON CONFLICT (base, key_fingerprint) DO UPDATE SET per_second = excluded.per_second, found_at = excluded.found_at";
        let forget = format!("DELETE FROM v6fleet.rates WHERE {OF_RUN}");
        let of_run = || -> Vec<Value> { vec![Box::new(run.base), Box::new(run.no)] };
        match per_second {
            Some(rate) => {
                let found: [Value; 2] = [Box::new(rate), Box::new(moment(clock::now()))];
                self.session.later(Question::new(remember, of_run().into_iter().chain(found).collect()));
            }
            None => self.session.later(Question::new(forget, of_run())),
        }
        Ok(())
    }
}
