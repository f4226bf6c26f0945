//! What an answer's headers say of the limit: how the call stands with it, and when to come back.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use super::limit::Standing;
use super::wire::rfc3339;
use super::{RateLimitForm, RateLimitHeaders, RetryAfter, Settings};

/// `Retry-After`, where the call must wait.
pub(super) fn say_when(map: &mut HeaderMap, standing: &Standing, now: Timestamp, retry_after: RetryAfter) {
    match (retry_after, standing.wait) {
        (RetryAfter::Seconds, Some(wait)) => {
            insert(map, RETRY_AFTER.as_str(), &whole_seconds(wait).to_string());
        }
        (RetryAfter::Date, Some(wait)) => insert(map, RETRY_AFTER.as_str(), &http_date(after(now, wait))),
        (RetryAfter::None, _) | (_, None) => {}
    }
}

/// How the call stands with the limit, where this is said.
pub(super) fn announce(map: &mut HeaderMap, standing: &Standing, now: Timestamp, settings: &Settings) {
    match settings.rate_limit_headers {
        RateLimitHeaders::Never => return,
        RateLimitHeaders::On429 if standing.wait.is_none() => return,
        RateLimitHeaders::On429 | RateLimitHeaders::Always => {}
    }
    let &Standing { limit, remaining, reset_at, policy: (calls, seconds), .. } = standing;
    let delta = whole_seconds(reset_at.duration_since(now).try_into().unwrap_or_default());
    let reset = match settings.rate_limit_form {
        RateLimitForm::XIso => rfc3339(reset_at),
        RateLimitForm::XEpoch => after(reset_at, Duration::ZERO).as_second().to_string(),
        RateLimitForm::XDelta => delta.to_string(),
        RateLimitForm::Ietf => {
            insert(map, "ratelimit-policy", &format!("\"default\";q={calls};w={seconds}"));
            return insert(map, "ratelimit", &format!("\"default\";r={remaining};t={delta}"));
        }
    };
    insert(map, "x-ratelimit-limit", &limit.to_string());
    insert(map, "x-ratelimit-remaining", &remaining.to_string());
    insert(map, "x-ratelimit-reset", &reset);
}

pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// `wait` after `now`, as a whole second that is not before it.
fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    let almost_a_second = SignedDuration::new(0, 999_999_999);
    now.saturating_add(wait.saturating_add(almost_a_second)).unwrap_or(Timestamp::MAX)
}

pub(super) fn insert(map: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        map.insert(name, value);
    }
}

pub(super) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_date_is_never_before_the_wait_is_over() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        for (start, wait_ms, date) in [
            ("2026-11-23T02:15:00Z", 1_000, "Mon, 23 Nov 2026 02:15:01 GMT"),
            ("2026-11-23T02:15:00.9Z", 300, "Mon, 23 Nov 2026 02:15:02 GMT"),
            ("2026-11-23T02:15:00.1Z", 300, "Mon, 23 Nov 2026 02:15:01 GMT"),
        ] {
            assert_eq!(http_date(after(at(start), Duration::from_millis(wait_ms))), date);
        }
    }
}
