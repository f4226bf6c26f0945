//! What goes wrong with the API as a whole, and from when to when.
//!
//! Pure: the time since the first call and the number of calls before this one are arguments.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use super::fault::{Fault, Lie, ServerError, When};
use super::limit::Quota;
use super::lottery::{Draw, Share, lot};

/// A time with a trouble, written `AFTER..UNTIL=TROUBLE`; without UNTIL it does not end.
///
/// AFTER and UNTIL are durations since the first call (`10s..40s`) or numbers of calls (`1000..2000`: from the
/// 1001st to the 2000th). TROUBLE is `down-503`, `refuse` (only between durations), `throttle=10s`,
/// `fail=SHARE` or `limit=QUOTA`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    span: Span,
    trouble: Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Time(Duration, Option<Duration>),
    Calls(u64, Option<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// Every call is answered 503.
    Down,
    /// Nobody listens.
    Refuse,
    /// Every call is answered 429, with this wait in seconds.
    Throttle(u32),
    /// That share of calls is answered 500, and does not act.
    Fail(Share),
    /// This is the rate limit.
    Limit(Quota),
}

/// Why a text is not a [`Phase`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPhase {
    #[error("not a phase such as 10s..40s=down-503, 1000..2000=fail=50% or 30s..=limit=50/s")]
    Form,
    #[error(
        "not two durations such as 10s..40s, nor two numbers of calls such as 1000..2000, the second later"
    )]
    Span,
    #[error("not down-503, refuse, throttle=10s, fail=SHARE or limit=N/DURATION")]
    Trouble,
    #[error("refused connections are no calls to count: refuse needs durations, such as 10s..40s=refuse")]
    CountedRefusal,
}

impl FromStr for Phase {
    type Err = InvalidPhase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (span, trouble) = text.split_once('=').ok_or(InvalidPhase::Form)?;
        let span: Span = span.parse()?;
        let trouble = trouble.parse()?;
        match (span, trouble) {
            (Span::Calls(..), Trouble::Refuse) => Err(InvalidPhase::CountedRefusal),
            _ => Ok(Self { span, trouble }),
        }
    }
}

impl FromStr for Span {
    type Err = InvalidPhase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (after, until) = text.split_once("..").ok_or(InvalidPhase::Span)?;
        let time = ends(after, until, super::duration).map(|(after, until)| Self::Time(after, until));
        let calls = || ends(after, until, |text| text.parse().ok());
        time.or_else(|| calls().map(|(after, until)| Self::Calls(after, until))).ok_or(InvalidPhase::Span)
    }
}

fn ends<T: PartialOrd>(after: &str, until: &str, read: impl Fn(&str) -> Option<T>) -> Option<(T, Option<T>)> {
    let after = read(after)?;
    let until = if until.is_empty() { None } else { Some(read(until)?) };
    until.as_ref().is_none_or(|until| after < *until).then_some((after, until))
}

impl FromStr for Trouble {
    type Err = InvalidPhase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trouble = match text.split_once('=') {
            None if text == "down-503" => Some(Self::Down),
            None if text == "refuse" => Some(Self::Refuse),
            Some(("throttle", seconds)) => {
                let seconds = seconds.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
                seconds.map(Self::Throttle)
            }
            Some(("fail", share)) => share.parse().ok().map(Self::Fail),
            Some(("limit", quota)) => quota.parse().ok().map(Self::Limit),
            _ => None,
        };
        trouble.ok_or(InvalidPhase::Trouble)
    }
}

impl Span {
    fn holds(self, number: u64, elapsed: Duration) -> bool {
        match self {
            Self::Time(after, until) => elapsed >= after && until.is_none_or(|until| elapsed < until),
            Self::Calls(after, until) => number >= after && until.is_none_or(|until| number < until),
        }
    }
}

/// What one call finds: nothing of either, mostly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weather {
    pub(super) outage: Option<Outage>,
    /// In place of the usual limit.
    pub(super) quota: Option<Quota>,
}

/// Why a call fails whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    Fail,
    Throttle(u32),
    Down,
    /// It came in just before the listener closed.
    Refuse,
}

impl Outage {
    /// As it is written in the record.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Throttle(_) => "throttle",
            Self::Down => "down-503",
            Self::Refuse => "refuse",
        }
    }

    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Fail => Fault::Status(ServerError::Internal, When::Before),
            Self::Throttle(seconds) => Fault::Lie(Lie::Seconds(seconds)),
            Self::Down => Fault::Status(ServerError::Unavailable, When::Before),
            Self::Refuse => Fault::Reset(When::Before),
        }
    }
}

/// What the call with `number` others before it finds, `elapsed` after the first one.
///
/// Of phases at the same time, the worst outage and the last limit hold.
pub(super) fn weather(phases: &[Phase], seed: u64, number: u64, elapsed: Duration) -> Weather {
    let mut weather = Weather::default();
    for phase in phases.iter().filter(|phase| phase.span.holds(number, elapsed)) {
        match phase.trouble {
            Trouble::Limit(quota) => weather.quota = Some(quota),
            Trouble::Refuse => weather.outage = Some(Outage::Refuse),
            Trouble::Down if weather.outage != Some(Outage::Refuse) => weather.outage = Some(Outage::Down),
            Trouble::Throttle(seconds) if weather.outage.is_none_or(|outage| outage == Outage::Fail) => {
                weather.outage = Some(Outage::Throttle(seconds));
            }
            Trouble::Fail(share) if share.holds(lot(seed, number, Draw::Failure)) => {
                weather.outage = weather.outage.or(Some(Outage::Fail));
            }
            Trouble::Down | Trouble::Throttle(_) | Trouble::Fail(_) => {}
        }
    }
    weather
}

