//! The runs, each as a whole: found, told of, compared, and whether they are finished.

use std::sync::LazyLock;

use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::column::{self, count};
use super::database::Postgres;
use super::question::{Question, Values};
use super::session::Session;
use super::workers;
use crate::inventory::InventoryFile;
use crate::ledger::engine::{Engine, Runs, the_one_meant};
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
pub(super) const NEWEST_OF_ITS_JOB: &str = "NOT EXISTS (SELECT 1 FROM v6fleet.runs n
    WHERE (n.base, n.fleet, n.selection, n.piped) = (r.base, r.fleet, r.selection, r.piped) AND n.no > r.no)";

/// That a run has VMs without an outcome.
macro_rules! without_outcome {
    ($run:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM v6fleet.items i LEFT JOIN v6fleet.progress g ON g.item = i.no
             WHERE i.run = ",
            $run,
            ".no AND g.outcome IS NULL)"
        )
    };
}

/// That a run `p` has VMs without an outcome.
pub(super) const PENDING: &str = without_outcome!("p");

/// The same; those of one that ended by itself are not looked at.
pub(super) const UNFINISHED: &str =
    concat!("(r.ended_at IS NULL OR r.stopped_by IS NOT NULL) AND ", without_outcome!("r"));

/// With [`UNFINISHED`], as `is_resumable` has it: every VM may be settled, and the end could not be written any more.
const UNENDED: &str = "r.ended_at IS NULL";

/// As `is_complete` has it.
const COMPLETE: &str = "r.ended_at IS NOT NULL AND r.stopped_by IS NULL AND NOT r.pruned";

/// That a run `r` is of the same job as run `$1`, or of that job for the whole inventory: its selection is `$2`.
const SAME_JOB: &str = "EXISTS (SELECT 1 FROM v6fleet.runs o WHERE o.no = $1
    AND (o.base, o.fleet, o.piped) = (r.base, r.fleet, r.piped) AND r.selection IN ($2, o.selection))";

/// When the job of run `$1` last succeeded, or that for the whole inventory: its selection is `$2`.
static LAST_SUCCESS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT max(ended_at) FROM v6fleet.runs r
         WHERE no <= $1 AND {COMPLETE} AND exit_code IN ({SUCCESSES}) AND {SAME_JOB}"
    )
});

/// How often the whole inventory of run `$1` was run, where that is of a part of it, and when that last succeeded.
static WHOLE_SUCCESS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT count(*), max(ended_at) FILTER (WHERE {COMPLETE} AND exit_code IN ({SUCCESSES}))
         FROM v6fleet.runs r WHERE NOT pruned AND selection = $2 AND EXISTS (SELECT 1 FROM v6fleet.runs o
            WHERE o.no = $1 AND o.selection <> $2 AND (o.base, o.fleet, o.piped) = (r.base, r.fleet, r.piped))"
    )
});

/// How run `$1` went.
pub(super) const COURSE: &str =
    "SELECT coalesce(resumed_at, started_at), ended_at, stopped_by, exit_code, warnings, calls_before, workers,
        (SELECT count(*) FROM v6fleet.skipped s WHERE s.run = r.no)
    FROM v6fleet.runs r WHERE no = $1";

/// The run with which run `$1` can be compared; the selection of a whole inventory is `$2`.
pub(super) static BASELINE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT id, counts FROM v6fleet.runs r WHERE no < $1 AND {COMPLETE} AND {SAME_JOB} ORDER BY no DESC LIMIT 1"
    )
});

impl Runs for Postgres {
    fn find_run(&self, typed: &str) -> Result<RunKey, LedgerError> {
        let sql = match typed {
            "latest" => "SELECT id FROM v6fleet.runs WHERE $1 <> '' AND NOT pruned ORDER BY no DESC LIMIT 1",
            _ => {
                "SELECT id FROM v6fleet.runs WHERE starts_with(id, $1) AND NOT pruned
                 ORDER BY id = $1 DESC LIMIT 2"
            }
        };
        // No id holds what the database cannot.
        let found = if typed.contains('\0') { vec![] } else { self.session.all(sql, &[&typed], key)? };
        the_one_meant(typed, found)
    }

    fn newest(&self, kind: Kind) -> Result<Option<RunKey>, LedgerError> {
        newest(&self.session, "kind = $1", &[&kind.as_str()])
    }

