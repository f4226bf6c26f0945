//! How far the server's clock is from ours: never one number, since an answer tells when it was dated only by when it
//! left and when it came.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How far the server's and our reading of one moment may lie apart.
pub const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The server's clock minus ours: any value from `least` to `most`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    pub least: SignedDuration,
    pub most: SignedDuration,
}

impl Offset {
    /// What it is if the server's clock showed `least` to `most` at some moment from `sent` to `received`.
    pub fn between(sent: Timestamp, received: Timestamp, least: Timestamp, most: Timestamp) -> Self {
        Self { least: least.duration_since(received), most: most.duration_since(sent) }
    }

    /// The earliest time that the server's clock can have shown at this moment of ours.
    pub(super) fn earliest(&self, at: Timestamp) -> Timestamp {
        at.saturating_add(self.least).unwrap_or(Timestamp::MIN)
    }

    /// The latest one.
    pub(super) fn latest(&self, at: Timestamp) -> Timestamp {
        at.saturating_add(self.most).unwrap_or(Timestamp::MAX)
    }

    /// Whether both can be told of one clock that nobody set meanwhile.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let apart = self.least.max(other.least).saturating_sub(self.most.min(other.most));
        apart <= TOLERANCE
    }

    /// Whether the other leaves nothing possible that this does not, or nearly.
    pub fn holds(&self, other: &Self) -> bool {
        self.least.saturating_sub(other.least) <= TOLERANCE
            && other.most.saturating_sub(self.most) <= TOLERANCE
    }

    /// What both leave possible; the `later` of two that do not meet.
    #[must_use]
    pub fn narrowed_by(self, later: Self) -> Self {
        let both = Self { least: self.least.max(later.least), most: self.most.min(later.most) };
        if both.least <= both.most { both } else { later }
    }

    /// What either leaves possible, and all between.
    #[must_use]
    pub fn spanning(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }

    /// The same for a clock of ours that is `ahead` of this one's.
    #[must_use]
    pub fn on_a_clock(self, ahead: SignedDuration) -> Self {
        Self { least: self.least.saturating_sub(ahead), most: self.most.saturating_sub(ahead) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(least: i64, most: i64) -> Offset {
        Offset { least: SignedDuration::from_secs(least), most: SignedDuration::from_secs(most) }
    }

    #[test]
    fn offsets_agree_where_they_meet_or_nearly_do() {
        for (other, agree, narrowed) in [
            (offset(2, 4), true, offset(2, 4)),
            (offset(-9, 9), true, offset(0, 5)),
            (offset(3, 9), true, offset(3, 5)),
            (offset(7, 7), true, offset(7, 7)),
            (offset(8, 9), false, offset(8, 9)),
            (offset(-9, -2), true, offset(-9, -2)),
            (offset(-9, -3), false, offset(-9, -3)),
        ] {
            let known = offset(0, 5);
            assert_eq!(known.agrees_with(&other), agree, "{other:?}");
            assert_eq!(other.agrees_with(&known), agree, "{other:?}");
            assert_eq!(known.narrowed_by(other), narrowed, "{other:?}");
            let span = known.spanning(other);
            assert!(span.holds(&known) && span.holds(&other), "{other:?}");
            assert_eq!(
                known.holds(&other),
                other.least >= offset(-2, 0).least && other.most <= offset(0, 7).most
            );
        }
    }

    #[test]
    fn an_answer_tells_the_offset_as_exactly_as_it_was_quick() {
        let at = |second: i64| Timestamp::from_second(1_000 + second).unwrap();
        assert_eq!(Offset::between(at(0), at(6), at(3600), at(3600)), offset(3594, 3600));
        assert_eq!(Offset::between(at(0), at(0), at(-5), at(-4)), offset(-5, -4), "a Date lacks a second");
        let ahead = SignedDuration::from_hours(1);
        assert_eq!(offset(3594, 3600).on_a_clock(ahead), offset(-6, 0));
    }
}
