//! What a kind of finding means, and what a person can do about it.

use super::AuditInfo;
use crate::audit::Kind;
use crate::text::counted;

pub(super) fn advice(kind: Kind, info: &AuditInfo) -> String {
    let advice = match kind {
        Kind::SamePrefix => {
            "two VMs have one prefix: run refresh_next_hop for both; if it stays so, ask HostUp which one keeps it"
        }
        Kind::OverlappingPrefix => {
            "one VM's prefix lies within another's: run refresh_next_hop for both; if it stays so, ask HostUp"
        }
        Kind::PrefixDiffers => "not the inventory's prefix: mend the inventory, or find out who changed it",
        Kind::NextHopDiffers => {
            "not the inventory's next hop: run refresh_next_hop if the rack had maintenance, else mend the inventory"
        }
        Kind::RackDiffers => {
            "not the inventory's rack: was the VM moved? mend the inventory, or move it back"
        }
        Kind::Released => "the allocation was released: run allocate if the VM still needs a prefix",
        Kind::NeverSeen => "nothing is known of these VMs at this base URL: run allocate for them",
        Kind::NoAllocation => "the API was asked, and has no allocation for these VMs: run allocate for them",
        Kind::NotActive => "the allocation is not in use: run refresh_next_hop; if it stays so, ask HostUp",
        Kind::CoolingDown => "the prefix was given back and is kept for a while: does the VM still need one?",
        Kind::OddNextHop => {
            "most VMs of the rack have another next hop: was a maintenance missed? run refresh_next_hop for these"
        }
        Kind::AccountDiffers | Kind::ClientDiffers | Kind::ProxmoxVmDiffers => {
            "not the inventory's id: is the inventory's vmid that of another VM?"
        }
        Kind::NotInInventory => {
            "the ledger knows VMs that the inventory has not: were they removed, or is a part of the inventory missing?"
        }
        Kind::NotSeenLately => {
            let days = counted(info.max_age_days.into(), "day", "days");
            return format!(
                "not seen for more than {days}: this may be out of date; run refresh_next_hop for them"
            );
        }
        Kind::HostBits => {
            "written with more than the network; harmless here, but check what other tools make of it"
        }
    };
    advice.to_owned()
}
