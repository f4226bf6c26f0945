//! Inventory files → checked [`Vm`] records, one at a time; every bad row named.
//!
//! One pass over each file, in memory that does not grow with the fleet. Nothing here calls the API, and
//! nothing stops at a bad row: the caller decides what an [`InvalidRow`] means for the run.

mod columns;
mod csv;
mod delimiter;
mod document;
mod encoding;
mod error;
mod file;
mod format;
mod inputs;
mod json;
mod lines;
mod nearest;
mod page;
mod path;
mod proxmox;
mod read;
mod row;
mod seen;
mod selection;
mod source;
mod unmatched;
mod vm;

pub use columns::{Column, ColumnMap, InvalidColumnMap, InvalidMapping, MAX_NAME, Mapping};
pub use delimiter::{Delimiter, InvalidDelimiter};
pub use encoding::{Encoding, InvalidEncoding};
pub use error::{InvalidRow, InventoryError};
pub use file::{InventoryFile, PIPE, identity};
pub use format::{Format, InvalidFormat};
pub use inputs::Inputs;
pub use path::{InvalidPath, Path};
pub use read::{Event, Place, ReadOptions, Reading, read};
pub use row::MAX_LABEL;
pub use selection::{InvalidPattern, RackPattern, Selection, SelectionError, VmidPattern, WherePattern};
pub use unmatched::Unmatched;
pub use vm::Vm;

/// The options by which the same bytes are read as other VMs.
pub const READING: [&str; 5] = ["inventory-format", "delimiter", "encoding", "items", "column"];
