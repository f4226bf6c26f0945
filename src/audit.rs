//! What is not as it should be, from the ledger and the inventory alone: nothing is called, nothing is written.
//!
//! Each finding is about one VM and carries its evidence. VMs are compared with all that the ledger has seen at the
//! base URL, as numbers that are sorted once.

mod finding;
mod fleet;
mod overlap;

use jiff::{SignedDuration, Timestamp};

pub use finding::{Finding, Kind, Other, Severity};
pub use fleet::{Census, Fleet, Majority, Rivals};

use crate::allocation::{Allocation, Drift, Field};
use crate::inventory::Vm;
use crate::ledger::Sighting;

/// What VMs are judged by, besides the inventory and each other.
#[derive(Debug, Clone, Copy)]
pub struct Standard {
    pub now: Timestamp,
    /// A VM not seen for longer is a finding.
    pub max_age: SignedDuration,
}

/// Everything that is wrong with a VM of the inventory, the worst first. `last` is what was last seen of it.
pub fn examine(vm: &Vm, last: Option<&Sighting>, fleet: &Fleet, standard: Standard) -> Vec<Finding> {
    let Some(last) = last else { return vec![Finding::about(Kind::NeverSeen, vm, None)] };
    let Some(allocation) = &last.allocation else {
        return vec![Finding::about(Kind::NoAllocation, vm, Some(last))];
    };
    let mut findings: Vec<Finding> = contests(vm, last, allocation, fleet)
        .chain(unmet(vm, last, allocation))
        .chain(unsound(vm, last, allocation))
        .chain(aged(vm, last, standard))
        .chain(outvoted(vm, last, allocation, fleet))
        .collect();
    findings.sort_by_key(|finding| finding.kind);
    findings
}

/// That a VM of the ledger is not in the inventory. `vm` is all that is known of it.
pub fn missing(vm: &Vm, last: &Sighting) -> Finding {
    let actual = last.allocation.as_ref().map(|allocation| allocation.prefix.to_string());
    Finding { actual, ..Finding::about(Kind::NotInInventory, vm, Some(last)) }
}

/// Other VMs that have addresses of this VM's prefix.
fn contests(
    vm: &Vm,
    last: &Sighting,
    allocation: &Allocation,
    fleet: &Fleet,
) -> impl Iterator<Item = Finding> {
    let contests =
        [(Kind::SamePrefix, fleet.same_prefix(&vm.id)), (Kind::OverlappingPrefix, fleet.overlapping(&vm.id))];
    contests.into_iter().filter_map(|(kind, rivals)| {
        let Rivals { vms, nearest } = rivals?;
        let actual = Some(allocation.prefix.to_string());
        Some(Finding { actual, other_vms: vms, others: nearest, ..Finding::about(kind, vm, Some(last)) })
    })
}

/// What the inventory expects and was not seen.
fn unmet<'a>(
    vm: &'a Vm,
    last: &'a Sighting,
    allocation: &Allocation,
) -> impl Iterator<Item = Finding> + use<'a> {
    vm.expected.drift(allocation).into_iter().filter_map(move |Drift { field, expected, actual }| {
        let about = Finding::about(unmet_kind(field)?, vm, Some(last));
        Some(Finding { expected: Some(expected), actual: Some(actual), ..about })
    })
}

/// `None` for what no inventory expects anything of.
fn unmet_kind(field: Field) -> Option<Kind> {
    match field {
        Field::Prefix => Some(Kind::PrefixDiffers),
        Field::NextHop => Some(Kind::NextHopDiffers),
        Field::RackId => Some(Kind::RackDiffers),
        Field::AccountId => Some(Kind::AccountDiffers),
        Field::ClientId => Some(Kind::ClientDiffers),
        Field::ProxmoxVmId => Some(Kind::ProxmoxVmDiffers),
        Field::Status | Field::Id => None,
    }
}

