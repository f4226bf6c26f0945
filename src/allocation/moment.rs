//! The times that the API writes, in whichever way it writes them.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A moment as the server wrote it. Text that cannot be read is kept, and is no moment.
///
/// It is read when it is asked for: of most moments nobody asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Moment {
    text: Box<str>,
}

impl Moment {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `None` where the text is no time. Reads RFC 3339, PostgreSQL's `2026-02-10 00:00:00.658429+00`, and the seconds
    /// or milliseconds since 1970.
    pub fn at(&self) -> Option<Timestamp> {
        self.text.parse().ok().or_else(|| since_1970(self.text.parse().ok()?))
    }
}

/// Seconds after 1973, or milliseconds where that is beyond the year 5138.
fn since_1970(number: f64) -> Option<Timestamp> {
    let seconds = match number {
        1e8..1e11 => number,
        1e11..1e14 => number / 1000.0,
        _ => return None,
    };
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

impl From<String> for Moment {
    fn from(text: String) -> Self {
        Self { text: text.into() }
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.text.into()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_the_api_are_read_and_others_are_kept_as_text() {
        let read = |text: &str| Moment::from(text.to_owned()).at();
        assert_eq!(read("2026-02-10 00:00:00.658429+00"), read("2026-02-10T00:00:00.658429Z"));
        assert!(read("2026-02-10 00:00:00.658429+00").is_some());
        let moment = read("2026-02-10 00:00:00.5+00");
        for text in ["1770681600.5", "1770681600500", "1.7706816005e9"] {
            assert_eq!(read(text), moment, "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-02-30 00:00:00+00",
            "2026-02-10 00:00:00",
            "0",
            "20260210",
            "-1770681600",
            "1e99",
            "nan",
            "inf",
        ] {
            assert_eq!(read(text), None, "{text}");
            assert_eq!(Moment::from(text.to_owned()).as_str(), text);
        }
    }
}
