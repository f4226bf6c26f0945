//! What can be wrong with a ledger, in words that say what to do about it.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::store::SCHEMA;
use crate::text::shown_path;

/// Why a ledger cannot be used, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("{}: there is no ledger yet: nothing has been run", shown_path(.0))]
    Missing(PathBuf),
    #[error("{}: not a v6fleet ledger; name another file with --ledger", shown_path(.0))]
    NotALedger(PathBuf),
    #[error(
        "{}: written by a newer v6fleet (schema {found}, this one knows {}); upgrade, or name another file with --ledger",
        shown_path(path),
        SCHEMA
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{}: in use by another run ({holder}); wait for it, or give --lock-timeout", shown_path(path))]
    Locked { path: PathBuf, holder: String },
    #[error(
        "{}: {kind} can neither lock nor share memory reliably; keep the ledger on a local disk (--ledger)",
        shown_path(path)
    )]
    UnfitFileSystem { path: PathBuf, kind: &'static str },
    #[error("{}: {reason}", shown_path(path))]
    Unusable { path: PathBuf, reason: String },
    #[error(
        "{}: was removed, renamed or replaced while the run went on: another run may have begun, and nobody would have \
         seen what this one still wrote",
        shown_path(path)
    )]
    Replaced { path: PathBuf },
    #[error(
        "{}: {error}; the ledger and its directory must be there to be written, with room on the disk",
        shown_path(path)
    )]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {}", shown_path(path), told(error))]
    Sqlite { path: PathBuf, error: rusqlite::Error },
    #[error("no run {0:?} in the ledger")]
    UnknownRun(String),
    #[error("{0:?} is the start of more than one run id; write more of it")]
    AmbiguousRun(String),
    #[error("this ledger holds {held}; give {wanted} one of its own with --ledger")]
    Mixed { held: &'static str, wanted: &'static str },
    #[error("the ledger has {found} rows for {expected} selected VMs")]
    Miscounted { expected: u64, found: u64 },
    #[error("the thread that writes the ledger cannot be started: {0}")]
    NoWriter(#[source] io::Error),
    #[error("the thread that writes the ledger is gone")]
    WriterGone,
    #[error("the VM at position {0} was settled twice, or never claimed")]
    SettledTwice(i64),
}

/// SQLite's words for it, its number, and what to do where that is known.
fn told(error: &rusqlite::Error) -> String {
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
