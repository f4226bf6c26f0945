//! How a run stands since it began or last went on, all its workers taken together: sums that every batch keeps.

use std::sync::LazyLock;
use std::time::Instant;

use super::parameter::Parameter;
use tokio_postgres::{Error, Row};

use super::breakers::{self, LEFT_ALONE};
use super::column::{self, count};
use super::database::Run;
use super::question::{Question, Value};
use super::session::Session;
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::span;
use crate::ledger::protocol::{Counted, LeftAlone, Seen};
use crate::ledger::record::Counts;
use crate::outcome::Outcome;
use crate::stop::Stop;

/// Begins the first one of run `$1` that this ledger has, unless it has begun: items have the numbers from `$2` to `$3`.
const BEGIN: &str = "INSERT INTO v6fleet.sittings (run, no, pending, held)
    SELECT $1, (SELECT resumes FROM v6fleet.runs WHERE no = $1), count(*), count(p.worker)
    FROM v6fleet.items i LEFT JOIN v6fleet.progress p ON p.item = i.no
    WHERE i.no BETWEEN $2 AND $3 AND p.outcome IS NULL
    HAVING NOT EXISTS (SELECT 1 FROM v6fleet.sittings WHERE run = $1) ON CONFLICT DO NOTHING";

/// Nobody joins run `$1`, ends it or goes on with it meanwhile.
pub(super) const RUN_ALONE: &str = "SELECT 1 FROM v6fleet.runs WHERE no = $1 FOR NO KEY UPDATE";

/// Nobody changes the sums of run `$1` meanwhile; to be asked after [`RUN_ALONE`]. Whoever is about to waits, and changes what
/// they are by then.
pub(super) const SITTING_ALONE: &str = "SELECT 1 FROM v6fleet.sittings WHERE run = $1 FOR UPDATE";

/// Begins the next one. The row stays, or a change that waits for it would be lost.
static BEGIN_ANEW: LazyLock<String> = LazyLock::new(|| {
    let nothing = OUTCOMES.iter().map(|outcome| format!("{outcome} = 0"));
    format!(
        "UPDATE v6fleet.sittings s SET no = r.resumes, begun_at = clock_timestamp(), pending = open.vms, held = open.held, canary = 0,
            returns = 0, trials = 0, stop = NULL, ender = NULL, drifted = 0, {}
         FROM v6fleet.runs r, (
            SELECT count(*) AS vms, count(p.worker) AS held FROM v6fleet.items i LEFT JOIN v6fleet.progress p ON p.item = i.no
            WHERE i.no BETWEEN $2 AND $3 AND p.outcome IS NULL
         ) AS open
         WHERE s.run = $1 AND r.no = $1",
        nothing.collect::<Vec<_>>().join(", ")
    )
});

/// Nobody ends run `$1` or goes on with it meanwhile. Only what is asked after this knows all that whoever just did has written.
pub(super) const STAYS: &str = "SELECT 1 FROM v6fleet.runs WHERE no = $1 FOR SHARE";

/// For how many microseconds run `$1` has been under way since it began or last went on; nothing where it has ended.
pub(super) const LASTS: &str = "SELECT greatest(0,
        coalesce((extract(epoch FROM clock_timestamp() - s.begun_at) * 1000000)::bigint, 0))
    FROM v6fleet.runs r LEFT JOIN v6fleet.sittings s ON s.run = r.no
    WHERE r.no = $1 AND r.ended_at IS NULL AND NOT r.pruned";

/// All workers of run `$1` are to stop for `$2`, unless they are to for something that is not among the lesser reasons `$3`; none
/// of another sitting than the `$4`th, where that is told.
const STOP: &str = "WITH stopped AS (
        UPDATE v6fleet.sittings SET stop = $2 WHERE run = $1 AND (stop IS NULL OR stop = ANY ($3)) AND no = coalesce($4, no)
        RETURNING run
    )
    SELECT v6fleet.alert() FROM stopped";

/// The columns of the outcomes.
static OUTCOMES: LazyLock<Vec<String>> =
    LazyLock::new(|| Outcome::ALL.iter().map(|outcome| format!("\"{outcome}\"")).collect());

/// VMs that were settled.
pub(super) static SETTLED: LazyLock<String> = LazyLock::new(|| OUTCOMES.join(" + "));

/// Adds what a batch has settled.
pub(super) static ADD: LazyLock<String> = LazyLock::new(|| {
    let added = (4..).zip(OUTCOMES.iter()).map(|(nth, outcome)| format!("{outcome} = {outcome} + ${nth}"));
    format!(
        "UPDATE v6fleet.sittings SET pending = pending - $2, held = held - $2, drifted = drifted + $3, {}
         WHERE run = $1",
        added.collect::<Vec<_>>().join(", ")
    )
});

/// How run `$1` stands, and who else works: `$2` is who asks, and `$3` how often breakers had changed when it asked before.
pub(super) static SEE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT s.pending, s.held, s.returns, s.stop, s.drifted,
            (SELECT count(*) FROM v6fleet.workers w
             WHERE NOT w.buried AND w.run = s.run AND w.lease_until > clock_timestamp()),
            (SELECT count(*) FROM v6fleet.workers w WHERE NOT w.buried AND w.no <> $2),
            (SELECT count(*) FROM v6fleet.workers w
             WHERE NOT w.buried AND w.no <> $2 AND w.lease_until <= clock_timestamp()), s.trials, {LEFT_ALONE},
            {} FROM v6fleet.sittings s WHERE s.run = $1",
        OUTCOMES.join(", ")
    )
});

