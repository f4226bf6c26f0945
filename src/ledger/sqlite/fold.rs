//! What the events of a run have led to: the latest one of each item, and what was last seen of each VM.
//!
//! A writer folds them into the ledger, in the ledger's own order: at the end of the run, or when it opens what a crash
//! has left. A reader folds what is not folded yet into tables of its own connection.

use std::collections::{BTreeMap, HashMap};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, Statement, ToSql, params};

use super::{column, number, position, span, store};

/// VMs in one transaction: it must not outgrow the disk, nor keep a reader waiting.
const STEP: usize = 10_000;

/// Runs with events beyond those that are folded.
const UNFOLDED: &str = "SELECT no, base, max(folded, (no << 32) - 1) AS after FROM runs r
    WHERE EXISTS (SELECT 1 FROM events e WHERE e.no > max(r.folded, (r.no << 32) - 1) AND e.no < (r.no + 1) << 32)";

const EVENTS: &str =
    "SELECT no, item, event = 'remembered' FROM events WHERE no > ?1 AND no <= ?2 ORDER BY no";

const EVENT: &str = "SELECT outcome, allocation, unanswered, settled_at, rack_id FROM events WHERE no = ?1";

/// Items in the order in which VMs are kept.
const NEXT_VMS: &str =
    "SELECT vmid, no FROM items INDEXED BY items_by_vm WHERE run = ?1 AND vmid > ?2 ORDER BY vmid LIMIT ?3";

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
    /// By position; 0 for none.
    events: Vec<i64>,
    /// Those that only say more of attempts whose answer was lost.
    remembered: Vec<(i64, i64)>,
    last: i64,
}

/// Where it is folded into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Ledger,
    Connection,
}

/// For a writer: into the ledger, step by step. Killed half-way, it is done again by the next one.
pub(super) fn fold(db: &Connection) -> Result<(), Error> {
    for unfolded in unfolded(db)? {
        let latest = unfolded.fold(db, Into::Ledger)?;
        let folded = "UPDATE runs SET folded = ?2 WHERE no = ?1";
        db.execute(folded, [unfolded.run, latest.last])?;
    }
    Ok(())
}

/// For a reader: as of now, for this connection.
pub(super) fn fold_aside(db: &Connection) -> Result<(), Error> {
    db.execute_batch(EMPTY)?;
    for unfolded in unfolded(db)? {
        unfolded.fold(db, Into::Connection)?;
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
    fn fold(&self, db: &Connection, into: Into) -> Result<Latest, Error> {
        let latest = self.latest(db)?;
        for (step, events) in latest.events.chunks(STEP).enumerate() {
            into.step(db, |db| self.point(db, into, step * STEP, events))?;
        }
        let mut after = String::new();
        loop {
            let vms = self.vms(db, &after)?;
            let Some((last, _)) = vms.last() else { break };
            into.step(db, |db| self.know(db, into, &vms, &latest.events))?;
            after.clone_from(last);
        }
        into.step(db, |db| self.remember(db, into, &latest.remembered))?;
        Ok(latest)
    }

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
            let place = usize::try_from(position(item)).unwrap_or_default();
            if latest.events.len() <= place {
                latest.events.resize(place + 1, 0);
            }
            latest.events[place] = no;
        }
        Ok(latest)
    }

    /// Points from items to their latest events.
    fn point(&self, db: &Connection, into: Into, first: usize, events: &[i64]) -> Result<(), Error> {
        let mut point = db.prepare_cached(into.point())?;
        for (position, event) in (first..).zip(events).filter(|(_, event)| **event != 0) {
            let position = i64::try_from(position).unwrap_or(i64::MAX);
            point.execute([number(self.run, position), *event])?;
        }
        Ok(())
    }

    fn vms(&self, db: &Connection, after: &str) -> Result<Vec<(String, i64)>, Error> {
        let mut vms = db.prepare_cached(NEXT_VMS)?;
        let step = i64::try_from(STEP).unwrap_or(i64::MAX);
        let vms = vms.query_map(params![self.run, after, step], |row| Ok((row.get(0)?, row.get(1)?)))?;
        vms.collect()
    }

    /// Keeps what the events tell of VMs.
    fn know(&self, db: &Connection, into: Into, vms: &[(String, i64)], events: &[i64]) -> Result<(), Error> {
        let mut known = Known::prepare(db, into, self.base)?;
        let mut event = db.prepare_cached(EVENT)?;
        for (vmid, item) in vms {
            let place = usize::try_from(position(*item)).unwrap_or_default();
            let Some(no) = events.get(place).filter(|no| **no != 0) else { continue };
            let mut rows = event.query([no])?;
            let Some(row) = rows.next()? else { continue };
            let is_success = !matches!(row.get_ref(0)?, ValueRef::Null | ValueRef::Text(b"failed"));
            let (allocation, unanswered) = (row.get_ref(1)?, row.get_ref(2)?);
            if is_success && allocation == ValueRef::Null {
                known.see(vmid, row.get_ref(3)?)?;
            } else if is_success {
                known.know(vmid, row.get_ref(4)?, allocation, row.get_ref(3)?)?;
            } else if unanswered != ValueRef::Null {
                known.remember(vmid, unanswered)?;
            }
        }
        Ok(())
    }

    fn remember(&self, db: &Connection, into: Into, remembered: &[(i64, i64)]) -> Result<(), Error> {
        let mut known = Known::prepare(db, into, self.base)?;
        let mut event = db.prepare("SELECT unanswered FROM events WHERE no = ?1")?;
        let mut vmid = db.prepare("SELECT vmid FROM items WHERE no = ?1")?;
        for (item, no) in remembered {
            let vmid: String = vmid.query_row([item], |row| row.get(0))?;
            event.query_row([no], |row| known.remember(&vmid, row.get_ref(0)?))?;
        }
        Ok(())
    }
}

