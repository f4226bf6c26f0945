//! The server's clock, told from its answers.

use super::Attempt;
use crate::outcome::Offset;

/// What the answers so far tell of the server's clock, for those that say no time themselves.
///
/// The API's own `timestamp` outranks a `Date`, which is the clock of whatever stands in front of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerClock {
    timestamps: Estimate,
    dates: Estimate,
}

impl ServerClock {
    pub fn observe(&mut self, attempt: &Attempt) {
        attempt.offset_by_timestamp().into_iter().for_each(|offset| self.timestamps.observe(offset));
        attempt.offset_by_date().into_iter().for_each(|offset| self.dates.observe(offset));
    }

    /// The server's clock minus ours by this answer's own time; where it says none, by the answers before.
    pub fn offset(&self, attempt: &Attempt) -> Option<Offset> {
        attempt
            .offset_by_timestamp()
            .or_else(|| attempt.offset_by_date())
            .or(self.timestamps.offset)
            .or(self.dates.offset)
    }

    /// The server's clock minus ours, where two answers agree on it.
    pub fn agreed(&self) -> Option<Offset> {
        let estimate = if self.timestamps.offset.is_some() { self.timestamps } else { self.dates };
        estimate.offset.filter(|_| estimate.confirmed)
    }
}

/// An offset that is narrowed by answers that agree with it, and replaced where they contradict it.
///
/// What two agree on is given up only when two others in a row agree on something else: one wrong time is no more
/// than that.
#[derive(Debug, Clone, Copy, Default)]
struct Estimate {
    offset: Option<Offset>,
    /// More than one answer stands behind it.
    confirmed: bool,
    /// What the last answer said instead.
    doubt: Option<Offset>,
}

impl Estimate {
    fn observe(&mut self, new: Offset) {
        let agreeing = |known: Option<Offset>| known.filter(|known| known.agrees_with(&new));
        *self = match (agreeing(self.offset), agreeing(self.doubt)) {
            (Some(known), _) | (None, Some(known)) => {
                Self { offset: Some(known.narrowed_by(new)), confirmed: true, doubt: None }
            }
            (None, None) if self.confirmed => Self { doubt: Some(new), ..*self },
            (None, None) => Self { offset: Some(new), ..Self::default() },
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Sent at second 0 and answered `latency` later; `timestamp` and `date` are seconds on our clock.
    fn attempt(latency: u64, timestamp: Option<i64>, date: Option<i64>) -> Attempt {
        let mut attempt = Attempt::unanswered(at(0));
        attempt.latency = Duration::from_secs(latency);
        (attempt.timestamp, attempt.date) = (timestamp.map(at), date.map(at));
        attempt
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the clock says it")]
    fn offset(least: i64, most: i64) -> Option<Offset> {
        Some(Offset { least: SignedDuration::from_secs(least), most: SignedDuration::from_secs(most) })
    }

    /// What a silent answer is read by, and what is kept with attempts, after answers of these latencies and times.
    fn after(answers: &[(u64, i64)]) -> (Option<Offset>, Option<Offset>) {
        let mut clock = ServerClock::default();
        for &(latency, time) in answers {
            clock.observe(&attempt(latency, Some(time), None));
        }
        (clock.offset(&attempt(1, None, None)), clock.agreed())
    }

    #[test]
    fn the_offset_is_narrowed_by_agreement_and_replaced_when_contradicted() {
        for (answers, silent, agreed, why) in [
            (&[][..], None, None, "nobody said a time"),
            (&[(6, 10)], offset(4, 10), None, "one answer is a hint"),
            (&[(6, 10), (2, 7)], offset(5, 7), offset(5, 7), "two agree on what both leave possible"),
            (&[(6, 10), (2, 7), (60, 40)], offset(5, 7), offset(5, 7), "a slow answer takes nothing away"),
            (&[(0, -3600), (0, 5)], offset(5, 5), None, "one wrong time at the start is gone with the next"),
            (&[(0, 5), (0, 5), (0, -3600)], offset(5, 5), offset(5, 5), "one wrong time rules nothing"),
            (
                &[(0, 5), (0, 5), (0, -3600), (0, 5), (0, -3600)],
                offset(5, 5),
                offset(5, 5),
                "nor does it with another one later",
            ),
            (
                &[(0, 5), (0, 5), (0, -3600), (2, -3599)],
                offset(-3600, -3600),
                offset(-3600, -3600),
                "the clock was set",
            ),
            (
                &[(0, 5), (0, 6), (0, 7), (0, 8)],
                offset(8, 8),
                offset(8, 8),
                "a clock that drifts is followed",
            ),
        ] {
            assert_eq!(after(answers), (silent, agreed), "{why}");
        }
    }

    #[test]
    fn an_answer_is_read_by_its_own_time_whatever_the_others_said() {
        let mut clock = ServerClock::default();
        (0..9).for_each(|_| clock.observe(&attempt(0, Some(3600), Some(3600))));
        assert_eq!(clock.offset(&attempt(6, Some(7), Some(100))), offset(1, 7));
        assert_eq!(clock.offset(&attempt(6, None, Some(7))), offset(1, 8), "a Date is cut to seconds");
        assert_eq!(clock.offset(&attempt(6, None, None)), offset(3600, 3600));
    }

    #[test]
    fn the_edges_clock_does_not_outvote_the_apis() {
        let mut clock = ServerClock::default();
        clock.observe(&attempt(0, Some(5), None));
        (0..9).for_each(|_| clock.observe(&attempt(0, None, Some(-3600))));
        assert_eq!(clock.offset(&attempt(0, None, None)), offset(5, 5));
        assert_eq!(clock.agreed(), None);
        clock.observe(&attempt(0, Some(5), None));
        assert_eq!(clock.agreed(), offset(5, 5));
    }
}
