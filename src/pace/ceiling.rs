//! The rate that was typed: the most calls that may leave.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// The most calls that may leave in a time; `none` sets no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    None,
    Calls { calls: NonZeroU32, per: Unit },
}

/// What calls are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Second,
    Minute,
    Hour,
}

/// Why a text is not a [`Ceiling`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    #[error(
        "not a rate: write N/s, N/m or N/h with a whole N from 1 up, such as 10/s (half a call a second is 30/m), or none"
    )]
    Form,
    #[error("a rate beyond {MOST}/s cannot be kept: write none for no limit")]
    TooFast,
}

/// The most calls a second: between them is a whole number of nanoseconds, and what that rounds is a thousandth of it.
const MOST: u64 = 1_000_000;

impl Ceiling {
    /// The time between two calls.
    pub(super) fn interval(self) -> Option<Duration> {
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
        let (calls, unit) = text.split_once('/').ok_or(InvalidRate::Form)?;
        let per = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(InvalidRate::Form),
        };
        if calls.is_empty() || !calls.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidRate::Form);
        }
        let calls: u32 = calls.parse().map_err(|_| InvalidRate::TooFast)?;
        let calls = NonZeroU32::new(calls).ok_or(InvalidRate::Form)?;
        match u64::from(calls.get()) > MOST * per.duration().as_secs() {
            true => Err(InvalidRate::TooFast),
            false => Ok(Self::Calls { calls, per }),
        }
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
