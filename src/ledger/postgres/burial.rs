//! What a worker left claimed: each of its calls may have been made, and its answer is lost.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;

use super::column;
use super::question::{Question, Value};
use super::session::Session;
use super::statements::give_back;
use super::workers::is_gone;
use crate::ledger::dating::{Attempts, Dating};
use crate::ledger::engine::LEFT_IN_FLIGHT;
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::span;
use crate::ledger::stored;
use crate::outcome::{Kind, Unanswered};

/// Workers beside `$1` that may have left something: those whose lease has run out, and those that may be known to be gone.
const UNBURIED: &str = "SELECT no, lease_until <= clock_timestamp(), pid, process FROM v6fleet.workers
    WHERE NOT buried AND no <> $1 ORDER BY no";

/// One of them, unless it is writing at this moment, or others bury it: it renews its lease no more.
const TAKE: &str = "SELECT w.no, w.run, r.base, r.timeout_us, w.clock, r.kind
    FROM v6fleet.workers w JOIN v6fleet.runs r ON r.no = w.run
    WHERE w.no = $1 AND NOT w.buried AND ($2 OR w.lease_until <= clock_timestamp()) FOR UPDATE OF w SKIP LOCKED";

/// What a worker has in flight.
const IN_FLIGHT: &str = "SELECT p.claimed_at, i.vmid, v.unanswered
    FROM v6fleet.workers w JOIN v6fleet.runs r ON r.no = w.run
        JOIN v6fleet.progress p ON p.item >= w.run << 32 AND p.item < (w.run + 1) << 32 AND p.worker = w.no
        JOIN v6fleet.items i ON i.no = p.item
        LEFT JOIN v6fleet.vms v ON v.base = r.base AND v.vmid = i.vmid
    WHERE w.no = $1 AND p.outcome IS NULL AND p.claimed_at IS NOT NULL
    ORDER BY p.item";

const BURY: &str = "UPDATE v6fleet.progress SET attempts = attempts + 1,
        first_sent_clock = CASE WHEN first_sent_at IS NULL THEN $4 ELSE first_sent_clock END,
        first_sent_at = coalesce(first_sent_at, claimed_at), failure = coalesce(failure, 'not_attempted'),
        may_have_applied = true, error = $5
    WHERE item BETWEEN $1 AND $2 AND worker = $3 AND outcome IS NULL AND claimed_at IS NOT NULL";

const REMEMBER: &str = "INSERT INTO v6fleet.vms (base, vmid, unanswered)
    SELECT $1, vmid, unanswered FROM unnest($2::text[], $3::text[]) AS n (vmid, unanswered)
    ON CONFLICT (base, vmid) DO UPDATE SET unanswered = excluded.unanswered";

/// What it tries nobody tries any more.
static GIVE_BACK: LazyLock<String> =
    LazyLock::new(|| give_back("WHERE p.item BETWEEN $2 AND $3 AND", ", trials = trials + 1"));

const BURIED: &str = "UPDATE v6fleet.workers SET buried = true WHERE no = $1";

struct Worker {
    no: i64,
    run: i64,
    base: i64,
    timeout: SignedDuration,
    dating: Dating,
    /// What its calls are: looks have done nothing.
    kind: Kind,
}

struct Claim {
    at: Timestamp,
    vmid: String,
    unanswered: Vec<Unanswered>,
}

/// All that workers beside `ours` have left becomes pending again, what was in flight with an unanswered attempt. Those are
/// gone whose lease has run out, and those of this machine that have ended.
pub(super) fn bury_lost(session: &Session, ours: Option<i64>) -> Result<(), LedgerError> {
    let unburied = session.all(UNBURIED, &[&ours.unwrap_or_default()], |row| {
        Ok((row.try_get::<_, i64>(0)?, row.try_get(1)?, is_gone(row, [2, 3])?))
    })?;
    let lost = unburied.into_iter().filter(|(_, has_lapsed, is_gone)| *has_lapsed || *is_gone);
    lost.map(|(no, _, is_gone)| (no, is_gone))
        .try_for_each(|(no, is_gone)| session.transaction(|| bury(session, no, is_gone)))
}

/// The same of ourselves, with what is asked next: by then nothing is locked any more.
pub(super) fn bury_ours(session: &Session, ours: i64) -> Result<(), LedgerError> {
    session.batch_later(session.begin());
    bury(session, ours, true).inspect_err(|_| session.roll_back())?;
    session.batch_later("COMMIT");
    Ok(())
}

