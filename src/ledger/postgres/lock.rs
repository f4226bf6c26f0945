//! Who writes: one process at a time, known by a lock that the server frees with its session, however that ends.

use std::time::{Duration, Instant};

use tracing::info;

use super::session::Session;
use crate::ledger::error::LedgerError;

/// How often a waiting run looks whether the lock is free.
const POLL: Duration = Duration::from_millis(100);

/// So long a run waits in any case: the server may not have heard yet that the session before has ended.
const GRACE: Duration = Duration::from_secs(1);

/// How soon that is looked for.
const GRACE_POLL: Duration = Duration::from_millis(10);

const TAKE: &str = "SELECT pg_try_advisory_lock(1983276652, 0)";

/// Whose session has the lock now.
const HOLDER: &str =
    "v6fleet.workers w JOIN pg_locks l ON l.pid = w.session AND l.locktype = 'advisory' AND l.granted
    AND (l.classid::bigint, l.objid::bigint, l.objsubid) = (1983276652, 0, 2)
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    LEFT JOIN v6fleet.runs r ON r.no = w.run";

/// Takes the ledger's lock, waiting up to `timeout` for another run to end, and returns the number of the worker that has
/// it.
pub(super) fn take(session: &Session, timeout: Duration) -> Result<i64, LedgerError> {
    let begun = Instant::now();
    let mut is_told = timeout.is_zero();
    while !session.one(TAKE, &[], |row| row.try_get(0))? {
        let waited = begun.elapsed();
        if waited >= timeout.max(GRACE) {
            return Err(LedgerError::Locked {
                path: session.name().to_owned(),
                holder: told(holder(session)?),
            });
        }
        if waited >= GRACE && !is_told {
            info!(holder = told(holder(session)?), "waiting for another run to end");
            is_told = true;
        }
        std::thread::sleep(if waited < GRACE { GRACE_POLL } else { POLL });
    }
    register(session)
}

/// Takes it for a worker that had it until its connection broke.
pub(super) fn take_again(session: &Session, worker: i64) -> Result<(), LedgerError> {
    if !session.one(TAKE, &[], |row| row.try_get(0))? {
        let words = format!("its lock is held ({})", told(holder(session)?));
        return Err(LedgerError::Away { path: session.name().to_owned(), words });
    }
    let session_of = "UPDATE v6fleet.workers SET session = pg_backend_pid() WHERE no = $1";
    session.execute(session_of, &[&worker]).map(drop)
}

fn register(session: &Session) -> Result<i64, LedgerError> {
    session.execute("DELETE FROM v6fleet.workers WHERE run IS NULL", &[])?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pid = i64::from(std::process::id());
    let sql = "INSERT INTO v6fleet.workers (host, pid) VALUES ($1, $2) RETURNING no";
    session.one(sql, &[&host, &pid], |row| row.try_get(0))
}

/// Who says that he has the lock now.
pub(super) fn holder(session: &Session) -> Result<Option<String>, LedgerError> {
    let sql = format!(
        "SELECT format('pid %s on %s since %s', w.pid, w.host, to_char(w.since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))
            || coalesce(', run ' || r.id, '') FROM {HOLDER} ORDER BY w.no DESC LIMIT 1"
    );
    session.first(&sql, &[], |row| row.try_get(0))
}

fn told(holder: Option<String>) -> String {
    holder.unwrap_or_else(|| "it has only just begun".to_owned())
}

/// The id of the run that the lock is held for now.
pub(super) fn held_for(session: &Session) -> Result<Option<String>, LedgerError> {
    let sql = format!("SELECT r.id FROM {HOLDER} ORDER BY w.no DESC LIMIT 1");
    Ok(session.first(&sql, &[], |row| row.try_get(0))?.flatten())
}
