//! The database's errors, for people: in its words, with its number, and what to do where that is known.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::ledger::error::LedgerError;

/// An error of the database, for people.
pub(super) fn engine_error(path: &Path) -> impl Fn(rusqlite::Error) -> LedgerError + Copy {
    move |error| LedgerError::Engine { path: path.to_owned(), words: in_words(&error) }
}

/// SQLite's words for it, its number, and what to do where that is known.
fn in_words(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make room on the ledger's disk",
        Some(ErrorCode::SystemIoFailure) => {
            "what was written may not have reached the disk: look for its errors in the system's log, and for room on it"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            "the ledger, its directory and the -wal and -shm files beside it must be writable"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "the ledger is damaged: put a backup in its place, or save what there is with `sqlite3 LEDGER .recover`"
        }
        _ => return error.to_string(),
    };
    let number = error.sqlite_extended_error_code().unwrap_or_default();
    format!("{error} (SQLite {number}); {advice}")
}

/// An error of a file that may be no ledger at all.
pub(super) fn broken(path: &Path, error: rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => LedgerError::NotALedger(path.to_owned()),
        _ => engine_error(path)(error),
    }
}
