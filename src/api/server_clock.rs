//! The server's clock, told from its answers.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::Attempt;
use crate::outcome::{LATE_EFFECT, Offset, Unanswered};

/// How often the server's clock is remembered to have been set, at most.
const ERAS_CAP: usize = 64;

/// What the answers so far tell of the server's clock, for those that say no time themselves.
///
/// The API's own `timestamp` outranks a `Date`, which is the clock of whatever stands in front of it.
#[derive(Debug, Clone, Default)]
pub struct ServerClock {
    timestamps: Estimate,
    dates: Estimate,
}

impl ServerClock {
    /// Returns whether the answer ends a doubt: the clock is told for the first time, or was set.
    pub fn observe(&mut self, attempt: &Attempt) -> bool {
        let mut is_news = false;
        for (estimate, offset) in [
            (&mut self.timestamps, attempt.offset_by_timestamp()),
            (&mut self.dates, attempt.offset_by_date()),
        ] {
            if let Some(offset) = offset {
                is_news |= estimate.observe(Era { offset, first: attempt.over_at(), last: attempt.sent_at });
            }
        }
        is_news
    }

    /// The server's clock minus ours by this answer's own time; where it says none, by the answers before.
    pub fn offset(&self, attempt: &Attempt) -> Option<Offset> {
        attempt
            .offset_by_timestamp()
            .or_else(|| attempt.offset_by_date())
            .or_else(|| self.timestamps.offset())
            .or_else(|| self.dates.offset())
    }

    /// The server's clock minus ours as it is now, where two answers agree on it.
    pub fn agreed(&self) -> Option<Offset> {
        self.best().eras.back().map(|era| era.offset)
    }

    /// An attempt of ours with what is known by now of the server's clock at its time: one for each that it may have
    /// acted by.
    pub fn date(&self, attempt: Unanswered) -> impl Iterator<Item = Unanswered> {
        let until = attempt.until.saturating_add(LATE_EFFECT).unwrap_or(attempt.until);
        let mut told = self.best().during(attempt.from, until).map(Some).peekable();
        let unknown = told.peek().is_none().then_some(None);
        told.chain(unknown).map(move |told| Unanswered { told, ..attempt })
    }

    fn best(&self) -> &Estimate {
        if self.timestamps.offset().is_some() { &self.timestamps } else { &self.dates }
    }
}

/// An offset that is narrowed by answers that agree with it, and replaced where they contradict it.
///
/// What two agree on is given up only when two others in a row agree on something else: one wrong time is no more
/// than that.
#[derive(Debug, Clone, Default)]
struct Estimate {
    /// What two answers agreed on, one setting of the clock after another.
    eras: VecDeque<Era>,
    /// What the last answer said instead.
    doubt: Option<Era>,
}

/// As long as nobody sets the server's clock.
#[derive(Debug, Clone, Copy)]
struct Era {
    offset: Offset,
    /// When the first answer that says so came.
    first: Timestamp,
    /// When the last call that was so answered left.
    last: Timestamp,
}

impl Estimate {
    /// Returns whether an era begins.
    fn observe(&mut self, new: Era) -> bool {
        if let Some(era) = self.eras.back_mut().filter(|era| era.offset.agrees_with(&new.offset)) {
            *era = Era { offset: era.offset.narrowed_by(new.offset), first: era.first, last: new.last };
            self.doubt = None;
        } else if let Some(doubt) = self.doubt.take_if(|doubt| doubt.offset.agrees_with(&new.offset)) {
            self.eras.push_back(Era {
                offset: doubt.offset.narrowed_by(new.offset),
                first: doubt.first,
                ..new
            });
            if self.eras.len() > ERAS_CAP {
                self.eras.pop_front();
            }
            return true;
        } else {
            self.doubt = Some(new);
        }
        false
    }

    fn offset(&self) -> Option<Offset> {
        self.eras.back().or(self.doubt.as_ref()).map(|era| era.offset)
    }

    /// What may have held at some moment from `from` to `until`: a clock is set after the last answer that it gave
    /// before, and before the first one thereafter.
    fn during(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = Offset> {
        let begins = std::iter::once(Timestamp::MIN).chain(self.eras.iter().map(|era| era.last));
        let ends = self.eras.iter().skip(1).map(|era| era.first).chain(std::iter::once(Timestamp::MAX));
        let eras = self.eras.iter().zip(begins.zip(ends));
        eras.filter(move |(_, (begins, ends))| *begins <= until && *ends >= from).map(|(era, _)| era.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

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
        let news = (0..9).map(|_| clock.observe(&attempt(0, Some(3600), Some(3600)))).collect::<Vec<_>>();
        assert_eq!(news.iter().position(|&news| news), Some(1), "two answers tell it");
        assert_eq!(news.iter().filter(|&&news| news).count(), 1);
        assert_eq!(clock.offset(&attempt(6, Some(7), Some(100))), offset(1, 7));
        assert_eq!(clock.offset(&attempt(6, None, Some(7))), offset(1, 8), "a Date is cut to seconds");
        assert_eq!(clock.offset(&attempt(6, None, None)), offset(3600, 3600));
    }

    #[test]
    fn the_edges_clock_does_not_outvote_the_apis() {
        let mut clock = ServerClock::default();
        clock.observe(&attempt(0, Some(5), None));
        for _ in 0..9 {
            clock.observe(&attempt(0, None, Some(-3600)));
        }
        assert_eq!(clock.offset(&attempt(0, None, None)), offset(5, 5));
        assert_eq!(clock.agreed(), None);
        clock.observe(&attempt(0, Some(5), None));
        assert_eq!(clock.agreed(), offset(5, 5));
    }

    #[test]
    fn an_attempt_is_dated_by_every_clock_that_it_may_have_acted_by() {
        let observed = |at_second: i64, ahead: i64| {
            let mut attempt = Attempt::unanswered(at(at_second));
            attempt.timestamp = Some(at(at_second + ahead));
            attempt
        };
        let mut clock = ServerClock::default();
        let told = |clock: &ServerClock, left: i64| {
            // It ends so early that a minute later is but a second later.
            let attempt = Unanswered { from: at(left), until: at(left - 59), told: None };
            clock.date(attempt).map(|attempt| attempt.told).collect::<Vec<_>>()
        };
        assert_eq!(told(&clock, 0), [None], "nothing is known yet");
        for (second, ahead) in [(10, 5), (12, 5), (20, 3600), (22, 3600), (30, 5), (32, 5)] {
            clock.observe(&observed(second, ahead));
        }
        let (five, hour) = (offset(5, 5), offset(3600, 3600));
        for (left, expected) in [
            (0, vec![five]),
            (10, vec![five]),
            (11, vec![five, hour]),
            (20, vec![five, hour]),
            (21, vec![hour, five]),
            (30, vec![hour, five]),
            (31, vec![five]),
            (99, vec![five]),
        ] {
            assert_eq!(told(&clock, left), expected, "left at second {left}");
        }
    }
}
