//! The clock of whoever keeps a row, read by ours: what each exchange tells of it, put together.

use std::time::{Duration, Instant};

use super::moment::Moment;

/// How much the two clocks may drift apart: one part in so many.
const DRIFT: u32 = 10_000;

#[derive(Debug, Clone, Copy)]
pub(super) struct SharedClock {
    /// The zero of our clock.
    zero: Instant,
    /// The shared clock minus ours, in nanoseconds, is between these.
    least: i128,
    most: i128,
    heard_at: Instant,
}

impl SharedClock {
    /// After one exchange: the shared clock showed `at` between these two moments.
    pub(super) fn new(sent: Instant, received: Instant, at: Moment) -> Self {
        let at = i128::from(at.as_nanos());
        let least = at - nanos(received.saturating_duration_since(sent));
        Self { zero: sent, least, most: at, heard_at: received }
    }

    /// After one more. Where it contradicts what was known, one of the clocks was set, and what was known is forgotten.
    pub(super) fn heard(self, sent: Instant, received: Instant, at: Moment) -> Self {
        let heard = Self::new(sent, received, at);
        let drift = nanos(received.saturating_duration_since(self.heard_at) / DRIFT);
        let moved = nanos(sent.saturating_duration_since(self.zero));
        let least = heard.least.max(self.least + moved - drift);
        let most = heard.most.min(self.most + moved + drift);
        if least > most { heard } else { Self { least, most, ..heard } }
    }

    pub(super) fn moment(&self, at: Instant) -> Moment {
        let since = nanos(at.saturating_duration_since(self.zero));
        let before = nanos(self.zero.saturating_duration_since(at));
        let shared = i128::midpoint(self.least, self.most) + since - before;
        Moment::from_nanos(u64::try_from(shared.max(0)).unwrap_or(u64::MAX))
    }

    pub(super) fn instant(&self, at: Moment) -> Instant {
        let ours = i128::from(at.as_nanos()) - i128::midpoint(self.least, self.most);
        let distance = Duration::from_nanos(u64::try_from(ours.unsigned_abs()).unwrap_or(u64::MAX));
        let found = if ours < 0 { self.zero.checked_sub(distance) } else { self.zero.checked_add(distance) };
        found.unwrap_or(self.zero)
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}
