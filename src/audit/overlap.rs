//! Which prefixes are the same or lie within each other, over a whole fleet at once.
//!
//! Two networks are apart, the same, or one within the other. Sorted by address, then by length, whatever lies within
//! a network follows right behind it: one sweep with a stack of the networks that are open finds everything.

use ipnet::Ipv6Net;

/// How many VMs stand for all that share addresses with one.
pub(super) const NAMED: usize = 3;

/// One VM's prefix as a number. The derived order puts a network right before those within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    network: u128,
    length: u8,
    vm: usize,
}

impl Span {
    /// `vm` is the VM's place among all; each place is taken once.
    pub(super) fn new(network: Ipv6Net, vm: usize) -> Self {
        Self { network: network.network().into(), length: network.prefix_len(), vm }
    }

    pub(super) fn vm(&self) -> usize {
        self.vm
    }

    pub(super) fn network(&self) -> Ipv6Net {
        Ipv6Net::new_assert(self.network.into(), self.length)
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.network, self.length) == (other.network, other.length)
    }

    fn contains(&self, other: &Self) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or_default();
        self.length <= other.length && (self.network ^ other.network) & mask == 0
    }
}

/// The VMs that share addresses with one: how many, and the nearest of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rivals {
    pub(super) vms: usize,
    /// At most [`NAMED`].
    pub(super) nearest: Vec<Span>,
}

/// One network, with all VMs that have it.
#[derive(Debug)]
struct Nest {
    /// From here to `end` the spans are this network.
    start: usize,
    /// From here to `until` they lie within it.
    end: usize,
    until: usize,
    /// The smallest network around it.
    parent: Option<usize>,
    /// VMs of all networks around it.
    around: usize,
}

impl Nest {
    fn vms(&self) -> usize {
        self.end - self.start
    }
}

/// All prefixes of a fleet, sorted, and what lies within what.
#[derive(Debug)]
pub(super) struct Overlaps {
    spans: Vec<Span>,
    nests: Vec<Nest>,
    /// The nest that each VM's span is in.
    nest_of: Vec<usize>,
}

impl Overlaps {
    pub(super) fn find(mut spans: Vec<Span>) -> Self {
        spans.sort_unstable();
        let nests = sweep(&spans);
        let mut nest_of = vec![0; spans.len()];
        for (number, nest) in nests.iter().enumerate() {
            for span in &spans[nest.start..nest.end] {
                nest_of[span.vm] = number;
            }
        }
        Self { spans, nests, nest_of }
    }

    /// The other VMs with the same prefix.
    pub(super) fn same(&self, vm: usize) -> Rivals {
        let nest = &self.nests[self.nest_of[vm]];
        let others = self.spans[nest.start..nest.end].iter().filter(|other| other.vm != vm);
        let nearest = others.take(NAMED).copied().collect();
        Rivals { vms: nest.vms() - 1, nearest }
    }

    /// The VMs with a prefix around this one or within it: first those around it, from the smallest on.
    pub(super) fn overlapping(&self, vm: usize) -> Rivals {
        let nest = &self.nests[self.nest_of[vm]];
        let parent = |nest: &Nest| nest.parent.map(|parent| &self.nests[parent]);
        let around = std::iter::successors(parent(nest), |nest| parent(nest));
        let around = around.flat_map(|nest| &self.spans[nest.start..nest.end]);
        let nearest = around.chain(&self.spans[nest.end..nest.until]).take(NAMED).copied().collect();
        Rivals { vms: nest.around + nest.until - nest.end, nearest }
    }
}

