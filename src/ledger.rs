//! Where a run lives: runs, their items, and the last-known allocation of every VM.

mod row;
mod summary;

pub use row::Row;
pub use summary::{Counts, FailureCount, InventoryFile, RackCounts, RunInfo, Summary};
