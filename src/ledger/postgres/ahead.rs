//! What is known of VMs, read before it is asked for: inventories mostly name VMs in the order of their ids, and a question
//! for each would be a round trip for each. Pure.

use std::collections::HashMap;

/// The most VMs that are read at once.
const MOST: i64 = 4_096;

/// What is known of all VMs between two ids.
#[derive(Debug)]
pub(super) struct Ahead<T> {
    /// Where it is known from: an API, a run.
    source: Option<String>,
    from: String,
    /// `None` where no VM is known behind the last one.
    until: Option<String>,
    known: HashMap<String, T>,
    /// How many VMs were asked for since they were read.
    asked: i64,
    /// How many were read; 0 for none ever.
    read: i64,
}

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self { source: None, from: String::new(), until: None, known: HashMap::new(), asked: 0, read: 0 }
    }
}

impl<T: Clone> Ahead<T> {
    /// What `source` knows of a VM, if anything. `read` reads what it knows of so many VMs from that one on, in the order of
    /// their ids.
    pub(super) fn ask<E>(
        &mut self,
        source: &str,
        vmid: &str,
        read: impl FnOnce(i64) -> Result<Vec<(String, T)>, E>,
    ) -> Result<Option<T>, E> {
        if self.tells(source, vmid) {
            self.asked += 1;
        } else {
            let length = self.length();
            *self = Self::found(source, vmid, length, read(length)?);
        }
        Ok(self.known.get(vmid).cloned())
    }

    fn tells(&self, source: &str, vmid: &str) -> bool {
        self.source.as_deref() == Some(source)
            && vmid >= self.from.as_str()
            && self.until.as_deref().is_none_or(|until| vmid <= until)
    }

    /// How many VMs to read from the next one on: twice as many as the last time where most of those were asked for, else
    /// one.
    fn length(&self) -> i64 {
        if self.asked * 2 >= self.read { (self.read * 2).clamp(1, MOST) } else { 1 }
    }

    /// What was found from `vmid` on, where `length` was asked for.
    fn found(source: &str, vmid: &str, length: i64, known: Vec<(String, T)>) -> Self {
        let is_all = known.len() < usize::try_from(length).unwrap_or(usize::MAX);
        // A single question answers for its VM alone.
        let until =
            if length == 1 { Some(vmid.to_owned()) } else { known.last().map(|(last, _)| last.clone()) };
        let until = until.filter(|_| !is_all || length == 1);
        Self {
            source: Some(source.to_owned()),
            from: vmid.to_owned(),
            until,
            known: known.into_iter().collect(),
            asked: 1,
            read: length,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Asks for racks in this order; returns the answers, and how often more was read.
    fn ask(known: &BTreeMap<String, Option<String>>, vmids: &[String]) -> (Vec<Option<String>>, usize) {
        let (mut ahead, mut reads) = (Ahead::default(), 0);
        let mut rack = |vmid: &String| {
            assert!(!ahead.tells("another", vmid));
            let read = |length| {
                reads += 1;
                let page = known.range(vmid.clone()..).take(usize::try_from(length).unwrap());
                Ok::<_, ()>(page.map(|(vm, rack)| (vm.clone(), rack.clone())).collect())
            };
            ahead.ask("one", vmid, read).unwrap().flatten()
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
