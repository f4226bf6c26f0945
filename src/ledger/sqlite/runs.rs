//! The runs, each as a whole: found, told of, compared, and whether they are finished.

use crate::ledger::numbers::span;
use jiff::Timestamp;
use rusqlite::{Connection, Error, OptionalExtension, Params, Row, params};

use super::Sqlite;
use super::column::{self, count, kind, time, timestamp};
use crate::inventory::InventoryFile;
use crate::ledger::engine::{Runs, Vms, the_one_meant};
use crate::ledger::error::LedgerError;
use crate::ledger::job::{EVERYTHING, SUCCESSES, fleet, selection};
use crate::ledger::record::{
    Baseline, Counts, Course, LastInventory, NewRun, Overview, RunInfo, RunKey, Unfinished, Worker,
    WrittenFile,
};
use crate::outcome::Kind;
use crate::stop::Stop;
use crate::vm::Action;

/// A run that no newer one of the same job has superseded.
pub(super) const NEWEST_OF_ITS_JOB: &str = "NOT EXISTS (SELECT 1 FROM runs n
    WHERE (n.base, n.fleet, n.selection, n.piped) = (r.base, r.fleet, r.selection, r.piped) AND n.no > r.no)";

/// That a run `r` has VMs without an outcome. Those of one that ended by itself are not looked at.
pub(super) const UNFINISHED: &str = "(r.ended_at IS NULL OR r.stopped_by IS NOT NULL)
    AND EXISTS (SELECT 1 FROM listed i
        WHERE i.no >= r.no << 32 AND i.no < (r.no + 1) << 32 AND outcome IS NULL)";

/// With [`UNFINISHED`], as `is_resumable` has it: every VM may be settled, and the end could not be written any more.
const UNENDED: &str = "r.ended_at IS NULL";

/// As `is_complete` has it.
const COMPLETE: &str = "ended_at IS NOT NULL AND stopped_by IS NULL AND NOT pruned";

/// That a run `r` is of the same job as run `?1`, or of that job for the whole inventory: its selection is `?2`.
const SAME_JOB: &str = "EXISTS (SELECT 1 FROM runs o WHERE o.no = ?1
    AND (o.base, o.fleet, o.piped) = (r.base, r.fleet, r.piped) AND r.selection IN (?2, o.selection))";

impl Runs for Sqlite {
    fn find_run(&self, typed: &str) -> Result<RunKey, LedgerError> {
        let sql = match typed {
            "latest" => "SELECT id FROM runs WHERE ?1 <> '' AND NOT pruned ORDER BY no DESC LIMIT 1",
            _ => {
                "SELECT id FROM runs WHERE substr(id, 1, length(?1)) = ?1 AND NOT pruned
                 ORDER BY id = ?1 DESC LIMIT 2"
            }
        };
        let found: Vec<RunKey> = self.ask(|db| db.prepare(sql)?.query_map([typed], key)?.collect())?;
        the_one_meant(typed, found)
    }

    fn newest(&self, kind: Kind) -> Result<Option<RunKey>, LedgerError> {
        self.ask(|db| newest(db, "kind = ?1", [kind.as_str()]))
    }

    fn run_info(&self, run: &RunKey) -> Result<RunInfo, LedgerError> {
        let sql = "SELECT r.id, tool_version, url, key_fingerprint, action, inventory, options, label_columns, started_at,
                ended_at, resumes, inventory_vms, dialect, kind
            FROM runs r JOIN bases ON bases.id = r.base WHERE r.id = ?1";
        let info = self.ask(|db| db.query_row(sql, [&run.id], info))?;
        let (last_success_at, whole_success_at) = (self.last_success(run)?, self.whole_success(run)?);
        Ok(RunInfo { last_success_at, whole_success_at, ..info })
    }

    fn workers(&self, _: &RunKey) -> Result<Vec<Worker>, LedgerError> {
        Ok(vec![])
    }

    fn course(&self, run: &RunKey) -> Result<Course, LedgerError> {
        let sql = "SELECT coalesce(resumed_at, started_at), ended_at, stopped_by, exit_code, warnings, calls_before, workers,
                (SELECT count(*) FROM skipped WHERE run = runs.no)
            FROM runs WHERE id = ?1";
        self.ask(|db| {
            db.query_row(sql, [&run.id], |row| {
                Ok(Course {
                    begun_at: timestamp(row.get(0)?),
                    ended_at: time(row, 1)?,
                    stopped_by: stop(row, 2)?,
                    exit_code: row.get(3)?,
                    warnings: column::json(row, 4)?.unwrap_or_default(),
                    calls_before: count(row, 5)?,
                    workers: column::list(row, 6)?,
                    skipped: count(row, 7)?,
                })
            })
        })
    }

    fn overviews(&self, limit: Option<u32>) -> Result<Vec<Overview>, LedgerError> {
        let sql = "SELECT id FROM runs WHERE NOT pruned ORDER BY no DESC LIMIT ?1";
        let limit = limit.map_or(-1, i64::from);
        let runs: Vec<RunKey> = self.ask(|db| db.prepare(sql)?.query_map([limit], key)?.collect())?;
        runs.iter().map(|run| self.overview(run)).collect()
    }

