//! When the next call may leave: the typed ceiling, the pauses that the API asks for, and the search for the limit
//! that it does not tell.
//!
//! Time is an argument, and nothing here sleeps. `governor` is the hard ceiling; the slots in front of it
//! spread calls evenly, so that it hardly ever has to refuse one.

mod search;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::{Duration, Instant};

use governor::clock::{Clock, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use search::{Episode, Search};

/// How late a call may be and still leave in its own slot: what a timer's grain takes is caught up with, no more.
const CATCH_UP: Duration = Duration::from_millis(10);

/// The pause after a 429 that names none; doubled while nothing succeeds in between.
const UNSTATED_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_UNSTATED_PAUSE: Duration = Duration::from_secs(30);

/// The most calls that may leave in a time; `none` sets no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    None,
    Calls { calls: NonZeroU32, per: Unit },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Second,
    Minute,
    Hour,
}

/// Why a text is not a [`Ceiling`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a rate: write N/s, N/m or N/h with a whole N from 1 up, such as 10/s, or none")]
pub struct InvalidRate;

impl Ceiling {
    /// The time between two calls.
    fn interval(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Calls { calls, per } => Some(per.duration() / calls.get()),
        }
    }

    /// Calls a second; `None` without a limit.
    pub fn per_second(self) -> Option<f64> {
        self.interval().map(|interval| interval.as_secs_f64().recip())
    }
}

impl Unit {
    fn duration(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
        }
    }
}

impl FromStr for Ceiling {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (calls, unit) = text.split_once('/').ok_or(InvalidRate)?;
        let calls = calls.parse().map_err(|_| InvalidRate)?;
        let per = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(InvalidRate),
        };
        Ok(Self::Calls { calls, per })
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Calls { calls, per: Unit::Second } => write!(f, "{calls}/s"),
            Self::Calls { calls, per: Unit::Minute } => write!(f, "{calls}/m"),
            Self::Calls { calls, per: Unit::Hour } => write!(f, "{calls}/h"),
        }
    }
}

/// Leave to send one call; handed back with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// When the call left.
    pub left: Instant,
    episode: u32,
}

/// Decides when calls leave.
#[derive(Debug)]
pub struct Pace {
    governor: Option<Governor>,
    /// Between two calls at the ceiling; zero without one.
    least_interval: Duration,
    /// Below the ceiling, while the API shows a limit of its own.
    search: Option<Search>,
    last_slot: Option<Instant>,
    paused_until: Option<Instant>,
    /// Counts the API's refusals: those of calls that left before the last one say nothing new.
    episode: u32,
    unstated_pauses: u32,
    /// Since when, and how many, calls were accepted without a refusal.
    accepted_since: Option<Instant>,
    accepted: u32,
}

impl Pace {
    pub fn new(ceiling: Ceiling, now: Instant) -> Self {
        let interval = ceiling.interval();
        Self {
            governor: interval.and_then(|interval| Governor::new(interval, now)),
            least_interval: interval.unwrap_or_default(),
            search: None,
            last_slot: None,
            paused_until: None,
            episode: 0,
            unstated_pauses: 0,
            accepted_since: None,
            accepted: 0,
        }
    }

    /// Leave to send a call now, or the earliest moment at which to ask again.
    pub fn next(&mut self, now: Instant) -> Result<Ticket, Instant> {
        if let Some(until) = self.paused_until {
            if now < until {
                return Err(until);
            }
            self.paused_until = None;
            // The pause is over for one call, not for all that have gathered.
            self.last_slot = self.last_slot.max(Some(until));
        }
        let slot = match self.last_slot {
            None => now,
            Some(last) => (last + self.interval(now)).max(now.checked_sub(CATCH_UP).unwrap_or(now)),
        };
        if slot > now {
            return Err(slot);
        }
        if let Some(governor) = &mut self.governor {
            governor.check(now)?;
        }
        self.last_slot = Some(slot);
        self.accepted_since.get_or_insert(now);
        Ok(Ticket { left: now, episode: self.episode })
    }

    /// The time between two calls, as things stand.
    fn interval(&mut self, now: Instant) -> Duration {
        let Some(search) = &mut self.search else { return self.least_interval };
        let interval = Duration::from_secs_f64(search.per_second(now).recip());
        if interval <= self.least_interval {
            self.search = None;
        }
        interval.max(self.least_interval)
    }

    /// Calls a second that may leave now; `None` without a limit.
    pub fn per_second(&self) -> Option<f64> {
        let ceiling = (!self.least_interval.is_zero()).then(|| self.least_interval.as_secs_f64().recip());
        let searched = self.search.as_ref().map(Search::current);
        [ceiling, searched].into_iter().flatten().reduce(f64::min)
    }

    /// The end of the pause that the API asked for.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|&until| until > now)
    }

    /// The API answered a call, with whatever but a refusal for its rate.
    pub fn accepted(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
        self.unstated_pauses = 0;
    }

    /// The API refused a call for its rate: nothing leaves until `wait` is over. Returns the moment of that.
    pub fn throttled(&mut self, ticket: Ticket, wait: Option<Duration>, now: Instant) -> Instant {
        let is_news = ticket.episode == self.episode;
        let wait = wait.filter(|wait| !wait.is_zero()).unwrap_or_else(|| self.unstated_pause());
        let until = now + wait;
        let until = self.paused_until.map_or(until, |paused| paused.max(until));
        self.paused_until = Some(until);
        if is_news {
            self.episode = self.episode.wrapping_add(1);
            self.unstated_pauses = self.unstated_pauses.saturating_add(1);
            self.slow_down(now, until);
        }
        until
    }

    fn unstated_pause(&self) -> Duration {
        UNSTATED_PAUSE.saturating_mul(1 << self.unstated_pauses.min(5)).min(LONGEST_UNSTATED_PAUSE)
    }

    /// One reaction an episode: what was accepted since the last one brackets the limit.
    fn slow_down(&mut self, now: Instant, until: Instant) {
        if let Some(since) = self.accepted_since.take() {
            let episode = Episode {
                accepted: self.accepted,
                active: now.saturating_duration_since(since),
                pause: until.saturating_duration_since(now),
                sent_at: self.per_second(),
            };
            self.search = Some(Search::after(self.search.take(), &episode, until));
        }
        self.accepted = 0;
    }
}

/// The hard ceiling: governor's rate limiter, told the time.
struct Governor {
    limiter: RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>,
    clock: FakeRelativeClock,
    told: Instant,
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Governor {
    /// Its default burst would send twice the rate in the first second; one of 1 would fall short of the rate.
    fn new(interval: Duration, now: Instant) -> Option<Self> {
        let hundredth = Duration::from_secs(1).as_nanos() / (100 * interval.as_nanos().max(1));
        let burst = NonZeroU32::new(u32::try_from(hundredth).unwrap_or(u32::MAX).max(2))?;
        let quota = Quota::with_period(interval)?.allow_burst(burst);
        let clock = FakeRelativeClock::default();
        Some(Self { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock, told: now })
    }

    fn check(&mut self, now: Instant) -> Result<(), Instant> {
        self.clock.advance(now.saturating_duration_since(self.told));
        self.told = self.told.max(now);
        self.limiter.check().map_err(|not_until| now + not_until.wait_time_from(self.clock.now()))
    }
}