impl Into {
    fn step(self, db: &Connection, work: impl FnOnce(&Connection) -> Result<(), Error>) -> Result<(), Error> {
        match self {
            Self::Connection => work(db),
            Self::Ledger => {
                let step = db.unchecked_transaction()?;
                work(&step)?;
                step.commit()?;
                store::checkpoint_when_long(db)
            }
        }
    }

    fn point(self) -> &'static str {
        match self {
            Self::Ledger => "INSERT OR REPLACE INTO latest (item, event) VALUES (?1, ?2)",
            Self::Connection => "INSERT OR REPLACE INTO unfolded (item, event) VALUES (?1, ?2)",
        }
    }

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
}

/// What is known of VMs at one base URL, to be written.
struct Known<'c> {
    base: i64,
    /// `None` where what was known is there already.
    copy: Option<Statement<'c>>,
    know: Statement<'c>,
    see: Statement<'c>,
    remember: Statement<'c>,
}

impl<'c> Known<'c> {
    fn prepare(db: &'c Connection, into: Into, base: i64) -> Result<Self, Error> {
        let (vms, seen) = (into.vms(), into.seen());
        let copy =
            "INSERT OR IGNORE INTO unfolded_vms SELECT base, vmid, rack_id, allocation, seen_at, unanswered FROM vms
            WHERE base = ?1 AND vmid = ?2";
        let know = format!(
            "INSERT INTO {vms} (base, vmid, rack_id, allocation, seen_at)
             VALUES (?1, ?2, coalesce(?3, ?4 ->> 'rack_id'), ?4, ?5)
             ON CONFLICT (base, vmid) DO UPDATE SET rack_id = excluded.rack_id, allocation = excluded.allocation,
                seen_at = excluded.seen_at, unanswered = NULL"
        );
        let see = format!(
            "INSERT INTO {seen} (base, vmid, seen_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (base, vmid) DO UPDATE SET seen_at = excluded.seen_at"
        );
        let remember = format!(
            "INSERT INTO {vms} (base, vmid, unanswered) VALUES (?1, ?2, ?3)
             ON CONFLICT (base, vmid) DO UPDATE SET unanswered = excluded.unanswered"
        );
        Ok(Self {
            base,
            copy: (into == Into::Connection).then(|| db.prepare(copy)).transpose()?,
            know: db.prepare(&know)?,
            see: db.prepare(&see)?,
            remember: db.prepare(&remember)?,
        })
    }

    /// What was known was seen again.
    fn see(&mut self, vmid: &str, seen_at: ValueRef<'_>) -> Result<(), Error> {
        self.see.execute(params![self.base, vmid, Held(seen_at)]).map(drop)
    }

    /// `rack` is as answered: one that the answer left unknown is as it was known.
    fn know(
        &mut self,
        vmid: &str,
        rack: ValueRef<'_>,
        allocation: ValueRef<'_>,
        seen_at: ValueRef<'_>,
    ) -> Result<(), Error> {
        let values = params![self.base, vmid, Held(rack), Held(allocation), Held(seen_at)];
        self.know.execute(values).map(drop)
    }

    fn remember(&mut self, vmid: &str, unanswered: ValueRef<'_>) -> Result<(), Error> {
        if let Some(copy) = &mut self.copy {
            copy.execute(params![self.base, vmid])?;
        }
        self.remember.execute(params![self.base, vmid, Held(unanswered)]).map(drop)
    }
}

/// A value of a row, written elsewhere as it is.
struct Held<'v>(ValueRef<'v>);

impl ToSql for Held<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, Error> {
        Ok(ToSqlOutput::Borrowed(self.0))
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