    fn written(&self, run: &RunKey) -> Result<Vec<WrittenFile>, LedgerError> {
        let sql = "SELECT written FROM runs WHERE id = ?1";
        self.ask(|db| db.query_row(sql, [&run.id], |row| column::list(row, 0)))
    }

    fn overview(&self, run: &RunKey) -> Result<Overview, LedgerError> {
        let sql = format!(
            "SELECT runs.id, url, action, inventory, inventory_vms, started_at, ended_at, resumes, counts, stopped_by,
                exit_code, pinned, {COMPLETE}, options, dialect, kind
             FROM runs JOIN bases ON bases.id = base WHERE runs.id = ?1"
        );
        let (overview, is_counted) =
            self.ask(|db| db.prepare_cached(&sql)?.query_row([&run.id], overview))?;
        match is_counted {
            true => Ok(overview),
            // It has not ended, or ended before counts were kept.
            false => Ok(Overview { counts: self.sums(run)?.counts(), ..overview }),
        }
    }

    fn of_same_job(&self, run: &RunKey) -> Result<Vec<RunKey>, LedgerError> {
        let sql = "SELECT id FROM runs WHERE NOT pruned AND (base, fleet, selection, piped) =
            (SELECT base, fleet, selection, piped FROM runs WHERE id = ?1) ORDER BY no DESC";
        self.ask(|db| db.prepare(sql)?.query_map([&run.id], key)?.collect())
    }

    fn pin(&self, run: &RunKey, pinned: bool) -> Result<(), LedgerError> {
        let sql = "UPDATE runs SET pinned = ?2 WHERE id = ?1";
        self.ask(|db| db.execute(sql, params![run.id, pinned])).map(drop)
    }

    fn latest_unfinished(&self) -> Result<Option<RunKey>, LedgerError> {
        self.ask(|db| newest(db, &format!("({UNFINISHED} OR {UNENDED}) AND {NEWEST_OF_ITS_JOB}"), []))
    }

    fn unfinished(
        &self,
        job: &NewRun,
        inventory: &[InventoryFile],
    ) -> Result<Option<Unfinished>, LedgerError> {
        let same = "(fleet, selection, piped) = (?1, ?2, ?3)
            AND base = (SELECT id FROM bases WHERE (url, dialect) = (?4, ?5))";
        let fleet = fleet(job.kind, &job.files, job.action);
        let (selection, piped) = (selection(&job.options), job.piped(inventory));
        let job = params![fleet, selection, piped, job.base_url, job.dialect.as_str()];
        self.ask(|db| {
            let run = newest(db, &format!("{same} AND {UNFINISHED} AND {NEWEST_OF_ITS_JOB}"), job)?;
            run.map(|run| unfinished(db, run)).transpose()
        })
    }

    fn superseded(&self) -> Result<Vec<Unfinished>, LedgerError> {
        let sql = format!(
            "SELECT id FROM runs r WHERE NOT pruned AND {UNFINISHED} AND NOT {NEWEST_OF_ITS_JOB} ORDER BY no DESC"
        );
        self.ask(|db| db.prepare(&sql)?.query_map([], key)?.map(|run| unfinished(db, run?)).collect())
    }

    fn is_unfinished(&self, run: &RunKey) -> Result<bool, LedgerError> {
        let sql = format!("SELECT {UNFINISHED} OR {UNENDED} FROM runs r WHERE id = ?1");
        self.ask(|db| db.query_row(&sql, [&run.id], |row| row.get(0)))
    }

    fn baseline(&self, run: &RunKey) -> Result<Option<Baseline>, LedgerError> {
        let run = self.run(run)?;
        let earlier = format!("no < ?1 AND {COMPLETE} AND {SAME_JOB}");
        let baseline = self.ask(|db| newest(db, &earlier, params![run.no, EVERYTHING]))?;
        baseline.map(|run| Ok(Baseline { failed: self.overview(&run)?.counts.failed, run })).transpose()
    }

    fn last_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError> {
        let run = self.run(run)?;
        let sql = format!(
            "SELECT max(ended_at) FROM runs r WHERE no <= ?1 AND {COMPLETE} AND exit_code IN ({SUCCESSES}) AND {SAME_JOB}"
        );
        self.ask(|db| db.query_row(&sql, params![run.no, EVERYTHING], |row| time(row, 0)))
    }