/// When nobody listens, as times since the first call, one after another and never touching.
pub(super) fn refusals(phases: &[Phase]) -> Vec<Range<Duration>> {
    let refusal = |phase: &Phase| match (phase.trouble, phase.span) {
        (Trouble::Refuse, Span::Time(after, until)) => Some(after..until.unwrap_or(Duration::MAX)),
        _ => None,
    };
    let mut refusals: Vec<Range<Duration>> = phases.iter().filter_map(refusal).collect();
    refusals.sort_unstable_by_key(|refusal| refusal.start);
    refusals.dedup_by(|later, earlier| {
        let touching = later.start <= earlier.end;
        if touching {
            earlier.end = earlier.end.max(later.end);
        }
        touching
    });
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(texts: &[&str]) -> Vec<Phase> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_phase_lies_between_two_times_or_two_calls() {
        let seconds = Duration::from_secs;
        let quota: Quota = "50/s".parse().unwrap();
        let half: Share = "50%".parse().unwrap();
        for (text, span, trouble) in [
            ("10s..40s=down-503", Span::Time(seconds(10), Some(seconds(40))), Trouble::Down),
            ("0..1=throttle=10s", Span::Calls(0, Some(1)), Trouble::Throttle(10)),
            ("0s..1m30s=refuse", Span::Time(seconds(0), Some(seconds(90))), Trouble::Refuse),
            ("1000..2000=fail=50%", Span::Calls(1_000, Some(2_000)), Trouble::Fail(half)),
            ("30s..=limit=50/s", Span::Time(seconds(30), None), Trouble::Limit(quota)),
            ("2500..=limit=50/s", Span::Calls(2_500, None), Trouble::Limit(quota)),
        ] {
            assert_eq!(text.parse(), Ok(Phase { span, trouble }), "{text}");
        }
        for (text, reason) in [
            ("", InvalidPhase::Form),
            ("10s..40s", InvalidPhase::Form),
            ("10s=refuse", InvalidPhase::Span),
            ("..40s=refuse", InvalidPhase::Span),
            ("40s..10s=refuse", InvalidPhase::Span),
            ("10..10=down-503", InvalidPhase::Span),
            ("10..40s=down-503", InvalidPhase::Span),
            ("10s..40s=down", InvalidPhase::Trouble),
            ("10s..40s=fail", InvalidPhase::Trouble),
            ("10s..40s=fail=2", InvalidPhase::Trouble),
            ("10s..40s=limit=0/s", InvalidPhase::Trouble),
            ("10..40=refuse", InvalidPhase::CountedRefusal),
        ] {
            assert_eq!(text.parse::<Phase>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_phase_begins_with_its_first_moment_and_ends_before_its_last() {
        let phases = phases(&["100..200=down-503", "10s..40s=limit=1/s"]);
        let quota = "1/s".parse().ok();
        for (number, ms, down, limited) in [
            (0, 0, false, false),
            (99, 9_999, false, false),
            (100, 10_000, true, true),
            (199, 39_999, true, true),
            (200, 40_000, false, false),
            (0, 20_000, false, true),
        ] {
            let seen = weather(&phases, 0, number, Duration::from_millis(ms));
            let outage = down.then_some(Outage::Down);
            assert_eq!(seen, Weather { outage, quota: quota.filter(|_| limited) }, "{number} {ms}");
        }
    }

    #[test]
    fn of_phases_at_once_the_worst_outage_and_the_last_limit_hold() {
        let (fail, down, refuse) = ("0s..=fail=100%", "0s..=down-503", "0s..=refuse");
        for (texts, outage) in [
            ([fail, fail, fail], Outage::Fail),
            ([fail, down, fail], Outage::Down),
            ([down, refuse, fail], Outage::Refuse),
            ([refuse, fail, down], Outage::Refuse),
        ] {
            let seen = weather(&phases(&texts), 0, 0, Duration::ZERO);
            assert_eq!(seen.outage, Some(outage), "{texts:?}");
        }
        let limits = phases(&["0s..=limit=1/s", "0s..=limit=2/s"]);
        assert_eq!(weather(&limits, 0, 0, Duration::ZERO).quota, "2/s".parse().ok());
    }

    #[test]
    fn that_share_of_calls_fails_and_the_same_ones_each_time() {
        let phases = phases(&["0..=fail=30%"]);
        let failed = |seed| {
            let calls = 0..10_000;
            calls
                .filter(|&number| weather(&phases, seed, number, Duration::ZERO).outage.is_some())
                .collect::<Vec<u64>>()
        };
        assert!(failed(1).len().abs_diff(3_000) < 150, "{}", failed(1).len());
        assert_eq!(failed(1), failed(1));
        assert_ne!(failed(1), failed(2));
    }

    #[test]
    fn times_without_a_listener_are_put_in_order_and_together() {
        let phases = phases(&[
            "30s..=refuse",
            "5s..10s=refuse",
            "8s..12s=refuse",
            "1s..2s=down-503",
            "12s..13s=refuse",
        ]);
        let seconds = Duration::from_secs;
        assert_eq!(refusals(&phases), [seconds(5)..seconds(13), seconds(30)..Duration::MAX]);
    }
}
