//! How far ahead of their calls VMs are claimed: as long as it takes, and no longer, for what a crash leaves claimed may have
//! been called. Pure.

use std::time::Duration;

/// At least.
pub(super) const LEAST: Duration = Duration::from_millis(50);

/// At most: what waits for longer is claimed anew before its call leaves.
const MOST: Duration = Duration::from_secs(1);

/// VMs are claimed again once half of those that are ready have left, and while that claim is on its way as many leave as
/// were seen to leave of late: twice its time would do, if it were always the same.
const CLAIMS: u32 = 3;

/// How long a claim takes.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    takes: Duration,
}

impl Ahead {
    /// A claim is on disk. What takes longer is heeded at once, what takes less by and by.
    pub(super) fn claimed(&mut self, took: Duration) {
        let less = self.takes.saturating_sub(took) / 8;
        self.takes = took.min(MOST).max(self.takes.saturating_sub(less));
    }

    pub(super) fn time(&self) -> Duration {
        (self.takes * CLAIMS).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_a_slow_ledger_claims_earlier_and_who_keeps_a_fast_one_as_late_as_ever() {
        let millis = Duration::from_millis;
        let mut ahead = Ahead::default();
        let mut time = |took| {
            ahead.claimed(millis(took));
            ahead.time().as_millis()
        };
        assert_eq!([time(1), time(16), time(80), time(80), time(60)], [50, 50, 240, 240, 232]);
        let later: Vec<_> = (0..30).map(|_| time(5)).collect();
        assert!(later.is_sorted_by(|earlier, later| earlier >= later) && later[29] == 50, "{later:?}");
        assert_eq!(time(60_000), 1_000);
    }
}
