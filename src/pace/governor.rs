//! The hard ceiling: governor's rate limiter, told the time.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// A rate limit that is never exceeded.
pub(super) struct Governor {
    limiter: RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>,
    clock: FakeRelativeClock,
    /// What its clock shows.
    now: Instant,
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Governor {
    /// Its default burst would send twice the rate in the first second; one of 1 would fall short of the rate.
    pub(super) fn new(interval: Duration, now: Instant) -> Option<Self> {
        let hundredth = Duration::from_secs(1).as_nanos() / (100 * interval.as_nanos().max(1));
        let burst = NonZeroU32::new(u32::try_from(hundredth).unwrap_or(u32::MAX).max(2))?;
        let quota = Quota::with_period(interval)?.allow_burst(burst);
        let clock = FakeRelativeClock::default();
        Some(Self { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock, now })
    }

    /// Takes leave for one call, or says when to ask again.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Instant> {
        self.clock.advance(now.saturating_duration_since(self.now));
        self.now = self.now.max(now);
        self.limiter.check().map_err(|not_until| now + not_until.wait_time_from(self.clock.now()))
    }
}
