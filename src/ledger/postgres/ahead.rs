//! Racks that are read before they are asked for: inventories mostly name VMs in the order of their ids, and a question for
//! each would be a round trip for each. Pure.

use std::collections::HashMap;

use crate::dialect::Dialect;

/// The most VMs that are read at once.
const MOST: i64 = 4_096;

/// An API, by its base URL and dialect.
pub(super) type Api<'a> = (&'a str, Dialect);

/// The racks of all VMs between two ids that an API has shown.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    api: Option<(String, Dialect)>,
    from: String,
    /// `None` where no VM is known behind the last one.
    until: Option<String>,
    racks: HashMap<String, Option<String>>,
    /// How many VMs were asked for since they were read.
    asked: i64,
    /// How many were read; 0 for none ever.
    read: i64,
}

impl Ahead {
    /// Whether it tells the rack of a VM, which is asked for.
    pub(super) fn tells(&mut self, api: Api<'_>, vmid: &str) -> bool {
        let is_told = self.api.as_ref().is_some_and(|(url, dialect)| (url.as_str(), *dialect) == api)
            && vmid >= self.from.as_str()
            && self.until.as_deref().is_none_or(|until| vmid <= until);
        self.asked += i64::from(is_told);
        is_told
    }

    /// The rack of a VM that it [`tells`](Self::tells) of.
    pub(super) fn rack(&self, vmid: &str) -> Option<String> {
        self.racks.get(vmid).cloned().flatten()
    }

    /// How many VMs to read from the next one on: twice as many as the last time where most of those were asked for, else
    /// one.
    pub(super) fn length(&self) -> i64 {
        if self.asked * 2 >= self.read { (self.read * 2).clamp(1, MOST) } else { 1 }
    }

    /// What was found from `vmid` on, in order, where `length` was asked for.
    pub(super) fn found(api: Api<'_>, vmid: &str, length: i64, racks: Vec<(String, Option<String>)>) -> Self {
        let is_all = racks.len() < usize::try_from(length).unwrap_or(usize::MAX);
        // A single question answers for its VM alone.
        let until =
            if length == 1 { Some(vmid.to_owned()) } else { racks.last().map(|(last, _)| last.clone()) };
        let until = until.filter(|_| !is_all || length == 1);
        let (url, dialect) = api;
        Self {
            api: Some((url.to_owned(), dialect)),
            from: vmid.to_owned(),
            until,
            racks: racks.into_iter().collect(),
            asked: 1,
            read: length,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const API: Api<'_> = ("https://api.example", Dialect::V1);

    /// Asks for racks in this order; returns the answers, and how often more was read.
    fn ask(known: &BTreeMap<String, Option<String>>, vmids: &[String]) -> (Vec<Option<String>>, usize) {
        let (mut ahead, mut reads) = (Ahead::default(), 0);
        let mut rack = |vmid: &String| {
            assert!(!ahead.tells(("https://other.example", Dialect::V1), vmid));
            if !ahead.tells(API, vmid) {
                reads += 1;
                let length = ahead.length();
                let page = known.range(vmid.clone()..).take(usize::try_from(length).unwrap());
                let page = page.map(|(vm, rack)| (vm.clone(), rack.clone()));
                ahead = Ahead::found(API, vmid, length, page.collect());
            }
            ahead.rack(vmid)
        };
        (vmids.iter().map(&mut rack).collect(), reads)
    }

    #[test]
    fn each_vm_has_its_own_rack_in_whatever_order_they_are_asked_for() {
        let id = |number: u32| format!("{number:06}");
        let rack = |number: u32| (!number.is_multiple_of(3)).then(|| format!("rack {}", number % 7));
        let known: BTreeMap<_, _> = (0..10_000).filter(|n| n % 5 > 0).map(|n| (id(n), rack(n))).collect();
        let ascending: Vec<String> = (0..12_000).map(id).collect();
        let descending: Vec<String> = ascending.iter().rev().cloned().collect();
        let mut mixed = ascending.clone();
        fastrand::Rng::with_seed(7).shuffle(&mut mixed);
        for (vmids, most) in [(&ascending, 20), (&descending, 12_000), (&mixed, 12_000)] {
            let (racks, reads) = ask(&known, vmids);
            let expected: Vec<_> = vmids.iter().map(|vmid| known.get(vmid).cloned().flatten()).collect();
            assert!(racks == expected && reads <= most, "{reads} reads");
        }
        assert_eq!(ask(&BTreeMap::new(), &ascending).1, 2, "nothing is known of any");
    }
}
