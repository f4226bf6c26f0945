//! What a word on the command line may be, where the program has no type of its own for it.

use std::num::{NonZeroU32, ParseIntError};
use std::time::Duration;

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecapFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedListFormat {
    Csv,
    Json,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedProgress {
    /// A bar on a terminal, log lines elsewhere.
    Auto,
    /// The bar, terminal or not.
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedFailOn {
    /// Any failed VM.
    Any,
    /// A failed VM that had not failed in the job's last complete run too.
    New,
    /// No failed VM; rows that were skipped still count.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedNotifyOn {
    /// After runs that did not end with 0.
    Trouble,
    Always,
}

/// The most calls that may be in flight at all.
const SLOTS_CAP: u32 = 1024;

pub(super) fn slots(text: &str) -> Result<NonZeroU32, String> {
    let slots = text.parse().ok().filter(|slots: &NonZeroU32| slots.get() <= SLOTS_CAP);
    slots.ok_or_else(|| format!("not a number from 1 to {SLOTS_CAP}"))
}

pub(super) fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    let number: u32 = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    NonZeroU32::new(number).ok_or_else(|| "must be at least 1".into())
}

/// `30s`, `15m`, `1h30m`, or 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration: Option<jiff::SignedDuration> = text.parse().ok();
    duration
        .and_then(|duration| duration.try_into().ok())
        .ok_or_else(|| "not a duration such as 30s, 15m or 1h30m".into())
}

/// Long enough for a few round trips to the ledger within it.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(lease) if lease < Duration::from_secs(2) => Err("must be 2s or longer".into()),
        other => other,
    }
}

pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".into()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_a_unit() {
        for (text, seconds) in [("30s", 30.0), ("1h30m", 5400.0), ("500ms", 0.5), ("0", 0.0), ("0s", 0.0)] {
            assert!((duration(text).unwrap().as_secs_f64() - seconds).abs() < 1e-9, "{text}");
        }
        for text in ["", "30", "-1s", "1 fortnight", "s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive("0s").is_err());
    }

    #[test]
    fn a_number_that_must_not_be_0_says_so() {
        assert_eq!(at_least_one("7"), Ok(NonZeroU32::new(7).unwrap()));
        assert_eq!(at_least_one("0"), Err("must be at least 1".into()));
        assert!(at_least_one("-1").is_err() && at_least_one("many").is_err());
    }
}
