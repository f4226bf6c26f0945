//! From page to page: where the list leads, and which of its VMs are new. Pure but for the list of the VMs seen.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::error::ListError;
use crate::api::Page;
use crate::dialect::Dialect;
use crate::seen::{Position, Seen, Sight};
use crate::text::counted;
use crate::vm::{Listed, VmId};

/// So many pages in a row without a VM that is new are no list that ends.
const BARREN: u64 = 100;

/// Warnings that are told before they are only counted.
const TOLD: usize = 20;

/// VMs that a warning names.
const NAMED: usize = 3;

/// The pages so far.
pub(super) struct Trail {
    dialect: Dialect,
    seen: Seen,
    hashes: RandomState,
    /// Which page led where: a cursor may be long, and there may be many.
    cursors: HashMap<u64, u64>,
    pages: u64,
    vms: u64,
    /// Pages since the last VM that was new.
    barren: u64,
    /// VMs that came again with the same contents, the first ones by name.
    repeats: u64,
    repeated: Vec<VmId>,
    warnings: Vec<String>,
    untold: u64,
}

impl Trail {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            seen: Seen::new(),
            hashes: RandomState::new(),
            cursors: HashMap::new(),
            pages: 0,
            vms: 0,
            barren: 0,
            repeats: 0,
            repeated: Vec::new(),
            warnings: Vec::new(),
            untold: 0,
        }
    }

    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    pub(super) fn vms(&self) -> u64 {
        self.vms
    }

    /// Takes in the next page. Returns its VMs that are new, and the cursor to what follows, if anything does.
    pub(super) fn follow(&mut self, page: Page) -> Result<(Vec<Listed>, Option<String>), ListError> {
        self.pages += 1;
        let mut new = Vec::with_capacity(page.vms.len());
        for (place, vm) in (1..).zip(page.vms) {
            if self.is_new(&vm, place)? {
                new.push(vm);
            }
        }
        self.vms += new.len() as u64;
        page.warnings.into_iter().for_each(|warning| self.warn(warning));
        if let Some(cursor) = &page.next {
            self.lead(cursor, new.is_empty())?;
        }
        Ok((new, page.next))
    }

    fn is_new(&mut self, vm: &Listed, place: u64) -> Result<bool, ListError> {
        let id = self.dialect.number(vm.id.as_str())?;
        let at = Position { file: 0, line: self.pages, row: Some(place) };
        match self.seen.note(id, vm, at)? {
            Sight::First => return Ok(true),
            Sight::Repeat(_) => {}
            Sight::Conflict(first) => {
                return Err(ListError::Changed { vm: vm.id.clone(), first: first.line, page: self.pages });
            }
        }
        self.repeats += 1;
        if self.repeated.len() < NAMED {
            self.repeated.push(vm.id.clone());
        }
        Ok(false)
    }

    fn lead(&mut self, cursor: &str, is_barren: bool) -> Result<(), ListError> {
        if let Some(first) = self.cursors.insert(self.hashes.hash_one(cursor), self.pages) {
            return Err(ListError::CursorTwice { page: self.pages, first });
        }
        self.barren = if is_barren { self.barren + 1 } else { 0 };
        match self.barren < BARREN {
            true => Ok(()),
            false => Err(ListError::Endless { pages: self.barren }),
        }
    }

    fn warn(&mut self, warning: String) {
        match self.warnings.len() < TOLD {
            true => self.warnings.push(warning),
            false => self.untold += 1,
        }
    }

    /// What is to be said of the list once it is whole.
    pub(super) fn warnings(mut self) -> Vec<String> {
        if self.untold > 0 {
            self.warnings.push(format!("… and {}", counted(self.untold, "more warning", "more warnings")));
        }
        let repeats = counted(self.repeats, "VM", "VMs");
        let named: Vec<&str> = self.repeated.iter().map(VmId::as_str).collect();
        let (named, more) = (named.join(", "), if self.repeats > named.len() as u64 { ", …" } else { "" });
        let repeats = format!("{repeats} named more than once, with the same contents: {named}{more}");
        self.warnings.extend((self.repeats > 0).then_some(repeats));
        self.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(number: u128) -> Listed {
        Listed::unknown(Dialect::V2.written(number))
    }

    fn page(vms: &[u128], next: &str) -> Page {
        let next = Some(next.to_owned()).filter(|next| !next.is_empty());
        Page { vms: vms.iter().map(|&number| vm(number)).collect(), next, warnings: vec![] }
    }

    /// The VMs of these pages, each once, and the warnings; or why they make no list.
    fn followed(pages: impl IntoIterator<Item = Page>) -> Result<(Vec<Listed>, Vec<String>), String> {
        let mut trail = Trail::new(Dialect::V2);
        let mut all = Vec::new();
        for page in pages {
            let (new, next) = trail.follow(page).map_err(|error| error.to_string())?;
            all.extend(new);
            if next.is_none() {
                assert_eq!(trail.vms(), all.len() as u64);
                return Ok((all, trail.warnings()));
            }
        }
        Err("it goes on".into())
    }

    #[test]
    fn pages_make_a_list_or_the_reason_why_not_is_told() {
        let off = |number| Listed { power_state: Some("stopped".into()), ..vm(number) };
        let moved = Page { vms: vec![off(2)], ..page(&[], "") };
        for (pages, vms, end) in [
            (vec![page(&[], "")], &[][..], ""),
            (vec![page(&[1, 2], "a"), page(&[3], "b"), page(&[], "c"), page(&[4], "")], &[1, 2, 3, 4], ""),
            (vec![page(&[1, 2], "a"), page(&[2, 3], "")], &[1, 2, 3], ""),
            (vec![page(&[1, 1, 2], "")], &[1, 2], ""),
            (
                vec![page(&[1], "a"), page(&[1], "a")],
                &[],
                "page 2 of the list leads where page 1 has led already",
            ),
            (
                vec![page(&[1], "a"), page(&[2], "b"), page(&[3], "c"), page(&[4], "b")],
                &[],
                "page 4 of the list leads where page 2 has led already",
            ),
            (
                vec![page(&[1, 2], "a"), moved],
                &[],
                "VM vps_00000000000000000000000002 is on page 1 of the list and, with other contents, on page 2",
            ),
        ] {
            match followed(pages.clone()) {
                Ok((listed, _)) => {
                    assert!(
                        end.is_empty() && listed == vms.iter().map(|&vm_no| vm(vm_no)).collect::<Vec<_>>(),
                        "{pages:?}"
                    );
                }
                Err(told) => assert!(!end.is_empty() && told.starts_with(end), "{told}"),
            }
        }
    }

    #[test]
    fn a_list_that_names_nobody_new_for_too_long_is_without_end_and_one_that_does_now_and_then_is_not() {
        let barren = |nth: u64| page(&[1], &nth.to_string());
        let told = followed((0..=BARREN).map(barren)).unwrap_err();
        assert!(told.starts_with("the last 100 pages of the list named no VM"), "{told}");
        let fruitful = |nth: u64| {
            page(&[(nth / (BARREN - 1)).into()], &if nth == 500 { String::new() } else { format!("c{nth}") })
        };
        assert_eq!(followed((0..=500).map(fruitful)).unwrap().0.len(), 6);
    }

    #[test]
    fn what_is_odd_is_told_a_few_times_and_then_counted() {
        let warnings = |from: usize| (from..from + 15).map(|no| format!("warning {no}")).collect();
        let pages = [
            Page { warnings: warnings(0), ..page(&[1, 2, 3, 4], "a") },
            Page { warnings: warnings(15), ..page(&[1, 2, 3, 4, 5], "") },
        ];
        let (_, told) = followed(pages).unwrap();
        assert_eq!((told.len(), &*told[19], &*told[20]), (22, "warning 19", "… and 10 more warnings"));
        let begins = "4 VMs named more than once, with the same contents: vps_00000000000000000000000001, ";
        assert!(told[21].starts_with(begins) && told[21].ends_with("3, …"), "{}", told[21]);
        let (_, told) = followed([page(&[1, 1], "")]).unwrap();
        assert_eq!(
            told,
            ["1 VM named more than once, with the same contents: vps_00000000000000000000000001"]
        );
    }
}
