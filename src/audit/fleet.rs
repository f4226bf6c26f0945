//! Every VM that was ever seen, as far as VMs are compared with each other: numbers, and no other text than the ids.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use jiff::Timestamp;

use super::finding::Other;
use super::overlap::{self, Overlaps, Span};
use crate::allocation::Allocation;
use crate::vm::VmId;

/// VM ids in one piece of text, in ascending order.
#[derive(Debug, Default)]
struct Ids {
    text: String,
    ends: Vec<usize>,
}

impl Ids {
    fn push(&mut self, id: &VmId) {
        self.text.push_str(id.as_str());
        self.ends.push(self.text.len());
    }

    fn get(&self, place: usize) -> &str {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.text[start..self.ends[place]]
    }

    fn find(&self, id: &VmId) -> Option<usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.get(middle).cmp(id.as_str()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// How many VMs of a rack have which next hop.
type NextHops = HashMap<Ipv6Addr, usize>;

/// A fleet while its VMs are read.
#[derive(Debug, Default)]
pub struct Census {
    ids: Ids,
    seen_at: Vec<Timestamp>,
    spans: Vec<Span>,
    racks: HashMap<Box<str>, NextHops>,
}

impl Census {
    /// Takes in the next VM; they come in ascending order of their ids as text.
    pub fn add(&mut self, id: &VmId, allocation: &Allocation, seen_at: Timestamp) {
        self.spans.push(Span::new(allocation.prefix.network(), self.spans.len()));
        self.ids.push(id);
        self.seen_at.push(seen_at);
        let Some((rack, next_hop)) = allocation.rack_id.as_deref().zip(allocation.next_hop.as_ref()) else {
            return;
        };
        if !self.racks.contains_key(rack) {
            self.racks.insert(rack.into(), NextHops::new());
        }
        if let Some(rack) = self.racks.get_mut(rack) {
            *rack.entry(next_hop.address()).or_default() += 1;
        }
    }

    pub fn compare(self) -> Fleet {
        let majorities = self.racks.into_iter().filter_map(|(rack, hops)| Some((rack, majority(&hops)?)));
        Fleet {
            in_inventory: vec![false; self.spans.len()],
            majorities: majorities.collect(),
            overlaps: Overlaps::find(self.spans),
            ids: self.ids,
            seen_at: self.seen_at,
        }
    }
}

/// The next hop of more than half of a rack's VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Majority {
    pub next_hop: Ipv6Addr,
    pub vms: usize,
}

fn majority(hops: &NextHops) -> Option<Majority> {
    let all: usize = hops.values().sum();
    let (&next_hop, &vms) = hops.iter().max_by_key(|(_, vms)| **vms)?;
    (vms * 2 > all).then_some(Majority { next_hop, vms })
}

/// The VMs that share addresses with one: how many, and the nearest of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Rivals {
    pub vms: usize,
    pub nearest: Vec<Other>,
}

/// All VMs of a ledger, compared with each other.
#[derive(Debug)]
pub struct Fleet {
    ids: Ids,
    seen_at: Vec<Timestamp>,
    overlaps: Overlaps,
    majorities: HashMap<Box<str>, Majority>,
    in_inventory: Vec<bool>,
}

impl Fleet {
    pub fn is_empty(&self) -> bool {
        self.ids.ends.is_empty()
    }

    /// Notes that the inventory has a VM.
    pub fn note(&mut self, id: &VmId) {
        if let Some(place) = self.ids.find(id) {
            self.in_inventory[place] = true;
        }
    }

    /// The VMs that the inventory did not have.
    pub fn missing(&self) -> impl Iterator<Item = VmId> {
        let missing = self.in_inventory.iter().enumerate().filter(|(_, noted)| !**noted);
        missing.map(|(place, _)| self.ids.get(place).into())
    }

    /// The next hop of most VMs of the allocation's rack, where it is known to have another.
    pub fn outvotes(&self, allocation: &Allocation) -> Option<Majority> {
        let own = allocation.next_hop.as_ref()?.address();
        let majority = self.majorities.get(allocation.rack_id.as_deref()?).copied();
        majority.filter(|majority| majority.next_hop != own)
    }

    /// The other VMs with the same prefix.
    pub fn same_prefix(&self, id: &VmId) -> Option<Rivals> {
        self.rivals(self.overlaps.same(self.ids.find(id)?))
    }

    /// The VMs with a prefix around this one's, or within it.
    pub fn overlapping(&self, id: &VmId) -> Option<Rivals> {
        self.rivals(self.overlaps.overlapping(self.ids.find(id)?))
    }

    /// `None` where there are none.
    fn rivals(&self, overlap::Rivals { vms, nearest }: overlap::Rivals) -> Option<Rivals> {
        let nearest = nearest.iter().map(|span| self.other(span)).collect();
        (vms > 0).then_some(Rivals { vms, nearest })
    }

    fn other(&self, span: &Span) -> Other {
        let (vmid, seen_at) = (self.ids.get(span.vm()).to_owned(), self.seen_at[span.vm()]);
        Other { vmid, prefix: span.network().to_string(), seen_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::tests::example;

    const VPS: &str = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";

    fn id(text: &str) -> VmId {
        text.parse().unwrap()
    }

    fn census(next_hops: &[&str]) -> Fleet {
        let mut census = Census::default();
        for (vm, next_hop) in (1..).zip(next_hops) {
            let prefix = format!("2001:db8:{vm}::/48").parse().unwrap();
            let allocation = Allocation { next_hop: next_hop.parse().ok(), prefix, ..example() };
            census.add(&id(&vm.to_string()), &allocation, Timestamp::UNIX_EPOCH);
        }
        census.compare()
    }

    #[test]
    fn only_more_than_half_of_a_rack_outvote_a_next_hop() {
        let odd = Allocation { next_hop: "2001:db8::9".parse().ok(), ..example() };
        let same = ["2001:db8::1", "2001:db8::1/128", "2001:DB8::1"];
        let outvoted = census(&[&same[..], &["2001:db8::9", "2001:db8::8"]].concat()).outvotes(&odd);
        assert_eq!(outvoted, Some(Majority { next_hop: "2001:db8::1".parse().unwrap(), vms: 3 }));
        for split in
            [&["2001:db8::1", "2001:db8::9"][..], &["2001:db8::1", "2001:db8::2", "2001:db8::9"], &[]]
        {
            assert_eq!(census(split).outvotes(&odd), None, "{split:?}");
        }
        let unknown = Allocation { next_hop: None, ..example() };
        assert_eq!(census(&same).outvotes(&unknown), None);
        let elsewhere = Allocation { rack_id: Some("dc9r99".into()), ..odd };
        assert_eq!(census(&same).outvotes(&elsewhere), None);
    }

    #[test]
    fn vms_are_found_by_their_ids_in_the_order_of_text() {
        let mut census = Census::default();
        for vm in ["1", "10", "100", "2", "20", VPS] {
            census.add(&id(vm), &example(), Timestamp::UNIX_EPOCH);
        }
        let mut fleet = census.compare();
        for vm in ["1", "10", "100", "2", "20", VPS] {
            assert_eq!(fleet.same_prefix(&id(vm)).unwrap().vms, 5, "{vm}");
        }
        assert_eq!(fleet.same_prefix(&id("3")), None);
        for vm in ["10", "20", "3"] {
            fleet.note(&id(vm));
        }
        assert_eq!(fleet.missing().collect::<Vec<_>>(), ["1", "100", "2", VPS].map(id));
    }
}
