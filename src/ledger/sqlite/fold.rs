//! What the events of a run have led to: the latest one of each item, and what was last seen of each VM.
//!
//! A writer folds them into the ledger, in the ledger's own order, and drops them: at the end of the run, or when it opens
//! what a crash has left. A reader folds what is not folded yet into tables of its own connection.

use crate::ledger::numbers::{number, position, span};
use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Error, Statement, params};

use super::column;
use super::steps::STEP;

/// Runs with events beyond those that are folded.
const UNFOLDED: &str = "SELECT no, base, max(folded, (no << 32) - 1) AS after FROM runs r
    WHERE EXISTS (SELECT 1 FROM events e WHERE e.no > max(r.folded, (r.no << 32) - 1) AND e.no < (r.no + 1) << 32)
    ORDER BY no";

const EVENTS: &str =
    "SELECT no, item, event = 'remembered', coalesce(outcome, 'failed') <> 'failed', prefix IS NULL,
        allocation IS NULL, unanswered IS NULL
    FROM events WHERE no > ?1 AND no <= ?2 ORDER BY no";

/// Items in the order in which VMs are kept.
const NEXT_VMS: &str =
    "SELECT vmid, no FROM items INDEXED BY items_by_vm WHERE run = ?1 AND vmid > ?2 ORDER BY vmid LIMIT ?3";

/// What both an event and the latest one of an item say.
const COLUMNS: &str =
    "item, attempts, throttled, first_sent_at, first_sent_clock, settled_at, outcome, basis, rack_id, prefix, next_hop,
    planned_next_hop, status, ids, previous_prefix, previous_next_hop, changes, drift, warnings, failure, may_have_applied, http_status,
    error, latency_us, request_id";

/// Empties what a reader has folded before.
const EMPTY: &str =
    "DELETE FROM unfolded; DELETE FROM in_flight; DELETE FROM unfolded_vms; DELETE FROM unfolded_seen;";

/// A run with events that are not folded.
struct Unfolded {
    run: i64,
    base: i64,
    after: i64,
}

/// The latest events of a run's items.
struct Latest {
    /// By position.
    events: Vec<Option<Event>>,
    /// Those that only say more of attempts whose answer was lost.
    remembered: Vec<(i64, i64)>,
    last: i64,
}

/// An event by its number in its run, and what it tells of its VM.
#[derive(Clone, Copy)]
struct Event {
    number: u32,
    news: News,
}

/// What an event tells of a VM.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    Nothing,
    /// What was known was seen again.
    Same,
    Other,
    /// There is none.
    Absent,
    /// An answer was lost.
    Unanswered,
}

/// For a writer: into the ledger, in transactions of the caller's, who hears of each part that is written. Killed half-way,
/// it is done again by the next one.
pub(super) fn fold(db: &Connection, mut took: impl FnMut(usize) -> Result<(), Error>) -> Result<(), Error> {
    for unfolded in unfolded(db)? {
        let latest = unfolded.latest(db)?;
        unfolded.keep(db, &latest, &mut took)?;
        unfolded.know_all(db, &latest, Into::Ledger, &mut took)?;
        db.execute("UPDATE runs SET folded = ?2 WHERE no = ?1", [unfolded.run, latest.last])?;
    }
    Ok(())
}

/// Drops the events once all of them are folded, and nothing is in flight: their room is used again.
pub(super) fn drop_events(db: &Connection) -> Result<(), Error> {
    if db.query_row("SELECT EXISTS (SELECT 1 FROM events)", [], |row| row.get(0))? {
        db.execute_batch("DELETE FROM events; UPDATE runs SET folded = 0 WHERE folded <> 0")?;
    }
    Ok(())
}

/// For a reader: as of now, for this connection.
pub(super) fn fold_aside(db: &Connection) -> Result<(), Error> {
    db.execute_batch(EMPTY)?;
    for unfolded in unfolded(db)? {
        let latest = unfolded.latest(db)?;
        unfolded.point(db, &latest)?;
        unfolded.know_all(db, &latest, Into::Connection, |_| Ok(()))?;
    }
    let mut mark = db.prepare("INSERT INTO in_flight VALUES (?1)")?;
    in_flight(db)?.keys().try_for_each(|item| mark.execute([item]).map(drop))
}

fn unfolded(db: &Connection) -> Result<Vec<Unfolded>, Error> {
    let mut runs = db.prepare(UNFOLDED)?;
    let runs =
        runs.query_map([], |row| Ok(Unfolded { run: row.get(0)?, base: row.get(1)?, after: row.get(2)? }))?;
    runs.collect()
}

