//! Everything that reports ask of a ledger.

use jiff::Timestamp;

use super::draft::RunKey;
use super::error::LedgerError;
use super::row::Row;
use super::summary::{RunInfo, Summary};
use super::sums::Sums;
use super::{Ledger, json, span, timestamp};
use crate::outcome::{Basis, Failure, Outcome};
use crate::stop::Stop;

/// What is said of a claimed VM.
const IN_FLIGHT: &str = "a call for this VM is in flight, or was when the process died";

/// An invalid inventory row that a run went on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub file: String,
    pub line: i64,
    pub column: String,
    pub reason: String,
}

impl Ledger {
    /// The run whose id starts with `text`, or the newest one for `latest`.
    pub fn find_run(&self, text: &str) -> Result<RunKey, LedgerError> {
        let unknown = || LedgerError::UnknownRun(text.to_owned());
        let sql = match text {
            "latest" => {
                "SELECT no, base, id FROM runs WHERE ?1 <> '' AND NOT pruned ORDER BY no DESC LIMIT 1"
            }
            _ => {
                "SELECT no, base, id FROM runs WHERE substr(id, 1, length(?1)) = ?1 AND NOT pruned
                 ORDER BY id = ?1 DESC LIMIT 2"
            }
        };
        let mut runs = self.db.prepare(sql).map_err(self.sqlite())?;
        let runs = runs.query_map([text], RunKey::of).map_err(self.sqlite())?;
        let mut runs = runs.collect::<Result<Vec<_>, _>>().map_err(self.sqlite())?.into_iter();
        match (runs.next(), runs.next()) {
            _ if text.is_empty() => Err(unknown()),
            (Some(run), None) => Ok(run),
            (Some(run), Some(_)) if run.id == text => Ok(run),
            (Some(_), Some(_)) => Err(LedgerError::AmbiguousRun(text.to_owned())),
            (None, _) => Err(unknown()),
        }
    }

    pub fn run_info(&self, run: &RunKey) -> Result<RunInfo, LedgerError> {
        let sql =
            "SELECT r.id, tool_version, url, key_fingerprint, action, inventory, options, label_columns,
                          started_at, ended_at, resumes, inventory_vms
                   FROM runs r JOIN bases ON bases.id = r.base WHERE no = ?1";
        let (last_success_at, whole_success_at) = (self.last_success(run)?, self.whole_success(run)?);
        let info = self.db.query_row(sql, [run.no], |row| {
            Ok(RunInfo {
                id: row.get(0)?,
                tool_version: row.get(1)?,
                base_url: row.get(2)?,
                key_fingerprint: row.get(3)?,
                action: row.get::<_, Option<String>>(4)?.and_then(|word| word.parse().ok()),
                inventory: json::read(row, 5)?.unwrap_or_default(),
                options: json::read(row, 6)?.unwrap_or_default(),
                label_columns: json::read(row, 7)?.unwrap_or_default(),
                started_at: timestamp(row.get(8)?),
                ended_at: row.get::<_, Option<i64>>(9)?.map(timestamp),
                resumes: row.get(10)?,
                inventory_vms: row.get::<_, Option<i64>>(11)?.map(i64::unsigned_abs),
                last_success_at,
                whole_success_at,
            })
        });
        info.map_err(self.sqlite())
    }

    /// Adds up a run's rows, as they are now.
    pub fn summary(&self, run: &RunKey) -> Result<Summary, LedgerError> {
        self.summary_at(run, Timestamp::now())
    }

    /// `now` is the end of a run that goes on.
    pub(super) fn summary_at(&self, run: &RunKey, now: Timestamp) -> Result<Summary, LedgerError> {
        let sqlite = self.sqlite();
        let sums = self.sums(run)?;
        let counts = sums.counts();
        let Sums { racks, rows, pending, drifted, warned, calls, retries, throttled, failures, suspects } =
            sums;
        let pending = pending.iter().sum();
        let skipped = "SELECT count(*) FROM skipped WHERE run = ?1";
        let skipped = self.db.query_row(skipped, [run.no], |row| row.get::<_, i64>(0)).map_err(sqlite)?;
        if rows != counts.settled() {
            return Err(LedgerError::Miscounted { expected: rows, found: counts.settled() });
        }
        let ending =
            "SELECT coalesce(resumed_at, started_at), ended_at, stopped_by, exit_code, warnings, calls_before
                      FROM runs WHERE no = ?1";
        let (begun, ended, stopped_by, exit_code, warnings, calls_before) = self
            .db
            .query_row(ending, [run.no], |row| {
                let ended: Option<i64> = row.get(1)?;
                let stopped_by: Option<String> = row.get(2)?;
                let exit_code: Option<u8> = row.get(3)?;
                let warnings: Vec<String> = json::read(row, 4)?.unwrap_or_default();
                let calls_before = row.get::<_, i64>(5)?.unsigned_abs();
                Ok((
                    timestamp(row.get(0)?),
                    ended.map(timestamp),
                    stopped_by,
                    exit_code,
                    warnings,
                    calls_before,
                ))
            })
            .map_err(sqlite)?;
        let warnings = warnings.into_iter().chain(self.shared_prefixes(run, &suspects)?).collect();
        let stopped_by = stopped_by.and_then(|word| Stop::from_word(&word));
        let duration_s = ended.unwrap_or(now).duration_since(begun).as_secs_f64().max(0.0);
        Ok(Summary {
            counts,
            skipped: skipped.unsigned_abs(),
            drifted,
            warned,
            warnings,
            racks,
            failures,
            calls,
            retries,
            throttled,
            duration_s,
            calls_per_s: per_second(calls.saturating_sub(calls_before), duration_s),
            pending,
            complete: stopped_by.is_none() && pending == 0,
            running: false,
            stopped_by,
            exit_code: exit_code.unwrap_or_default(),
            since: None,
        })
    }