fn sweep(spans: &[Span]) -> Vec<Nest> {
    let mut nests: Vec<Nest> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut start = 0;
    for same in spans.chunk_by(Span::is_same) {
        while let Some(nest) = open.pop_if(|nest| !spans[nests[*nest].start].contains(&same[0])) {
            nests[nest].until = start;
        }
        let parent = open.last().copied();
        let around = parent.map_or(0, |parent| nests[parent].around + nests[parent].vms());
        let end = start + same.len();
        open.push(nests.len());
        nests.push(Nest { start, end, until: end, parent, around });
        start = end;
    }
    for nest in open {
        nests[nest].until = spans.len();
    }
    nests
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn overlaps(prefixes: &[&str]) -> Overlaps {
        let spans = prefixes.iter().enumerate();
        Overlaps::find(spans.map(|(vm, prefix)| Span::new(prefix.parse().unwrap(), vm)).collect())
    }

    fn told(rivals: &Rivals) -> (usize, Vec<usize>) {
        (rivals.vms, rivals.nearest.iter().map(Span::vm).collect())
    }

    #[test]
    fn the_same_and_overlapping_prefixes_are_told_apart_and_the_nearest_named() {
        let fleet = [
            "2001:db8:1::/56",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "2001:db9::/32",
            "2001:db8:1::/56",
            "2001:db8:1::1/128",
            "2001:db8:2::/48",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ];
        let overlaps = overlaps(&fleet);
        for (vm, same, overlapping) in [
            (0, (1, vec![4]), (3, vec![2, 1, 5])),
            (1, (0, vec![]), (5, vec![2, 0, 4])),
            (2, (0, vec![]), (4, vec![1, 0, 4])),
            (3, (0, vec![]), (0, vec![])),
            (4, (1, vec![0]), (3, vec![2, 1, 5])),
            (5, (0, vec![]), (4, vec![0, 4, 2])),
            (6, (0, vec![]), (1, vec![1])),
            (7, (0, vec![]), (0, vec![])),
        ] {
            assert_eq!(told(&overlaps.same(vm)), same, "{}", fleet[vm]);
            assert_eq!(told(&overlaps.overlapping(vm)), overlapping, "{}", fleet[vm]);
        }
    }

    #[test]
    fn a_default_route_holds_everything_and_a_fleet_may_be_empty() {
        let overlaps = overlaps(&["::/0", "ffff::/16", "::/0"]);
        assert_eq!(told(&overlaps.same(0)), (1, vec![2]));
        assert_eq!(told(&overlaps.overlapping(1)), (2, vec![0, 2]));
        assert!(Overlaps::find(vec![]).nests.is_empty());
    }

    #[test]
    fn neighbours_share_nothing() {
        let overlaps = overlaps(&["2001:db8::/49", "2001:db8:0:8000::/49", "2001:db8:1::/48"]);
        for vm in 0..3 {
            assert_eq!((overlaps.same(vm).vms, overlaps.overlapping(vm).vms), (0, 0), "{vm}");
        }
    }

    /// Networks that meet often: few bits that differ, at both ends of an address.
    fn any_network() -> impl Strategy<Value = Ipv6Net> {
        let length = prop_oneof![0_u8..=6, 120_u8..=128];
        (0_u128..64, 0_u128..256, length).prop_map(|(high, low, length)| {
            let address = (high << 122) | low;
            Ipv6Net::new(address.into(), length).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn every_pair_that_shares_addresses_is_found_and_no_other(
            networks in prop::collection::vec(any_network(), 0..40),
        ) {
            let spans = networks.iter().enumerate().map(|(vm, &network)| Span::new(network, vm));
            let overlaps = Overlaps::find(spans.collect());
            for (vm, network) in networks.iter().enumerate() {
                let others = |shares: &dyn Fn(&Ipv6Net) -> bool| -> Vec<usize> {
                    (0..networks.len()).filter(|&other| other != vm && shares(&networks[other])).collect()
                };
                let same = others(&|other| other == network);
                let nested =
                    others(&|other| other != network && (other.contains(network) || network.contains(other)));
                for (found, expected) in [(overlaps.same(vm), same), (overlaps.overlapping(vm), nested)] {
                    prop_assert_eq!(found.vms, expected.len());
                    let named: BTreeSet<usize> = found.nearest.iter().map(Span::vm).collect();
                    prop_assert_eq!(named.len(), expected.len().min(NAMED));
                    prop_assert!(named.iter().all(|other| expected.contains(other)));
                    prop_assert!(found.nearest.iter().all(|other| other.network() == networks[other.vm()]));
                }
            }
        }
    }
}
