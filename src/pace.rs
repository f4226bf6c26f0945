//! When the next call may leave: the typed ceiling, and the pauses that the API asks for.
//!
//! Time is an argument, and nothing here sleeps. `governor` is the hard ceiling; the slots in front of it
//! spread calls evenly, so that it hardly ever has to refuse one.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::{Duration, Instant};

use governor::clock::{Clock, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

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
    episode: u32,
}

/// Decides when calls leave.
#[derive(Debug)]
pub struct Pace {
    governor: Option<Governor>,
    interval: Duration,
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
            interval: interval.unwrap_or_default(),
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
            Some(last) => (last + self.interval).max(now.checked_sub(CATCH_UP).unwrap_or(now)),
        };
        if slot > now {
            return Err(slot);
        }
        if let Some(governor) = &mut self.governor {
            governor.check(now)?;
        }
        self.last_slot = Some(slot);
        self.accepted_since.get_or_insert(now);
        Ok(Ticket { episode: self.episode })
    }

    /// Calls a second that may leave now; `None` without a limit.
    pub fn per_second(&self) -> Option<f64> {
        (!self.interval.is_zero()).then(|| self.interval.as_secs_f64().recip())
    }

    /// The end of the pause that the API asked for.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|&until| until > now)
    }

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
            self.slow_down(until);
        }
        until
    }

    fn unstated_pause(&self) -> Duration {
        UNSTATED_PAUSE.saturating_mul(1 << self.unstated_pauses.min(5)).min(LONGEST_UNSTATED_PAUSE)
    }

    /// Without a ceiling, what the API accepted so far, the pause included, is the pace to go on with.
    fn slow_down(&mut self, until: Instant) {
        if self.governor.is_none()
            && let Some(since) = self.accepted_since
        {
            let measured = (until - since) / self.accepted.max(1);
            self.interval = self.interval.max(measured);
        }
        self.accepted_since = None;
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

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "the tests count thousands of calls")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ceiling(text: &str) -> Ceiling {
        text.parse().unwrap()
    }

    /// The moments, in seconds, at which `calls` calls leave where a timer wakes up late by up to `grain`.
    fn releases(rate: &str, calls: usize, grain: Duration) -> Vec<f64> {
        let start = Instant::now();
        let mut pace = Pace::new(ceiling(rate), start);
        let (mut now, mut left) = (start, Vec::new());
        while left.len() < calls {
            match pace.next(now) {
                Ok(_) => left.push((now - start).as_secs_f64()),
                Err(at) => {
                    assert!(at > now, "asked to ask again at once");
                    now = at + grain.mul_f64(fastrand::f64());
                }
            }
        }
        left
    }

    fn most_within(left: &[f64], seconds: f64) -> usize {
        let mut first = 0;
        let counts = left.iter().enumerate().map(|(i, &at)| {
            while at - left[first] >= seconds {
                first += 1;
            }
            i + 1 - first
        });
        counts.max().unwrap_or_default()
    }

    #[test]
    fn the_ceiling_is_met_on_average_and_never_much_exceeded() {
        for (rate, per_second) in [("10/s", 10.0), ("200/s", 200.0), ("1000/s", 1000.0), ("5000/s", 5000.0)] {
            let calls = if per_second < 100.0 { 1000 } else { 10_000 };
            for grain in [0, 1, 4].map(Duration::from_millis) {
                let left = releases(rate, calls, grain);
                let mean = (calls - 1) as f64 / (left[calls - 1] - left[0]);
                let ratio = mean / per_second;
                assert!((0.99..=1.005).contains(&ratio), "{rate} with {grain:?}: mean {ratio}");
                let second = most_within(&left, 1.0) as f64;
                if per_second >= 200.0 {
                    assert!(second <= per_second * 1.02, "{rate} with {grain:?}: {second} in a second");
                    let tenth = most_within(&left, 0.1) as f64;
                    assert!(tenth <= per_second * 0.115, "{rate} with {grain:?}: {tenth} in 100 ms");
                } else {
                    assert!(second <= per_second + 2.0, "{rate} with {grain:?}: {second} in a second");
                }
            }
        }
    }

    #[test]
    fn without_a_ceiling_nothing_waits() {
        assert_eq!(releases("none", 1000, Duration::ZERO), vec![0.0; 1000]);
    }

    #[test]
    fn rates_are_whole_numbers_a_second_a_minute_or_an_hour() {
        for (text, per_second) in [("10/s", 10.0), ("90/m", 1.5), ("1/h", 1.0 / 3600.0)] {
            let rate = ceiling(text);
            assert!((rate.per_second().unwrap() - per_second).abs() < 1e-6, "{text}");
            assert_eq!(rate.to_string(), text);
        }
        assert_eq!(ceiling("none").per_second(), None);
        for text in ["", "10", "0/s", "-1/s", "1.5/s", "10/d", "10/ s", "/s", "all"] {
            assert_eq!(text.parse::<Ceiling>(), Err(InvalidRate), "{text}");
        }
    }

    #[test]
    fn a_pause_holds_everybody_and_ends_paced() {
        let start = Instant::now();
        let mut pace = Pace::new(ceiling("100/s"), start);
        let ticket = pace.next(start).unwrap();
        let until = pace.throttled(ticket, Some(Duration::from_secs(7)), start);
        assert_eq!(until, start + Duration::from_secs(7));
        assert_eq!(pace.next(start + Duration::from_secs(6)), Err(until));
        let at_once = (0..100).filter(|_| pace.next(until).is_ok()).count();
        assert!(at_once <= 2, "{at_once} calls left at the end of the pause");
    }

    #[test]
    fn a_later_429_prolongs_the_pause_and_an_earlier_one_does_not_shorten_it() {
        let start = Instant::now();
        let mut pace = Pace::new(Ceiling::None, start);
        let tickets = [pace.next(start).unwrap(), pace.next(start).unwrap(), pace.next(start).unwrap()];
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(pace.throttled(tickets[0], seconds(5), start), start + Duration::from_secs(5));
        assert_eq!(pace.throttled(tickets[1], seconds(9), start), start + Duration::from_secs(9));
        assert_eq!(pace.throttled(tickets[2], seconds(1), start), start + Duration::from_secs(9));
    }

    #[test]
    fn a_429_that_names_no_wait_pauses_longer_each_time_until_something_succeeds() {
        let start = Instant::now();
        let mut pace = Pace::new(ceiling("10/s"), start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let ticket = loop {
                match pace.next(now) {
                    Ok(ticket) => break ticket,
                    Err(at) => now = at,
                }
            };
            pauses.push((pace.throttled(ticket, None, now) - now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        pace.accepted();
        let zero = Some(Duration::ZERO);
        now += Duration::from_mins(1);
        let ticket = pace.next(now).unwrap();
        assert_eq!(pace.throttled(ticket, zero, now), now + UNSTATED_PAUSE);
    }

    #[test]
    fn without_a_ceiling_the_pace_after_a_pause_is_what_was_accepted_before() {
        let start = Instant::now();
        let mut pace = Pace::new(Ceiling::None, start);
        let mut ticket = pace.next(start).unwrap();
        for _ in 0..100 {
            ticket = pace.next(start).unwrap();
            pace.accepted();
        }
        pace.throttled(ticket, Some(Duration::from_secs(1)), start + Duration::from_secs(1));
        let per_second = pace.per_second().unwrap();
        assert!((per_second - 50.0).abs() < 0.1, "{per_second}");
    }

    proptest! {
        #[test]
        fn no_call_leaves_in_a_pause_and_none_is_over_the_ceiling(
            per_second in 1_u32..3000,
            steps in prop::collection::vec((0_u64..40, prop::option::of(0_u64..300)), 1..400),
        ) {
            let start = Instant::now();
            let calls = NonZeroU32::new(per_second).unwrap();
            let mut pace = Pace::new(Ceiling::Calls { calls, per: Unit::Second }, start);
            let (mut now, mut paused, mut left) = (start, start, Vec::new());
            for (step, wait) in steps {
                now += Duration::from_millis(step);
                while let Ok(ticket) = pace.next(now) {
                    prop_assert!(now >= paused);
                    left.push((now - start).as_secs_f64());
                    if let Some(wait) = wait {
                        paused = pace.throttled(ticket, Some(Duration::from_millis(wait)), now);
                    }
                }
            }
            let rate = f64::from(per_second);
            prop_assert!(most_within(&left, 1.0) as f64 <= rate + (rate / 100.0).max(2.0));
        }
    }
}
