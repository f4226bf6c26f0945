//! A moment by a clock that all who learn one limit agree on: the process's own, or the database's.

use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// So many nanoseconds after that clock's zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        // No later than a database can count.
        let latest = i64::MAX.unsigned_abs();
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(latest)).min(latest))
    }
}