/// Where the outcomes stand in the columns of [`SEE`].
const COUNTS: usize = 10;

/// What a batch finds once it has written.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) seen: Seen,
    /// Workers of any run beside ours that may hold something.
    pub(super) others: u64,
    /// Of these, the ones whose lease has run out.
    pub(super) lapsed: u64,
    /// How often breakers have changed.
    pub(super) trials: i64,
    /// What is left alone, where that was news.
    pub(super) left_alone: Option<Vec<LeftAlone>>,
}

/// A run is begun: none of its VMs, which are so many, is anybody's.
pub(super) fn begin_first(session: &Session, run: i64, vms: i64) {
    let begin = "INSERT INTO v6fleet.sittings (run, no, pending, held) VALUES ($1, 0, $2, 0)";
    session.later(Question::new(begin, vec![Box::new(run), Box::new(vms)]));
}

/// The same of a run that came from another ledger, where nothing was ever summed up.
pub(super) fn begin(session: &Session, run: i64) {
    session.later(Question::new(BEGIN, of_items(run)));
}

/// A run goes on: nothing has come of it yet in this sitting. What others wait for is taken in the order in which they take it.
pub(super) fn begin_anew(session: &Session, run: i64) {
    let of_run = |sql| Question::new(sql, vec![Box::new(run)]);
    session.later(of_run("DELETE FROM v6fleet.returned WHERE run = $1"));
    begin(session, run);
    session.later(of_run(SITTING_ALONE));
    session.later(Question::new(BEGIN_ANEW.as_str(), of_items(run)));
    session.later(of_run("DELETE FROM v6fleet.breakers WHERE run = $1"));
}

/// A run and the first and last number of its items.
fn of_items(run: i64) -> Vec<Value> {
    let [first, last] = span(run);
    vec![Box::new(run), Box::new(first), Box::new(last)]
}

/// The statement and its values by which all workers of a run are told to stop; in that `sitting`, or in whichever there is.
pub(super) fn stopping(run: i64, sitting: Option<i64>, stop: Stop) -> (&'static str, Vec<Value>) {
    let lesser = Stop::ALL.iter().filter(|other| **other < stop).map(|other| other.as_str());
    (
        STOP,
        vec![Box::new(run), Box::new(stop.as_str()), Box::new(lesser.collect::<Vec<_>>()), Box::new(sitting)],
    )
}

pub(super) fn stop(session: &Session, run: i64, sitting: Option<i64>, stop: Stop) -> Result<(), LedgerError> {
    let (sql, values) = stopping(run, sitting, stop);
    let values: Vec<&dyn Parameter> = values.iter().map(|value| &**value as _).collect();
    session.execute(sql, &values).map(drop)
}

/// Whether VMs of run `$1` are held, and whether others are free to be.
pub(super) const GOES_ON: &str =
    "SELECT held > 0, pending > 0 AND stop IS NULL FROM v6fleet.sittings WHERE run = $1";

/// Whether others hold VMs of a run; where there `are_others`, they may yet, unless nothing is left or all are to stop.
pub(super) fn goes_on(row: &Row, are_others: bool) -> Result<bool, Error> {
    Ok(row.try_get(0)? || are_others && row.try_get(1)?)
}

/// The values of [`ADD`].
pub(super) fn added(run: i64, settled: &[Counted]) -> Vec<Value> {
    let number = |vms: usize| -> Value { Box::new(i64::try_from(vms).unwrap_or(i64::MAX)) };
    let of = |outcome: &Outcome| number(settled.iter().filter(|vm| vm.outcome == *outcome).count());
    let drifted = settled.iter().filter(|vm| vm.drifted).count();
    let sums: [Value; 3] = [Box::new(run), number(settled.len()), number(drifted)];
    sums.into_iter().chain(Outcome::ALL.iter().map(of)).collect()
}

/// Reads the columns of [`SEE`]; `leased_until` is the end of our lease.
pub(super) fn sight(run: Run, row: &Row, leased_until: Instant) -> Result<Sight, Error> {
    let mut counted = Counts::none(run.kind);
    for (column, &outcome) in (COUNTS..).zip(Outcome::ALL) {
        counted.add(outcome, count(row, column)?);
    }
    let (pending, held) = (count(row, 0)?, count(row, 1)?);
    let seen = Seen {
        counted,
        drifted: count(row, 4)?,
        started: counted.settled() + held,
        pending,
        free: pending.saturating_sub(held),
        returns: count(row, 2)?,
        stop: column::known_word(row, 3, Stop::from_word)?,
        leased_until,
        workers: column::small(row, 5)?.unwrap_or_default(),
        is_alerted: false,
    };
    Ok(Sight {
        seen,
        others: count(row, 6)?,
        lapsed: count(row, 7)?,
        trials: row.try_get(8)?,
        left_alone: breakers::left_alone(row, 9)?,
    })
}
