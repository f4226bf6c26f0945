//! The sandbox's rate limit: three algorithms over one quota, and what an answer may announce of them.
//!
//! Pure: the time of a call is an argument, so that every algorithm is tested without waiting.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// So many calls in so long, written `100/s`, `100/10s` or `6000/m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    calls: NonZeroU32,
    window: Duration,
}

/// Why a text is not a [`Quota`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a limit such as 100/s or 100/10s (a count from 1, a slash, a duration from 1ms to 24h)")]
pub struct InvalidQuota;

impl Quota {
    const WINDOWS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

    /// The calls of one second, rounded up.
    fn per_second(self) -> NonZeroU32 {
        let calls = u128::from(self.calls.get()) * 1_000_000_000;
        let calls = calls.div_ceil(self.window.as_nanos());
        u32::try_from(calls).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
    }

    /// As calls in whole seconds, for those who can only say it so: `100/1500ms` is 133 in 2.
    fn in_whole_seconds(self) -> (u64, u64) {
        let seconds = self.window.as_secs() + u64::from(self.window.subsec_nanos() > 0);
        let calls = u128::from(self.calls.get()) * u128::from(seconds) * 1_000_000_000;
        (u64::try_from(calls / self.window.as_nanos()).unwrap_or(u64::MAX), seconds)
    }
}

impl FromStr for Quota {
    type Err = InvalidQuota;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (calls, window) = text.split_once('/').ok_or(InvalidQuota)?;
        let calls = calls.parse().map_err(|_| InvalidQuota)?;
        let window = match window.starts_with(|c: char| c.is_ascii_digit()) {
            true => super::duration(window),
            false => super::duration(&format!("1{window}")),
        };
        let window = window.filter(|window| Self::WINDOWS.contains(window)).ok_or(InvalidQuota)?;
        Ok(Self { calls, window })
    }
}

/// How a quota is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Refills evenly; `burst` calls at once after a rest, or without it those of one second.
    TokenBucket { burst: Option<NonZeroU32> },
    /// Windows that start at multiples of their length since 1970: twice the quota around a boundary.
    FixedWindow,
    /// Never more than the quota in any window.
    SlidingWindow,
}

/// A quota and how it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    quota: Quota,
    kind: LimitKind,
}

impl Limit {
    pub fn new(quota: Quota, kind: LimitKind) -> Self {
        Self { quota, kind }
    }

    /// A token bucket; without `burst` it holds the calls of one second.
    pub fn token_bucket(quota: Quota, burst: Option<NonZeroU32>) -> Self {
        Self::new(quota, LimitKind::TokenBucket { burst })
    }

    /// Another quota, counted in the same way.
    pub(super) fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }
}

/// How one call stands with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// How long until a call would pass; `None` where this one did.
    pub(super) wait: Option<Duration>,
    /// The most calls at once: the quota, or the bucket's capacity.
    pub(super) limit: u32,
    /// Calls that would still pass now.
    pub(super) remaining: u32,
    /// When the window ends, its oldest call leaves it, or the bucket is full.
    pub(super) reset_at: Timestamp,
    /// The quota as calls in whole seconds.
    pub(super) policy: (u64, u64),
}

/// A [`Limit`] with the calls it has seen. Refused calls do not count.
#[derive(Debug)]
pub(super) struct Limiter {
    quota: Quota,
    meter: Meter,
}

#[derive(Debug)]
enum Meter {
    /// `full_at` is in nanoseconds times `quota.calls`, in which a call costs exactly one window.
    TokenBucket {
        burst: NonZeroU32,
        full_at: i128,
    },
    FixedWindow {
        number: i128,
        passed: u32,
    },
    SlidingWindow {
        passed: VecDeque<i128>,
    },
}

