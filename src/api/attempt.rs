//! How one call ended.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::announced::Announced;
use super::meaning::{Admission, Meaning, Sense};
use crate::outcome::{Answer, Failure, Look, Offset};

/// A `Date` is cut to whole seconds.
const DATE_PRECISION: SignedDuration = SignedDuration::from_secs(1);

/// One call to the API and everything that came of it, of which `T` is a success.
#[derive(Debug, Clone)]
pub struct Attempt<T = Success> {
    /// When it left, on our clock.
    pub sent_at: Timestamp,
    pub latency: Duration,
    /// `None` where no status line came.
    pub status: Option<u16>,
    pub request_id: Option<String>,
    /// The body's `timestamp`: the server's clock while it answered.
    pub timestamp: Option<Timestamp>,
    /// The header of that name: the clock of whoever sent the answer, in whole seconds.
    pub date: Option<Timestamp>,
    /// What the answer said of the API's rate limit.
    pub announced: Announced,
    pub result: Result<T, Fault>,
}

/// A valid answer.
#[derive(Debug, Clone)]
pub enum Success {
    /// To a call.
    Called(Answer),
    /// To a look.
    Looked(Look),
}

#[cfg(test)]
impl Success {
    /// Of a call.
    pub(crate) fn answer(self) -> Answer {
        match self {
            Self::Called(answer) => answer,
            Self::Looked(look) => panic!("no answer to a call: {look:?}"),
        }
    }

    /// Of a look.
    pub(crate) fn look(self) -> Look {
        match self {
            Self::Looked(look) => look,
            Self::Called(answer) => panic!("no answer to a look: {answer:?}"),
        }
    }
}

/// Why an attempt is no valid success: what decides about a retry, and a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For people and reports.
    pub failure: Failure,
    /// What every decision goes by.
    pub meaning: Meaning,
    /// The call may have acted without our learning its answer.
    pub may_have_applied: bool,
    /// The wait that the answer asked for.
    pub retry_after: Option<Duration>,
    /// For people only, never for code.
    pub message: String,
}

impl Fault {
    /// A fault that asks for no wait.
    pub(super) fn of(sense: Sense, message: String) -> Self {
        let Sense { failure, meaning, may_have_applied } = sense;
        Self { failure, meaning, may_have_applied, retry_after: None, message }
    }

    /// A success that cannot be understood: it may well have acted.
    pub(super) fn malformed(message: String) -> Self {
        Self::of(Sense::MALFORMED, message)
    }
}

impl<T> Attempt<T> {
    /// An attempt of which nothing has come back yet.
    pub(crate) fn unanswered(sent_at: Timestamp) -> Self {
        Self {
            sent_at,
            latency: Duration::ZERO,
            status: None,
            request_id: None,
            timestamp: None,
            date: None,
            announced: Announced::default(),
            result: Err(Fault::malformed("no answer yet".into())),
        }
    }

    /// The server's clock while it answered, as far as the answer says.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.timestamp.or(self.date)
    }

    /// When it was over, on our clock.
    pub fn over_at(&self) -> Timestamp {
        self.sent_at.saturating_add(self.latency).unwrap_or(Timestamp::MAX)
    }

    /// How long it took, for people and logs.
    pub fn latency_ms(&self) -> f64 {
        self.latency.as_secs_f64() * 1_000.0
    }

    /// The server's clock minus ours, by the body's `timestamp`.
    pub fn offset_by_timestamp(&self) -> Option<Offset> {
        self.timestamp.map(|at| Offset::between(self.sent_at, self.over_at(), at, at))
    }

    /// The same by the `Date`.
    pub fn offset_by_date(&self) -> Option<Offset> {
        let latest = |date: Timestamp| date.saturating_add(DATE_PRECISION).unwrap_or(date);
        self.date.map(|date| Offset::between(self.sent_at, self.over_at(), date, latest(date)))
    }

    /// Whether an answer began to come, whatever it was.
    pub fn is_answered(&self) -> bool {
        self.status.is_some()
    }

    /// How the call stood with the API's rate limit.
    pub fn admission(&self) -> Admission {
        Admission::of(self.status)
    }

    /// What it means; `None` for a success.
    pub fn meaning(&self) -> Option<Meaning> {
        self.result.as_ref().err().map(|fault| fault.meaning)
    }

    /// Whether it may have acted without our learning its answer.
    pub fn may_have_applied(&self) -> bool {
        self.result.as_ref().is_err_and(|fault| fault.may_have_applied)
    }
}
