//! Inventory files → checked [`Vm`] records, one at a time; every bad row named.

mod vm;

pub use vm::{Action, InvalidAction, InvalidVmId, Vm, VmId};
