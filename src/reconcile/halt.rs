//! Whether a run is to end before its time, why, and by when; and how it ended. Pure.

use std::time::{Duration, Instant};

use crate::stop::Stop;

/// How long calls in flight may go on after a stop.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every VM has its outcome.
    Complete,
    /// Stopped, and everything that was in flight is accounted for.
    Stopped(Stop),
    /// The same of this worker alone: others may go on.
    Left(Stop),
    /// Others had ended the run before.
    Over,
    /// Told a second time to stop: out at once.
    Abandoned(Stop),
}

#[derive(Debug)]
pub(super) struct Halt {
    /// No call leaves after it.
    deadline: Option<Instant>,
    stop: Option<Stop>,
    drained_by: Option<Instant>,
}

impl Halt {
    pub(super) fn new(deadline: Option<Instant>) -> Self {
        Self { deadline, stop: None, drained_by: None }
    }

    /// Whether no new call leaves.
    pub(super) fn is_on(&self) -> bool {
        self.stop.is_some()
    }

    /// No new calls from here on; the gravest reason is kept. Returns whether this is the first one.
    pub(super) fn stop(&mut self, stop: Stop, now: Instant) -> bool {
        let is_first = self.stop.is_none();
        self.stop = self.stop.max(Some(stop));
        self.drained_by.get_or_insert(now + DRAIN);
        is_first
    }

    pub(super) fn is_past_deadline(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether calls in flight are waited for no longer.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.drained_by.is_some_and(|by| now >= by)
    }

    /// The next moment at which it comes to something.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.drained_by.or(self.deadline)
    }

    /// How a run ends in which nothing is left to do.
    pub(super) fn ending(&self) -> Ending {
        self.stop.map_or(Ending::Complete, Ending::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stop_sets_the_time_and_the_gravest_is_the_reason() {
        let now = Instant::now();
        let mut halt = Halt::new(Some(now + DRAIN * 2));
        assert_eq!(
            (halt.is_on(), halt.ending(), halt.wake()),
            (false, Ending::Complete, Some(now + DRAIN * 2))
        );
        assert!(halt.stop(Stop::MaxFailed, now));
        assert!(!halt.stop(Stop::Deadline, now + DRAIN / 2));
        assert_eq!((halt.is_on(), halt.ending()), (true, Ending::Stopped(Stop::MaxFailed)));
        assert!(!halt.stop(Stop::Interrupted, now + DRAIN / 2));
        assert_eq!((halt.ending(), halt.wake()), (Ending::Stopped(Stop::Interrupted), Some(now + DRAIN)));
        assert!(!halt.is_overdue(now + DRAIN / 2) && halt.is_overdue(now + DRAIN));
    }
}
