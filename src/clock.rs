//! Our clock: the time of day as it was when the process first asked, going on evenly from there.
//!
//! Nothing that is done to the system's clock meanwhile changes it, and it counts the time through which the machine
//! slept; `Instant` does not, on Linux. What one process dated, another on the same boot can date on its own clock.

use std::fs;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

static OURS: LazyLock<Clock> = LazyLock::new(|| Clock {
    boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().into()),
    epoch: Timestamp::now().saturating_sub(since_boot()).unwrap_or(Timestamp::MIN),
});

/// Now, on our clock.
pub fn now() -> Timestamp {
    OURS.epoch.saturating_add(since_boot()).unwrap_or(Timestamp::MAX)
}

fn since_boot() -> SignedDuration {
    let time = clock_gettime(ClockId::Boottime);
    SignedDuration::new(time.tv_sec, i32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The clock of one process, as another has to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Which boot of which machine; `None` where the system does not say.
    boot: Option<Box<str>>,
    /// What the clock would have shown at the boot.
    epoch: Timestamp,
}

impl Clock {
    pub fn ours() -> &'static Self {
        &OURS
    }

    /// What to add to a time of this clock to have it on `other`; `None` where nothing tells, on another boot.
    pub fn until(&self, other: &Self) -> Option<SignedDuration> {
        let same = self.boot.is_some() && self.boot == other.boot;
        same.then(|| other.epoch.duration_since(self.epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_clock_begins_at_the_time_of_day_and_never_goes_back() {
        let apart = now().duration_since(Timestamp::now()).abs();
        assert!(apart < SignedDuration::from_secs(1), "{apart}");
        let mut last = now();
        for _ in 0..1_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn two_clocks_of_one_boot_differ_by_what_was_done_to_the_system_clock_between_them() {
        let clock = |boot: Option<&str>, epoch: &str| Clock {
            boot: boot.map(Into::into),
            epoch: epoch.parse().unwrap(),
        };
        let first = clock(Some("a"), "2026-11-23T02:00:00Z");
        let second = clock(Some("a"), "2026-11-23T07:00:00Z");
        assert_eq!(first.until(&second), Some(SignedDuration::from_hours(5)));
        assert_eq!(second.until(&first), Some(SignedDuration::from_hours(-5)));
        assert_eq!(first.until(&clock(Some("b"), "2026-11-23T02:00:00Z")), None, "another boot");
        let nameless = clock(None, "2026-11-23T02:00:00Z");
        assert_eq!(nameless.until(&nameless), None);
    }
}