impl Unfolded {
    fn latest(&self, db: &Connection) -> Result<Latest, Error> {
        let mut latest = Latest { events: Vec::new(), remembered: Vec::new(), last: self.after };
        let mut events = db.prepare(EVENTS)?;
        let [_, last] = span(self.run);
        let mut events = events.query([self.after, last])?;
        while let Some(event) = events.next()? {
            let (no, item): (i64, i64) = (event.get(0)?, event.get(1)?);
            latest.last = no;
            if event.get(2)? {
                latest.remembered.push((item, no));
                continue;
            }
            let news = News::of([event.get(3)?, event.get(4)?, event.get(5)?, event.get(6)?]);
            latest.note(item, Event { number: short(position(no)), news });
        }
        Ok(latest)
    }

    /// The events of items, in the inventory's order.
    fn events(&self, latest: &Latest) -> impl Iterator<Item = [i64; 2]> {
        let of_item = |(position, event): (i64, &Option<Event>)| {
            event.map(|event| [number(self.run, position), self.event(event)])
        };
        (0..).zip(&latest.events).filter_map(of_item)
    }

    fn event(&self, event: Event) -> i64 {
        number(self.run, event.number.into())
    }

    /// Keeps what the latest events say, in the inventory's order.
    fn keep(
        &self,
        db: &Connection,
        latest: &Latest,
        mut took: impl FnMut(usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let sql =
            format!("INSERT OR REPLACE INTO latest ({COLUMNS}) SELECT {COLUMNS} FROM events WHERE no = ?1");
        let mut keep = db.prepare(&sql)?;
        for [_, event] in self.events(latest) {
            keep.execute([event])?;
            took(1)?;
        }
        Ok(())
    }

    /// Points from items to their latest events.
    fn point(&self, db: &Connection, latest: &Latest) -> Result<(), Error> {
        let mut point = db.prepare("INSERT OR REPLACE INTO unfolded (item, event) VALUES (?1, ?2)")?;
        self.events(latest).try_for_each(|pair| point.execute(pair).map(drop))
    }

    /// Keeps what the events tell of VMs.
    fn know_all(
        &self,
        db: &Connection,
        latest: &Latest,
        into: Into,
        mut took: impl FnMut(usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut known = Known::prepare(db, into, self.base)?;
        let mut after = String::new();
        loop {
            let vms = self.vms(db, &after)?;
            let Some((last, _)) = vms.last() else { break };
            after.clone_from(last);
            let heard = vms.iter().filter_map(|(vmid, item)| Some((vmid, *item, latest.of(*item)?)));
            let mut vms = 0;
            for (vmid, item, event) in heard {
                known.hear(vmid, item, self.event(event), event.news)?;
                vms += 1;
            }
            took(vms)?;
        }
        let mut vmid = db.prepare("SELECT vmid FROM items WHERE no = ?1")?;
        for (item, event) in &latest.remembered {
            let vmid: String = vmid.query_row([item], |row| row.get(0))?;
            known.hear(&vmid, *item, *event, News::Unanswered)?;
            took(1)?;
        }
        Ok(())
    }

    fn vms(&self, db: &Connection, after: &str) -> Result<Vec<(String, i64)>, Error> {
        let mut vms = db.prepare_cached(NEXT_VMS)?;
        let step = i64::try_from(STEP).unwrap_or(i64::MAX);
        let vms = vms.query_map(params![self.run, after, step], |row| Ok((row.get(0)?, row.get(1)?)))?;
        vms.collect()
    }
}

impl Latest {
    fn note(&mut self, item: i64, event: Event) {
        let place = place(item);
        if self.events.len() <= place {
            self.events.resize(place + 1, None);
        }
        self.events[place] = Some(event);
    }

    fn of(&self, item: i64) -> Option<Event> {
        self.events.get(place(item)).copied().flatten()
    }
}

fn place(item: i64) -> usize {
    usize::try_from(position(item)).unwrap_or_default()
}

/// No run has 2^32 events.
fn short(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl News {
    /// While an answer is lost, what a look has found is no news: only a call's answer tells what the lost one did.
    fn of([is_success, has_none, is_known, is_answered]: [bool; 4]) -> Self {
        match (is_success, is_answered) {
            (true, true) if has_none => Self::Absent,
            (true, true) if is_known => Self::Same,
            (true, true) => Self::Other,
            (false, false) => Self::Unanswered,
            (true, false) | (false, true) => Self::Nothing,
        }
    }
}

/// Where what is known of VMs is folded into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Ledger,
    Connection,
}

impl Into {
    fn vms(self) -> &'static str {
        match self {
            Self::Ledger => "vms",
            Self::Connection => "unfolded_vms",
        }
    }

    fn seen(self) -> &'static str {
        match self {
            Self::Ledger => "seen",
            Self::Connection => "unfolded_seen",
        }
    }

