//! What an answer says of the API's own rate limit.
//!
//! Two families are read: `X-RateLimit-Remaining` and `-Reset` (HostUp documents an ISO timestamp; elsewhere it is
//! seconds since 1970, or from now), and the IETF's `RateLimit` with `RateLimit-Policy`, in the forms of its drafts:
//! `"default";r=50;t=30` and `limit=100, remaining=50, reset=30`. What is malformed says nothing.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use super::retry_after;

/// A number of seconds is a date from here on, and a delay below: three years, or 1973.
const DATES_FROM: u64 = 100_000_000;

/// A date is in milliseconds from here on: 1973, or the year 5138.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// A policy for a longer time is no pace to keep, in seconds: a day's quota may be used within an hour.
const LONGEST_WINDOW: u64 = 60;

/// How a call stands with the API's rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Announced {
    /// Calls that may still be made until the limit is reset.
    pub remaining: Option<u64>,
    /// From the moment of the answer.
    pub reset_in: Option<Duration>,
    /// The rate that the limit comes to, in calls a second, where a policy says so.
    pub per_second: Option<f64>,
}

/// The same before the server's clock is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Stated {
    remaining: Option<u64>,
    reset: Option<Reset>,
    per_second: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reset {
    In(Duration),
    At(Timestamp),
}

impl Stated {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let per_second = field("ratelimit-policy").and_then(rate);
        if let Some(items) = field("ratelimit") {
            let remaining = parameter(items, &["r", "remaining"]);
            let reset = parameter(items, &["t", "reset"]).map(Duration::from_secs).map(Reset::In);
            return Self { remaining, reset, per_second };
        }
        let remaining = field("x-ratelimit-remaining").and_then(|text| text.parse().ok());
        Self { remaining, reset: field("x-ratelimit-reset").and_then(reset), per_second }
    }

    /// `server_time` is the server's clock while it answered.
    pub(super) fn at(self, server_time: Timestamp) -> Announced {
        let reset_in = self.reset.map(|reset| match reset {
            Reset::In(wait) => wait,
            Reset::At(at) => at.duration_since(server_time).try_into().unwrap_or_default(),
        });
        let reset_in = reset_in.map(|wait| wait.min(retry_after::LONGEST));
        Announced { remaining: self.remaining, reset_in, per_second: self.per_second }
    }
}

fn reset(text: &str) -> Option<Reset> {
    let Ok(number) = text.parse::<u64>() else { return text.parse().ok().map(Reset::At) };
    let signed = i64::try_from(number).ok()?;
    if number < DATES_FROM {
        return Some(Reset::In(Duration::from_secs(number)));
    }
    let read = if number < MILLISECONDS_FROM { Timestamp::from_second } else { Timestamp::from_millisecond };
    read(signed).ok().map(Reset::At)
}

/// The tightest of a policy's rates: `"burst";q=100;w=60, "day";q=1000;w=86400`, or `100;w=60`.
#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact beyond 2^53")]
fn rate(policy: &str) -> Option<f64> {
    let rates = policy.split(',').filter_map(|item| {
        let bare = || item.split(';').next()?.trim().parse().ok();
        let quota = parameter(item, &["q"]).or_else(bare)?;
        let window = parameter(item, &["w"])?;
        (quota > 0 && (1..=LONGEST_WINDOW).contains(&window)).then(|| quota as f64 / window as f64)
    });
    rates.reduce(f64::min)
}

/// The first whole number by one of these names.
fn parameter(items: &str, names: &[&str]) -> Option<u64> {
    items.split([',', ';']).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        names.contains(&name.trim()).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(fields: &[(&'static str, &str)]) -> Announced {
        let headers = fields.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Stated::of(&headers.collect()).at("2026-11-23T02:15:00.250Z".parse().unwrap())
    }

    fn standing(remaining: u64, reset_ms: u64) -> Announced {
        let reset_in = Some(Duration::from_millis(reset_ms));
        Announced { remaining: Some(remaining), reset_in, per_second: None }
    }

    #[test]
    fn a_reset_is_a_date_in_iso_seconds_or_milliseconds_or_a_delay() {
        for (reset, ms) in [
            ("2026-11-23T02:15:10.000Z", 9_750),
            ("2026-11-23T02:14:00Z", 0),
            ("1795400110", 9_750),
            ("1795400110500", 10_250),
            ("10", 10_000),
            ("0", 0),
        ] {
            let fields =
                [("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", reset)];
            assert_eq!(announced(&fields), standing(7, ms), "{reset}");
        }
    }

    #[test]
    fn every_draft_of_the_ietf_is_read() {
        let both = |limit, policy| announced(&[("ratelimit", limit), ("ratelimit-policy", policy)]);
        let expected = Announced { per_second: Some(10.0), ..standing(50, 30_000) };
        for (limit, policy) in [
            (r#""default";r=50;t=30"#, r#""default";q=100;w=10"#),
            ("limit=100, remaining=50, reset=30", "100;w=10"),
            (r#""a"; r=50; t=30, "b";r=60;t=9"#, r#""a";q=100;w=10, "b";q=100;w=86400"#),
        ] {
            assert_eq!(both(limit, policy), expected, "{limit} {policy}");
        }
    }

    #[test]
    fn what_is_malformed_or_absent_says_nothing() {
        for fields in [
            &[][..],
            &[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "soon")],
            &[("x-ratelimit-remaining", "1.5"), ("x-ratelimit-reset", "")],
            &[("ratelimit", "r=many;t=-1"), ("ratelimit-policy", "q=0;w=10, q=5;w=0, x;w=3, 7")],
        ] {
            assert_eq!(announced(fields), Announced::default(), "{fields:?}");
        }
        let far = announced(&[("x-ratelimit-reset", "99999999999999")]);
        assert!(far.reset_in <= Some(retry_after::LONGEST));
    }
}
