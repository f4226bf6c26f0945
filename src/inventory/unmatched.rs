//! Which racks, ids, labels and values of labels that were typed are no VM's of the inventory: typing errors, or VMs that
//! have gone.

use globset::GlobMatcher;

use super::error::listed;
use super::read::Reading;
use super::selection::{Ids, Range, Selection, WherePattern};
use super::vm::Vm;
use crate::dialect::Dialect;

/// Told of every VM of the inventory.
#[derive(Debug)]
pub struct Unmatched<'a> {
    selection: &'a Selection,
    /// Whether each of the selection's rack patterns has matched.
    racks: Vec<bool>,
    /// Of each dialect, in its order.
    ids: [Sections; Dialect::EACH.len()],
    /// Each of its patterns of ids, and whether it has matched.
    globs: Vec<(&'a GlobMatcher, bool)>,
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
        let ids = selection.typed_ids();
        let sections = |dialect| Sections::of(ids.iter().filter_map(|ids| ids.range(dialect)));
        let globs = ids.iter().filter_map(Ids::glob).map(|glob| (glob, false)).collect();
        Self { selection, racks, ids: Dialect::EACH.map(sections), globs, wheres }
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
        if let Some((dialect, number)) = Dialect::of(vm.id.as_str()) {
            self.ids[dialect as usize].see(number);
        }
        for (glob, matched) in &mut self.globs {
            *matched = *matched || glob.is_match(vm.id.as_str());
        }
    }

    /// The labels that `--where` names and no VM has.
    pub fn labels(&self) -> impl Iterator<Item = &'a str> {
        let wheres = self.selection.wheres().iter().zip(&self.wheres);
        wheres.filter(|(_, met)| **met == Met::Nothing).filter_map(|(pattern, _)| pattern.label())
    }

    /// Those that were typed and are no VM's.
    fn unseen_ids(&self) -> impl Iterator<Item = &'a Ids> {
        let seen = self.ids.each_ref().map(Sections::seen);
        let mut globs = self.globs.iter().map(|(_, matched)| *matched);
        self.selection.typed_ids().iter().filter(move |ids| match ids {
            Ids::Range(dialect, range) => !seen[*dialect as usize](*range),
            Ids::Glob(_) => globs.next() == Some(false),
        })
    }

    /// For people, once all VMs were seen. Of a label that is not in `reading` something else is told.
    pub fn warnings(&self, reading: &Reading) -> Vec<String> {
        let racks = self.selection.racks().iter().zip(&self.racks);
        let racks: Vec<String> =
            racks.filter(|(_, matched)| !**matched).map(|(pattern, _)| pattern.to_string()).collect();
        let ids = self.unseen_ids().map(Ids::to_string).collect();
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

/// Ranges that may overlap, cut into pieces that do not; which pieces an id was seen in.
#[derive(Debug)]
struct Sections {
    /// Where each piece starts.
    starts: Vec<u128>,
    seen: Vec<bool>,
}

impl Sections {
    fn of(ranges: impl Iterator<Item = Range>) -> Self {
        // Nothing comes after the last number there is.
        let pieces = |(first, last): Range| [Some(first), last.checked_add(1)];
        let mut starts: Vec<u128> = ranges.flat_map(pieces).flatten().collect();
        starts.sort_unstable();
        starts.dedup();
        let seen = vec![false; starts.len()];
        Self { starts, seen }
    }

    fn see(&mut self, id: u128) {
        let behind = self.starts.partition_point(|&start| start <= id);
        if let Some(piece) = behind.checked_sub(1) {
            self.seen[piece] = true;
        }
    }

    /// Tells whether an id was seen in one of the ranges that they were cut from.
    fn seen(&self) -> impl Fn(Range) -> bool {
        let so_far: Vec<usize> = std::iter::once(0)
            .chain(self.seen.iter().scan(0, |sum, &seen| {
                *sum += usize::from(seen);
                Some(*sum)
            }))
            .collect();
        move |(first, last)| {
            let behind = self.starts.partition_point(|&start| start <= last);
            so_far[self.starts.partition_point(|&start| start < first)] < so_far[behind]
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::allocation::Expected;

    fn warnings(racks: &[&str], vmids: &[&str], fleet: &[(&str, Option<&str>)]) -> Vec<String> {
        let racks = racks.iter().map(|text| text.parse().unwrap()).collect();
        let vmids = vmids.iter().map(|text| text.parse().unwrap()).collect();
        let selection = Selection::new(racks, vmids, vec![], None).unwrap();
        let mut unmatched = Unmatched::new(&selection);
        for (id, rack) in fleet {
            let id = (*id).into();
            let vm = Vm { id, name: None, action: None, expected: Expected::default(), labels: vec![] };
            unmatched.see(&vm, *rack);
        }
        unmatched.warnings(&Reading::default())
    }

    const FLEET: [(&str, Option<&str>); 4] =
        [("10000", Some("dc1r27")), ("10001", None), ("10010", Some("dc1r28")), ("10015", Some("dc2r01"))];

    #[test]
    fn an_id_or_a_pattern_of_v2_that_is_no_vms_is_named() {
        let fleet = [("vps_01hxa3b4c5d6e7f8g9h0j1k2m3", None), ("vps_7zzzzzzzzzzzzzzzzzzzzzzzzz", None)];
        let typed =
            ["vps_7zzzzzzzzzzzzzzzzzzzzzzzzz,vps_01hxa*,vps_02*", "!vps_01hxa3b4c5d6e7f8g9h0j1k2m4,vps_7?*"];
        assert_eq!(
            warnings(&[], &typed, &fleet),
            ["--vmid matches no VM of the inventory: vps_02*, vps_01hxa3b4c5d6e7f8g9h0j1k2m4"]
        );
    }

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
        let selection = Selection::new(vec![], vec![], wheres, None).unwrap();
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
        fn a_range_is_seen_where_one_of_its_ids_was(
            last in prop::sample::select(vec![50, u128::MAX]),
            ranges in proptest::collection::vec((6..40_u128, 0..6_u128), 0..12),
            ids in proptest::collection::vec(0..50_u128, 0..12),
        ) {
            let range = |(first, more)| (last - first, last - first + more);
            let ranges: Vec<Range> = ranges.into_iter().map(range).collect();
            let ids: Vec<u128> = ids.into_iter().map(|id| last - id).collect();
            let mut sections = Sections::of(ranges.iter().copied());
            for &id in &ids {
                sections.see(id);
            }
            let seen = |(first, last): Range| ids.iter().any(|id| (first..=last).contains(id));
            for range in ranges {
                prop_assert_eq!(sections.seen()(range), seen(range));
            }
        }
    }
}
