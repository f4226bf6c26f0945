//! Who carries runs out: each worker has a lease that it renews with all that it writes.

use std::time::Duration;

use tokio_postgres::{Error, Row};

use super::column::{self, count, span_micros};
use super::database::{Enlisted, Postgres};
use super::process;
use super::question::{Question, Value};
use super::session::{FAREWELL, Session};
use crate::ledger::error::LedgerError;
use crate::ledger::host::host;
use crate::ledger::numbers::span;
use crate::ledger::record::{Counts, Presence, Terms, Worker};
use crate::outcome::{Kind, Outcome};

const LEAVE: &str = "UPDATE v6fleet.workers
    SET left_at = clock_timestamp(), lease_until = least(lease_until, clock_timestamp()) WHERE no = $1";

/// A worker whose lease has not run out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) no: i64,
    /// The id of its run.
    pub(super) run: String,
    /// Who it is, for people.
    pub(super) named: String,
}

impl Live {
    pub(super) fn in_words(self) -> String {
        format!("{}, run {}", self.named, self.run)
    }
}

impl Postgres {
    /// Becomes a worker of a run, in the caller's transaction if there is one; what we were before is left.
    pub(super) fn enlist(&self, run: i64, terms: Terms) -> Result<Enlisted, LedgerError> {
        self.leave();
        let [rows] = self.session.side_by_side(&[enlisting(run, terms)])?;
        self.enlisted(run, terms, &rows)
    }

    /// The same, and commits the caller's transaction. Returns the answers to `then`, which is asked in the same round trip.
    pub(super) fn enlist_and_commit(
        &self,
        run: i64,
        terms: Terms,
        [one, other]: [Question; 2],
    ) -> Result<[Vec<Row>; 2], LedgerError> {
        self.leave();
        let [rows, one, other] = self.session.and_commit(&[enlisting(run, terms), one, other])?;
        self.enlisted(run, terms, &rows)?;
        Ok([one, other])
    }

    fn enlisted(&self, run: i64, terms: Terms, rows: &[Row]) -> Result<Enlisted, LedgerError> {
        let numbers = self.session.read(rows, |row| Ok((row.try_get(0)?, row.try_get(1)?)))?;
        let (no, sitting) = numbers.first().copied().unwrap_or_default();
        let enlisted = Enlisted { no, run, sitting, terms };
        self.worker.set(Some(enlisted));
        self.is_through.set(false);
        Ok(enlisted)
    }

    /// Our lease ends with what is asked next: whoever looks then takes what we hold. Returns who we were.
    pub(super) fn leave(&self) -> Option<i64> {
        let Enlisted { no, .. } = self.worker.take()?;
        self.session.later(Question::new(LEAVE, vec![Box::new(no)]));
        Some(no)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Where it cannot be said, the lease runs out by itself.
        self.session.wait_for(Some(FAREWELL));
        self.leave();
        let _ = self.session.send();
    }
}

/// Makes a worker of this process.
fn enlisting(run: i64, terms: Terms) -> Question {
    let sql = "INSERT INTO v6fleet.workers (run, host, pid, process, concurrency, lease_us, lease_until)
        VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $6::bigint * interval '1 microsecond')
        RETURNING no, (SELECT resumes FROM v6fleet.runs r WHERE r.no = $1)";
    let values: [Value; 6] = [
        Box::new(run),
        Box::new(host()),
        Box::new(i64::from(std::process::id())),
        Box::new(process::ours()),
        Box::new(i64::from(terms.concurrency)),
        Box::new(span_micros(terms.lease)),
    ];
    Question::new(sql, values.into())
}

/// The workers whose lease has not run out, of runs that have not ended and of which `condition` holds: `r` is the run.
pub(super) fn live(session: &Session, condition: &str, values: Vec<Value>) -> Result<Vec<Live>, LedgerError> {
    let [rows] = session.side_by_side(&[living(condition, values)])?;
    alive(session, &rows)
}

