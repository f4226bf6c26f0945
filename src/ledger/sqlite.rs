//! A ledger in one file: SQLite, with one writer at a time and readers at any time.

mod begin;
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

/// How a run's items and events are numbered: the same in all of its tables, in the order of each.
fn number(run: i64, number: i64) -> i64 {
    run << 32 | number
}

/// The first and the last number of a run.
fn span(run: i64) -> [i64; 2] {
    [number(run, 0), number(run, u32::MAX.into())]
}

/// The position of an item in the inventory.
fn position(item: i64) -> i64 {
    item & i64::from(u32::MAX)
}
