//! How a run stands, for whoever asks.

use super::State;
use crate::ledger::{OpenBreakers, Pacing};
use crate::reconcile::event::Now;

/// The most racks that are told by name.
const NAMED: usize = 20;

impl State<'_> {
    /// Calls that have left.
    pub(in crate::reconcile) fn calls(&self) -> u64 {
        self.schedule.calls()
    }

    pub(in crate::reconcile) fn in_flight(&self) -> u64 {
        self.flights.len() as u64
    }

    /// When calls may leave, and who says so.
    pub(in crate::reconcile) fn pacing(&self, now: Now) -> Pacing {
        let limit = self.pace.held_to();
        let paused_until = self.pace.paused_until(now.at);
        let date =
            |until: std::time::Instant| now.date.saturating_add(until.saturating_duration_since(now.at)).ok();
        Pacing {
            per_second: limit.map(|(per_second, _)| per_second),
            whose: limit.map(|(_, whose)| whose.as_str().to_owned()),
            paused_until: paused_until.and_then(date),
        }
    }

    /// What is left alone.
    pub(in crate::reconcile) fn open_breakers(&self) -> OpenBreakers {
        let breakers = &self.schedule.breakers;
        if breakers.all_are_closed() {
            return OpenBreakers { api: false, racks: Vec::new(), more_racks: 0 };
        }
        let mut racks = breakers.open_racks().map(|no| self.racks.name(no));
        let named = racks.by_ref().take(NAMED).collect();
        OpenBreakers { api: breakers.api_is_sick(), racks: named, more_racks: racks.count() as u64 }
    }
}
