//! Runs that are not finished, and how they are gone on with.

use rusqlite::{OptionalExtension, Params, params};

use super::draft::{NewRun, RunKey};
use super::error::LedgerError;
use super::{Ledger, json, micros};
use crate::clock;

/// A run that no newer one of the same job, at the same base URL, has superseded.
pub(super) const NEWEST_OF_ITS_JOB: &str =
    "NOT EXISTS (SELECT 1 FROM runs n WHERE n.fleet = r.fleet AND n.base = r.base AND n.no > r.no)";

pub(super) const UNFINISHED: &str = "EXISTS (SELECT 1 FROM items i WHERE i.run = r.no AND i.state < 2)";

/// Every VM may be settled: it is the end that could not be written any more.
const UNENDED: &str = "r.ended_at IS NULL";

impl Ledger {
    /// The latest unfinished run that is not superseded.
    pub fn latest_unfinished(&self) -> Result<Option<RunKey>, LedgerError> {
        self.newest_run(&format!("({UNFINISHED} OR {UNENDED}) AND {NEWEST_OF_ITS_JOB}"), [])
    }

    /// The newest run of the same job, if it is unfinished.
    pub fn unfinished(&self, job: &NewRun) -> Result<Option<RunKey>, LedgerError> {
        let same = "fleet = ?1 AND base = (SELECT id FROM bases WHERE url = ?2)";
        let job = params![job.fleet(), job.base_url];
        self.newest_run(&format!("{same} AND {UNFINISHED} AND {NEWEST_OF_ITS_JOB}"), job)
    }

    fn newest_run(&self, condition: &str, values: impl Params) -> Result<Option<RunKey>, LedgerError> {
        let sql = format!("SELECT no, base, id FROM runs r WHERE {condition} ORDER BY no DESC LIMIT 1");
        let run = self.db.query_row(&sql, values, RunKey::of);
        run.optional().map_err(self.sqlite())
    }

    /// Whether a run has VMs without an outcome, or was not seen to end.
    pub fn is_unfinished(&self, run: &RunKey) -> Result<bool, LedgerError> {
        let sql = format!("SELECT {UNFINISHED} OR {UNENDED} FROM runs r WHERE no = ?1");
        self.db.query_row(&sql, [run.no], |row| row.get(0)).map_err(self.sqlite())
    }

    /// Notes that a run goes on, with these options and those of its own that they say nothing of.
    pub fn resume(&self, run: &RunKey, job: &NewRun) -> Result<(), LedgerError> {
        let sql =
            "UPDATE runs SET resumes = resumes + 1, resumed_at = ?2, ended_at = NULL, stopped_by = NULL,
                      exit_code = NULL, counts = NULL, options = json_patch(options, ?3), key_fingerprint = ?4,
                      timeout_us = ?5,
                      calls_before = (SELECT coalesce(sum(attempts + throttled), 0) FROM items WHERE run = ?1)
                   WHERE no = ?1";
        let values = params![
            run.no,
            micros(clock::now()),
            json::write(&job.options),
            job.key_fingerprint,
            i64::try_from(job.timeout.as_micros()).unwrap_or(i64::MAX),
        ];
        self.db.execute(sql, values).map_err(self.sqlite()).map(drop)
    }

    /// Calls `each` with the id and the inventory's rack of every VM of a run.
    pub fn each_vm(&self, run: &RunKey, mut each: impl FnMut(&str, Option<&str>)) -> Result<(), LedgerError> {
        let sql = "SELECT vmid, CASE rack_expected WHEN 1 THEN r.rack_id END
                   FROM items i JOIN racks r ON r.run = i.run AND r.no = i.rack WHERE i.run = ?1 ORDER BY position";
        let mut items = self.db.prepare(sql).map_err(self.sqlite())?;
        let mut items = items.query([run.no]).map_err(self.sqlite())?;
        while let Some(item) = items.next().map_err(self.sqlite())? {
            let vmid: String = item.get(0).map_err(self.sqlite())?;
            let rack: Option<String> = item.get(1).map_err(self.sqlite())?;
            each(&vmid, rack.as_deref());
        }
        Ok(())
    }
}