    fn run_info(&self, run: &RunKey) -> Result<RunInfo, LedgerError> {
        let answers = self.session.side_by_side(&asking_info(self.run(run)?.no))?;
        let info = info(&self.session, answers.each_ref().map(Vec::as_slice))?;
        info.ok_or_else(|| LedgerError::UnknownRun(run.id.clone()))
    }

    fn workers(&self, run: &RunKey) -> Result<Vec<Worker>, LedgerError> {
        let run = self.run(run)?;
        let [deeds, workers] = self.session.side_by_side(&workers::asking(run.no))?;
        workers::all(&self.session, run.kind, [&deeds, &workers])
    }

    fn course(&self, run: &RunKey) -> Result<Course, LedgerError> {
        let run = self.run(run)?;
        self.session.one(COURSE, &[&run.no], course)
    }

    fn overviews(&self, limit: Option<u32>) -> Result<Vec<Overview>, LedgerError> {
        let sql = "SELECT id FROM v6fleet.runs WHERE NOT pruned ORDER BY no DESC LIMIT $1";
        let runs = self.session.all(sql, &[&limit.map(i64::from)], key)?;
        runs.iter().map(|run| self.overview(run)).collect()
    }

    fn written(&self, run: &RunKey) -> Result<Vec<WrittenFile>, LedgerError> {
        let sql = "SELECT written FROM v6fleet.runs WHERE id = $1";
        self.session.one(sql, &[&run.id], |row| column::list(row, 0))
    }

    fn overview(&self, run: &RunKey) -> Result<Overview, LedgerError> {
        let sql = format!(
            "SELECT r.id, url, action, inventory, inventory_vms, started_at, ended_at, resumes, counts, stopped_by,
                exit_code, pinned, {COMPLETE}, options, dialect, kind
             FROM v6fleet.runs r JOIN v6fleet.bases b ON b.id = r.base WHERE r.id = $1"
        );
        let (overview, is_counted) = self.session.one(&sql, &[&run.id], overview)?;
        match is_counted {
            true => Ok(overview),
            // It has not ended, or ended before counts were kept.
            false => Ok(Overview { counts: self.start(run)?.counts, ..overview }),
        }
    }

    fn of_same_job(&self, run: &RunKey) -> Result<Vec<RunKey>, LedgerError> {
        let sql = "SELECT id FROM v6fleet.runs WHERE NOT pruned AND (base, fleet, selection, piped) =
            (SELECT base, fleet, selection, piped FROM v6fleet.runs WHERE id = $1) ORDER BY no DESC";
        self.session.all(sql, &[&run.id], key)
    }

    fn pin(&self, run: &RunKey, pinned: bool) -> Result<(), LedgerError> {
        let sql = "UPDATE v6fleet.runs SET pinned = $2 WHERE id = $1";
        self.session.execute(sql, &[&run.id, &pinned]).map(drop)
    }

    fn latest_unfinished(&self) -> Result<Option<RunKey>, LedgerError> {
        let condition = format!("({UNFINISHED} OR {UNENDED}) AND {NEWEST_OF_ITS_JOB}");
        newest(&self.session, &condition, &[])
    }

    fn unfinished(
        &self,
        job: &NewRun,
        inventory: &[InventoryFile],
    ) -> Result<Option<Unfinished>, LedgerError> {
        let same = "(fleet, selection, piped) = ($1, $2, $3)
            AND base = (SELECT id FROM v6fleet.bases WHERE (url, dialect) = ($4, $5))";
        let fleet = fleet(job.kind, &job.files, job.action);
        let (selection, piped) = (selection(&job.options), job.piped(inventory));
        let condition = format!("{same} AND {UNFINISHED} AND {NEWEST_OF_ITS_JOB}");
        let job: Values<'_> = &[&fleet, &selection, &piped, &job.base_url, &job.dialect.as_str()];
        let run = newest(&self.session, &condition, job)?;
        run.map(|run| unfinished(&self.session, &run)).transpose()
    }

    fn superseded(&self) -> Result<Vec<Unfinished>, LedgerError> {
        let sql = format!(
            "SELECT id FROM v6fleet.runs r WHERE NOT pruned AND {UNFINISHED} AND NOT {NEWEST_OF_ITS_JOB}
             ORDER BY no DESC"
        );
        let runs = self.session.all(&sql, &[], key)?;
        runs.iter().map(|run| unfinished(&self.session, run)).collect()
    }