    fn whole_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError> {
        let run = self.run(run)?;
        let sql = format!(
            "SELECT count(*), max(iif({COMPLETE} AND exit_code IN ({SUCCESSES}), ended_at, 0)) FROM runs r
             WHERE NOT pruned AND selection = ?2 AND EXISTS (SELECT 1 FROM runs o WHERE o.no = ?1
                AND o.selection <> ?2 AND (o.base, o.fleet, o.piped) = (r.base, r.fleet, r.piped))"
        );
        let whole = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, time(row, 1)?));
        let (runs, at) = self.ask(|db| db.query_row(&sql, params![run.no, EVERYTHING], whole))?;
        Ok((runs > 0).then(|| at.unwrap_or(Timestamp::UNIX_EPOCH)))
    }

    fn last_inventory(&self, job: &NewRun) -> Result<Option<LastInventory>, LedgerError> {
        let [none, allocate, refresh] = [None, Some(Action::Allocate), Some(Action::RefreshNextHop)]
            .map(|action| fleet(job.kind, &job.files, action));
        let sql = format!(
            "SELECT runs.id, inventory_vms FROM runs JOIN bases ON bases.id = base
             WHERE fleet IN (?1, ?2, ?3) AND (url, dialect) = (?4, ?7) AND selection IN (?5, ?6) AND inventory_vms IS NOT NULL AND {COMPLETE}
             ORDER BY no DESC LIMIT 1"
        );
        let selection = selection(&job.options);
        let values =
            params![none, allocate, refresh, job.base_url, EVERYTHING, selection, job.dialect.as_str()];
        let last = |row: &Row<'_>| Ok(LastInventory { run: row.get(0)?, vms: count(row, 1)? });
        self.ask(|db| db.query_row(&sql, values, last).optional())
    }
}

/// The last run of the job of run `no` before it, if it is unfinished.
pub(super) fn unfinished_before(db: &Connection, no: i64) -> Result<Option<RunKey>, Error> {
    let last = "SELECT max(l.no) FROM runs l JOIN runs o ON o.no = ?1 WHERE l.no < o.no AND NOT l.pruned
        AND (l.base, l.fleet, l.selection, l.piped) = (o.base, o.fleet, o.selection, o.piped)";
    newest(db, &format!("no = ({last}) AND {UNFINISHED}"), [no])
}

fn newest(db: &Connection, condition: &str, values: impl Params) -> Result<Option<RunKey>, Error> {
    let sql = format!("SELECT id FROM runs r WHERE NOT pruned AND {condition} ORDER BY no DESC LIMIT 1");
    db.query_row(&sql, values, key).optional()
}

fn unfinished(db: &Connection, run: RunKey) -> Result<Unfinished, Error> {
    let sql = "SELECT no, coalesce(braked, stopped_by), inventory, id_files, options FROM runs WHERE id = ?1";
    let vms = "SELECT count(*), count(*) - count(outcome) FROM listed i WHERE i.no BETWEEN ?1 AND ?2";
    db.query_row(sql, [run.id.clone()], |row| {
        let of_vms = |vms: &Row<'_>| Ok((count(vms, 0)?, count(vms, 1)?));
        let (vms, pending) = db.query_row(vms, span(row.get(0)?), of_vms)?;
        let mut files = column::list(row, 2)?;
        files.extend(column::list(row, 3)?);
        let options = column::json(row, 4)?.unwrap_or_default();
        Ok(Unfinished { run, vms, pending, stopped_by: stop(row, 1)?, files, options })
    })
}

fn info(row: &Row<'_>) -> Result<RunInfo, Error> {
    Ok(RunInfo {
        id: row.get(0)?,
        tool_version: row.get(1)?,
        base_url: row.get(2)?,
        key_fingerprint: row.get(3)?,
        action: action(row, 4)?,
        inventory: column::list(row, 5)?,
        options: column::json(row, 6)?.unwrap_or_default(),
        label_columns: column::json(row, 7)?.unwrap_or_default(),
        started_at: timestamp(row.get(8)?),
        ended_at: time(row, 9)?,
        resumes: row.get(10)?,
        inventory_vms: row.get::<_, Option<i64>>(11)?.map(i64::unsigned_abs),
        dialect: column::word(row, 12)?,
        kind: kind(row, 13)?,
        last_success_at: None,
        whole_success_at: None,
    })
}

/// An overview, and whether it is counted.
fn overview(row: &Row<'_>) -> Result<(Overview, bool), Error> {
    let counts: Option<Counts> = column::shaped(row, 8)?;
    let kind = kind(row, 15)?;
    let overview = Overview {
        id: row.get(0)?,
        kind,
        dialect: column::word(row, 14)?,
        base_url: row.get(1)?,
        action: action(row, 2)?,
        inventory: column::list(row, 3)?,
        inventory_vms: row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
        started_at: timestamp(row.get(5)?),
        ended_at: time(row, 6)?,
        resumes: row.get(7)?,
        counts: Counts { kind, ..counts.unwrap_or_default() },
        stopped_by: stop(row, 9)?,
        exit_code: row.get(10)?,
        pinned: row.get(11)?,
        complete: row.get(12)?,
        options: column::json(row, 13)?.unwrap_or_default(),
        running: false,
    };
    Ok((overview, counts.is_some()))
}

fn key(row: &Row<'_>) -> Result<RunKey, Error> {
    row.get(0).map(|id| RunKey { id })
}

fn action(row: &Row<'_>, column: usize) -> Result<Option<Action>, Error> {
    let word: Option<String> = row.get(column)?;
    Ok(word.and_then(|word| word.parse().ok()))
}

fn stop(row: &Row<'_>, column: usize) -> Result<Option<Stop>, Error> {
    let word: Option<String> = row.get(column)?;
    Ok(word.and_then(|word| Stop::from_word(&word)))
}
