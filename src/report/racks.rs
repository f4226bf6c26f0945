//! Which racks of a fleet a report for people shows, and what the others add up to.

use std::cmp::Reverse;

use crate::ledger::{Counts, RackCounts};

/// The racks to show, and those for which one line has to do.
#[derive(Debug)]
pub(super) struct Racks<'a> {
    pub(super) shown: Vec<&'a RackCounts>,
    pub(super) rest: Vec<&'a RackCounts>,
}

impl<'a> Racks<'a> {
    /// At most `limit` racks: in the inventory's order where all of them fit, else those with the most failures
    /// and changes.
    pub(super) fn of(racks: &'a [RackCounts], limit: usize) -> Self {
        let mut shown: Vec<&RackCounts> = racks.iter().collect();
        if racks.len() > limit {
            shown.sort_by_key(|rack| (Reverse(rack.counts.failed), Reverse(rack.counts.changed())));
        }
        let rest = shown.split_off(limit.min(shown.len()));
        Self { shown, rest }
    }
}

/// Whether there is more to say of racks than of the whole fleet.
pub(super) fn tells_more(racks: &[RackCounts]) -> bool {
    !matches!(racks, [] | [RackCounts { rack_id: None, .. }])
}

pub(super) fn total<'a>(racks: impl IntoIterator<Item = &'a RackCounts>) -> Counts {
    Counts::sum(racks.into_iter().map(|rack| rack.counts))
}