impl Limiter {
    pub(super) fn new(limit: Limit) -> Self {
        let meter = match limit.kind {
            LimitKind::TokenBucket { burst } => {
                let burst = burst.unwrap_or_else(|| limit.quota.per_second());
                Meter::TokenBucket { burst, full_at: i128::MIN }
            }
            LimitKind::FixedWindow => Meter::FixedWindow { number: i128::MIN, passed: 0 },
            LimitKind::SlidingWindow => Meter::SlidingWindow { passed: VecDeque::new() },
        };
        Self { quota: limit.quota, meter }
    }

    /// Goes over to another limit, which takes account of the calls that have passed where both count alike.
    pub(super) fn change(&mut self, limit: Limit, now: Timestamp) {
        let mut changed = Self::new(limit);
        match (&mut changed.meter, &mut self.meter) {
            (
                Meter::TokenBucket { burst, full_at },
                Meter::TokenBucket { burst: held, full_at: was_full_at },
            ) => {
                let (cost, old_cost) = (nanoseconds(limit.quota.window), nanoseconds(self.quota.window));
                let calls = i128::from(self.quota.calls.get());
                let missing = was_full_at.saturating_sub(now.as_nanosecond() * calls).max(0);
                let remaining = (old_cost * i128::from(held.get()) - missing) * cost / old_cost;
                let missing = (cost * i128::from(burst.get()) - remaining).max(0);
                *full_at = now.as_nanosecond() * i128::from(limit.quota.calls.get()) + missing;
            }
            (
                Meter::FixedWindow { number, passed },
                Meter::FixedWindow { number: last_number, passed: already },
            ) if limit.quota.window == self.quota.window => (*number, *passed) = (*last_number, *already),
            (Meter::SlidingWindow { passed }, Meter::SlidingWindow { passed: already }) => {
                *passed = std::mem::take(already);
            }
            (Meter::TokenBucket { .. } | Meter::FixedWindow { .. } | Meter::SlidingWindow { .. }, _) => {}
        }
        *self = changed;
    }

    /// Counts a call at `now`, if it may pass.
    pub(super) fn call(&mut self, now: Timestamp) -> Standing {
        let quota = self.quota;
        match &mut self.meter {
            Meter::TokenBucket { burst, full_at } => token_bucket(quota, burst.get(), full_at, now),
            Meter::FixedWindow { number, passed } => fixed_window(quota, number, passed, now),
            Meter::SlidingWindow { passed } => sliding_window(quota, passed, now),
        }
    }
}

fn token_bucket(quota: Quota, burst: u32, full_at: &mut i128, now: Timestamp) -> Standing {
    let calls = i128::from(quota.calls.get());
    let cost = nanoseconds(quota.window);
    let capacity = cost * i128::from(burst);
    let scaled_now = now.as_nanosecond() * calls;
    let missing = (*full_at).max(scaled_now) - scaled_now;
    let lacking = missing + cost - capacity;
    let through = lacking <= 0;
    let missing = if through { missing + cost } else { missing };
    *full_at = scaled_now + missing;
    Standing {
        wait: (!through).then(|| duration(ceil(lacking, calls))),
        limit: burst,
        remaining: count((capacity - missing) / cost),
        reset_at: after(now, ceil(missing, calls)),
        policy: quota.in_whole_seconds(),
    }
}

fn fixed_window(quota: Quota, number: &mut i128, passed: &mut u32, now: Timestamp) -> Standing {
    let window = nanoseconds(quota.window);
    let at = now.as_nanosecond();
    let current = at.div_euclid(window);
    if *number != current {
        (*number, *passed) = (current, 0);
    }
    let through = *passed < quota.calls.get();
    *passed += u32::from(through);
    let rest = (current + 1) * window - at;
    Standing {
        wait: (!through).then(|| duration(rest)),
        limit: quota.calls.get(),
        remaining: quota.calls.get().saturating_sub(*passed),
        reset_at: after(now, rest),
        policy: quota.in_whole_seconds(),
    }
}

