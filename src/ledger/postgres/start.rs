//! What there is to know before a run is carried out, in one round trip.

use std::sync::{Arc, LazyLock};

use tokio_postgres::{Error, Row};

use super::column::{self, count};
use super::database::{Postgres, Run};
use super::question::Question;
use super::rates::{REMEMBERED, SHARED, remembered};
use super::session::Session;
use super::statements::UNCLAIMED;
use super::vms::{RACKS, rack};
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::span;
use crate::ledger::record::{Counts, RunKey, Start};
use crate::outcome::{Failure, Kind, Outcome};

/// How many of the VMs from the number `$1` to `$2` have come out how, by rack, and the first turn of those that nobody has
/// claimed in this sitting.
static TALLY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT i.rack, p.outcome, p.failure, count(*), min(i.turn) FILTER (WHERE {UNCLAIMED})
         FROM v6fleet.items i LEFT JOIN v6fleet.progress p ON p.item = i.no
         WHERE i.no BETWEEN $1 AND $2 GROUP BY i.rack, p.outcome, p.failure"
    )
});

/// VMs of one rack that have come out alike, or are pending.
struct Alike {
    rack: usize,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
    vms: u64,
    /// The first turn of those that nobody has claimed.
    unclaimed: Option<i64>,
}

/// What a run is when it is begun.
pub(super) fn start(postgres: &Postgres, run: &RunKey) -> Result<Start, LedgerError> {
    let Postgres { session, .. } = postgres;
    let run = postgres.run(run)?;
    let [first, last] = span(run.no);
    let tally = Question::new(TALLY.as_str(), vec![Box::new(first), Box::new(last)]);
    let [rate, is_shared] = asking(run);
    let asked = [tally, Question::new(RACKS, vec![Box::new(run.no)]), rate, is_shared];
    let [tally, racks, rate, is_shared] = session.side_by_side(&asked)?;
    let racks = session.read(&racks, rack)?;
    postgres.last_racks.replace(Some((run.no, racks.clone())));
    let mut start = of_no_vm(session, run.kind, racks, &[rate, is_shared])?;
    let tally = session.read(&tally, alike)?;
    for alike in &tally {
        alike.add_to(&mut start);
    }
    if let Some(ours) = postgres.worker.get().filter(|ours| ours.run == run.no) {
        postgres.last_taken.replace(Some((ours, taken(start.racks.len(), &tally))));
    }
    Ok(start)
}

/// By rack, the turn behind which what nobody has claimed is.
fn taken(racks: usize, tally: &[Alike]) -> Vec<i64> {
    let mut taken = vec![i64::MAX; racks];
    for Alike { rack, unclaimed, .. } in tally {
        if let (Some(taken), Some(turn)) = (taken.get_mut(*rack), unclaimed) {
            *taken = (turn - 1).min(*taken);
        }
    }
    taken
}

/// Asks for what is not known of a run that is about to begin.
pub(super) fn asking(run: Run) -> [Question; 2] {
    [
        Question::new(REMEMBERED.as_str(), vec![Box::new(run.base), Box::new(run.no)]),
        Question::new(SHARED, vec![Box::new(run.no)]),
    ]
}

/// What a run is of that kind that has just begun, with so many VMs in each of its racks.
pub(super) fn first(
    session: &Session,
    kind: Kind,
    racks: Vec<Option<Arc<str>>>,
    vms: Vec<u64>,
    told: &[Vec<Row>; 2],
) -> Result<Start, LedgerError> {
    let mut start = of_no_vm(session, kind, racks, told)?;
    for (rack, vms) in vms.into_iter().enumerate() {
        Alike { rack, outcome: None, failure: None, vms, unclaimed: None }.add_to(&mut start);
    }
    Ok(start)
}

/// With what [`asking`] has asked for.
fn of_no_vm(
    session: &Session,
    kind: Kind,
    racks: Vec<Option<Arc<str>>>,
    [rate, is_shared]: &[Vec<Row>; 2],
) -> Result<Start, LedgerError> {
    Ok(Start {
        counts: Counts::none(kind),
        pending: vec![0; racks.len()],
        racks,
        remembered_rate: session.read(rate, remembered)?.pop().flatten(),
        shares_pace: session.read(is_shared, |row| row.try_get(0))?.contains(&true),
    })
}

impl Alike {
    fn add_to(&self, Start { counts, pending, .. }: &mut Start) {
        let Self { rack, outcome, failure, vms, .. } = *self;
        // What has no outcome has failed, for the time being.
        let came_to = outcome.unwrap_or(Outcome::Failed);
        let why = (came_to == Outcome::Failed).then(|| failure.unwrap_or(Failure::NotAttempted));
        counts.add_vms(came_to, why, vms);
        if let (None, Some(pending)) = (outcome, pending.get_mut(rack)) {
            *pending += vms;
        }
    }
}

fn alike(row: &Row) -> Result<Alike, Error> {
    let rack: u32 = column::small(row, 0)?.unwrap_or_default();
    Ok(Alike {
        rack: rack as usize,
        outcome: column::known_word(row, 1, Outcome::from_word)?,
        failure: column::known_word(row, 2, Failure::from_word)?,
        vms: count(row, 3)?,
        unclaimed: row.try_get(4)?,
    })
}
