//! One VM on its way through a run, from its claim to its outcome. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::lost::Lost;
use crate::allocation::{Allocation, Expected};
use crate::api::{Attempt, Meaning, ServerClock};
use crate::ledger::{CLAIM_LIFE, Deferred, Item, LastCall, Setback, Settlement};
use crate::outcome::{Answer, Evidence, Failure, FirstCall, Look, Offset, Outcome, classify};

/// A VM that draws this many 429s, each with another VM's success after it, has failed.
const STRIKES: u32 = 10;

/// What is said of a VM that was only looked at.
const NOT_DONE: &str = "a call of an earlier run was lost, and has done nothing so far";

/// A claimed VM, and what its calls have come to in this sitting.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) item: Item,
    /// The date of its claim on disk.
    claimed_at: Timestamp,
    /// Attempts since the start or the last resume: what `--max-attempts` counts.
    pub(super) attempts: u32,
    pub(super) last: LastCall,
    pub(super) setback: Option<Setback>,
    pub(super) lost: Lost,
    /// A look has found that no lost call has done anything yet, and none was lost since.
    pub(super) is_undone: bool,
    /// It was called in this sitting, and not only looked at.
    pub(super) was_called: bool,
    strikes: u32,
    /// The run's successes when the last 429 came that has not been counted yet.
    struck_at: Option<u64>,
}

impl Work {
    pub(super) fn new(item: Item, claimed_at: Timestamp) -> Self {
        Self {
            lost: Lost::inherited(item.unanswered.clone()),
            setback: item.setback.clone(),
            item,
            claimed_at,
            attempts: 0,
            last: LastCall::default(),
            is_undone: false,
            was_called: false,
            strikes: 0,
            struck_at: None,
        }
    }

    /// Whether the VM has not been called in this run.
    pub(super) fn is_new(&self) -> bool {
        self.item.tally.attempts == 0 && self.item.tally.throttled == 0
    }

    pub(super) fn claimed(self, at: Timestamp) -> Self {
        Self { claimed_at: at, ..self }
    }

    /// Whether the claim is too old to tell when the call left.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.claimed_at) > CLAIM_LIFE
    }

    /// Notes a 429; `successes` is the whole run's count.
    pub(super) fn struck(&mut self, successes: u64) {
        self.struck_at.get_or_insert(successes);
    }

    /// Whether the API refuses this VM for its rate while it serves others.
    pub(super) fn is_struck_out(&mut self, successes: u64) -> bool {
        if self.struck_at.is_some_and(|then| successes > then) {
            self.struck_at = None;
            self.strikes += 1;
        }
        self.strikes >= STRIKES
    }

    /// Notes what every attempt leaves behind, whatever came of it. `timeout` is that of one call.
    pub(super) fn note(&mut self, attempt: &Attempt, timeout: Duration, clock: &ServerClock) {
        self.last = LastCall {
            http_status: attempt.status,
            request_id: attempt.request_id.clone(),
            latency: attempt.latency,
        };
        self.item.first_call.get_or_insert(FirstCall { at: attempt.sent_at, offset_then: None });
        match attempt.meaning() {
            // It was not made.
            Some(Meaning::Hampered) => return,
            Some(Meaning::Throttled) => self.item.tally.throttled += 1,
            Some(_) | None => {
                self.attempts += 1;
                self.item.tally.attempts += 1;
            }
        }
        self.item.tally.first_sent.get_or_insert(attempt.sent_at);
        if attempt.may_have_applied() {
            self.lost.record(attempt, timeout);
            self.is_undone = false;
        }
        self.item.unanswered = self.lost.dated(clock);
    }

    /// What a valid success comes to. `offset` is the server's clock minus ours by its own time.
    pub(super) fn success(
        &self,
        answer: Answer,
        offset: Option<Offset>,
        clock: &ServerClock,
        now: Timestamp,
    ) -> Settlement {
        let Item { before, unanswered, expected, first_call, .. } = &self.item;
        let evidence = Evidence {
            before: before.as_ref(),
            unanswered,
            first_call: first_call.unwrap_or(FirstCall { at: now, offset_then: None }),
            offset,
            heard: &clock.heard(),
            now,
        };
        let mut verdict = classify(&answer, &evidence);
        verdict.warnings.extend(unknown(expected, &answer.allocation));
        let drift = expected.drift(&answer.allocation);
        Settlement::Success { verdict, allocation: Box::new(answer.allocation), drift }
    }

    /// What a look comes to where nothing is called. An allocation that cannot be used is no drift.
    pub(super) fn forecast(&self, look: Look) -> Settlement {
        let mut forecast = look.forecast(self.item.action);
        let mut drift = vec![];
        if let Some(allocation) = look.allocation.as_ref().filter(|_| forecast.outcome != Outcome::Blocked) {
            forecast.warnings.extend(unknown(&self.item.expected, allocation));
            drift = self.item.expected.drift(allocation);
        }
        Settlement::Forecast { forecast, allocation: look.allocation.map(Box::new), drift }
    }

    /// Whether a call may have done what it was for, and nobody has looked since.
    pub(super) fn is_in_the_dark(&self) -> bool {
        !self.lost.is_empty() && !self.is_undone
    }

    /// What a VM comes to that is not called any more.
    pub(super) fn failure(&self) -> Settlement {
        Settlement::Failed(self.setback())
    }

    /// What its calls have come to so far.
    pub(super) fn setback(&self) -> Setback {
        let (failure, error) = match &self.setback {
            Some(Setback { failure, error, .. }) => (*failure, error.clone()),
            None => (Failure::NotAttempted, NOT_DONE.to_owned()),
        };
        Setback { failure, error, may_have_applied: self.is_in_the_dark() }
    }

    /// What goes into the ledger while this VM waits.
    pub(super) fn deferred(&self, setback: Setback) -> Deferred {
        Deferred {
            position: self.item.position,
            vm: self.item.vm.clone(),
            tally: self.item.tally,
            unanswered: self.item.unanswered.clone(),
            last: self.last.clone(),
            setback,
        }
    }
}

/// What is to be said where the inventory expects what the API does not tell.
fn unknown<'a>(expected: &'a Expected, allocation: &'a Allocation) -> impl Iterator<Item = String> + use<'a> {
    expected
        .unknown(allocation)
        .map(|field| format!("the inventory expects {field}, and the answer has none"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::allocation::Expected;
    use crate::ledger::{RackNo, Tally};
    use crate::vm::Action;

    pub(in crate::reconcile) fn item(position: i64) -> Item {
        Item {
            position,
            rack: RackNo(0),
            vm: "10000".parse().unwrap(),
            action: Action::Allocate,
            expected: Expected::default(),
            before: None,
            unanswered: vec![],
            first_call: None,
            tally: Tally::default(),
            setback: None,
        }
    }

    pub(in crate::reconcile) fn work(position: i64) -> Work {
        Work::new(item(position), crate::clock::now())
    }

    #[test]
    fn a_vm_is_struck_out_by_ten_429s_each_with_anothers_success_after_it() {
        let mut work = work(1);
        for successes in 0..9 {
            work.struck(successes);
            assert!(!work.is_struck_out(successes), "nobody has succeeded since");
            assert!(!work.is_struck_out(successes + 1));
        }
        assert!(!work.is_struck_out(100), "one success counts for one 429");
        work.struck(100);
        work.struck(105);
        assert!(work.is_struck_out(106));
    }
}