    fn is_unfinished(&self, run: &RunKey) -> Result<bool, LedgerError> {
        let sql = format!("SELECT {UNFINISHED} OR {UNENDED} FROM v6fleet.runs r WHERE id = $1");
        self.session.one(&sql, &[&run.id], |row| row.try_get(0))
    }

    fn baseline(&self, run: &RunKey) -> Result<Option<Baseline>, LedgerError> {
        let run = self.run(run)?;
        self.compared(self.session.all(&BASELINE, &[&run.no, &EVERYTHING], compared)?)
    }

    fn last_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError> {
        let run = self.run(run)?;
        self.session.one(&LAST_SUCCESS, &[&run.no, &EVERYTHING], |row| column::time(row, 0))
    }

    fn whole_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError> {
        let run = self.run(run)?;
        self.session.one(&WHOLE_SUCCESS, &[&run.no, &EVERYTHING], whole_success)
    }

    fn last_inventory(&self, job: &NewRun) -> Result<Option<LastInventory>, LedgerError> {
        let fleets = [None, Some(Action::Allocate), Some(Action::RefreshNextHop)]
            .map(|action| fleet(job.kind, &job.files, action))
            .to_vec();
        let sql = format!(
            "SELECT r.id, inventory_vms FROM v6fleet.runs r JOIN v6fleet.bases b ON b.id = r.base
             WHERE fleet = ANY ($1) AND (url, dialect) = ($2, $3) AND selection IN ($4, $5)
                AND inventory_vms IS NOT NULL AND {COMPLETE}
             ORDER BY no DESC LIMIT 1"
        );
        let selection = selection(&job.options);
        let values: Values<'_> = &[&fleets, &job.base_url, &job.dialect.as_str(), &EVERYTHING, &selection];
        let last = |row: &Row| Ok(LastInventory { run: row.try_get(0)?, vms: count(row, 1)? });
        self.session.first(&sql, values, last)
    }
}

impl Postgres {
    /// The run that was found to compare another with, if one was.
    pub(super) fn compared(
        &self,
        mut found: Vec<(RunKey, Option<Counts>)>,
    ) -> Result<Option<Baseline>, LedgerError> {
        let Some((run, counts)) = found.pop() else { return Ok(None) };
        // Counts were not always kept.
        let counts = counts.map_or_else(|| self.start(&run).map(|start| start.counts), Ok)?;
        Ok(Some(Baseline { run, failed: counts.failed }))
    }
}

/// The number of the last run of the job of run `$1` before it, if it is unfinished.
pub(super) static UNFINISHED_BEFORE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT r.no FROM v6fleet.runs r WHERE {UNFINISHED} AND r.no = (
            SELECT max(l.no) FROM v6fleet.runs l JOIN v6fleet.runs o ON o.no = $1 WHERE l.no < o.no AND NOT l.pruned
                AND (l.base, l.fleet, l.selection, l.piped) = (o.base, o.fleet, o.selection, o.piped))"
    )
});

fn newest(session: &Session, condition: &str, values: Values<'_>) -> Result<Option<RunKey>, LedgerError> {
    let sql =
        format!("SELECT id FROM v6fleet.runs r WHERE NOT pruned AND {condition} ORDER BY no DESC LIMIT 1");
    session.first(&sql, values, key)
}

fn unfinished(session: &Session, run: &RunKey) -> Result<Unfinished, LedgerError> {
    let sql = "SELECT coalesce(braked, stopped_by), inventory, id_files, options,
            (SELECT count(*) FROM v6fleet.items i WHERE i.run = r.no),
            (SELECT count(p.outcome) FROM v6fleet.progress p WHERE p.item >= r.no << 32 AND p.item < (r.no + 1) << 32)
        FROM v6fleet.runs r WHERE id = $1";
    session.one(sql, &[&run.id], |row| {
        let mut files = column::list(row, 1)?;
        files.extend(column::list(row, 2)?);
        let (vms, settled) = (count(row, 4)?, count(row, 5)?);
        let stopped_by = column::known_word(row, 0, Stop::from_word)?;
        let options = column::json(row, 3)?.unwrap_or_default();
        Ok(Unfinished { run: run.clone(), vms, pending: vms - settled, stopped_by, files, options })
    })
}

