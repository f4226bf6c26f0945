//! Inventories of any size, and what the sandbox's built-in world has in store for their VMs.

use std::fmt::Write;

/// The racks of the built-in world.
pub const RACKS: [&str; 4] = ["dc1r27", "dc1r28", "dc1r29", "dc2r01"];

/// Ids of VMs that exist in the built-in world, from `first` on.
pub fn vmids(first: u64, vms: usize) -> impl Iterator<Item = u64> {
    (first..).filter(|id| id % 100 != 99).take(vms)
}

/// The rack on which the built-in world has a VM.
pub fn rack_of(vmid: u64) -> &'static str {
    RACKS[usize::try_from(vmid / 20 % 4).unwrap()]
}

/// Whether a VM has an allocation before the first call.
pub fn is_allocated(vmid: u64) -> bool {
    vmid % 10 > 5
}

/// A CSV inventory of so many VMs, each on its rack; without actions.
pub fn csv(vms: usize) -> String {
    csv_of(vmids(100_000, vms))
}

pub fn csv_of(vmids: impl Iterator<Item = u64>) -> String {
    let mut csv = "vmid,name,rack_id\n".to_owned();
    for id in vmids {
        writeln!(csv, "{id},vm-{id},{}", rack_of(id)).unwrap();
    }
    csv
}