    /// Calls `each` with every row of a run, in inventory order.
    pub fn each_row<E: From<LedgerError>>(
        &self,
        run: &RunKey,
        mut each: impl FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let sqlite = self.sqlite();
        let sql = format!("SELECT {ROW} {ITEMS} WHERE i.no BETWEEN ?1 AND ?2 ORDER BY i.no");
        let mut items = self.db.prepare(&sql).map_err(sqlite)?;
        let mut items = items.query(span(run.no)).map_err(sqlite)?;
        while let Some(item) = items.next().map_err(sqlite)? {
            each(&row(item).map_err(sqlite)?)?;
        }
        Ok(())
    }

    /// The invalid inventory rows that a run went on without, in the order of the files.
    pub fn skipped(&self, run: &RunKey) -> Result<Vec<Skipped>, LedgerError> {
        let sql = "SELECT file, line, field, reason FROM skipped WHERE run = ?1 ORDER BY rowid";
        let mut rows = self.db.prepare(sql).map_err(self.sqlite())?;
        let rows = rows
            .query_map([run.no], |row| {
                Ok(Skipped { file: row.get(0)?, line: row.get(1)?, column: row.get(2)?, reason: row.get(3)? })
            })
            .map_err(self.sqlite())?;
        rows.collect::<Result<_, _>>().map_err(self.sqlite())
    }
}

/// Items, each with its latest event.
pub(super) const ITEMS: &str = "FROM listed i LEFT JOIN events e ON e.no = i.event";

/// What [`row`] reads of [`ITEMS`]. What most items do not need is not looked up for them.
pub(super) const ROW: &str = "
    vmid, name, coalesce(e.rack_id, CASE rack_expected WHEN 1
        THEN (SELECT r.rack_id FROM racks r WHERE r.run = i.run AND r.no = i.rack) END), i.action, in_flight, outcome,
    basis, prefix, next_hop, status, previous_prefix, previous_next_hop, changes, drift, failure,
    may_have_applied, http_status, error, attempts, first_sent_at, settled_at, latency_us, request_id,
    e.warnings, labels, throttled";

pub(super) fn row(item: &rusqlite::Row<'_>) -> Result<Row, rusqlite::Error> {
    let in_flight: bool = item.get(4)?;
    let word = |column| item.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    let count = |column| item.get::<_, Option<u32>>(column).map(Option::unwrap_or_default);
    let outcome = Outcome::from_word(&word(5)?).unwrap_or(Outcome::Failed);
    let failure = Failure::from_word(&word(14)?).unwrap_or(Failure::NotAttempted);
    let time = |column| item.get::<_, Option<i64>>(column).map(|micros| micros.map(timestamp));
    Ok(Row {
        vmid: item.get(0)?,
        name: item.get(1)?,
        rack_id: item.get(2)?,
        action: json::word(item, 3)?,
        outcome,
        basis: Basis::from_word(&word(6)?),
        prefix: item.get(7)?,
        next_hop: item.get(8)?,
        status: item.get(9)?,
        previous_prefix: item.get(10)?,
        previous_next_hop: item.get(11)?,
        changes: json::read(item, 12)?.unwrap_or_default(),
        drift: json::read(item, 13)?.unwrap_or_default(),
        failure: (outcome == Outcome::Failed).then_some(failure),
        may_have_applied: item.get::<_, Option<bool>>(15)? == Some(true) || in_flight,
        http_status: item.get(16)?,
        error: if in_flight { Some(IN_FLIGHT.to_owned()) } else { item.get(17)? },
        attempts: count(18)?,
        throttled: count(25)?,
        first_sent_at: time(19)?,
        settled_at: time(20)?,
        latency_ms: item.get::<_, Option<u32>>(21)?.map(|micros| f64::from(micros) / 1000.0),
        request_id: item.get(22)?,
        warnings: json::read(item, 23)?.unwrap_or_default(),
        labels: json::read(item, 24)?.unwrap_or_default(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "2^53 calls are not made")]
fn per_second(calls: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { calls as f64 / seconds } else { 0.0 }
}
