//! How long an answer asks us to wait (RFC 9110, section 10.2.3).
//!
//! What is malformed is no wish at all: a negative number, a fraction, a word.

use std::time::Duration;

use jiff::Timestamp;

/// Longer waits are this long: no run outlasts it, and no clock overflows.
pub(super) const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// A `Retry-After` header: whole seconds, or an HTTP-date read against `now`, the server's own clock.
///
/// A date in the past is a wait of zero.
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    seconds(text).or_else(|| {
        let wait = http_date(text)?.duration_since(now);
        Some(Duration::try_from(wait).unwrap_or(Duration::ZERO).min(LONGEST))
    })
}

/// Whole seconds, digits only.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(LONGEST))
}

/// Any of the three formats of an HTTP-date (RFC 9110, section 5.6.7).
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_malformed_wishes_ignored() {
        let now = http_date("Mon, 23 Nov 2026 02:15:00 GMT").unwrap();
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("31536000", Some(31_536_000)),
            ("99999999999999999999999", Some(LONGEST.as_secs())),
            ("Tue, 31 Dec 2999 23:59:59 GMT", Some(LONGEST.as_secs())),
            ("Mon, 23 Nov 2026 02:15:30 GMT", Some(30)),
            ("Monday, 23-Nov-26 02:15:30 GMT", Some(30)),
            ("Mon, 23 Nov 2026 02:14:00 GMT", Some(0)),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("1 s", None),
            ("soon", None),
        ] {
            assert_eq!(parse(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