fn sliding_window(quota: Quota, passed: &mut VecDeque<i128>, now: Timestamp) -> Standing {
    let window = nanoseconds(quota.window);
    let at = now.as_nanosecond();
    while passed.front().is_some_and(|&first| first + window <= at) {
        passed.pop_front();
    }
    let used = u32::try_from(passed.len()).unwrap_or(u32::MAX);
    let through = used < quota.calls.get();
    if through {
        passed.push_back(at);
    }
    let until_gone = |index: usize| passed.get(index).map_or(0, |call| call + window - at);
    // After a cut of the limit, more calls are in the window than may be: all of those must leave it.
    let excess = used.saturating_sub(quota.calls.get());
    let wait = until_gone(usize::try_from(excess).unwrap_or(usize::MAX));
    Standing {
        wait: (!through).then(|| duration(wait)),
        limit: quota.calls.get(),
        remaining: quota.calls.get().saturating_sub(used.saturating_add(u32::from(through))),
        reset_at: after(now, until_gone(0)),
        policy: quota.in_whole_seconds(),
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn duration(nanoseconds: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX))
}

fn after(now: Timestamp, nanoseconds: i128) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(duration(nanoseconds)).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

fn ceil(dividend: i128, divisor: i128) -> i128 {
    -(-dividend).div_euclid(divisor)
}

