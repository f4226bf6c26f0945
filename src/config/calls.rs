//! How VMs are called: pace, attempts and brakes.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::brake::{Canary, Limits, Threshold};
use crate::cli::{BrakeArgs, CallArgs, CallingArgs};
use crate::dialect::Dialect;
use crate::outcome::Kind;
use crate::pace::Ceiling;
use crate::reconcile::{Looks, Settings};
use crate::retry::Policy;

#[derive(Debug, Clone)]
pub(crate) struct CallSettings {
    pub(crate) rate: Ceiling,
    /// Begin as if no earlier run had found a limit of the API's.
    pub(crate) forget_rate: bool,
    pub(crate) reconcile: Settings,
    pub(crate) limits: Limits,
    /// How long what was claimed stays a worker's own without a word from it.
    pub(crate) lease: Duration,
}

impl CallSettings {
    pub(super) fn of(calling: &CallingArgs, max_changed: Option<Threshold>, looks: Looks) -> Self {
        let CallingArgs { pace, brakes, .. } = calling;
        let reconcile = Settings {
            concurrency: pace.concurrency,
            rack_concurrency: pace.rack_concurrency,
            policy: policy(&pace.call),
            timeout: pace.call.timeout,
            looks,
            is_guest: false,
            deadline: pace.deadline,
        };
        let limits = limits(brakes, max_changed);
        let CallArgs { rate, .. } = pace.call;
        Self { rate, forget_rate: pace.forget_rate, reconcile, limits, lease: pace.lease }
    }
}

/// How long calls are willing to try.
pub(super) fn policy(call: &CallArgs) -> Policy {
    Policy { max_attempts: call.max_attempts, max_wait: call.max_wait }
}

/// When a run of that kind looks at VMs.
pub(super) fn looks(kind: Kind, dialect: Dialect) -> Looks {
    match kind {
        Kind::Plan => Looks::Only,
        Kind::Run if dialect.can_look() => Looks::AfterLoss,
        Kind::Run => Looks::Never,
    }
}

fn limits(brakes: &BrakeArgs, max_changed: Option<Threshold>) -> Limits {
    let canary = match brakes.canary.map(NonZeroU32::new) {
        None => Canary::Default,
        Some(None) => Canary::Off,
        Some(Some(vms)) => Canary::Vms(vms),
    };
    Limits { canary, max_failed: brakes.max_failed, max_changed, max_drift: brakes.max_drift }
}
