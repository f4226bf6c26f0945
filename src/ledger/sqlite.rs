//! A ledger in one file: SQLite, with one writer at a time and readers at any time.

mod begin;
mod board;
mod book;
mod burial;
mod claims;
mod column;
mod draft;
mod engine;
mod engine_error;
mod file;
mod fold;
mod known;
mod lock;
mod log;
mod path;
mod pending;
mod plain;
mod prune;
mod rates;
mod runs;
mod schema;
mod statements;
mod steps;
mod store;

mod vms;

use crate::outcome::Kind;

pub(super) use file::Sqlite;
pub use path::beside;

/// A run by the numbers that its rows have.
#[derive(Debug, Clone, Copy)]
struct Run {
    no: i64,
    base: i64,
    kind: Kind,
}
