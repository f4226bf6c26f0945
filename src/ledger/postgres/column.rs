//! Columns that hold JSON, a word, a time or a count; and texts as the database can hold them.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio_postgres::types::{FromSql, Type, accepts};
use tokio_postgres::{Error, Row};

use crate::ledger::dating::Attempts;
use crate::ledger::stored::{self, Shaped};
use crate::outcome::{Kind, Unanswered};

type ReadError = Box<dyn StdError + Sync + Send>;

/// No text of the database's holds a NUL: this stands before what is meant by one, and before itself.
const ESCAPE: char = '\u{10ffff}';

/// A text as it is kept.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| match c {
        '\0' => [Some(ESCAPE), Some('0')],
        ESCAPE => [Some(ESCAPE), Some(ESCAPE)],
        c => [Some(c), None],
    };
    text.chars().flat_map(escaped).flatten().collect()
}

/// A text as it was before it was [`kept`].
fn unkept(text: &str) -> String {
    let mut chars = text.chars();
    let next = || match chars.next()? {
        ESCAPE => chars.next().map(|c| if c == '0' { '\0' } else { c }),
        c => Some(c),
    };
    std::iter::from_fn(next).collect()
}

/// What is read of a column's text.
struct Parsed<T>(T);

/// How it is read.
trait Parse: Sized {
    fn parse(text: &str) -> Result<Self, ReadError>;
}

impl<'a, T: Parse> FromSql<'a> for Parsed<T> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, ReadError> {
        T::parse(std::str::from_utf8(raw)?).map(Self)
    }

    accepts!(TEXT);
}

struct Text(String);

impl Parse for Text {
    fn parse(text: &str) -> Result<Self, ReadError> {
        Ok(Self(unkept(text)))
    }
}

struct Json<T>(T);

impl<T: DeserializeOwned> Parse for Json<T> {
    fn parse(text: &str) -> Result<Self, ReadError> {
        Ok(Self(stored::from_json(text)?))
    }
}

struct Shape<T>(T);

impl<T: Shaped> Parse for Shape<T> {
    fn parse(text: &str) -> Result<Self, ReadError> {
        Ok(Self(stored::read(text)?))
    }
}

struct List<T>(Vec<T>);

impl<T: Shaped> Parse for List<T> {
    fn parse(text: &str) -> Result<Self, ReadError> {
        Ok(Self(stored::read_list(text)?))
    }
}

struct Word<T>(T);

impl<T: FromStr<Err: StdError + Send + Sync + 'static>> Parse for Word<T> {
    fn parse(text: &str) -> Result<Self, ReadError> {
        Ok(Self(text.parse()?))
    }
}

fn parsed<T: Parse>(row: &Row, column: usize) -> Result<Option<T>, Error> {
    let parsed: Option<Parsed<T>> = row.try_get(column)?;
    Ok(parsed.map(|Parsed(value)| value))
}

/// A column of a text; NULL is `None`.
pub(super) fn text(row: &Row, column: usize) -> Result<Option<String>, Error> {
    Ok(parsed(row, column)?.map(|Text(text)| text))
}

/// A column of JSON; NULL is `None`.
pub(super) fn json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<Option<T>, Error> {
    Ok(parsed(row, column)?.map(|Json(value)| value))
}

/// A column of a stored shape; NULL is `None`.
pub(super) fn shaped<T: Shaped>(row: &Row, column: usize) -> Result<Option<T>, Error> {
    Ok(parsed(row, column)?.map(|Shape(value)| value))
}

/// A column of a list of stored shapes; NULL is an empty one.
pub(super) fn list<T: Shaped>(row: &Row, column: usize) -> Result<Vec<T>, Error> {
    Ok(parsed(row, column)?.map_or_else(Vec::new, |List(list)| list))
}

/// A column of attempts, as told by our clock.
pub(super) fn attempts(row: &Row, column: usize) -> Result<Vec<Unanswered>, Error> {
    let attempts: Option<Attempts> = json(row, column)?;
    Ok(attempts.map_or_else(Vec::new, Attempts::on_our_clock))
}

/// A column of a word that parses, and is never NULL.
pub(super) fn word<T: FromStr<Err: StdError + Send + Sync + 'static>>(
    row: &Row,
    column: usize,
) -> Result<T, Error> {
    let Parsed(Word(value)) = row.try_get(column)?;
    Ok(value)
}

/// A column of a word of ours; NULL, and what no version of this program wrote, is `None`.
pub(super) fn known_word<T>(
    row: &Row,
    column: usize,
    from_word: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let word: Option<&str> = row.try_get(column)?;
    Ok(word.and_then(from_word))
}

/// What kind of run it is.
pub(super) fn kind(row: &Row, column: usize) -> Result<Kind, Error> {
    Ok(known_word(row, column, Kind::from_word)?.unwrap_or_default())
}

/// A column of a count; NULL is none.
pub(super) fn count(row: &Row, column: usize) -> Result<u64, Error> {
    let count: Option<i64> = row.try_get(column)?;
    Ok(count.unwrap_or_default().unsigned_abs())
}

/// A column of a small number; NULL is `None`. One that is too large is the largest.
pub(super) fn small<T: TryFrom<i64> + Max>(row: &Row, column: usize) -> Result<Option<T>, Error> {
    let number: Option<i64> = row.try_get(column)?;
    Ok(number.map(|number| T::try_from(number).unwrap_or(T::MAX)))
}

/// A number with a largest one.
pub(super) trait Max {
    const MAX: Self;
}

impl Max for u16 {
    const MAX: Self = u16::MAX;
}

impl Max for u32 {
    const MAX: Self = u32::MAX;
}

/// A time as it is kept: to the microsecond.
pub(super) fn moment(at: Timestamp) -> SystemTime {
    let micros = at.as_microsecond();
    let span = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { SystemTime::UNIX_EPOCH - span } else { SystemTime::UNIX_EPOCH + span }
}

/// A column of a time; NULL is `None`.
pub(super) fn time(row: &Row, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(row.try_get::<_, Option<SystemTime>>(column)?.map(timestamp))
}

/// A column of a time that is never NULL.
pub(super) fn at(row: &Row, column: usize) -> Result<Timestamp, Error> {
    row.try_get(column).map(timestamp)
}

/// The ledger holds what [`moment`] wrote; anything else is clamped.
fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(if at < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// A span in microseconds.
pub(super) fn span_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_no_database_can_hold_is_kept_and_read_to_the_letter() {
        for (text, expected) in [
            ("plain å", "plain å"),
            ("a\0b", "a\u{10ffff}0b"),
            ("\u{10ffff}0", "\u{10ffff}\u{10ffff}0"),
            ("\0\u{10ffff}\0", "\u{10ffff}0\u{10ffff}\u{10ffff}\u{10ffff}0"),
        ] {
            assert_eq!(kept(text), expected);
            assert_eq!(unkept(expected), text);
        }
    }
}