/// Asks what a run is.
pub(super) fn asking_info(run: i64) -> [Question; 3] {
    let sql = "SELECT r.id, tool_version, url, key_fingerprint, action, inventory, options, label_columns, started_at,
            ended_at, resumes, inventory_vms, dialect, kind
        FROM v6fleet.runs r JOIN v6fleet.bases b ON b.id = r.base WHERE r.no = $1";
    let of_job = |sql: &'static str| Question::new(sql, vec![Box::new(run), Box::new(EVERYTHING)]);
    [Question::new(sql, vec![Box::new(run)]), of_job(&LAST_SUCCESS), of_job(&WHOLE_SUCCESS)]
}

/// Reads what [`asking_info`] asks for.
pub(super) fn info(
    session: &Session,
    [run, last, whole]: [&[Row]; 3],
) -> Result<Option<RunInfo>, LedgerError> {
    let last_success_at = session.read(last, |row| column::time(row, 0))?.pop().flatten();
    let whole_success_at = session.read(whole, whole_success)?.pop().flatten();
    let info = session.read(run, own_info)?.pop();
    Ok(info.map(|info| RunInfo { last_success_at, whole_success_at, ..info }))
}

/// But for what other runs of its job came to.
fn own_info(row: &Row) -> Result<RunInfo, Error> {
    Ok(RunInfo {
        id: row.try_get(0)?,
        tool_version: row.try_get(1)?,
        base_url: row.try_get(2)?,
        key_fingerprint: row.try_get(3)?,
        action: action(row, 4)?,
        inventory: column::list(row, 5)?,
        options: column::json(row, 6)?.unwrap_or_default(),
        label_columns: column::json(row, 7)?.unwrap_or_default(),
        started_at: column::at(row, 8)?,
        ended_at: column::time(row, 9)?,
        resumes: column::small(row, 10)?.unwrap_or_default(),
        inventory_vms: row.try_get::<_, Option<i64>>(11)?.map(i64::unsigned_abs),
        dialect: column::word(row, 12)?,
        kind: column::kind(row, 13)?,
        last_success_at: None,
        whole_success_at: None,
    })
}

/// An overview, and whether it is counted.
fn overview(row: &Row) -> Result<(Overview, bool), Error> {
    let counts: Option<Counts> = column::shaped(row, 8)?;
    let kind = column::kind(row, 15)?;
    let overview = Overview {
        kind,
        dialect: column::word(row, 14)?,
        id: row.try_get(0)?,
        base_url: row.try_get(1)?,
        action: action(row, 2)?,
        inventory: column::list(row, 3)?,
        inventory_vms: row.try_get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
        started_at: column::at(row, 5)?,
        ended_at: column::time(row, 6)?,
        resumes: column::small(row, 7)?.unwrap_or_default(),
        counts: Counts { kind, ..counts.unwrap_or_default() },
        stopped_by: column::known_word(row, 9, Stop::from_word)?,
        exit_code: exit_code(row, 10)?,
        pinned: row.try_get(11)?,
        complete: row.try_get(12)?,
        options: column::json(row, 13)?.unwrap_or_default(),
        running: false,
    };
    Ok((overview, counts.is_some()))
}

/// Reads the columns of [`WHOLE_SUCCESS`].
fn whole_success(row: &Row) -> Result<Option<Timestamp>, Error> {
    let at = column::time(row, 1)?;
    Ok((count(row, 0)? > 0).then(|| at.unwrap_or(Timestamp::UNIX_EPOCH)))
}

/// Reads the columns of [`COURSE`].
pub(super) fn course(row: &Row) -> Result<Course, Error> {
    Ok(Course {
        begun_at: column::at(row, 0)?,
        ended_at: column::time(row, 1)?,
        stopped_by: column::known_word(row, 2, Stop::from_word)?,
        exit_code: exit_code(row, 3)?,
        warnings: column::json(row, 4)?.unwrap_or_default(),
        calls_before: count(row, 5)?,
        workers: column::list(row, 6)?,
        skipped: count(row, 7)?,
    })
}

/// Reads the columns of [`BASELINE`].
pub(super) fn compared(row: &Row) -> Result<(RunKey, Option<Counts>), Error> {
    Ok((key(row)?, column::shaped(row, 1)?))
}

fn key(row: &Row) -> Result<RunKey, Error> {
    row.try_get(0).map(|id| RunKey { id })
}

fn action(row: &Row, column: usize) -> Result<Option<Action>, Error> {
    column::known_word(row, column, |word| word.parse().ok())
}

fn exit_code(row: &Row, column: usize) -> Result<Option<u8>, Error> {
    let code: Option<i16> = row.try_get(column)?;
    Ok(code.map(|code| u8::try_from(code).unwrap_or(u8::MAX)))
}
