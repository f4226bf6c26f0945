//! How a run begins, goes on and ends.

use serde_json::{Map, Value};
use tokio_postgres::types::ToSql;

use super::book::Book;
use super::column::{self, moment, span_micros};
use super::database::Postgres;
use super::draft::Draft;
use crate::clock;
use crate::ledger::engine::{self, Begin};
use crate::ledger::error::LedgerError;
use crate::ledger::job::{SANDBOX, refuse_mixing};
use crate::ledger::numbers::span;
use crate::ledger::record::{Ending, NewRun, RunKey};
use crate::ledger::stored;
use crate::stop::Stop;

impl Begin for Postgres {
    fn check_kind(&self, base_url: &str) -> Result<(), LedgerError> {
        let of_the_other_kind = "SELECT count(*) FROM v6fleet.bases WHERE (url = $1) <> ($2 = $1)";
        let others: i64 =
            self.session.one(of_the_other_kind, &[&SANDBOX, &base_url], |row| row.try_get(0))?;
        refuse_mixing(others, base_url)
    }

    fn draft(&self, new: &NewRun) -> Result<Box<dyn engine::Draft + '_>, LedgerError> {
        Ok(Box::new(Draft::begin(self, new)?))
    }

    fn resume(&self, run: &RunKey, job: &NewRun) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let options = "SELECT options FROM v6fleet.runs WHERE no = $1";
        let options: Option<Map<String, Value>> =
            self.session.one(options, &[&run.no], |row| column::json(row, 0))?;
        let mut options = options.unwrap_or_default();
        options.extend(job.options.clone());
        let sql = "UPDATE v6fleet.runs SET resumes = resumes + 1, resumed_at = $2, ended_at = NULL, stopped_by = NULL,
                braked = NULL, exit_code = NULL, counts = NULL, options = $3, key_fingerprint = $4, timeout_us = $5,
                calls_before = (SELECT coalesce(sum(attempts + throttled), 0)::bigint FROM v6fleet.progress
                    WHERE item BETWEEN $6 AND $7)
             WHERE no = $1";
        let (at, options, timeout) = (moment(clock::now()), stored::json(&options), span_micros(job.timeout));
        let [first, last] = span(run.no);
        let values: [&(dyn ToSql + Sync); 7] =
            [&run.no, &at, &options, &job.key_fingerprint, &timeout, &first, &last];
        self.session.execute(sql, &values).map(drop)
    }

    fn open_book(self: Box<Self>, run: &RunKey) -> Result<Box<dyn engine::Book>, LedgerError> {
        Ok(Box::new(Book::open(*self, run)?))
    }

    fn note_end(&self, run: &RunKey, ending: &Ending) -> Result<(), LedgerError> {
        let end = "UPDATE v6fleet.runs SET ended_at = $2, stopped_by = $3, exit_code = $4, counts = $5 WHERE id = $1";
        let Ending { at, stopped_by, exit_code, counts } = ending;
        let (at, stopped_by, exit_code) = (moment(*at), stopped_by.map(Stop::as_str), i16::from(*exit_code));
        self.session.execute(end, &[&run.id, &at, &stopped_by, &exit_code, &stored::write(counts)]).map(drop)
    }
}
