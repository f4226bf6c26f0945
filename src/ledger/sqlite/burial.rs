//! What a dead process left claimed: each of its calls may have been made, and its answer is lost.

use crate::ledger::numbers::number;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Error, OptionalExtension, params};

use super::column::{self, timestamp};
use super::fold::{InFlight, in_flight, last_event};
use crate::ledger::dating::{Attempts, Dating};
use crate::ledger::engine::LEFT_IN_FLIGHT;
use crate::ledger::stored;
use crate::outcome::{Kind, Unanswered};

/// The items of dead claims become pending, with an unanswered attempt where it was a call, in one transaction of the caller's. Their events
/// are folded.
pub(super) fn bury(db: &Connection) -> Result<(), Error> {
    let in_flight = in_flight(db)?;
    let mut newest: BTreeMap<i64, i64> = BTreeMap::new();
    for InFlight { run, claimed_at } in in_flight.values() {
        let newest = newest.entry(*run).or_insert(*claimed_at);
        *newest = (*newest).max(*claimed_at);
    }
    for (run, newest) in newest {
        if is_plan(db, run)? {
            continue;
        }
        let of_run = in_flight.iter().filter(|(_, call)| call.run == run);
        bury_run(db, run, timestamp(newest), of_run.map(|(item, call)| (*item, call.claimed_at)))?;
    }
    // An empty table is emptied with a write, too.
    db.execute("DELETE FROM claims WHERE true", []).map(drop)
}

/// Whether its calls were looks, which have done nothing.
fn is_plan(db: &Connection, run: i64) -> Result<bool, Error> {
    let kind = "SELECT kind FROM runs WHERE no = ?1";
    Ok(db.query_row(kind, [run], |row| column::kind(row, 0))? == Kind::Plan)
}

fn bury_run(
    db: &Connection,
    run: i64,
    newest: Timestamp,
    items: impl Iterator<Item = (i64, i64)>,
) -> Result<(), Error> {
    let of_run = "SELECT timeout_us, clock FROM runs WHERE no = ?1";
    let (timeout, dating): (i64, Option<Dating>) =
        db.query_row(of_run, [run], |row| Ok((row.get(0)?, column::json(row, 1)?)))?;
    let dating = dating.unwrap_or_else(|| Dating::ours(None));
    let mut known = db.prepare(
        "SELECT v.unanswered FROM items i JOIN runs r ON r.no = i.run JOIN vms v ON v.base = r.base AND v.vmid = i.vmid
         WHERE i.no = ?1",
    )?;
    let mut bury = db.prepare(
        "INSERT INTO events (no, item, event, attempts, throttled, first_sent_at, first_sent_clock, failure,
            may_have_applied, http_status, error, latency_us, request_id, unanswered)
         SELECT ?1, i.no, 'deferred', coalesce(attempts, 0) + 1, coalesce(throttled, 0), coalesce(first_sent_at, ?3),
            iif(first_sent_at IS NULL, ?4, first_sent_clock), coalesce(failure, 'not_attempted'), 1, http_status,
            ?6, latency_us, request_id, ?5
         FROM items i LEFT JOIN latest l ON l.item = i.no WHERE i.no = ?2",
    )?;
    let mut event = last_event(db, run)?.unwrap_or(number(run, 0));
    for (item, claimed) in items {
        let lost = dating.left_behind(timestamp(claimed), newest, SignedDuration::from_micros(timeout));
        let unanswered = known.query_row([item], |row| column::attempts(row, 0)).optional()?;
        let mut unanswered = unanswered.unwrap_or_default();
        Unanswered::record(&mut unanswered, lost);
        event += 1;
        bury.execute(params![
            event,
            item,
            claimed,
            stored::json(&dating),
            Attempts::written(&unanswered),
            LEFT_IN_FLIGHT
        ])?;
    }
    Ok(())
}