/// Asks for them.
pub(super) fn living(condition: &str, values: Vec<Value>) -> Question {
    let sql = format!(
        "SELECT w.no, r.id, w.pid, w.process, format('pid %s on %s since %s', w.pid, w.host,
            to_char(w.since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"'))
         FROM v6fleet.workers w JOIN v6fleet.runs r ON r.no = w.run
         WHERE NOT w.buried AND w.lease_until > clock_timestamp() AND r.ended_at IS NULL AND NOT r.pruned
            AND {condition} ORDER BY w.no"
    );
    Question::new(sql, values)
}

/// Those of what [`living`] asks for that are not known to be gone.
pub(super) fn alive(session: &Session, rows: &[Row]) -> Result<Vec<Live>, LedgerError> {
    let found = session.read(rows, |row| {
        let live = Live { no: row.try_get(0)?, run: row.try_get(1)?, named: row.try_get(4)? };
        Ok((is_gone(row, [2, 3])?, live))
    })?;
    Ok(found.into_iter().filter(|(gone, _)| !gone).map(|(_, live)| live).collect())
}

/// Whether a process is gone, of which the pid and more stand in these columns.
pub(super) fn is_gone(row: &Row, [pid, process]: [usize; 2]) -> Result<bool, Error> {
    let process: Option<&str> = row.try_get(process)?;
    let pid = column::small(row, pid)?.unwrap_or_default();
    Ok(process.is_some_and(|process| process::is_gone(pid, process)))
}

/// Asks for every worker that a run had, and what each did.
pub(super) fn asking(run: i64) -> [Question; 2] {
    let sql = "SELECT no, host, pid, concurrency, lease_us, since, seen_at, left_at IS NOT NULL,
            lease_until > clock_timestamp(), process, bulletin
        FROM v6fleet.workers WHERE run = $1 ORDER BY no";
    let [first, last] = span(run);
    [Question::new(DEEDS, vec![Box::new(first), Box::new(last)]), Question::new(sql, vec![Box::new(run)])]
}

/// Reads what [`asking`] asks for, of a run of that kind.
pub(super) fn all(
    session: &Session,
    kind: Kind,
    [deeds, workers]: [&[Row]; 2],
) -> Result<Vec<Worker>, LedgerError> {
    let deeds = session.read(deeds, deed)?;
    let mut workers = session.read(workers, worker)?;
    for worker in &mut workers {
        worker.settled.kind = kind;
        for Deed { outcome, vms, .. } in deeds.iter().filter(|deed| deed.worker == worker.no) {
            match outcome {
                Some(outcome) => worker.settled.add(*outcome, *vms),
                None => worker.holds = *vms,
            }
        }
    }
    Ok(workers)
}

/// So many VMs a worker has settled so, or holds.
struct Deed {
    worker: i64,
    outcome: Option<Outcome>,
    vms: u64,
}

const DEEDS: &str = "SELECT worker, outcome, count(*) FROM v6fleet.progress
    WHERE item BETWEEN $1 AND $2 AND worker IS NOT NULL GROUP BY worker, outcome";

fn deed(row: &Row) -> Result<Deed, Error> {
    let outcome = column::known_word(row, 1, Outcome::from_word)?;
    Ok(Deed { worker: row.try_get(0)?, outcome, vms: count(row, 2)? })
}

fn worker(row: &Row) -> Result<Worker, Error> {
    let lease: i64 = row.try_get(4)?;
    let terms = Terms {
        lease: Duration::from_micros(lease.unsigned_abs()),
        concurrency: column::small(row, 3)?.unwrap_or_default(),
    };
    let is_live = row.try_get(8)? && !is_gone(row, [2, 9])?;
    let presence = match row.try_get(7)? {
        true => Presence::Left,
        false if is_live => Presence::Live,
        false => Presence::Lost,
    };
    Ok(Worker {
        no: row.try_get(0)?,
        host: row.try_get(1)?,
        pid: column::small(row, 2)?.unwrap_or_default(),
        terms,
        since: column::at(row, 5)?,
        seen_at: column::at(row, 6)?,
        presence,
        holds: 0,
        // What another version has told may be in another form.
        bulletin: column::json(row, 10).unwrap_or_default(),
        settled: Counts::default(),
    })
}
