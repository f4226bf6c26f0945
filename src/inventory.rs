//! Inventory files → checked [`Vm`] records, one at a time; every bad row named.
//!
//! Nothing here calls anything or knows of earlier runs, and no fleet is held in memory.

mod columns;
mod csv;
mod format;
mod input;
mod json;
mod read;
mod row;
mod seen;
mod selection;
mod vm;

#[cfg(test)]
mod tests;

pub use columns::{InvalidColumns, InvalidMapping, Mapping};
pub use format::{Format, InvalidFormat};
pub use read::{Event, Fleet, InventoryError, ReadOptions, read};
pub use row::InvalidRow;
pub use selection::{InvalidPattern, RackPattern, Selection, VmPattern, WherePattern};
pub use vm::{Action, InvalidAction, InvalidVmId, Vm, VmId};
