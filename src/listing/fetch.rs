//! A page while it is asked for: when the next call for it may leave, and when it is given up. Pure.

use std::time::{Duration, Instant};

use super::error::GivenUp;
use crate::api::{Admission, Attempt, Fault, Meaning, Page};
use crate::outcome::Failure;
use crate::pace::{Pace, Ticket};
use crate::retry::{self, Decision, Policy};

/// Calls for one page after another: one at a time, for only its answer says where the next page is.
#[derive(Debug)]
pub(super) struct Fetch<'a> {
    policy: Policy,
    pace: &'a mut Pace,
    /// Since the last page came.
    page: Tries,
}

#[derive(Debug, Default)]
struct Tries {
    attempts: u32,
    /// No call leaves before.
    not_before: Option<Instant>,
    /// What the API, not our own pace, has taken: calls in vain, and the waits after them.
    hindered: Duration,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(policy: Policy, pace: &'a mut Pace) -> Self {
        Self { policy, pace, page: Tries::default() }
    }

    /// Leave to call now, or the earliest moment at which to ask again.
    pub(super) fn next(&mut self, now: Instant) -> Result<Result<Ticket, Instant>, GivenUp> {
        if let Some(at) = self.page.not_before.filter(|at| *at > now) {
            return Ok(Err(at));
        }
        let next = self.pace.next(now);
        let pause = self.pace.paused_until(now).map(|until| until.saturating_duration_since(now));
        match pause.is_some_and(|pause| self.page.hindered + pause > self.policy.max_wait) {
            true => Err(GivenUp::MaxWait { fault: None }),
            false => Ok(next),
        }
    }

    /// What a call came to: the page, or `None` where it is asked for again. `chance` is from 0 to 1.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        attempt: Attempt<Page>,
        now: Instant,
        chance: f64,
    ) -> Result<Option<Page>, GivenUp> {
        match attempt.admission() {
            Admission::Refused => {}
            Admission::Accepted => self.pace.accepted(ticket, attempt.announced, now),
            Admission::Unknown => self.pace.failed(ticket, attempt.announced, now),
        }
        match attempt.result {
            Ok(page) => {
                self.page = Tries::default();
                Ok(Some(page))
            }
            Err(fault) => self.failed(ticket, fault, now, chance).map(|()| None),
        }
    }

    fn failed(&mut self, ticket: Ticket, fault: Fault, now: Instant, chance: f64) -> Result<(), GivenUp> {
        self.page.attempts += u32::from(is_attempt(fault.meaning));
        let attempts = self.page.attempts;
        let wait = match retry::decide(self.policy, attempts, &fault, chance) {
            Decision::Again(wait) | Decision::Hampered(wait) => wait,
            Decision::Throttled(wait) => {
                self.pace.throttled(ticket, wait, now).saturating_duration_since(now)
            }
            Decision::InDoubt(credential) => return Err(GivenUp::Refused { credential, fault }),
            Decision::Fail if is_forbidden(&fault) => return Err(GivenUp::Forbidden { fault }),
            Decision::Fail => return Err(GivenUp::Failed { attempts, fault }),
        };
        self.page.not_before = Some(now + wait);
        self.page.hindered += now.saturating_duration_since(ticket.left_at) + wait;
        match self.page.hindered > self.policy.max_wait {
            true => Err(GivenUp::MaxWait { fault: Some(fault) }),
            false => Ok(()),
        }
    }
}

fn is_attempt(meaning: Meaning) -> bool {
    !matches!(meaning, Meaning::Throttled | Meaning::Hampered)
}

