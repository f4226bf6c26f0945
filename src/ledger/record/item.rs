//! One VM's place in a run, from its claim to its outcome.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;

use crate::allocation::{Allocation, Drift, Expected};
use crate::outcome::{Failure, FirstCall, Forecast, Outcome, Unanswered, Verdict};
use crate::vm::{Action, VmId};

/// A VM that was claimed: what its call needs, and what was known of it.
#[derive(Debug, Clone)]
pub struct Item {
    /// In the inventory; names the item within its run.
    pub position: i64,
    pub rack: RackNo,
    pub vm: VmId,
    pub action: Action,
    pub expected: Expected,
    /// The VM's last-known allocation.
    pub before: Option<Allocation>,
    /// Attempts whose answer was never learned, of this run and earlier ones.
    pub unanswered: Vec<Unanswered>,
    /// Of this run, where it was called before the last resume.
    pub first_call: Option<FirstCall>,
    /// Of this run, over all resumes.
    pub tally: Tally,
    /// Of this run, where it was called before the last resume.
    pub setback: Option<Setback>,
}

impl Item {
    /// What is known of its VM after an answer, where that is not what was known before; what the answer left unknown stays
    /// as it was known.
    pub(crate) fn news<'a>(&self, answer: &'a Allocation) -> Option<Cow<'a, Allocation>> {
        let before = self.before.as_ref();
        let now = answer.or_as_before(before);
        let is_known = self.unanswered.is_empty() && before.is_some_and(|before| before.is_the_very(&now));
        (!is_known).then_some(now)
    }
}

/// A rack within one run, by order of first appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RackNo(pub u32);

/// The calls made for one VM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub attempts: u32,
    /// Calls answered with a 429: no attempts.
    pub throttled: u32,
    pub first_sent: Option<Timestamp>,
}

/// What the last call left behind, whatever came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastCall {
    pub http_status: Option<u16>,
    pub request_id: Option<String>,
    pub latency: Duration,
}

impl LastCall {
    /// Microseconds; `None` where no call was made.
    pub fn latency_us(&self) -> Option<u32> {
        (!self.latency.is_zero()).then(|| u32::try_from(self.latency.as_micros()).unwrap_or(u32::MAX))
    }
}

/// Why a VM has not succeeded yet, or never will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    pub failure: Failure,
    pub error: String,
    /// An attempt may have acted without our learning its answer, and no look has shown since that none has.
    pub may_have_applied: bool,
}

/// What a settled VM has come to.
#[derive(Debug, Clone)]
pub enum Settlement {
    Success {
        verdict: Verdict,
        allocation: Box<Allocation>,
        drift: Vec<Drift>,
    },
    /// Of a plan.
    Forecast {
        forecast: Forecast,
        allocation: Option<Box<Allocation>>,
        drift: Vec<Drift>,
    },
    Failed(Setback),
}

impl Settlement {
    /// What its row will say.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Success { verdict, .. } => verdict.outcome,
            Self::Forecast { forecast, .. } => forecast.outcome,
            Self::Failed(_) => Outcome::Failed,
        }
    }

    /// Whether the answer is not what the inventory expects; a failure is no drift.
    pub fn has_drift(&self) -> bool {
        match self {
            Self::Success { drift, .. } | Self::Forecast { drift, .. } => !drift.is_empty(),
            Self::Failed(_) => false,
        }
    }
}

/// An item with its outcome, to be put on disk.
#[derive(Debug, Clone)]
pub struct Settled {
    pub item: Item,
    pub last: LastCall,
    pub at: Timestamp,
    pub settlement: Settlement,
}

/// An item that goes back among the pending ones, with what its last call left behind.
#[derive(Debug, Clone)]
pub struct Deferred {
    pub position: i64,
    pub vm: VmId,
    pub tally: Tally,
    pub unanswered: Vec<Unanswered>,
    pub last: LastCall,
    pub setback: Setback,
}