    /// Where it says when a VM was seen. In the ledger, what lies together is read together.
    fn seen_at(self) -> &'static str {
        match self {
            Self::Ledger => "latest WHERE item = ?3",
            Self::Connection => "events WHERE no = ?3",
        }
    }

    /// Whether the ledger has VMs that were seen again, and is what is written.
    fn has_seen(self, db: &Connection) -> Result<bool, Error> {
        let has_seen = "SELECT EXISTS (SELECT 1 FROM seen)";
        Ok(self == Self::Ledger && db.query_row(has_seen, [], |row| row.get(0))?)
    }

    fn seen_as(self, item: i64, event: i64) -> i64 {
        match self {
            Self::Ledger => item,
            Self::Connection => event,
        }
    }
}

/// What is known of VMs at one base URL, to be written.
struct Known<'c> {
    into: Into,
    base: i64,
    /// `None` where what was known is there already.
    copy: Option<Statement<'c>>,
    know: Statement<'c>,
    /// There is no allocation.
    empty: Statement<'c>,
    /// What was seen again is another now. `None` where nothing ever was.
    forget: Option<Statement<'c>>,
    see: Statement<'c>,
    remember: Statement<'c>,
}

impl<'c> Known<'c> {
    fn prepare(db: &'c Connection, into: Into, base: i64) -> Result<Self, Error> {
        let (vms, seen, seen_at) = (into.vms(), into.seen(), into.seen_at());
        let copy =
            "INSERT OR IGNORE INTO unfolded_vms SELECT base, vmid, rack_id, allocation, seen_at, unanswered FROM known
            WHERE base = ?1 AND vmid = ?2";
        // A rack that the answer left unknown is as it was known.
        let know = format!(
            "INSERT INTO {vms} (base, vmid, rack_id, allocation, seen_at)
             SELECT ?1, ?2, coalesce(rack_id, allocation ->> 1), allocation, settled_at FROM events WHERE no = ?3
             ON CONFLICT (base, vmid) DO UPDATE SET rack_id = coalesce(excluded.rack_id, rack_id),
                allocation = excluded.allocation, seen_at = excluded.seen_at, unanswered = NULL"
        );
        let empty = format!(
            "INSERT INTO {vms} (base, vmid, seen_at) SELECT ?1, ?2, settled_at FROM events WHERE no = ?3
             ON CONFLICT (base, vmid) DO UPDATE SET allocation = NULL, seen_at = excluded.seen_at"
        );
        let see = format!(
            "INSERT INTO {seen} (base, vmid, seen_at) SELECT ?1, ?2, settled_at FROM {seen_at}
             ON CONFLICT (base, vmid) DO UPDATE SET seen_at = excluded.seen_at"
        );
        let remember = format!(
            "INSERT INTO {vms} (base, vmid, unanswered) SELECT ?1, ?2, unanswered FROM events WHERE no = ?3
             ON CONFLICT (base, vmid) DO UPDATE SET unanswered = excluded.unanswered"
        );
        Ok(Self {
            into,
            base,
            copy: (into == Into::Connection).then(|| db.prepare(copy)).transpose()?,
            know: db.prepare(&know)?,
            empty: db.prepare(&empty)?,
            forget: into
                .has_seen(db)?
                .then(|| db.prepare("DELETE FROM seen WHERE base = ?1 AND vmid = ?2"))
                .transpose()?,
            see: db.prepare(&see)?,
            remember: db.prepare(&remember)?,
        })
    }

    fn hear(&mut self, vmid: &str, item: i64, event: i64, news: News) -> Result<(), Error> {
        match news {
            News::Nothing => Ok(0),
            News::Same => self.see.execute(params![self.base, vmid, self.into.seen_as(item, event)]),
            News::Other => {
                self.copy(vmid)?;
                self.forget(vmid)?;
                self.know.execute(params![self.base, vmid, event])
            }
            News::Absent => {
                self.copy(vmid)?;
                self.forget(vmid)?;
                self.empty.execute(params![self.base, vmid, event])
            }
            News::Unanswered => {
                self.copy(vmid)?;
                self.remember.execute(params![self.base, vmid, event])
            }
        }
        .map(drop)
    }
}

impl Known<'_> {
    fn copy(&mut self, vmid: &str) -> Result<(), Error> {
        self.copy.as_mut().map_or(Ok(0), |copy| copy.execute(params![self.base, vmid])).map(drop)
    }

    fn forget(&mut self, vmid: &str) -> Result<(), Error> {
        self.forget.as_mut().map_or(Ok(0), |forget| forget.execute(params![self.base, vmid])).map(drop)
    }
}

