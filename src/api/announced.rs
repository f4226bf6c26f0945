//! What an answer says of the API's own rate limit.
//!
//! Two families are read: `-Remaining` and `-Reset` or `-Reset-After`, as `X-RateLimit-`, `X-Rate-Limit-` or, in the
//! IETF's older drafts, `RateLimit-`; and its later ones, `RateLimit` with `RateLimit-Policy`: `"default";r=50;t=30` and
//! `limit=100, remaining=50, reset=30`. Of several resets the last counts. What is malformed says nothing.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use super::wait::Wait;

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
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stated {
    remaining: Option<u64>,
    resets: Vec<Wait>,
    per_second: Option<f64>,
}

const FAMILIES: [&str; 3] = ["ratelimit", "x-ratelimit", "x-rate-limit"];

impl Stated {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        // Most answers have none of it, and each name is a look-up of its own.
        if !headers.keys().any(|name| name.as_str().contains("rate")) {
            return Self::default();
        }
        let fields = |name: String| {
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::trim)
        };
        let families =
            |end: &'static str| FAMILIES.iter().flat_map(move |family| fields(format!("{family}-{end}")));
        let items = || fields("ratelimit".into());
        let remaining = items().filter_map(|items| parameter(items, &["r", "remaining"]));
        let reset = items().filter_map(|items| parameter(items, &["t", "reset"])).map(Duration::from_secs);
        let resets = families("reset").chain(families("reset-after")).filter_map(Wait::read);
        let policies = fields("ratelimit-policy".into()).chain(fields("ratelimit-limit".into()));
        Self {
            remaining: families("remaining").filter_map(|text| text.parse().ok()).chain(remaining).min(),
            resets: resets.chain(reset.map(Wait::For)).collect(),
            per_second: policies.filter_map(rate).reduce(f64::min),
        }
    }

    /// `server_time` is the server's clock while it answered.
    pub(super) fn at(self, server_time: Timestamp) -> Announced {
        let reset_in = self.resets.iter().map(|reset| reset.from(server_time)).max();
        Announced { remaining: self.remaining, reset_in, per_second: self.per_second }
    }
}

/// `Date` has whole seconds: so much longer a reset may seem than it is.
const GRAIN: Duration = Duration::from_secs(1);

/// The longer of the wait that an answer asks for and of the time until the limit is reset.
pub(super) fn longer(wait: Option<Duration>, reset_in: Option<Duration>) -> Option<Duration> {
    match (wait, reset_in) {
        (Some(wait), Some(reset_in)) if reset_in <= wait + GRAIN && !wait.is_zero() => Some(wait),
        (wait, reset_in) => wait.max(reset_in),
    }
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

    fn announced(fields: &[(&str, &str)]) -> Announced {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap());
        }
        Stated::of(&headers).at("2026-11-23T02:15:00.250Z".parse().unwrap())
    }

    fn standing(remaining: u64, reset_ms: u64) -> Announced {
        let reset_in = Some(Duration::from_millis(reset_ms));
        Announced { remaining: Some(remaining), reset_in, per_second: None }
    }

    #[test]
    fn a_reset_is_a_moment_or_a_wait_under_any_of_its_names() {
        for (reset, ms) in [
            ("2026-11-23T02:15:10.000Z", 9_750),
            ("2026-11-23T02:15:10", 9_750),
            ("2026-11-23T02:14:00Z", 0),
            ("Mon, 23 Nov 2026 02:15:10 GMT", 9_750),
            ("1795400110", 9_750),
            ("1795400110.25", 10_000),
            ("1795400110500", 10_250),
            ("3s", 3_000),
            ("10", 10_000),
            ("0", 0),
        ] {
            for family in ["x-ratelimit", "ratelimit", "x-rate-limit"] {
                for end in ["reset", "reset-after"] {
                    let names = ["limit", "remaining", end].map(|end| format!("{family}-{end}"));
                    let fields = [(&*names[0], "100"), (&*names[1], "7"), (&*names[2], reset)];
                    assert_eq!(announced(&fields), standing(7, ms), "{fields:?}");
                }
            }
        }
    }

    #[test]
    fn of_several_the_longest_reset_and_the_fewest_calls_left_count() {
        let fields = [
            ("x-ratelimit-reset", "3"),
            ("ratelimit-reset", "8"),
            ("x-rate-limit-reset-after", "5"),
            ("x-ratelimit-reset", "soon"),
            ("ratelimit", "limit=9, remaining=4, reset=2"),
            ("ratelimit-remaining", "6"),
        ];
        assert_eq!(announced(&fields), standing(4, 8_000));
        let policy = announced(&[("ratelimit-limit", "10, 10;w=1, 50;w=10")]);
        assert_eq!(policy.per_second, Some(5.0));
    }

    #[test]
    fn of_the_wait_and_the_reset_the_longer_counts_but_for_the_grain_of_a_date() {
        let ms = |ms: u64| Some(Duration::from_millis(ms));
        for (wait, reset_in, expected) in [
            (ms(0), ms(6_000), ms(6_000)),
            (ms(0), ms(700), ms(700)),
            (ms(1_000), ms(1_900), ms(1_000)),
            (ms(1_000), ms(6_000), ms(6_000)),
            (ms(9_000), ms(6_000), ms(9_000)),
            (None, ms(700), ms(700)),
            (ms(2_000), None, ms(2_000)),
            (None, None, None),
        ] {
            assert_eq!(longer(wait, reset_in), expected, "{wait:?} {reset_in:?}");
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
            &[("ratelimit-remaining", "NaN"), ("ratelimit-reset", "inf")],
            &[("x-rate-limit-reset", "1e400"), ("x-ratelimit-reset-after", "-3")],
            &[("ratelimit", "r=many;t=-1"), ("ratelimit-policy", "q=0;w=10, q=5;w=0, x;w=3, 7")],
        ] {
            assert_eq!(announced(fields), Announced::default(), "{fields:?}");
        }
        let far = announced(&[("x-ratelimit-reset", "99999999999999")]);
        assert_eq!(far.reset_in, Some(Duration::from_hours(10 * 365 * 24)), "in the year 5138");
    }
}
