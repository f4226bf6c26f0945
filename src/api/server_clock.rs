//! The server's clock, told from its answers.

use std::collections::VecDeque;

use super::Attempt;
use crate::outcome::{Offset, Unanswered};

/// How many settings of the server's clock are remembered, at most.
const CAP: usize = 16;

/// What the answers so far tell of the server's clock, for those that say no time themselves.
///
/// The API's own `timestamp` outranks a `Date`, which is the clock of whatever stands in front of it; but not where errors
/// alone have one, as in v2: what nearly all answers are dated by is the better witness.
#[derive(Debug, Clone, Default)]
pub struct ServerClock {
    timestamps: Estimate,
    dates: Estimate,
    /// A success had a `timestamp`.
    successes_tell: bool,
}

impl ServerClock {
    /// Returns whether the answer says something that was not heard before.
    pub fn observe(&mut self, attempt: &Attempt) -> bool {
        let mut is_news = !self.successes_tell && attempt.result.is_ok() && attempt.timestamp.is_some();
        self.successes_tell |= is_news;
        for (estimate, offset) in [
            (&mut self.timestamps, attempt.offset_by_timestamp()),
            (&mut self.dates, attempt.offset_by_date()),
        ] {
            if let Some(offset) = offset {
                is_news |= estimate.observe(offset);
            }
        }
        is_news
    }

    /// The server's clock minus ours by this answer's own time; where it says none, by the answers before.
    pub fn offset(&self, attempt: &Attempt) -> Option<Offset> {
        attempt.offset_by_timestamp().or_else(|| attempt.offset_by_date()).or_else(|| self.best().offset())
    }

    /// The server's clock minus ours as it is now, where two answers agree on it.
    pub fn agreed(&self) -> Option<Offset> {
        self.best().agreed.back().map(|setting| setting.offset)
    }

    /// Every setting of the server's clock that was heard of.
    pub fn heard(&self) -> Vec<Offset> {
        self.best().heard().collect()
    }

    /// An attempt of ours, once for each setting of the server's clock that it may have acted by: what was known of it
    /// then, and all that was heard by now. When a clock was set is never known, and two wrong times in a row may
    /// look like it.
    pub fn date(&self, attempt: Unanswered) -> impl Iterator<Item = Unanswered> {
        let mut offsets = attempt.offset_then.into_iter().chain(self.best().heard()).map(Some).peekable();
        let unknown = offsets.peek().is_none().then_some(None);
        offsets.chain(unknown).map(move |offset_then| Unanswered { offset_then, ..attempt })
    }

    fn best(&self) -> &Estimate {
        let (best, other) = match self.successes_tell {
            true => (&self.timestamps, &self.dates),
            false => (&self.dates, &self.timestamps),
        };
        if best.offset().is_some() { best } else { other }
    }
}

/// An offset that is narrowed by answers that agree with it, and replaced where they contradict it.
///
/// What two agree on is given up only when two others in a row agree on something else: one wrong time is no more
/// than that.
#[derive(Debug, Clone, Default)]
struct Estimate {
    /// What two answers agreed on, one setting of the clock after another.
    agreed: VecDeque<Setting>,
    /// What the last answer said instead.
    doubt: Option<Offset>,
    /// What other single answers said: it tells nothing of the clock now, and a lost call may have met it all the same.
    hints: VecDeque<Offset>,
}

/// As long as nobody sets the server's clock, or by no more than can be seen.
#[derive(Debug, Clone, Copy)]
struct Setting {
    /// What the answers agree on.
    offset: Offset,
    /// All that they leave possible: a small step hides in the doubt that slow answers leave.
    span: Offset,
}

impl Setting {
    fn of(first: Offset, second: Offset) -> Self {
        Self { offset: first.narrowed_by(second), span: first.spanning(second) }
    }
}

impl Estimate {
    /// Returns whether it is news.
    fn observe(&mut self, new: Offset) -> bool {
        if let Some(agreed) = self.agreed.back_mut().filter(|agreed| agreed.offset.agrees_with(&new)) {
            let is_news = !agreed.span.holds(&new);
            agreed.offset = agreed.offset.narrowed_by(new);
            agreed.span = agreed.span.spanning(new);
            self.dismiss_doubt();
            return is_news;
        }
        if let Some(doubt) = self.doubt.take_if(|doubt| doubt.agrees_with(&new)) {
            keep(&mut self.agreed, Setting::of(doubt, new));
            return true;
        }
        self.dismiss_doubt();
        self.doubt = Some(new);
        !self.hints.iter().any(|hint| hint.holds(&new))
    }

