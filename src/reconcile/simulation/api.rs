//! An API in virtual time: what it does with each call, and when the answer is there.

use std::collections::HashSet;
use std::time::Duration;

use super::book::{index, position, rack};
use super::plan::Plan;
use crate::allocation::tests::example;
use crate::api::{Announced, Attempt, Credential, Fault, Meaning, Success, answered};
use crate::outcome::{Answer, Failure, Look};
use crate::reconcile::Looks;
use crate::reconcile::event::Now;
use crate::vm::VmId;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Success,
    Status(u16, &'static str),
    /// With the wait that it asks for, in seconds.
    Throttled(Option<u64>),
    /// So many seconds asked for one VM.
    Unavailable(u64),
    /// No answer comes in time.
    Silence,
    Unreachable,
    Unseen,
    Hampered,
    Distrusted,
}

/// What calls come to that say nothing of themselves.
const PASSING: [Fate; 6] = [
    Fate::Status(500, "{}"),
    Fate::Status(502, "<html>Bad gateway</html>"),
    Fate::Status(403, "error code: 1020"),
    Fate::Unavailable(2),
    Fate::Silence,
    Fate::Unseen,
];

/// What VMs come to that never succeed.
const LASTING: [Fate; 7] = [
    Fate::Status(401, "{}"),
    Fate::Status(404, "{}"),
    Fate::Status(400, "{}"),
    Fate::Status(409, "{}"),
    Fate::Status(409, r#"{"code":"vps_not_ready"}"#),
    Fate::Status(500, "{}"),
    Fate::Unavailable(600),
];

/// A call that leaves.
#[derive(Debug)]
pub(super) struct Sent<'v> {
    pub(super) vm: &'v VmId,
    pub(super) now: Now,
    /// How long the run has lasted.
    pub(super) since_begun: Duration,
    /// Calls under way, this one among them.
    pub(super) in_flight: usize,
}

#[derive(Debug)]
pub(super) struct SimulatedApi<'a> {
    plan: &'a Plan,
    /// Calls that the limit still takes.
    tokens: f64,
    /// When it was last asked.
    asked: Duration,
    /// VMs that have what was asked for.
    done: HashSet<i64>,
}

