//! What there is to know of a run that ends, in one round trip.

use super::database::Postgres;
use super::question::Question;
use super::runs::{self, BASELINE, COURSE};
use super::workers;
use crate::ledger::error::LedgerError;
use crate::ledger::job::EVERYTHING;
use crate::ledger::record::{Contribution, Course, Finish, RunKey};

/// What a run is when it ends.
pub(super) fn finish(postgres: &Postgres, key: &RunKey) -> Result<Finish, LedgerError> {
    let Postgres { session, .. } = postgres;
    let run = postgres.run(key)?;
    let [deeds, workers] = workers::asking(run.no);
    let asked = [
        Question::new(COURSE, vec![Box::new(run.no)]),
        Question::new(BASELINE.as_str(), vec![Box::new(run.no), Box::new(EVERYTHING)]),
        deeds,
        workers,
    ];
    let (sums, [course, baseline, deeds, workers]) = postgres.sums_beside(key, &asked)?;
    let course = session.read(&course, runs::course)?.pop();
    let course = course.ok_or_else(|| LedgerError::UnknownRun(key.id.clone()))?;
    let workers = workers::all(session, run.kind, [&deeds, &workers])?;
    let workers = workers.into_iter().map(Contribution::from).collect();
    let baseline = postgres.compared(session.read(&baseline, runs::compared)?)?;
    Ok(Finish { sums, course: Course { workers, ..course }, baseline })
}
