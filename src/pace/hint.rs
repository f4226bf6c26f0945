//! A limit that an earlier run has found: tested from the first call on, and forgotten where it holds no more.
//!
//! The pace begins above it and rises with what is accepted, slowly enough that a limit that still holds costs hardly
//! a call, and fast enough that one that is wrong costs hardly a second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::episode::Episode;
use super::moment::Moment;

/// The first pace, times what is remembered; and the least, in calls a second, at which a refusal costs one call.
const FIRST_STEP: f64 = 2.2;
const LEAST: f64 = 10.0;

const FIRST_STEP_TIME: Duration = Duration::from_secs(1);
const STEP_TIME: Duration = Duration::from_millis(400);
const GROWTH: f64 = 2.0;

/// What goes through beyond the limit for it to be wrong: so many seconds' worth of calls, or so many calls.
const SECONDS: f64 = 12.0;
const CALLS: f64 = 20.0;

/// A refusal is explained by a limit to which what went through comes within so many times.
const EXPLAINED: f64 = 2.0;

/// One refused call may have other reasons.
const FEWEST_REFUSED: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Hint {
    /// In calls a second, as are all paces.
    remembered: f64,
    current: f64,
    begun: Moment,
    stepped_at: Moment,
    step_time: Duration,
    accepted: f64,
    refused: u64,
}

impl Hint {
    pub(super) fn new(remembered: f64, now: Moment) -> Self {
        Self {
            remembered,
            current: (remembered * FIRST_STEP).max(LEAST),
            begun: now,
            stepped_at: now,
            step_time: FIRST_STEP_TIME,
            accepted: 0.0,
            refused: 0,
        }
    }

    pub(super) fn remembered(&self) -> f64 {
        self.remembered
    }

    pub(super) fn per_second(&self) -> f64 {
        self.current
    }

    /// After so many more calls that went through, the last of which left at `left_at`; `None` where the limit is shown to
    /// be wrong.
    pub(super) fn accepted(mut self, calls: f64, left_at: Moment, now: Moment) -> Option<Self> {
        self.accepted += calls;
        let allowed = self.remembered * now.since(self.begun).as_secs_f64();
        if self.accepted - allowed >= CALLS.max(self.remembered * SECONDS) {
            return None;
        }
        if left_at >= self.stepped_at && now >= self.stepped_at + self.step_time {
            self = Self { current: self.current * GROWTH, stepped_at: now, step_time: STEP_TIME, ..self };
        }
        Some(self)
    }

    /// After one more episode: whether the limit explains that calls are refused, once it is more than one.
    pub(super) fn refused(self, episode: &Episode) -> (Self, Option<bool>) {
        let refused = self.refused + if episode.is_lone() { 0 } else { episode.refused };
        let explained = episode.throughput() < self.remembered * EXPLAINED;
        (Self { refused, ..self }, (refused >= FEWEST_REFUSED).then_some(explained))
    }
}