/// The items of which a call is in flight, or was when the process died, each with its claim: those without an event
/// since.
pub(super) fn in_flight(db: &Connection) -> Result<BTreeMap<i64, InFlight>, Error> {
    let events = events_since_claims(db)?;
    let mut claims = db.prepare("SELECT run, since, claimed_at, positions FROM claims ORDER BY no")?;
    let mut claims = claims.query([])?;
    let mut all = BTreeMap::new();
    while let Some(claim) = claims.next()? {
        let (run, since): (i64, i64) = (claim.get(0)?, claim.get(1)?);
        let positions: Vec<i64> = column::json(claim, 3)?.unwrap_or_default();
        for item in positions.into_iter().map(|position| number(run, position)) {
            if events.get(&item).is_none_or(|event| *event <= since) {
                all.insert(item, InFlight { run, claimed_at: claim.get(2)? });
            }
        }
    }
    Ok(all)
}

/// The newest events of the items that have one since the oldest claim.
fn events_since_claims(db: &Connection) -> Result<HashMap<i64, i64>, Error> {
    let mut events = db.prepare(
        "SELECT item, max(no) FROM (SELECT run, max(min(since), run << 32) AS since FROM claims GROUP BY run) c
            JOIN events e ON e.no > c.since AND e.no < (c.run + 1) << 32 GROUP BY item",
    )?;
    let events = events.query_map([], |event| Ok((event.get(0)?, event.get(1)?)))?;
    events.collect()
}

/// The number of a run's newest event.
pub(super) fn last_event(db: &Connection, run: i64) -> Result<Option<i64>, Error> {
    let newest = "SELECT max(no) FROM events WHERE no BETWEEN ?1 AND ?2";
    db.query_row(newest, span(run), |row| row.get(0))
}

/// A call that may have left.
pub(super) struct InFlight {
    pub(super) run: i64,
    /// Microseconds since 1970.
    pub(super) claimed_at: i64,
}

#[cfg(test)]
mod tests {
    use super::super::store;
    use super::*;
    use crate::dialect::Dialect;
    use crate::ledger::contract::{BASE, Disk, Place, begin, claim, rows, setback, success, take};
    use crate::ledger::{Ledger, Row, RunKey, Settled, Settlement};
    use crate::outcome::{Basis, Outcome};

    /// A run of five VMs whose process died: one failed, one in flight, two seen, one untouched.
    fn unfolded_run(disk: &Disk) -> RunKey {
        let run = begin(&disk.open(), &[Some("a"), Some("b"), Some("a"), Some("b"), Some("c")]);
        let mut writer = disk.open().write(&run).unwrap();
        let mut items = [claim(&mut writer, take(1, 2)), claim(&mut writer, take(0, 2))].concat();
        drop(items.pop());
        let failed = success(items.pop().unwrap(), Outcome::Unchanged, Basis::Ledger);
        writer.settle(Settled { settlement: Settlement::Failed(setback()), ..failed });
        for item in items {
            writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
        }
        drop(writer.close());
        run
    }

    /// What the ledger says of the run, and of all VMs.
    fn said(ledger: &Ledger, run: &RunKey) -> (Vec<Row>, Vec<String>) {
        let mut known = Vec::new();
        ledger
            .each_sighting(BASE, Dialect::V1, &mut |vm, allocation, seen_at| {
                known.push(format!("{vm} {allocation:?} {seen_at}"));
            })
            .unwrap();
        (rows(ledger, run), known)
    }

    #[test]
    fn a_fold_that_is_killed_between_any_two_of_its_parts_loses_nothing() {
        let disk = Disk::new();
        let run = unfolded_run(&disk);
        let before = said(&disk.read(), &run);
        let mut parts = 0;
        loop {
            parts += 1;
            let mut left = parts;
            let db = store::open(&disk.path()).unwrap();
            db.execute_batch("BEGIN").unwrap();
            let part = |_| {
                left -= 1;
                db.execute_batch("COMMIT; BEGIN")?;
                if left == 0 { Err(Error::InvalidQuery) } else { Ok(()) }
            };
            if fold(&db, part).is_ok() {
                break;
            }
            drop(db);
            assert_eq!(said(&disk.read(), &run), before, "killed after {parts} parts");
        }
        assert_eq!(parts, 5, "an item each, then what is known of the VMs");
        let (rows, known) = said(&disk.open(), &run);
        assert_eq!((&rows[..2], &rows[3..], known), (&before.0[..2], &before.0[3..], before.1));
        assert_eq!(said(&disk.read(), &run).0, rows, "buried, and folded to the end");
    }
}
