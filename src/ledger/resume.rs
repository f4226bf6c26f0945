//! Runs that are not finished, and how they are gone on with.

use rusqlite::{OptionalExtension, Params, params};

use super::draft::{NewRun, RunKey};
use super::error::LedgerError;
use super::job::{NEWEST_OF_ITS_JOB, fleet, selection};
use super::summary::InventoryFile;
use super::{Ledger, json, micros, span};
use crate::clock;
use crate::stop::Stop;

/// That a run `r` has VMs without an outcome. Those of one that ended by itself are not looked at.
pub(super) const UNFINISHED: &str = "(r.ended_at IS NULL OR r.stopped_by IS NOT NULL)
    AND EXISTS (SELECT 1 FROM listed i LEFT JOIN events e ON e.no = i.event
        WHERE i.no >= r.no << 32 AND i.no < (r.no + 1) << 32 AND outcome IS NULL)";

/// A run with VMs that have no outcome yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfinished {
    pub run: RunKey,
    pub vms: u64,
    /// Of these, without an outcome.
    pub left: u64,
    /// The brake that it ran into, else what stopped it; `None` where it died.
    pub stopped_by: Option<Stop>,
    /// What it was read from: the inventory files, then those of `--vmid @FILE`.
    pub files: Vec<InventoryFile>,
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// A rack's VMs without an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub rack_id: Option<String>,
    pub vms: u64,
    /// Of these, seen before.
    pub known: u64,
}

/// Every VM may be settled: it is the end that could not be written any more.
const UNENDED: &str = "r.ended_at IS NULL";

impl Ledger {
    /// The latest unfinished run that is not superseded.
    pub fn latest_unfinished(&self) -> Result<Option<RunKey>, LedgerError> {
        self.newest_run(&format!("({UNFINISHED} OR {UNENDED}) AND {NEWEST_OF_ITS_JOB}"), [])
    }

    /// The newest run of the same job over this inventory, if it is unfinished.
    pub fn unfinished(
        &self,
        job: &NewRun,
        inventory: &[InventoryFile],
    ) -> Result<Option<Unfinished>, LedgerError> {
        let same =
            "(fleet, selection, piped) = (?1, ?2, ?3) AND base = (SELECT id FROM bases WHERE url = ?4)";
        let fleet = fleet(&job.files, job.action);
        let job = params![fleet, selection(&job.options), job.piped(inventory), job.base_url];
        let run = self.newest_run(&format!("{same} AND {UNFINISHED} AND {NEWEST_OF_ITS_JOB}"), job)?;
        run.map(|run| self.unfinished_run(&run)).transpose()
    }

    /// The last run of a run's job before it, if it is unfinished.
    pub(super) fn unfinished_before(&self, run: &RunKey) -> Result<Option<RunKey>, LedgerError> {
        let last = "SELECT max(l.no) FROM runs l JOIN runs o ON o.no = ?1 WHERE l.no < o.no AND NOT l.pruned
            AND (l.base, l.fleet, l.selection, l.piped) = (o.base, o.fleet, o.selection, o.piped)";
        self.newest_run(&format!("no = ({last}) AND {UNFINISHED}"), [run.no])
    }

    /// The unfinished runs that a newer one of their job has superseded, the newest first.
    pub fn superseded(&self) -> Result<Vec<Unfinished>, LedgerError> {
        let sqlite = self.sqlite();
        let sql = format!(
            "SELECT no, base, id FROM runs r WHERE NOT pruned AND {UNFINISHED} AND NOT {NEWEST_OF_ITS_JOB}
             ORDER BY no DESC"
        );
        let mut runs = self.db.prepare(&sql).map_err(sqlite)?;
        let runs = runs.query_map([], RunKey::of).map_err(sqlite)?;
        runs.map(|run| self.unfinished_run(&run.map_err(sqlite)?)).collect()
    }

