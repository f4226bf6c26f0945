//! Which racks, ids, labels and values of labels that were typed are no VM's of the inventory: typing errors, or VMs that
//! have gone.

use super::error::listed;
use super::read::Reading;
use super::selection::{Range, Selection, WherePattern, number};
use super::vm::Vm;

/// Told of every VM of the inventory.
#[derive(Debug)]
pub struct Unmatched<'a> {
    selection: &'a Selection,
    /// Whether each of the selection's rack patterns has matched.
    racks: Vec<bool>,
    ids: Sections,
    /// How far each of its conditions has come.
    wheres: Vec<Met>,
}

/// How far a VM, or any so far, meets a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    /// It has nothing of what the condition names.
    Nothing,
    Named,
    Matched,
}

impl Met {
    fn of(pattern: &WherePattern, vm: &Vm, rack: Option<&str>) -> Self {
        match (pattern.matches(vm, rack), pattern.concerns(vm)) {
            (true, _) => Self::Matched,
            (false, true) => Self::Named,
            (false, false) => Self::Nothing,
        }
    }
}

impl<'a> Unmatched<'a> {
    /// Nothing of the selection has met a VM yet.
    pub fn new(selection: &'a Selection) -> Self {
        let racks = vec![false; selection.racks().len()];
        let wheres = vec![Met::Nothing; selection.wheres().len()];
        Self { selection, racks, ids: Sections::of(selection.typed_ids()), wheres }
    }

    /// `rack` is that by which the VM is selected.
    pub fn see(&mut self, vm: &Vm, rack: Option<&str>) {
        for (matched, pattern) in self.racks.iter_mut().zip(self.selection.racks()) {
            *matched = *matched || pattern.matches(rack);
        }
        for (met, pattern) in self.wheres.iter_mut().zip(self.selection.wheres()) {
            if *met != Met::Matched {
                *met = Met::of(pattern, vm, rack).max(*met);
            }
        }
        if let Some(id) = number(&vm.id) {
            self.ids.see(id);
        }
    }

    /// The labels that `--where` names and no VM has.
    pub fn labels(&self) -> impl Iterator<Item = &'a str> {
        let wheres = self.selection.wheres().iter().zip(&self.wheres);
        wheres.filter(|(_, met)| **met == Met::Nothing).filter_map(|(pattern, _)| pattern.label())
    }

    /// For people, once all VMs were seen. Of a label that is not in `reading` something else is told.
    pub fn warnings(&self, reading: &Reading) -> Vec<String> {
        let racks = self.selection.racks().iter().zip(&self.racks);
        let racks: Vec<String> =
            racks.filter(|(_, matched)| !**matched).map(|(pattern, _)| pattern.to_string()).collect();
        let ids = self.ids.unseen(self.selection.typed_ids());
        let ids: Vec<String> = ids.map(|(first, last)| written(first, last)).collect();
        let known = |pattern: &WherePattern, met: Met| {
            met == Met::Named || pattern.label().is_none_or(|label| reading.nearest(label).is_none())
        };
        let wheres = self.selection.wheres().iter().zip(&self.wheres);
        let wheres: Vec<String> = wheres
            .filter(|(pattern, met)| **met != Met::Matched && !pattern.excludes() && known(pattern, **met))
            .map(|(pattern, _)| pattern.to_string())
            .collect();
        [("--rack", racks), ("--vmid", ids), ("--where", wheres)]
            .into_iter()
            .filter(|(_, texts)| !texts.is_empty())
            .map(|(flag, texts)| {
                format!("{flag} matches no VM of the inventory: {}", listed(texts.iter().map(String::as_str)))
            })
            .collect()
    }
}

fn written(first: u64, last: u64) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// Ranges that may overlap, cut into pieces that do not; which pieces an id was seen in.
#[derive(Debug)]
struct Sections {
    /// Where each piece starts.
    starts: Vec<u64>,
    seen: Vec<bool>,
}

impl Sections {
    fn of(ranges: &[Range]) -> Self {
        let mut starts: Vec<u64> = ranges.iter().flat_map(|&(first, last)| [first, last + 1]).collect();
        starts.sort_unstable();
        starts.dedup();
        let seen = vec![false; starts.len()];
        Self { starts, seen }
    }

    fn see(&mut self, id: u64) {
        let behind = self.starts.partition_point(|&start| start <= id);
        if let Some(piece) = behind.checked_sub(1) {
            self.seen[piece] = true;
        }
    }

