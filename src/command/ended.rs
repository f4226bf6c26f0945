//! How a command came to its end.

use tracing::info;

use crate::outcome::Outcome;
use crate::report::RunEnded;
use crate::stop::Stop;

/// A command that came to its end.
pub(super) struct Ended {
    pub(super) exit_code: u8,
    /// `None` where it had to be out at once, or is no job.
    pub(super) news: Option<News>,
}

/// What is told of a job's end.
#[derive(Clone)]
pub(super) struct News {
    pub(super) recap: String,
    pub(super) event: RunEnded,
}

/// The last line of a run's log. The recap has told the counts, and what was wrong is told after it.
pub(super) fn log_end(event: &RunEnded) {
    let RunEnded { run, course, stopped_by, exit_code, host, resume, error, .. } = event;
    let counts = course.as_ref().map(|course| course.counts);
    let of = |outcome: Outcome| counts?.by_outcome().find(|(own, _)| *own == outcome).map(|(_, vms)| vms);
    info!(
        run,
        said.selected = counts.map(|counts| counts.selected),
        said.created = of(Outcome::Created),
        said.unchanged = of(Outcome::Unchanged),
        said.updated = of(Outcome::Updated),
        said.create = of(Outcome::Create),
        said.update = of(Outcome::Update),
        said.keep = of(Outcome::Keep),
        said.blocked = of(Outcome::Blocked),
        said.failed = of(Outcome::Failed),
        said.not_attempted = counts.map(|counts| counts.not_attempted),
        said.skipped = course.as_ref().map(|course| course.skipped),
        said.newly_failing = course.as_ref().and_then(|course| course.newly_failing),
        said.calls = course.as_ref().map(|course| course.calls),
        said.duration_s = course.as_ref().map(|course| course.duration_s),
        said.calls_in_duration = course.as_ref().map(|course| course.calls_in_duration),
        stopped_by = stopped_by.map(Stop::as_str),
        said.host = host,
        said.resume = resume,
        said.error = error,
        exit_code,
        "run ended"
    );
}