impl<'a> SimulatedApi<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            tokens: plan.faults.limit.unwrap_or_default(),
            asked: Duration::ZERO,
            done: HashSet::new(),
        }
    }

    /// Returns what a call comes to, and after how long.
    pub(super) fn call(&mut self, sent: &Sent<'_>, chance: &mut fastrand::Rng) -> Attempt {
        let attempt = self.attempt(sent, chance);
        if attempt.result.is_ok() || attempt.may_have_applied() && chance.bool() {
            let is_new = self.done.insert(position(sent.vm));
            assert!(
                is_new || self.plan.settings.looks == Looks::Never,
                "VM {} is asked for what was done already",
                sent.vm
            );
        }
        attempt
    }

    /// The same of a look, which does nothing.
    pub(super) fn look(&mut self, sent: &Sent<'_>, chance: &mut fastrand::Rng) -> Attempt {
        let mut attempt = self.attempt(sent, chance);
        match &mut attempt.result {
            Ok(success) => {
                let allocation = self.done.contains(&position(sent.vm)).then(example);
                *success = Success::Looked(Look { allocation, ..Look::default() });
            }
            Err(fault) => fault.may_have_applied = false,
        }
        attempt
    }

    fn attempt(&mut self, sent: &Sent<'_>, chance: &mut fastrand::Rng) -> Attempt {
        let fate = self.fate(sent, chance);
        let latency = match fate {
            Fate::Hampered => Duration::ZERO,
            Fate::Silence => self.plan.settings.timeout,
            _ => Duration::from_millis(chance.u64(self.plan.faults.latency.clone())),
        };
        let mut attempt = attempt(fate);
        (attempt.sent_at, attempt.latency) = (sent.now.date, latency);
        attempt.date = attempt.is_answered().then_some(sent.now.date);
        if attempt.is_answered() && self.plan.faults.announces {
            attempt.announced = self.announced();
        }
        attempt
    }

    fn fate(&mut self, sent: &Sent<'_>, chance: &mut fastrand::Rng) -> Fate {
        let (position, at) = (position(sent.vm), sent.since_begun);
        let faults = &self.plan.faults;
        if faults.descriptors.is_some_and(|most| sent.in_flight > most) {
            return Fate::Hampered;
        }
        if faults.outage.as_ref().is_some_and(|outage| outage.contains(&at)) {
            return Fate::Unreachable;
        }
        if faults.refuses(at) {
            return if faults.by_certificate { Fate::Distrusted } else { Fate::Status(401, "{}") };
        }
        if !self.is_admitted(at) || chance.u32(..100) < faults.whims {
            return Fate::Throttled(chance.bool().then(|| chance.u64(0..4)));
        }
        let rack = rack(position, &self.plan.racks).0 as usize;
        if faults.dead.is_some_and(|(dead, until)| dead == rack && at < until) {
            return if chance.bool() { Fate::Status(503, "{}") } else { Fate::Silence };
        }
        if u32::try_from(index(position) * 37 % 100).unwrap() < faults.sick {
            return LASTING[index(position) % LASTING.len()];
        }
        match chance.u32(..100) < faults.losses {
            true => PASSING[chance.usize(..PASSING.len())],
            false => Fate::Success,
        }
    }

    fn is_admitted(&mut self, at: Duration) -> bool {
        let Some(limit) = self.plan.faults.limit else { return true };
        let passed = at.saturating_sub(self.asked).as_secs_f64();
        self.tokens = (self.tokens + passed * limit).min(limit);
        self.asked = at;
        let is_admitted = self.tokens >= 1.0;
        if is_admitted {
            self.tokens -= 1.0;
        }
        is_admitted
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of calls")]
    fn announced(&self) -> Announced {
        let Some(limit) = self.plan.faults.limit else { return Announced::default() };
        let reset_in = Some(Duration::from_secs_f64((limit - self.tokens) / limit));
        Announced { remaining: Some(self.tokens as u64), reset_in, per_second: None }
    }
}

/// What becomes of the call of somebody who cannot reach it.
pub(super) fn cut_off(sent: &Sent<'_>) -> Attempt {
    Attempt { sent_at: sent.now.date, latency: Duration::from_millis(1), ..attempt(Fate::Unreachable) }
}

/// What becomes of the call of somebody whom something on the way answers in its place.
pub(super) fn turned_away(sent: &Sent<'_>) -> Attempt {
    let page = attempt(Fate::Status(502, "<html>Bad gateway</html>"));
    Attempt { sent_at: sent.now.date, latency: Duration::from_millis(20), ..page }
}

fn attempt(fate: Fate) -> Attempt {
    let asking = |status, seconds: Option<u64>| {
        let mut attempt = answered(status, b"{}");
        if let Err(fault) = &mut attempt.result {
            fault.retry_after = seconds.map(Duration::from_secs);
        }
        attempt
    };
    match fate {
        Fate::Success => Attempt {
            status: Some(200),
            result: Ok(Success::Called(Answer { created: false, allocation: example(), warnings: vec![] })),
            ..unanswered(Failure::MalformedAnswer, Meaning::Transient)
        },
        Fate::Status(status, body) => answered(status, body.as_bytes()),
        Fate::Throttled(seconds) => asking(429, seconds),
        Fate::Unavailable(seconds) => asking(503, Some(seconds)),
        Fate::Silence => unanswered(Failure::Timeout, Meaning::Transient),
        Fate::Unreachable => unanswered(Failure::Connect, Meaning::Unreachable),
        Fate::Unseen => unanswered(Failure::Connect, Meaning::Unseen),
        Fate::Hampered => unanswered(Failure::Connect, Meaning::Hampered),
        Fate::Distrusted => unanswered(Failure::Tls, Meaning::Refused(Credential::Certificate)),
    }
}

fn unanswered(failure: Failure, meaning: Meaning) -> Attempt {
    let may_have_applied = meaning == Meaning::Transient;
    let fault = Fault { failure, meaning, may_have_applied, retry_after: None, message: String::new() };
    Attempt { result: Err(fault), ..Attempt::unanswered(jiff::Timestamp::UNIX_EPOCH) }
}
