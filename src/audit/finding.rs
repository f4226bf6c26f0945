//! A finding: what is wrong with one VM, how bad that is, and the evidence.

use jiff::Timestamp;
use serde::Serialize;

use crate::inventory::Vm;
use crate::ledger::Sighting;
use crate::text::moment_field;
use crate::words::words;

words! {
    /// How bad a finding is; the greater, the worse.
    Severity { Notice = "notice", Warning = "warning", Error = "error" }
}

words! {
    /// What is wrong, the worst first.
    Kind {
        /// Another VM has this VM's prefix.
        SamePrefix = "same_prefix",
        /// Another VM's prefix is a part of this VM's, or the other way round.
        OverlappingPrefix = "overlapping_prefix",
        PrefixDiffers = "prefix_differs",
        NextHopDiffers = "next_hop_differs",
        RackDiffers = "rack_differs",
        Released = "released",
        NeverSeen = "never_seen",
        /// A look found none.
        NoAllocation = "no_allocation",
        NotActive = "not_active",
        CoolingDown = "cooling_down",
        /// Most VMs of its rack have another next hop.
        OddNextHop = "odd_next_hop",
        AccountDiffers = "account_differs",
        ClientDiffers = "client_differs",
        ProxmoxVmDiffers = "proxmox_vm_differs",
        NotInInventory = "not_in_inventory",
        NotSeenLately = "not_seen_lately",
        HostBits = "host_bits",
    }
}

impl Kind {
    pub fn severity(self) -> Severity {
        match self {
            Self::SamePrefix
            | Self::OverlappingPrefix
            | Self::PrefixDiffers
            | Self::NextHopDiffers
            | Self::RackDiffers
            | Self::Released
            | Self::NeverSeen
            | Self::NoAllocation => Severity::Error,
            Self::NotActive
            | Self::CoolingDown
            | Self::OddNextHop
            | Self::AccountDiffers
            | Self::ClientDiffers
            | Self::ProxmoxVmDiffers
            | Self::NotInInventory => Severity::Warning,
            Self::NotSeenLately | Self::HostBits => Severity::Notice,
        }
    }
}

/// One thing that is wrong with one VM. Texts are as they came: each format escapes for itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub kind: Kind,
    pub vmid: String,
    pub name: Option<String>,
    /// As last seen, else as in the inventory.
    pub rack_id: Option<String>,
    /// By the inventory, by the rest of the rack, or by what an allocation should be.
    pub expected: Option<String>,
    pub actual: Option<String>,
    /// How many other VMs have a part in it.
    pub other_vms: usize,
    /// The nearest of them, where they are rivals.
    pub others: Vec<Other>,
    /// When this was seen; `None` where the VM never was.
    #[serde(serialize_with = "moment_field")]
    pub seen_at: Option<Timestamp>,
}

/// Another VM that a finding names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    pub vmid: String,
    pub prefix: String,
    #[serde(serialize_with = "moment_field")]
    pub seen_at: Timestamp,
}

impl Finding {
    /// The finding without its evidence.
    pub(super) fn about(kind: Kind, vm: &Vm, last: Option<&Sighting>) -> Self {
        Self {
            severity: kind.severity(),
            kind,
            vmid: vm.id.to_string(),
            name: vm.name.clone(),
            rack_id: last
                .and_then(|last| last.allocation.as_ref()?.rack_id.clone())
                .or_else(|| vm.expected.rack_id.clone()),
            expected: None,
            actual: None,
            other_vms: 0,
            others: Vec::new(),
            seen_at: last.map(|last| last.seen_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_kinds_come_first() {
        assert!(Kind::ALL.is_sorted_by_key(|kind| std::cmp::Reverse(kind.severity())));
        assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Notice);
    }
}
