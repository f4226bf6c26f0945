//! What a run says of itself while it is under way: made anew about once a second, and kept nowhere.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::summary::Counts;
use crate::outcome::{Kind, Outcome};

/// How a run stands at one moment, as far as those know who carry it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bulletin {
    pub at: Timestamp,
    /// When this sitting began.
    pub begun_at: Timestamp,
    pub selected: u64,
    /// What came of the VMs that have an outcome, those of earlier sittings too.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Calls that have left in this sitting.
    pub calls: u64,
    /// Of late; `None` until there was time to see.
    pub calls_per_s: Option<f64>,
    pub in_flight: u64,
    /// Seconds, as things stand; `None` where nothing moves.
    pub left_s: Option<f64>,
    pub pace: Pacing,
    pub breakers: OpenBreakers,
    /// What keeps the run from its pace, for people.
    pub hindrance: Option<String>,
}

/// When calls may leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pacing {
    /// Calls a second; `None` without a limit.
    pub per_second: Option<f64>,
    /// Whose limit that is: typed, announced, remembered or learned.
    pub whose: Option<String>,
    pub paused_until: Option<Timestamp>,
}

/// What is left alone, but for single probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBreakers {
    pub api: bool,
    /// The first of the racks, by name.
    pub racks: Vec<String>,
    /// How many there are beside them.
    pub more_racks: u64,
}

impl Bulletin {
    /// The outcomes of a run of that kind.
    pub fn counts(&self, kind: Kind) -> Counts {
        let none = Counts { selected: self.selected, ..Counts::none(kind) };
        self.outcomes.iter().fold(none, |mut counts, &(outcome, vms)| {
            counts.add(outcome, vms);
            counts
        })
    }

    /// Calls a second since this sitting began.
    #[expect(clippy::cast_precision_loss, reason = "no sitting makes 2^53 calls")]
    pub fn calls_per_s_over_all(&self) -> Option<f64> {
        let seconds = self.at.duration_since(self.begun_at).as_secs_f64();
        (seconds > 0.0).then(|| self.calls as f64 / seconds)
    }
}
