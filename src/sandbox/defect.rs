//! For whom every request goes wrong, until somebody mends it.

use std::collections::HashMap;

use super::fault::Fault;
use super::rack::RackIndex;

/// The racks and VMs with which every call goes wrong, until somebody mends them.
#[derive(Debug, Default)]
pub(super) struct Defects {
    racks: HashMap<RackIndex, Fault>,
    vms: HashMap<u64, Fault>,
}

impl Defects {
    pub(super) fn is_empty(&self) -> bool {
        self.racks.is_empty() && self.vms.is_empty()
    }

    /// The VM's own fault goes before its rack's.
    pub(super) fn of(&self, vmid: u64, rack: Option<RackIndex>) -> Option<Fault> {
        self.vms.get(&vmid).or_else(|| self.racks.get(&rack?)).copied()
    }

    /// `None` mends.
    pub(super) fn set_rack(&mut self, rack: RackIndex, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.racks.insert(rack, fault),
            None => self.racks.remove(&rack),
        };
    }

    /// `None` mends.
    pub(super) fn set_vm(&mut self, vmid: u64, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.vms.insert(vmid, fault),
            None => self.vms.remove(&vmid),
        };
    }

    pub(super) fn racks(&self) -> impl Iterator<Item = (RackIndex, Fault)> {
        self.racks.iter().map(|(&rack, &fault)| (rack, fault))
    }

    pub(super) fn vms(&self) -> impl Iterator<Item = (u64, Fault)> {
        self.vms.iter().map(|(&vmid, &fault)| (vmid, fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::fault::{ServerError, When};

    #[test]
    fn a_defect_lasts_until_it_is_mended_and_a_vms_own_goes_first() {
        let mut world = super::super::World::built_in();
        let racks = ["dc1r27", "dc1r28"].map(|name| world.rack_or_new(name).unwrap());
        let (hang, status) = (Fault::Hang(When::Before), Fault::Status(ServerError::Internal, When::Before));
        let mut defects = Defects::default();
        assert!(defects.is_empty());
        defects.set_rack(racks[0], Some(hang));
        defects.set_vm(7, Some(status));
        for (vmid, rack, expected) in [
            (7, Some(racks[0]), Some(status)),
            (8, Some(racks[0]), Some(hang)),
            (8, Some(racks[1]), None),
            (7, None, Some(status)),
            (8, None, None),
        ] {
            assert_eq!(defects.of(vmid, rack), expected, "{vmid}");
        }
        defects.set_rack(racks[0], None);
        defects.set_vm(7, None);
        assert!(defects.is_empty());
    }
}
