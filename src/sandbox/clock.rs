//! The sandbox's two clocks: the one that it lives by, and the one that it shows, which may be wrong and may be set.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Limits and the record go by the wall clock as it was at the start, going on evenly whatever is done to it; answers
/// and allocations are dated by what is shown.
#[derive(Debug)]
pub(super) struct Clock {
    start: Timestamp,
    started: Instant,
    ahead: Mutex<SignedDuration>,
}

impl Clock {
    pub(super) fn new(ahead: SignedDuration) -> Self {
        Self { start: Timestamp::now(), started: Instant::now(), ahead: Mutex::new(ahead) }
    }

    /// The even clock at a moment.
    pub(super) fn at(&self, instant: Instant) -> Timestamp {
        let passed = instant.saturating_duration_since(self.started);
        plus(self.start, SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX))
    }

    /// What is shown when the even clock says `at`.
    pub(super) fn reading(&self, at: Timestamp) -> Timestamp {
        plus(at, *self.ahead.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn reading_now(&self) -> Timestamp {
        self.reading(self.at(Instant::now()))
    }

    /// Sets what is shown by so much. Returns how far it is ahead now.
    pub(super) fn step(&self, by: SignedDuration) -> SignedDuration {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        *ahead = ahead.saturating_add(by);
        *ahead
    }
}

fn plus(at: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    at.saturating_add(by).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_set_and_the_even_clock_is_not() {
        let hour = SignedDuration::from_hours(1);
        let clock = Clock::new(hour);
        let now = clock.at(Instant::now());
        assert_eq!(clock.reading(now), now + hour);
        assert_eq!(clock.step(-hour * 3), -hour * 2);
        assert_eq!(clock.reading(now), now - hour * 2);
        assert!(clock.at(Instant::now()) >= now);
    }
}
