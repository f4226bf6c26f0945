//! How a run begins, goes on and ends.

use std::time::Duration;

use rusqlite::params;

use super::Sqlite;
use super::book::Book;
use super::column::{micros, span_micros};
use super::draft::Draft;
use crate::clock;
use crate::ledger::engine::{self, Begin, Runs};
use crate::ledger::error::LedgerError;
use crate::ledger::job::{SANDBOX, refuse_mixing};
use crate::ledger::numbers::span;
use crate::ledger::record::{Closing, Ending, NewRun, RunInfo, RunKey, Terms, WrittenFile};
use crate::ledger::stored;
use crate::stop::Stop;

impl Begin for Sqlite {
    fn check_kind(&self, base_url: &str) -> Result<(), LedgerError> {
        let of_the_other_kind = "SELECT count(*) FROM bases WHERE (url = ?1) <> (?2 = ?1)";
        let others: i64 =
            self.ask(|db| db.query_row(of_the_other_kind, [SANDBOX, base_url], |row| row.get(0)))?;
        refuse_mixing(others, base_url)
    }

    fn draft(&self, new: &NewRun) -> Result<Box<dyn engine::Draft + '_>, LedgerError> {
        Ok(Box::new(Draft::begin(self, new)?))
    }

    fn resume(&self, run: &RunKey, job: &NewRun) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        let sql = "UPDATE runs SET resumes = resumes + 1, resumed_at = ?2, ended_at = NULL, stopped_by = NULL, braked = NULL,
                exit_code = NULL, counts = NULL, options = json_patch(options, ?3), key_fingerprint = ?4,
                timeout_us = ?5, calls_before = (SELECT coalesce(sum(attempts + throttled), 0)
                    FROM listed i WHERE i.no BETWEEN ?6 AND ?7)
             WHERE no = ?1";
        let [first, last] = span(run.no);
        let values = params![
            run.no,
            micros(clock::now()),
            stored::json(&job.options),
            job.key_fingerprint,
            span_micros(job.timeout),
            first,
            last,
        ];
        self.ask(|db| db.execute(sql, values)).map(drop)
    }

    fn join(&self, _: &RunKey, _: Terms) -> Result<Option<Duration>, LedgerError> {
        Err(LedgerError::Unshared(self.path.clone()))
    }

    fn request_stop(&self, _: &RunKey, _: Stop) -> Result<bool, LedgerError> {
        Err(LedgerError::Unshared(self.path.clone()))
    }

    fn closing(&self, _: &RunKey, _: Option<Stop>) -> Result<Closing, LedgerError> {
        Ok(Closing::Ours)
    }

    fn open_book(mut self: Box<Self>, run: &RunKey) -> Result<Box<dyn engine::Book>, LedgerError> {
        self.lock.as_mut().map_or(Ok(()), |lock| lock.hold_for(&run.id))?;
        Ok(Box::new(Book::open(*self, run)?))
    }

    fn note_written(&self, run: &RunKey, files: &[WrittenFile]) -> Result<(), LedgerError> {
        let note = "UPDATE runs SET written = ?2 WHERE id = ?1";
        self.ask(|db| db.execute(note, params![run.id, stored::write_list(files)])).map(drop)
    }

    /// Who carried out a run that came from another ledger is noted.
    fn note_end(&self, run: &RunKey, ending: &Ending<'_>) -> Result<Option<RunInfo>, LedgerError> {
        let end = "UPDATE runs SET ended_at = ?2, stopped_by = ?3, exit_code = ?4, counts = ?5 WHERE id = ?1";
        let Ending { at, stopped_by, exit_code, counts, workers: _ } = ending;
        let values =
            params![run.id, micros(*at), stopped_by.map(Stop::as_str), exit_code, stored::write(counts)];
        self.ask(|db| db.execute(end, values))?;
        self.run_info(run).map(Some)
    }
}
