//! A wait, or the moment until which to wait: whatever a server writes where it says when to come back.
//!
//! One reading for every field. What is malformed is no wish at all.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Longer waits are this long: no run outlasts it, and no clock overflows.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// A bare number is a wait in seconds below, and a moment since 1970 from here on: three years, or 1973.
const MOMENTS_FROM: f64 = 1e8;

/// Each unit of a moment is a thousandth of the one before from here on: milliseconds, micro- and nanoseconds.
const FINER_FROM: f64 = 1e11;
const FINER: f64 = 1e3;
const UNITS: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wait {
    For(Duration),
    Until(Timestamp),
}

impl Wait {
    /// A number, alone or with a unit, or a date: HTTP's, or ISO 8601 with or without a zone.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches('"').trim();
        number(text).or_else(|| with_unit(text)).or_else(|| date(text)).or_else(|| list(text))
    }

    /// How long from `now` on, on the server's clock. A moment in the past is no wait.
    pub(super) fn from(self, now: Timestamp) -> Duration {
        let wait = match self {
            Self::For(wait) => wait,
            Self::Until(at) => at.duration_since(now).try_into().unwrap_or_default(),
        };
        wait.min(LONGEST)
    }
}

/// Any of the three formats of an HTTP-date (RFC 9110, section 5.6.7).
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(text).ok()?.try_into().ok()
}

fn number(text: &str) -> Option<Wait> {
    let plain = |byte: u8| byte.is_ascii_digit() || b".eE+".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = text.parse().ok().filter(|_| begins && text.bytes().all(plain))?;
    match number < MOMENTS_FROM {
        // Part of a second is a whole one: too late is no harm, too early is.
        true => Duration::try_from_secs_f64(number.ceil()).ok().map(Wait::For),
        false if number.is_finite() => Some(since_1970(number).map_or(Wait::For(LONGEST), Wait::Until)),
        false => None,
    }
}

fn since_1970(number: f64) -> Option<Timestamp> {
    let unit =
        (0..UNITS).map(|unit| FINER.powi(unit.cast_signed())).find(|unit| number / unit < FINER_FROM)?;
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(number / unit).ok()?).ok()
}

/// `3s`, `1m30s`, `500ms`.
fn with_unit(text: &str) -> Option<Wait> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b". ".contains(&byte));
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'.');
    let wait: SignedDuration = text.to_ascii_lowercase().parse().ok().filter(|_| plain && begins)?;
    wait.try_into().ok().map(Wait::For)
}

fn date(text: &str) -> Option<Wait> {
    // What is past the last moment that there is was meant as a long wait.
    let until = |at: Option<Timestamp>| at.map_or(Wait::For(LONGEST), Wait::Until);
    if let Ok(at) = httpdate::parse_http_date(text) {
        return Some(until(at.try_into().ok()));
    }
    if let Some(at) = text.parse().ok().or_else(|| mail_date(text)) {
        return Some(Wait::Until(at));
    }
    let at: DateTime = text.strip_suffix('Z').unwrap_or(text).parse().ok()?;
    Some(until(TimeZone::UTC.to_timestamp(at).ok()))
}

/// An HTTP-date whose zone is not written as `GMT`.
fn mail_date(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix(" UTC").map_or(text.to_owned(), |date| format!("{date} GMT"));
    jiff::fmt::rfc2822::parse(&text).ok().map(|at| at.timestamp())
}

/// Several waits in one field: the longest.
fn list(text: &str) -> Option<Wait> {
    let wait = |text: &str| match number(text.trim()).or_else(|| with_unit(text.trim())) {
        Some(Wait::For(wait)) => Some(wait),
        Some(Wait::Until(_)) | None => None,
    };
    let waits: Option<Vec<Duration>> = text.split(", ").map(wait).collect();
    waits?.into_iter().max().map(Wait::For)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_moments_are_read_in_every_form_and_what_is_malformed_is_ignored() {
        let now: Timestamp = "2026-11-23T02:15:00.250Z".parse().unwrap();
        let ms = |ms| Some(Duration::from_millis(ms));
        for (text, expected) in [
            ("0", ms(0)),
            ("7", ms(7_000)),
            (" 7 ", ms(7_000)),
            ("007", ms(7_000)),
            ("0.2", ms(1_000)),
            ("1.5", ms(2_000)),
            ("2.0", ms(2_000)),
            (".5", ms(1_000)),
            ("1e1", ms(10_000)),
            ("31536000", ms(31_536_000_000)),
            ("1795400110", ms(9_750)),
            ("1795400110.5", ms(10_250)),
            ("1.7954001105e9", ms(10_250)),
            ("1795400110500", ms(10_250)),
            ("1795400110500000", ms(10_250)),
            ("1795400110500000000", ms(10_250)),
            ("1795400000", ms(0)),
            ("3s", ms(3_000)),
            ("1m30s", ms(90_000)),
            ("500ms", ms(500)),
            ("1.5s", ms(1_500)),
            ("2h", ms(7_200_000)),
            ("2026-11-23T02:15:10Z", ms(9_750)),
            ("2026-11-23T02:15:10.000+00:00", ms(9_750)),
            ("2026-11-23T03:15:10+01:00", ms(9_750)),
            ("2026-11-23 02:15:10.000+00", ms(9_750)),
            ("2026-11-23T02:15:10", ms(9_750)),
            ("2026-11-23 02:15:10", ms(9_750)),
            ("2026-11-23T02:14:00Z", ms(0)),
            ("Mon, 23 Nov 2026 02:15:30 GMT", ms(29_750)),
            ("Monday, 23-Nov-26 02:15:30 GMT", ms(29_750)),
            ("Mon Nov 23 02:15:30 2026", ms(29_750)),
            ("Mon, 23 Nov 2026 02:14:00 GMT", ms(0)),
            ("99999999999", Some(LONGEST)),
            ("99999999999999999999999", Some(LONGEST)),
            ("Tue, 31 Dec 2999 23:59:59 GMT", Some(LONGEST)),
            ("2999-12-31T23:59:59Z", Some(LONGEST)),
            ("9999-12-31T23:59:59Z", Some(LONGEST)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST)),
            ("Mon, 23 Nov 2026 02:15:10 +0000", ms(9_750)),
            ("Mon, 23 Nov 2026 02:15:10 UTC", ms(9_750)),
            ("1, 4", ms(4_000)),
            ("4,", None),
            ("\"4\"", ms(4_000)),
            ("4S", ms(4_000)),
            ("4 seconds", ms(4_000)),
            ("999999h", Some(LONGEST)),
            ("1e400", None),
            ("-1", None),
            ("+1", None),
            ("-1.5", None),
            ("-5s", None),
            ("NaN", None),
            ("inf", None),
            ("infinity", None),
            ("1.2.3", None),
            ("1,5", None),
            ("0x10", None),
            (".", None),
            ("e", None),
            ("", None),
            (" ", None),
            ("1 s", ms(1_000)),
            ("s", None),
            ("soon", None),
            ("3s ago", None),
            ("2026-13-45T99:99:99Z", None),
            ("\u{0}", None),
            ("٣", None),
        ] {
            assert_eq!(Wait::read(text).map(|wait| wait.from(now)), expected, "{text:?}");
        }
        assert_eq!(Wait::read(&"9".repeat(400)).map(|wait| wait.from(now)), None);
        assert_eq!(Wait::read(&"1".repeat(100_000)).map(|wait| wait.from(now)), None);
    }
}