/// By the API itself: what stands before it may let another call through.
fn is_forbidden(fault: &Fault) -> bool {
    fault.failure == Failure::Forbidden && fault.meaning == Meaning::Final
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use jiff::Timestamp;

    use super::*;
    use crate::api::{Announced, Credential, answered};

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: Policy =
        Policy { max_attempts: NonZeroU32::new(3).unwrap(), max_wait: Duration::from_mins(1) };

    /// A call of so many seconds, and what it is answered with.
    #[derive(Debug, Clone)]
    struct Call {
        seconds: u32,
        status: Option<u16>,
        result: Result<Page, Fault>,
        announced: Announced,
    }

    fn page() -> Call {
        let page = Page { vms: vec![], next: None, warnings: vec![] };
        Call { seconds: 0, status: Some(200), result: Ok(page), announced: Announced::default() }
    }

    fn error(status: u16, body: &str) -> Call {
        let fault = answered(status, body.as_bytes()).result.unwrap_err();
        Call { status: Some(status), result: Err(fault), ..page() }
    }

    /// An error that asks for such a wait, in seconds.
    fn asking(status: u16, wait: u64) -> Call {
        let mut call = error(status, "{}");
        call.result.as_mut().unwrap_err().retry_after = Some(Duration::from_secs(wait));
        call
    }

    fn with(meaning: Meaning) -> Call {
        let mut call = error(500, "{}");
        call.result.as_mut().unwrap_err().meaning = meaning;
        call
    }

    /// When the calls left that one page took, in seconds from the beginning, and how it ended. Chance is nothing.
    fn fetched(rate: &str, calls: &[Call]) -> (Vec<u64>, Result<(), String>) {
        let begun = Instant::now();
        let mut now = begun;
        let mut pace = Pace::new(rate.parse().unwrap(), None, now);
        let mut fetch = Fetch::new(POLICY, &mut pace);
        let mut left = Vec::new();
        for call in calls {
            let ticket = loop {
                match fetch.next(now) {
                    Ok(Ok(ticket)) => break ticket,
                    Ok(Err(at)) => now = at,
                    Err(given_up) => return (left, Err(given_up.to_string())),
                }
            };
            left.push((now.duration_since(begun) + SECOND / 2).as_secs());
            now += call.seconds * SECOND;
            let attempt = Attempt {
                status: call.status,
                announced: call.announced,
                result: call.result.clone(),
                ..Attempt::unanswered(Timestamp::UNIX_EPOCH)
            };
            match fetch.answered(ticket, attempt, now, 0.0) {
                Ok(Some(_)) => return (left, Ok(())),
                Ok(None) => {}
                Err(given_up) => return (left, Err(given_up.to_string())),
            }
        }
        (left, Err("more calls than these".into()))
    }

    #[test]
    fn a_page_is_asked_for_until_it_comes_or_nothing_more_is_to_be_hoped_for() {
        let slow = |call: Call| Call { seconds: 31, ..call };
        let busy = Announced { remaining: Some(0), reset_in: Some(90 * SECOND), per_second: None };
        for (calls, left, end) in [
            (vec![page()], &[0][..], ""),
            (vec![error(500, "{}"), page()], &[0, 1], ""),
            (vec![error(500, "{}"), error(503, "{}"), page()], &[0, 1, 2], ""),
            (vec![error(500, r#"{"detail":"boom"}"#); 3], &[0, 1, 2], "server_error after 3 attempts: boom"),
            (vec![asking(503, 20), page()], &[0, 20], ""),
            (vec![asking(503, 61)], &[0], "server_error after 1 attempt: "),
            // A 429 is no attempt, and its wait is kept.
            (
                vec![asking(429, 7), asking(429, 7), asking(429, 7), asking(429, 7), page()],
                &[0, 7, 14, 21, 28],
                "",
            ),
            (vec![asking(429, 61)], &[0], "for longer than --max-wait: rate_limited: "),
            (vec![asking(429, 25); 3], &[0, 25, 50], "for longer than --max-wait: rate_limited: "),
            (
                vec![slow(error(500, "{}")), slow(error(500, "{}"))],
                &[0, 32],
                "for longer than --max-wait: server_error",
            ),
            (vec![with(Meaning::Hampered); 70], &(0..=60).collect::<Vec<_>>(), "for longer than --max-wait"),
            (vec![Call { announced: busy, ..error(500, "{}") }, page()], &[0], "for longer than --max-wait"),
            (vec![error(401, "{}")], &[0], "the API refuses the key: "),
            (vec![error(401, "<html>"), page()], &[0, 1], ""),
            (
                vec![error(403, r#"{"detail":"no scope"}"#)],
                &[0],
                "(403): no scope; the key needs the scope read:vm",
            ),
            (vec![error(403, "<html>"); 3], &[0, 1, 2], "forbidden after 3 attempts: "),
            (vec![with(Meaning::Refused(Credential::Certificate))], &[0], "does not trust us: "),
            (vec![error(404, "{}")], &[0], "not_found after 1 attempt: "),
        ] {
            let (when, ended) = fetched("none", &calls);
            let told = ended.err().unwrap_or_default();
            let is_expected = told.contains(end) && told.is_empty() == end.is_empty();
            assert!(when == left && is_expected, "{end}: {when:?} {told}");
        }
    }

    #[test]
    fn our_own_pace_is_no_wait_that_the_api_imposes() {
        assert_eq!(
            fetched("30/h", &[error(500, "{}"), error(500, "{}"), page()]),
            (vec![0, 120, 240], Ok(()))
        );
    }

    #[test]
    fn each_page_has_all_its_attempts() {
        let now = Instant::now();
        let mut pace = Pace::new("none".parse().unwrap(), None, now);
        let mut fetch = Fetch::new(POLICY, &mut pace);
        let mut at = now;
        for call in [error(500, "{}"), error(500, "{}"), page(), error(500, "{}"), error(500, "{}"), page()] {
            at += 60 * SECOND;
            let ticket = fetch.next(at).unwrap().unwrap();
            let attempt = Attempt { result: call.result, ..Attempt::unanswered(Timestamp::UNIX_EPOCH) };
            assert!(fetch.answered(ticket, attempt, at, 1.0).is_ok());
        }
    }
}
