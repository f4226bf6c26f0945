//! The breakers that the workers of a run share: what is left alone, and which of them tries it.

use std::time::Duration;

use tokio_postgres::{Error, Row};

use super::column::{self, span_micros};
use super::database::Run;
use super::question::{Question, Value};
use crate::ledger::protocol::{LeftAlone, Sick, Trial, Tried};
use crate::ledger::record::RackNo;

/// The API as a whole, among racks.
const API: i64 = -1;

/// Something changes of run `$1`; asked before that does, so that two never wait for each other.
const CHANGE: &str =
    "WITH changed AS (UPDATE v6fleet.sittings SET trials = trials + 1 WHERE run = $1 RETURNING run)
    SELECT v6fleet.alert() FROM changed";

/// That nobody tries `b`.
macro_rules! untried {
    () => {
        "NOT EXISTS (SELECT FROM v6fleet.workers w WHERE w.no = b.worker AND NOT w.buried)"
    };
}

/// The worker of run `$1` after `$3` tries rack `$2` after `$4` microseconds, and again after `$5`; after the last one comes the
/// first.
const BEGIN: &str = concat!(
    "INSERT INTO v6fleet.breakers AS b (run, rack, found_by, worker, wait_us, gap_us) VALUES ($1, $2, $3, coalesce((
        SELECT w.no FROM v6fleet.workers w
        WHERE w.run = $1 AND w.no <> $3 AND NOT w.buried AND w.lease_until > clock_timestamp()
        ORDER BY w.no < $3, w.no LIMIT 1), $3), $4, $5)
     ON CONFLICT (run, rack) DO UPDATE SET found_by = excluded.found_by, worker = excluded.worker,
        wait_us = excluded.wait_us, gap_us = excluded.gap_us
     WHERE b.worker = excluded.found_by OR ",
    untried!()
);

const TAKE_OVER: &str =
    concat!("UPDATE v6fleet.breakers b SET worker = $3 WHERE b.run = $1 AND b.rack = $2 AND ", untried!());

const GIVE_UP: &str =
    "UPDATE v6fleet.breakers SET worker = NULL WHERE run = $1 AND rack = $2 AND worker = $3";

const END: &str = "DELETE FROM v6fleet.breakers WHERE run = $1 AND rack = $2 AND worker = $3";

/// A column of what is left alone in the run of sitting `s`, as worker `$2` has it: JSON, and nothing where no more has changed
/// than `$3`.
pub(super) const LEFT_ALONE: &str = concat!(
    "CASE WHEN s.trials <> $3 THEN (
        SELECT coalesce(json_agg(json_build_array(b.rack, b.wait_us, b.gap_us, b.found_by = $2,
            CASE WHEN ",
    untried!(),
    " THEN NULL ELSE b.worker = $2 END)), '[]')::text FROM v6fleet.breakers b WHERE b.run = s.run) END"
);

/// Writes what a worker of a run tells.
pub(super) fn writing(run: Run, worker: i64, trials: Vec<(Sick, Trial)>) -> Vec<Question> {
    if trials.is_empty() {
        return vec![];
    }
    let change = Question::new(CHANGE, vec![Box::new(run.no)]);
    let trials = trials.into_iter().map(|(sick, trial)| {
        let rack = sick.map_or(API, |rack| rack.0.into());
        let of = || -> Vec<Value> { vec![Box::new(run.no), Box::new(rack), Box::new(worker)] };
        match trial {
            Trial::Begins { wait, gap } => {
                let times = [wait, gap].map(|time| Box::new(span_micros(time)) as Value);
                Question::new(BEGIN, of().into_iter().chain(times).collect())
            }
            Trial::TakenOver => Question::new(TAKE_OVER, of()),
            Trial::GivenUp => Question::new(GIVE_UP, of()),
            Trial::Succeeded => Question::new(END, of()),
        }
    });
    std::iter::once(change).chain(trials).collect()
}

/// An element of [`LEFT_ALONE`].
type Left = (i64, u64, u64, bool, Option<bool>);

/// Reads [`LEFT_ALONE`].
pub(super) fn left_alone(row: &Row, at: usize) -> Result<Option<Vec<LeftAlone>>, Error> {
    let all: Option<Vec<Left>> = column::json(row, at)?;
    let each = |(rack, wait, gap, is_found_by_us, is_ours)| LeftAlone {
        sick: u32::try_from(rack).ok().map(RackNo),
        wait: Duration::from_micros(wait),
        gap: Duration::from_micros(gap),
        is_found_by_us,
        tried: match is_ours {
            Some(true) => Tried::ByUs,
            Some(false) => Tried::ByOthers,
            None => Tried::ByNobody,
        },
    };
    Ok(all.map(|all| all.into_iter().map(each).collect()))
}
