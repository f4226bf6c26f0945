//! Columns that hold JSON or a word.

use std::error::Error;
use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON text; `None` where it cannot be written, which no type of ours brings about.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// Like [`write`], but an empty list takes no room.
pub(super) fn write_list<T: Serialize>(list: &[T]) -> Option<String> {
    (!list.is_empty()).then(|| write(list)).flatten()
}

/// A column of JSON; NULL is `None`.
pub(super) fn read<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(serde_json::from_str).transpose().map_err(|error| unreadable(column, error))
}

/// A column of a word that parses.
pub(super) fn word<T: FromStr<Err: Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: usize,
) -> Result<T, rusqlite::Error> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