fn count(calls: i128) -> u32 {
    u32::try_from(calls.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds after a full minute.
    fn at(ms: i64) -> Timestamp {
        let minute: Timestamp = "2026-11-23T02:15:00Z".parse().unwrap();
        minute + SignedDuration::from_millis(ms)
    }

    fn quota(text: &str) -> Quota {
        text.parse().unwrap()
    }

    /// Plays calls at `(ms, expected wait in ms, expected remaining, expected reset in ms)`.
    fn play(limit: Limit, calls: &[(i64, Option<u64>, u32, i64)]) {
        let mut limiter = Limiter::new(limit);
        for (index, &(ms, wait, remaining, reset)) in calls.iter().enumerate() {
            let standing = limiter.call(at(ms));
            let seen = (standing.wait, standing.remaining, standing.reset_at);
            assert_eq!(
                seen,
                (wait.map(Duration::from_millis), remaining, at(reset)),
                "call {index} at {ms} ms"
            );
        }
    }

    #[test]
    fn quotas_are_a_count_and_a_window() {
        for (text, calls, window_ms) in [
            ("100/s", 100, 1_000),
            ("100/10s", 100, 10_000),
            ("6000/m", 6000, 60_000),
            ("1/h", 1, 3_600_000),
            ("5/500ms", 5, 500),
        ] {
            let expected =
                Quota { calls: NonZeroU32::new(calls).unwrap(), window: Duration::from_millis(window_ms) };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in
            ["", "100", "100/", "0/s", "-1/s", "1.5/s", "/s", "10/0s", "10/25h", "10/s/s", "10/ s", "x/s"]
        {
            assert_eq!(text.parse::<Quota>(), Err(InvalidQuota), "{text}");
        }
    }

    #[test]
    fn a_token_bucket_gives_its_burst_and_then_refills_evenly() {
        let limit = Limit::token_bucket(quota("10/s"), NonZeroU32::new(3));
        play(
            limit,
            &[
                (0, None, 2, 100),
                (0, None, 1, 200),
                (0, None, 0, 300),
                (0, Some(100), 0, 300),
                (99, Some(1), 0, 300),
                (100, None, 0, 400),
                (100, Some(100), 0, 400),
                (350, None, 1, 500),
                (5_000, None, 2, 5_100),
            ],
        );
    }

    #[test]
    fn a_token_bucket_holds_one_second_of_calls_unless_told_otherwise() {
        for (text, burst) in [("100/s", 100), ("100/10s", 10), ("90/m", 2), ("1/h", 1), ("5/500ms", 10)] {
            let limit = Limit::token_bucket(quota(text), None);
            assert_eq!(Limiter::new(limit).call(at(0)).limit, burst, "{text}");
        }
    }

    #[test]
    fn a_token_bucket_whose_interval_is_no_whole_nanosecond_loses_no_call() {
        let mut limiter = Limiter::new(Limit::token_bucket(quota("3/s"), NonZeroU32::new(1)));
        let passed = (0..=10_000).filter(|&ms| limiter.call(at(ms)).wait.is_none()).count();
        assert_eq!(passed, 30);
    }

    #[test]
    fn a_fixed_window_forgets_everything_at_its_boundary() {
        play(
            Limit::new(quota("2/s"), LimitKind::FixedWindow),
            &[
                (900, None, 1, 1_000),
                (950, None, 0, 1_000),
                (999, Some(1), 0, 1_000),
                (1_000, None, 1, 2_000),
                (1_000, None, 0, 2_000),
                (1_250, Some(750), 0, 2_000),
                (7_000, None, 1, 8_000),
            ],
        );
    }

    #[test]
    fn a_sliding_window_never_holds_more_than_its_quota() {
        play(
            Limit::new(quota("2/10s"), LimitKind::SlidingWindow),
            &[
                (9_000, None, 1, 19_000),
                (9_500, None, 0, 19_000),
                (10_000, Some(9_000), 0, 19_000),
                (18_999, Some(1), 0, 19_000),
                (19_000, None, 0, 19_500),
                (19_000, Some(500), 0, 19_500),
                (60_000, None, 1, 70_000),
            ],
        );
    }

    #[test]
    fn a_changed_limit_knows_what_has_passed() {
        let sliding = |text| Limit::new(quota(text), LimitKind::SlidingWindow);
        let fixed = |text| Limit::new(quota(text), LimitKind::FixedWindow);
        let bucket = |text| Limit::token_bucket(quota(text), None);
        // Limit, calls at 0 ms, the next limit, the waits in ms of calls at 500 ms.
        for (before, calls, next, waits) in [
            (bucket("4/s"), 4, bucket("2/s"), vec![None, None, Some(500)]),
            (bucket("4/s"), 4, bucket("8/s"), vec![None, None, Some(125)]),
            (bucket("4/s"), 1, bucket("8/s"), vec![None, None, None, None, Some(125)]),
            (bucket("4/s"), 0, bucket("2/s"), vec![None, None, Some(500)]),
            (fixed("4/s"), 3, fixed("2/s"), vec![Some(500)]),
            (fixed("4/s"), 3, fixed("4/2s"), vec![None, None, None, None, Some(1_500)]),
            (sliding("4/s"), 3, sliding("2/s"), vec![Some(500)]),
            (sliding("2/s"), 2, sliding("3/s"), vec![None, Some(500)]),
            (sliding("2/s"), 2, bucket("1/s"), vec![None, Some(1_000)]),
        ] {
            let mut limiter = Limiter::new(before);
            for _ in 0..calls {
                assert_eq!(limiter.call(at(0)).wait, None);
            }
            limiter.change(next, at(500));
            let seen: Vec<_> = waits.iter().map(|_| limiter.call(at(500)).wait).collect();
            let waits: Vec<_> = waits.iter().map(|wait| wait.map(Duration::from_millis)).collect();
            assert_eq!(seen, waits, "{before:?} {next:?}");
        }
    }

    #[test]
    fn after_a_cut_every_call_too_many_must_leave_a_sliding_window() {
        let limit = |text| Limit::new(quota(text), LimitKind::SlidingWindow);
        let mut limiter = Limiter::new(limit("3/s"));
        for ms in [0, 100, 200] {
            assert_eq!(limiter.call(at(ms)).wait, None);
        }
        limiter.change(limit("1/s"), at(300));
        let standing = limiter.call(at(300));
        assert_eq!((standing.wait, standing.remaining), (Some(Duration::from_millis(900)), 0));
        assert_eq!(limiter.call(at(1_200)).wait, None);
    }

    #[test]
    fn a_quota_is_said_in_whole_seconds() {
        for (text, calls, seconds) in
            [("100/s", 100, 1), ("100/10s", 100, 10), ("5/500ms", 10, 1), ("100/1500ms", 133, 2)]
        {
            assert_eq!(quota(text).in_whole_seconds(), (calls, seconds), "{text}");
        }
    }
}