/// The same of one worker, with what the caller's transaction asks next; one that is not known to be gone only if its lease has run out.
pub(super) fn bury(session: &Session, worker: i64, is_gone: bool) -> Result<(), LedgerError> {
    let take = Question::new(TAKE, vec![Box::new(worker), Box::new(is_gone)]);
    let asked = [take, Question::new(IN_FLIGHT, vec![Box::new(worker)])];
    let [taken, claims] = session.side_by_side(&asked)?;
    let Some(worker) = session.read(&taken, self::worker)?.pop() else { return Ok(()) };
    let claims = session.read(&claims, claim)?;
    let newest = claims.iter().map(|claim| claim.at).max();
    if let Some(newest) = newest.filter(|_| worker.kind == Kind::Run) {
        worker.bury(session, claims, newest);
    }
    let Worker { no, run, .. } = worker;
    let [first, last] = span(run);
    let held = vec![Box::new(no) as Value, Box::new(first), Box::new(last)];
    session.later(Question::new(GIVE_BACK.as_str(), held));
    session.later(Question::new(BURIED, vec![Box::new(no)]));
    Ok(())
}

impl Worker {
    fn bury(&self, session: &Session, claims: Vec<Claim>, newest: Timestamp) {
        let Self { no, run, base, timeout, dating, .. } = self;
        let [first, last] = span(*run);
        let clock = stored::json(dating);
        let left = vec![
            Box::new(first) as Value,
            Box::new(last),
            Box::new(*no),
            Box::new(clock),
            Box::new(LEFT_IN_FLIGHT),
        ];
        session.later(Question::new(BURY, left));
        let remembered = |Claim { at, vmid, mut unanswered }| {
            Unanswered::record(&mut unanswered, dating.left_behind(at, newest, *timeout));
            (vmid, Attempts::written(&unanswered))
        };
        let (vms, unanswered): (Vec<String>, Vec<Option<String>>) =
            claims.into_iter().map(remembered).unzip();
        let remembered = vec![Box::new(*base) as Value, Box::new(vms), Box::new(unanswered)];
        session.later(Question::new(REMEMBER, remembered));
    }
}

fn worker(row: &Row) -> Result<Worker, tokio_postgres::Error> {
    let dating: Option<Dating> = column::json(row, 4)?;
    Ok(Worker {
        no: row.try_get(0)?,
        run: row.try_get(1)?,
        base: row.try_get(2)?,
        timeout: SignedDuration::from_micros(row.try_get(3)?),
        dating: dating.unwrap_or_else(|| Dating::ours(None)),
        kind: column::kind(row, 5)?,
    })
}

fn claim(row: &Row) -> Result<Claim, tokio_postgres::Error> {
    Ok(Claim { at: column::at(row, 0)?, vmid: row.try_get(1)?, unanswered: column::attempts(row, 2)? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use support::postgres::Server;

    use super::*;
    use crate::ledger::Ledger;
    use crate::ledger::contract::begin;
    use crate::ledger::engine::Begin;
    use crate::ledger::postgres::{DatabaseUrl, Postgres};

    #[test]
    fn a_worker_that_has_renewed_its_lease_since_it_was_found_to_have_run_out_is_left_alone() {
        let Some(server) = Server::start() else { return };
        let url = DatabaseUrl::of(Path::new(&server.url())).unwrap().unwrap();
        let opened = || Box::new(Postgres::open(&url, Duration::ZERO).unwrap());
        let run = begin(&Ledger::of(opened()), &[None]);
        let (_book, other) = (opened().open_book(&run).unwrap(), opened());
        let live: i64 = server.sql("SELECT max(no) FROM v6fleet.workers").parse().unwrap();
        for (renewed, is_buried) in [("interval '1 minute'", "f"), ("interval '0'", "t")] {
            server.sql(&format!("UPDATE v6fleet.workers SET lease_until = clock_timestamp() + {renewed}"));
            other.session.transaction(|| bury(&other.session, live, false)).unwrap();
            let buried = server.sql(&format!("SELECT buried FROM v6fleet.workers WHERE no = {live}"));
            assert_eq!(buried, is_buried);
        }
    }
}