    fn unfinished_run(&self, run: &RunKey) -> Result<Unfinished, LedgerError> {
        let sql = "SELECT coalesce(braked, stopped_by), inventory, id_files, options,
                vms, vms - settled
             FROM runs, (SELECT count(*) AS vms, count(outcome) AS settled
                FROM listed i LEFT JOIN events e ON e.no = i.event WHERE i.no BETWEEN ?2 AND ?3)
             WHERE no = ?1";
        let [first, last] = span(run.no);
        let unfinished = self.db.query_row(sql, [run.no, first, last], |row| {
            let stopped_by: Option<String> = row.get(0)?;
            let mut files: Vec<InventoryFile> = json::read(row, 1)?.unwrap_or_default();
            files.extend(json::read::<Vec<_>>(row, 2)?.unwrap_or_default());
            Ok(Unfinished {
                run: run.clone(),
                vms: row.get::<_, i64>(4)?.unsigned_abs(),
                left: row.get::<_, i64>(5)?.unsigned_abs(),
                stopped_by: stopped_by.and_then(|word| Stop::from_word(&word)),
                files,
                options: json::read(row, 3)?.unwrap_or_default(),
            })
        });
        unfinished.map_err(self.sqlite())
    }

    fn newest_run(&self, condition: &str, values: impl Params) -> Result<Option<RunKey>, LedgerError> {
        let sql = format!(
            "SELECT no, base, id FROM runs r WHERE NOT pruned AND {condition} ORDER BY no DESC LIMIT 1"
        );
        let run = self.db.query_row(&sql, values, RunKey::of);
        run.optional().map_err(self.sqlite())
    }

    /// Whether a run has VMs without an outcome, or was not seen to end.
    pub fn is_unfinished(&self, run: &RunKey) -> Result<bool, LedgerError> {
        let sql = format!("SELECT {UNFINISHED} OR {UNENDED} FROM runs r WHERE no = ?1");
        self.db.query_row(&sql, [run.no], |row| row.get(0)).map_err(self.sqlite())
    }

    /// The VMs of a run that have no outcome.
    pub fn left(&self, run: &RunKey) -> Result<Vec<Left>, LedgerError> {
        let sql =
            "SELECT r.rack_id, count(*), count((SELECT k.rack_id FROM known k WHERE k.base = ?3 AND k.vmid = i.vmid))
             FROM listed i LEFT JOIN events e ON e.no = i.event JOIN racks r ON r.run = i.run AND r.no = i.rack
             WHERE i.no BETWEEN ?1 AND ?2 AND outcome IS NULL GROUP BY i.rack";
        let [first, last] = span(run.no);
        let mut racks = self.db.prepare(sql).map_err(self.sqlite())?;
        let racks = racks.query_map([first, last, run.base], |row| {
            let counted = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            Ok(Left { rack_id: row.get(0)?, vms: counted(1)?, known: counted(2)? })
        });
        racks.map_err(self.sqlite())?.collect::<Result<_, _>>().map_err(self.sqlite())
    }

    /// Notes that a run goes on, with these options and those of its own that they say nothing of.
    pub fn resume(&self, run: &RunKey, job: &NewRun) -> Result<(), LedgerError> {
        let sql =
            "UPDATE runs SET resumes = resumes + 1, resumed_at = ?2, ended_at = NULL, stopped_by = NULL, braked = NULL,
                      exit_code = NULL, counts = NULL, options = json_patch(options, ?3), key_fingerprint = ?4,
                      timeout_us = ?5,
                      calls_before = (SELECT coalesce(sum(attempts + throttled), 0)
                        FROM listed i JOIN events e ON e.no = i.event WHERE i.no BETWEEN ?6 AND ?7)
                   WHERE no = ?1";
        let [first, last] = span(run.no);
        let values = params![
            run.no,
            micros(clock::now()),
            json::write(&job.options),
            job.key_fingerprint,
            i64::try_from(job.timeout.as_micros()).unwrap_or(i64::MAX),
            first,
            last,
        ];
        self.db.execute(sql, values).map_err(self.sqlite()).map(drop)
    }

    /// Calls `each` with the id and the inventory's rack of every VM of a run.
    pub fn each_vm(&self, run: &RunKey, mut each: impl FnMut(&str, Option<&str>)) -> Result<(), LedgerError> {
        let sql = "SELECT vmid, CASE rack_expected WHEN 1 THEN r.rack_id END
                   FROM items i JOIN racks r ON r.run = i.run AND r.no = i.rack WHERE i.no BETWEEN ?1 AND ?2 ORDER BY i.no";
        let mut items = self.db.prepare(sql).map_err(self.sqlite())?;
        let mut items = items.query(span(run.no)).map_err(self.sqlite())?;
        while let Some(item) = items.next().map_err(self.sqlite())? {
            let vmid: String = item.get(0).map_err(self.sqlite())?;
            let rack: Option<String> = item.get(1).map_err(self.sqlite())?;
            each(&vmid, rack.as_deref());
        }
        Ok(())
    }
}
