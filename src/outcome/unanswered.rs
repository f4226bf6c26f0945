//! Attempts whose answer never came: when each may have acted, and by whose clock.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::offset::{Offset, TOLERANCE};

/// How long after it was given up an unanswered call may still have acted.
pub const LATE_EFFECT: SignedDuration = SignedDuration::from_secs(60);

/// When an attempt whose answer we never learned may have acted, on our clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// The moment at which the call left, or the earliest at which it can have.
    pub from: Timestamp,
    /// The moment at which it was over: its timeout, or later where we were held up.
    pub until: Timestamp,
    /// The server's clock minus ours as it was then, where two answers agreed on it: whatever is done to the clocks
    /// later, this dates the attempt on the server's.
    #[serde(rename = "told", default, skip_serializing_if = "Option::is_none")]
    pub offset_then: Option<Offset>,
}

/// More separate attempts than this are not kept apart: the two oldest count as one long one.
const UNANSWERED_CAP: usize = 64;

impl Unanswered {
    /// Adds an attempt to those on record; ones whose effects may overlap become one.
    pub fn record(attempts: &mut Vec<Self>, new: Self) {
        match attempts.iter_mut().rev().find(|known| known.meets(&new)) {
            Some(known) => {
                known.until = known.until.max(new.until);
                known.offset_then =
                    known.offset_then.zip(new.offset_then).map(|(known, new)| known.spanning(new));
            }
            None => attempts.push(new),
        }
        if attempts.len() > UNANSWERED_CAP {
            attempts[1].from = attempts[0].from;
            attempts.remove(0);
        }
    }

    /// Whether the other left while this one may still have acted, by the same server's clock.
    fn meets(&self, other: &Self) -> bool {
        let same_clock = match (self.offset_then, other.offset_then) {
            (Some(offset), Some(other)) => offset.agrees_with(&other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let earliest = self.from.saturating_sub(TOLERANCE);
        let latest = self.until.saturating_add(LATE_EFFECT);
        same_clock
            && matches!((earliest, latest), (Ok(earliest), Ok(latest)) if (earliest..=latest).contains(&other.from))
    }

    /// Whether the call can have acted when the server's clock showed `at`: by `offset`, the one of the answer that
    /// says so, or by the one of its own time.
    pub(super) fn covers(&self, at: Timestamp, offset: Option<Offset>) -> bool {
        let within = |offset: Offset| {
            at.duration_since(offset.earliest(self.from)) >= -TOLERANCE
                && at.duration_since(offset.latest(self.until)) <= LATE_EFFECT
        };
        offset.is_some_and(within) || self.offset_then.is_some_and(within)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::outcome) const SENT: &str = "2026-11-23T02:15:00Z";

    pub(in crate::outcome) fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    pub(in crate::outcome) fn offset(least: i64, most: i64) -> Offset {
        Offset { least: SignedDuration::from_secs(least), most: SignedDuration::from_secs(most) }
    }

    /// An attempt that left so many seconds after [`SENT`] and timed out 30 s later.
    pub(in crate::outcome) fn sent(seconds: i64) -> Unanswered {
        let from = at(SENT) + SignedDuration::from_secs(seconds);
        Unanswered { from, until: from + SignedDuration::from_secs(30), offset_then: None }
    }

    #[test]
    fn overlapping_unanswered_attempts_are_kept_as_one() {
        let mut list = Vec::new();
        for seconds in [0, 31, 90, 1000] {
            Unanswered::record(&mut list, sent(seconds));
        }
        assert_eq!(list, [Unanswered { until: sent(90).until, ..sent(0) }, sent(1000)]);
        Unanswered::record(&mut list, sent(0));
        assert_eq!(list.len(), 2, "it is known, though not the last");
        for night in 1..200 {
            Unanswered::record(&mut list, sent(night * 86_400));
        }
        assert_eq!(list.len(), UNANSWERED_CAP);
        assert_eq!(list[0].from, at(SENT));
    }

    #[test]
    fn attempts_between_which_the_servers_clock_was_set_are_kept_apart() {
        let dated = |seconds, offset_then| Unanswered { offset_then, ..sent(seconds) };
        for (first, second, kept, why) in [
            (Some(offset(0, 6)), Some(offset(2, 9)), vec![dated(0, Some(offset(0, 9)))], "they agree"),
            (None, None, vec![dated(0, None)], "nothing was known"),
            (
                Some(offset(0, 6)),
                None,
                vec![dated(0, Some(offset(0, 6))), dated(0, None)],
                "nothing was known later",
            ),
            (
                Some(offset(0, 6)),
                Some(offset(99, 99)),
                vec![dated(0, Some(offset(0, 6))), dated(0, Some(offset(99, 99)))],
                "it was set",
            ),
        ] {
            let mut list = Vec::new();
            Unanswered::record(&mut list, dated(0, first));
            Unanswered::record(&mut list, dated(0, second));
            assert_eq!(list, kept, "{why}");
        }
    }
}