    fn dismiss_doubt(&mut self) {
        let Some(doubt) = self.doubt.take() else { return };
        match self.hints.iter_mut().find(|hint| hint.agrees_with(&doubt)) {
            Some(hint) => *hint = hint.spanning(doubt),
            None => keep(&mut self.hints, doubt),
        }
    }

    fn offset(&self) -> Option<Offset> {
        self.agreed.back().map(|setting| setting.offset).or(self.doubt)
    }

    fn heard(&self) -> impl Iterator<Item = Offset> {
        let agreed = self.agreed.iter().map(|setting| setting.span);
        agreed.chain(self.doubt).chain(self.hints.iter().copied())
    }
}

fn keep<T>(list: &mut VecDeque<T>, new: T) {
    list.push_back(new);
    if list.len() > CAP {
        list.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::allocation::tests::example;
    use crate::api::Success;
    use crate::outcome::Answer;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// An error, sent at second 0 and answered `latency` later; `timestamp` and `date` are seconds on our clock.
    fn error(latency: u64, timestamp: Option<i64>, date: Option<i64>) -> Attempt {
        let mut attempt = Attempt::unanswered(at(0));
        attempt.latency = Duration::from_secs(latency);
        (attempt.timestamp, attempt.date) = (timestamp.map(at), date.map(at));
        attempt
    }

    /// The same of a success.
    fn attempt(latency: u64, timestamp: Option<i64>, date: Option<i64>) -> Attempt {
        let answer = Answer { created: false, allocation: example(), warnings: vec![] };
        Attempt { result: Ok(Success::Called(answer)), ..error(latency, timestamp, date) }
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
        let news = [0; 9].map(|_| clock.observe(&attempt(0, Some(3600), Some(3600))));
        assert_eq!(news.iter().rposition(|&news| news), Some(1), "one says it, two agree on it");
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
    fn a_time_that_errors_alone_tell_does_not_outvote_what_successes_are_dated_by() {
        let mut clock = ServerClock::default();
        for _ in 0..2 {
            clock.observe(&error(0, Some(-3600), None));
        }
        assert_eq!(clock.agreed(), offset(-3600, -3600), "it is better than none");
        clock.observe(&attempt(1, None, Some(5)));
        assert_eq!((clock.offset(&error(0, None, None)), clock.heard().len()), (offset(4, 6), 1));
        assert!(clock.observe(&attempt(0, Some(7), None)), "successes tell it too");
        assert_eq!(clock.offset(&error(0, None, None)), offset(-3600, -3600), "two still agree on it");
        clock.observe(&attempt(0, Some(7), None));
        assert_eq!(clock.offset(&error(0, None, None)), offset(7, 7));
    }

    #[test]
    fn a_step_that_hides_in_the_doubt_of_slow_answers_widens_what_lost_calls_are_dated_by() {
        let mut clock = ServerClock::default();
        let news = [(6, 6), (3, 3), (6, 11), (3, 8), (4, 4)]
            .map(|(latency, time)| clock.observe(&attempt(latency, Some(time), None)));
        assert_eq!(
            news,
            [true, true, true, false, false],
            "a first one, a second, and one that came 5 s late"
        );
        assert_eq!(clock.agreed(), offset(0, 4), "as if the clock had drifted");
        assert_eq!(clock.heard(), [offset(0, 11).unwrap()]);
    }

    #[test]
    fn a_lost_call_is_dated_by_every_clock_that_was_heard_and_by_what_was_told_of_it_before() {
        let (five, hour, wrong) = (offset(5, 5), offset(3600, 3600), offset(-3600, -3600));
        for (answers, offset_then, expected, why) in [
            (&[][..], None, vec![None], "nobody said a time"),
            (&[], hour, vec![hour], "but earlier ones had"),
            (&[5], None, vec![five], "one answer is better than none"),
            (&[5, 5], None, vec![five], "two agree"),
            (&[5, 5], five, vec![five, five], "and with what was known before"),
            (&[5, 5], hour, vec![hour, five], "the clock was set since"),
            (&[5, 5, 3600, 3600], None, vec![five, hour], "it was set at a moment that nobody knows"),
            (&[5, 3600, 3600], None, vec![hour, five], "and had told only once what it was before"),
            (&[5, 5, 3600, -3600], None, vec![five, wrong, hour], "whose time is wrong cannot be known"),
            (&[5, 5, -3600, 5, -3600, 5], None, vec![five, wrong], "the same wrong time counts once"),
        ] {
            let mut clock = ServerClock::default();
            for &time in answers {
                clock.observe(&attempt(0, Some(time), None));
            }
            let dated = clock.date(Unanswered { from: at(0), until: at(30), offset_then });
            assert_eq!(dated.map(|attempt| attempt.offset_then).collect::<Vec<_>>(), expected, "{why}");
        }
    }
}
