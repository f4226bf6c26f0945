//! What the workers of one account know of its limit, as they keep it for each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::Tally;
use super::limit::Limit;
use super::moment::Moment;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) limit: Limit,
    /// Accepted calls of this episode that it has heard of.
    heard: u64,
    /// Episodes in a row after which nothing succeeded.
    pub(super) vain: u32,
}

impl Known {
    pub(super) fn new(ceiling: Duration, remembered: Option<f64>, now: Moment) -> Self {
        Self { limit: Limit::new(ceiling, remembered, now), heard: 0, vain: 0 }
    }

    /// `None` where it is none of ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|known: &Self| known.limit.is_sound())
    }

    pub(super) fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// All calls of this episode that were accepted so far.
    #[expect(clippy::cast_precision_loss, reason = "no run makes 2^53 calls")]
    pub(super) fn heard(&mut self, tally: &Tally, now: Moment) {
        let calls = tally.all_accepted().saturating_sub(self.heard);
        if let Some(left_at) = tally.last_left.filter(|_| calls > 0) {
            self.limit.accepted(calls as f64, left_at, now);
        }
        self.heard = tally.all_accepted();
    }

    /// An episode ends with its pause. Returns whether one call is to try if anything is accepted.
    pub(super) fn learn(&mut self, tally: &Tally, until: Moment, ceiling: Duration) -> bool {
        self.heard = 0;
        let Some(episode) = tally.episode(until, self.limit.per_second(ceiling)) else { return false };
        self.vain = match (episode.accepted, episode.accepted_after) {
            (0, 0) if !episode.is_announced => self.vain.saturating_add(1),
            (1.., 0) if !episode.is_announced => 1,
            _ => 0,
        };
        self.limit.learn(&episode);
        episode.is_vain()
    }
}
