//! Columns that hold JSON, a word or a time.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;

use crate::ledger::dating::Attempts;
use crate::ledger::stored::{self, Shaped};
use crate::outcome::{Kind, Unanswered};

/// A column of JSON; NULL is `None`.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, rusqlite::Error> {
    read(row, column, stored::from_json)
}

/// A column of a stored shape; NULL is `None`.
pub(super) fn shaped<T: Shaped>(row: &Row<'_>, column: usize) -> Result<Option<T>, rusqlite::Error> {
    read(row, column, stored::read)
}

/// A column of a list of stored shapes; NULL is an empty one.
pub(super) fn list<T: Shaped>(row: &Row<'_>, column: usize) -> Result<Vec<T>, rusqlite::Error> {
    read(row, column, stored::read_list).map(Option::unwrap_or_default)
}

/// A column of attempts, as told by our clock.
pub(super) fn attempts(row: &Row<'_>, column: usize) -> Result<Vec<Unanswered>, rusqlite::Error> {
    let attempts: Option<Attempts> = json(row, column)?;
    Ok(attempts.map_or_else(Vec::new, Attempts::on_our_clock))
}

/// A column of a word that parses.
pub(super) fn word<T: FromStr<Err: Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: usize,
) -> Result<T, rusqlite::Error> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

/// What kind of run it is.
pub(super) fn kind(row: &Row<'_>, column: usize) -> Result<Kind, rusqlite::Error> {
    let word = row.get_ref(column)?.as_str()?;
    Ok(Kind::from_word(word).unwrap_or_default())
}

/// A column of a time; NULL is `None`.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, rusqlite::Error> {
    row.get::<_, Option<i64>>(column).map(|micros| micros.map(timestamp))
}

/// A column of a count; NULL is none.
pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, Option<i64>>(column).map(|count| count.unwrap_or_default().unsigned_abs())
}

/// A column of a VM's calls; NULL is none.
pub(super) fn calls(row: &Row<'_>, column: usize) -> Result<u32, rusqlite::Error> {
    row.get::<_, Option<u32>>(column).map(Option::unwrap_or_default)
}

/// A span in microseconds.
pub(super) fn span_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Microseconds since 1970.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The ledger holds what [`micros`] wrote; anything else is clamped.
pub(super) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn read<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, serde_json::Error>,
) -> Result<Option<T>, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(parse).transpose().map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