    /// Those of the ranges that they were cut from in which no id was seen.
    fn unseen(&self, ranges: &[Range]) -> impl Iterator<Item = Range> {
        let so_far: Vec<usize> = std::iter::once(0)
            .chain(self.seen.iter().scan(0, |sum, &seen| {
                *sum += usize::from(seen);
                Some(*sum)
            }))
            .collect();
        let before = move |id| so_far[self.starts.partition_point(|&start| start < id)];
        ranges.iter().copied().filter(move |&(first, last)| before(first) == before(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::allocation::Expected;

    fn warnings(racks: &[&str], vmids: &[&str], fleet: &[(u64, Option<&str>)]) -> Vec<String> {
        let racks = racks.iter().map(|text| text.parse().unwrap()).collect();
        let vmids = vmids.iter().map(|text| text.parse().unwrap()).collect();
        let selection = Selection::new(racks, vmids, vec![]).unwrap();
        let mut unmatched = Unmatched::new(&selection);
        for (id, rack) in fleet {
            let id = id.to_string().parse().unwrap();
            let vm = Vm { id, name: None, action: None, expected: Expected::default(), labels: vec![] };
            unmatched.see(&vm, *rack);
        }
        unmatched.warnings(&Reading::default())
    }

    const FLEET: [(u64, Option<&str>); 4] =
        [(10_000, Some("dc1r27")), (10_001, None), (10_010, Some("dc1r28")), (10_015, Some("dc2r01"))];

    #[test]
    fn a_rack_or_an_id_that_is_no_vms_is_named_whatever_else_is_selected() {
        let rack = |listed: &str| format!("--rack matches no VM of the inventory: {listed}");
        let id = |listed: &str| format!("--vmid matches no VM of the inventory: {listed}");
        for (racks, vmids, expected) in [
            (&[][..], &[][..], vec![]),
            (&["dc1*", "dc2r01"], &["10000,10010-10020"], vec![]),
            (&["dc1*", "dc3*", "!dc9r??", "dc1r2[9]"], &[], vec![rack("dc3*, !dc9r??, dc1r2[9]")]),
            (&["dc2*"], &["10000,10002"], vec![id("10002")]),
            (
                &[],
                &["10001-10009,10002-10009", "!10016-10020", "!10015"],
                vec![id("10002-10009, 10016-10020")],
            ),
            (&["no"], &["1-9999"], vec![rack("no"), id("1-9999")]),
            (&[], &["10000-10001", "10001-10010", "10011-10014"], vec![id("10011-10014")]),
        ] {
            assert_eq!(warnings(racks, vmids, &FLEET), expected, "{racks:?} {vmids:?}");
        }
    }

    #[test]
    fn of_many_the_first_are_named_and_the_others_counted() {
        let all: Vec<String> = (1..=100).map(|id: u64| (2 * id).to_string()).collect();
        let warnings = warnings(&["\u{1b}2J"], &[&all.join(",")], &FLEET);
        assert_eq!(warnings[0], r"--rack matches no VM of the inventory: \u{1b}2J");
        assert!(warnings[1].ends_with(" 58, 60 and 70 more"), "{}", warnings[1]);
    }

    #[test]
    fn a_label_or_a_path_that_no_vm_has_is_named() {
        let wheres = ["role=db", "!x=b", "name=c", "status.value=active", "status.valeu=a", "owner=*"];
        let wheres = wheres.map(|text| text.parse().unwrap()).into();
        let selection = Selection::new(vec![], vec![], wheres).unwrap();
        let mut unmatched = Unmatched::new(&selection);
        for labels in [&[("role", "web")][..], &[("status", r#"{"value":"planned"}"#), ("owner", "ann")]] {
            let labels = labels.iter().map(|&(name, text)| (name.into(), text.into())).collect();
            let id = "10000".parse().unwrap();
            unmatched.see(&Vm { id, name: None, action: None, expected: Expected::default(), labels }, None);
        }
        assert_eq!(unmatched.labels().collect::<Vec<_>>(), ["x", "status.valeu"]);
    }

    proptest! {
        #[test]
        fn a_range_is_unseen_where_none_of_its_ids_was_seen(
            ranges in proptest::collection::vec((0..40_u64, 0..6_u64), 0..12),
            ids in proptest::collection::vec(0..50_u64, 0..12),
        ) {
            let ranges: Vec<Range> = ranges.into_iter().map(|(first, more)| (first, first + more)).collect();
            let mut sections = Sections::of(&ranges);
            for &id in &ids {
                sections.see(id);
            }
            let seen = |(first, last): Range| ids.iter().any(|id| (first..=last).contains(id));
            let expected: Vec<_> = ranges.iter().copied().filter(|&range| !seen(range)).collect();
            prop_assert_eq!(sections.unseen(&ranges).collect::<Vec<_>>(), expected);
        }
    }
}
