//! The evidence of a finding, in words.

use jiff::Timestamp;

use crate::audit::{Finding, Kind, Other};
use crate::text::{count, counted, excerpt};

/// Characters of one text from outside.
pub(super) const TEXT: usize = 60;

pub(super) fn actual(finding: &Finding, limit: usize) -> Option<String> {
    let actual = finding.actual.as_deref()?;
    Some(format!("{}{}", word_before(finding.kind), excerpt(actual, limit)))
}

/// What makes a sentence of the actual text where that is a time.
fn word_before(kind: Kind) -> &'static str {
    match kind {
        Kind::Released => "released ",
        Kind::CoolingDown => "until ",
        Kind::SamePrefix
        | Kind::OverlappingPrefix
        | Kind::PrefixDiffers
        | Kind::NextHopDiffers
        | Kind::RackDiffers
        | Kind::NeverSeen
        | Kind::NoAllocation
        | Kind::NotActive
        | Kind::OddNextHop
        | Kind::AccountDiffers
        | Kind::ClientDiffers
        | Kind::ProxmoxVmDiffers
        | Kind::NotInInventory
        | Kind::NotSeenLately
        | Kind::HostBits => "",
    }
}

/// The other VMs that have a part in it.
pub(super) fn company(finding: &Finding) -> Option<String> {
    let others = finding.other_vms as u64;
    let named: Vec<String> = finding.others.iter().map(other).collect();
    match (others, named.len() as u64) {
        (0, _) => None,
        (_, 0) => Some(format!("{} of its rack", counted(others, "VM", "VMs"))),
        (_, shown) if others > shown => {
            Some(format!("{} and {} more", named.join(", "), count(others - shown)))
        }
        (_, _) => Some(named.join(", ")),
    }
}

fn other(Other { vmid, prefix, seen_at }: &Other) -> String {
    format!("{} has {} (seen {})", excerpt(vmid, TEXT), excerpt(prefix, TEXT), date(*seen_at))
}

pub(super) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}
