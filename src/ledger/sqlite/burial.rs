//! What a dead process left claimed: each of its calls may have been made, and its answer is lost.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Error, OptionalExtension, params};

use super::column::{self, timestamp};
use super::fold::{InFlight, in_flight, last_event};
use super::number;
use crate::clock::Clock;
use crate::ledger::dating::{Attempts, Dating};
use crate::ledger::protocol::CLAIM_LIFE;
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
            'the run ended while a call for this VM was in flight, or about to leave', latency_us, request_id, ?5
         FROM items i LEFT JOIN latest l ON l.item = i.no WHERE i.no = ?2",
    )?;
    let mut event = last_event(db, run)?.unwrap_or(number(run, 0));
    for (item, claimed) in items {
        let until = last_moment(timestamp(claimed), newest, SignedDuration::from_micros(timeout));
        let unanswered = known.query_row([item], |row| column::attempts(row, 0)).optional()?;
        let mut unanswered = unanswered.unwrap_or_default();
        Unanswered::record(&mut unanswered, dating.attempt(timestamp(claimed), until, Clock::ours()));
        event += 1;
        bury.execute(params![
            event,
            item,
            claimed,
            stored::json(&dating),
            stored::json(&Attempts::ours(&unanswered))
        ])?;
    }
    Ok(())
}

/// When the call of a claim was over at the latest. One that is still there when `newest` was made, though its time was
/// up, belongs to a process that was held up: its call may have left as late as that.
fn last_moment(claimed: Timestamp, newest: Timestamp, timeout: SignedDuration) -> Timestamp {
    let lasts = timeout.saturating_add(CLAIM_LIFE);
    let held_up = newest.duration_since(claimed) > lasts;
    let left_at = if held_up { newest } else { claimed };
    left_at.saturating_add(lasts).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_whose_time_was_up_while_its_process_lived_may_have_been_called_as_late_as_that() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (newest, until, why) in [
            (0, 32, "its own time"),
            (32, 32, "others were claimed meanwhile"),
            (33, 65, "the process was held up, and may have sent it then"),
            (7_200, 7_232, "for hours"),
        ] {
            let timeout = SignedDuration::from_secs(30);
            assert_eq!(last_moment(at(0), at(newest), timeout), at(until), "{why}");
        }
    }
}