/// What is wrong with the allocation, whatever anybody expects.
fn unsound(vm: &Vm, last: &Sighting, allocation: &Allocation) -> Vec<Finding> {
    let Allocation { prefix, status, released_at, cooldown_until, .. } = allocation;
    let about = |kind| Finding::about(kind, vm, Some(last));
    let mut findings = Vec::new();
    if let Some(status) = status.as_ref().filter(|status| *status != ACTIVE) {
        findings.push(Finding {
            expected: Some(ACTIVE.to_owned()),
            actual: Some(status.clone()),
            ..about(Kind::NotActive)
        });
    }
    for (kind, moment) in [(Kind::Released, released_at), (Kind::CoolingDown, cooldown_until)] {
        let since = moment.as_ref().map(ToString::to_string);
        findings.extend(since.map(|since| Finding { actual: Some(since), ..about(kind) }));
    }
    if prefix.has_host_bits() {
        findings.push(Finding {
            expected: Some(prefix.network().to_string()),
            actual: Some(prefix.to_string()),
            ..about(Kind::HostBits)
        });
    }
    findings
}

/// That the VM may have changed since.
fn aged(vm: &Vm, last: &Sighting, standard: Standard) -> Option<Finding> {
    let is_old = standard.now.duration_since(last.seen_at) > standard.max_age;
    is_old.then(|| Finding::about(Kind::NotSeenLately, vm, Some(last)))
}

/// The status of an allocation that is in use.
const ACTIVE: &str = "active";

fn outvoted(vm: &Vm, last: &Sighting, allocation: &Allocation, fleet: &Fleet) -> Option<Finding> {
    fleet.outvotes(allocation).map(|Majority { next_hop, vms }| Finding {
        expected: Some(next_hop.to_string()),
        actual: allocation.next_hop.as_ref().map(ToString::to_string),
        other_vms: vms,
        ..Finding::about(Kind::OddNextHop, vm, Some(last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::{Expected, tests::example};

    const NOW: &str = "2026-11-24T08:00:00Z";

    fn vm(expected: Expected) -> Vm {
        Vm { id: "10000".parse().unwrap(), name: None, action: None, expected, labels: vec![] }
    }

    /// The kinds of finding about a VM that is alone in its ledger, so many days after it was seen.
    fn kinds(allocation: Allocation, expected: Expected, days: i64) -> Vec<Kind> {
        let now: Timestamp = NOW.parse().unwrap();
        let vm = vm(expected);
        let mut census = Census::default();
        let seen_at = now - SignedDuration::from_hours(24 * days);
        census.add(&vm.id, &allocation, seen_at);
        let last = Sighting { allocation: Some(allocation), seen_at };
        let standard = Standard { now, max_age: SignedDuration::from_hours(24 * 30) };
        let findings = examine(&vm, Some(&last), &census.compare(), standard);
        findings.into_iter().map(|finding| finding.kind).collect()
    }

    fn sound() -> Allocation {
        Allocation { prefix: "2001:db8::/48".parse().unwrap(), ..example() }
    }

    #[test]
    fn a_sound_allocation_has_no_finding_until_it_is_too_old() {
        for (days, expected) in [(0, &[][..]), (30, &[]), (31, &[Kind::NotSeenLately]), (-1, &[])] {
            assert_eq!(kinds(sound(), Expected::default(), days), expected, "{days}");
        }
    }

    #[test]
    fn everything_that_is_wrong_with_a_vm_is_told_the_worst_first() {
        let moment = || Some("2026-11-20 00:00:00+00".to_owned().into());
        let allocation = Allocation {
            status: Some("released".into()),
            released_at: moment(),
            cooldown_until: moment(),
            ..example()
        };
        let expected = Expected {
            prefix: Some("2001:db8:1::/48".parse().unwrap()),
            next_hop: Some("2001:db8::1/128".parse().unwrap()),
            client_id: Some("1".into()),
            ..Expected::default()
        };
        let all = [
            Kind::PrefixDiffers,
            Kind::Released,
            Kind::NotActive,
            Kind::CoolingDown,
            Kind::ClientDiffers,
            Kind::NotSeenLately,
            Kind::HostBits,
        ];
        assert_eq!(kinds(allocation, expected, 99), all);
    }

    #[test]
    fn of_a_vm_that_was_never_seen_nothing_else_is_said() {
        let expected = Expected { rack_id: Some("dc1r28".into()), ..Expected::default() };
        let standard = Standard { now: NOW.parse().unwrap(), max_age: SignedDuration::ZERO };
        let findings = examine(&vm(expected), None, &Census::default().compare(), standard);
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((finding.kind, finding.rack_id.as_deref()), (Kind::NeverSeen, Some("dc1r28")));
    }
}
