//! A VM's attempts whose answer was lost, dated as well as what was heard of the server's clock by now allows.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Attempt, ServerClock};
use crate::outcome::Unanswered;
use crate::vm::VmId;

/// The most VMs whose lost answers are dated after they have failed.
const GIVEN_UP_CAP: usize = 1024;

#[derive(Debug)]
pub(super) struct Lost {
    /// Those of this process.
    attempts: Vec<Unanswered>,
    /// Those of earlier ones: they may act in our time, and the clock that they acted by may be heard no sooner.
    inherited: Vec<Unanswered>,
}

impl Lost {
    pub(super) fn inherited(inherited: Vec<Unanswered>) -> Self {
        Self { attempts: vec![], inherited }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.inherited.is_empty()
    }

    pub(super) fn record(&mut self, attempt: &Attempt, timeout: Duration) {
        Unanswered::record(&mut self.attempts, unanswered(attempt, timeout));
    }

    /// All of them, one for each of the server's clocks that they may have acted by.
    pub(super) fn dated(&self, clock: &ServerClock) -> Vec<Unanswered> {
        let mut attempts = vec![];
        let all = self.inherited.iter().chain(&self.attempts);
        for attempt in all.flat_map(|&attempt| clock.date(attempt)) {
            Unanswered::record(&mut attempts, attempt);
        }
        attempts
    }
}

/// The last VMs that failed with an answer lost: what comes to be known of the server's clock dates it.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<(VmId, Lost)>);

impl GivenUp {
    pub(super) fn keep(&mut self, vm: VmId, lost: Lost) {
        self.0.push_back((vm, lost));
        if self.0.len() > GIVEN_UP_CAP {
            self.0.pop_front();
        }
    }

    /// All of them, as `clock` dates them now.
    pub(super) fn dated(&self, clock: &ServerClock) -> impl Iterator<Item = (VmId, Vec<Unanswered>)> {
        self.0.iter().map(|(vm, lost)| (vm.clone(), lost.dated(clock)))
    }
}

/// How long an attempt whose answer was lost may have acted: at least until its timeout, and as long as it was held up.
fn unanswered(attempt: &Attempt, timeout: Duration) -> Unanswered {
    let from = attempt.sent_at;
    let until = from.saturating_add(timeout.max(attempt.latency)).unwrap_or(Timestamp::MAX);
    Unanswered { from, until, offset_then: None }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Sent and over at once, with what the answer says of the server's clock, in seconds ahead of ours.
    fn attempt(sent: i64, ahead: Option<i64>) -> Attempt {
        Attempt { timestamp: ahead.map(|ahead| second(sent + ahead)), ..Attempt::unanswered(second(sent)) }
    }

    fn offsets(lost: &Lost, clock: &ServerClock) -> Vec<Option<i64>> {
        let then = lost.dated(clock).into_iter().map(|attempt| attempt.offset_then);
        then.map(|then| then.map(|offset| offset.least.as_secs())).collect()
    }

    #[test]
    fn an_unanswered_attempt_lasts_until_its_timeout_and_as_long_as_we_were_held_up() {
        let timeout = Duration::from_secs(30);
        for (latency, lasts) in [(0, 30), (30, 30), (31, 31), (7_200, 7_200)] {
            let attempt = Attempt { latency: Duration::from_secs(latency), ..attempt(0, None) };
            let window = unanswered(&attempt, timeout);
            assert_eq!(window.from, attempt.sent_at);
            assert_eq!(window.until.duration_since(window.from).as_secs(), lasts, "{latency} s");
        }
    }

    #[test]
    fn attempts_of_earlier_runs_are_dated_by_what_is_heard_since_and_no_more_than_once() {
        let mut lost = Lost::inherited(vec![]);
        lost.record(&attempt(0, None), Duration::from_secs(1));
        let mut clock = ServerClock::default();
        assert_eq!(offsets(&lost, &clock), [None]);
        clock.observe(&attempt(0, Some(0)));
        for sent in [60, 120, 180] {
            let mut later = Lost::inherited(lost.dated(&clock));
            later.record(&attempt(sent, None), Duration::from_secs(1));
            clock = ServerClock::default();
            clock.observe(&attempt(sent, Some(3_600)));
            assert_eq!(offsets(&later, &clock), [Some(0), Some(3_600)], "sent at {sent} s");
            lost = later;
        }
        let lasts = SignedDuration::from_secs(181);
        assert!(lost.dated(&clock).iter().all(|attempt| attempt.until.duration_since(second(0)) <= lasts));
    }
}
