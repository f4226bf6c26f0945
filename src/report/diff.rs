//! Two runs compared: what each VM that differs has to tell, and how many there are.

mod files;
mod text;

use serde::Serialize;

use crate::allocation::Change;
use crate::difference::{Difference, Standing};
use crate::ledger::Pair;

pub use files::{DiffFiles, Format, JsonDiff};
pub use text::DiffText;

/// How many VMs differ in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    pub newly_failing: u64,
    pub recovered: u64,
    pub changed: u64,
    pub appeared: u64,
    pub gone: u64,
    pub not_attempted: u64,
    pub same: u64,
}

impl Differences {
    /// Counts one VM.
    pub fn add(&mut self, difference: Option<Difference>) {
        *match difference {
            Some(Difference::NewlyFailing) => &mut self.newly_failing,
            Some(Difference::Recovered) => &mut self.recovered,
            Some(Difference::Changed) => &mut self.changed,
            Some(Difference::Appeared) => &mut self.appeared,
            Some(Difference::Gone) => &mut self.gone,
            Some(Difference::NotAttempted) => &mut self.not_attempted,
            None => &mut self.same,
        } += 1;
    }

    /// VMs that differ in this way.
    pub fn of(&self, difference: Difference) -> u64 {
        match difference {
            Difference::NewlyFailing => self.newly_failing,
            Difference::Recovered => self.recovered,
            Difference::Changed => self.changed,
            Difference::Appeared => self.appeared,
            Difference::Gone => self.gone,
            Difference::NotAttempted => self.not_attempted,
        }
    }

    /// VMs that differ.
    pub fn different(&self) -> u64 {
        Difference::ALL.iter().map(|&difference| self.of(difference)).sum()
    }

    pub fn all(&self) -> u64 {
        self.different() + self.same
    }
}

/// One VM that differs, as every format but the text shows it.
#[derive(Debug, Serialize)]
pub struct DiffRow<'a> {
    vmid: &'a str,
    name: Option<&'a str>,
    /// As answered, else as in the inventory.
    rack_id: Option<&'a str>,
    difference: Difference,
    changes: Vec<Change>,
    before: Option<&'a Standing>,
    after: Option<&'a Standing>,
}

impl<'a> DiffRow<'a> {
    pub fn new(pair: &'a Pair, difference: Difference) -> Self {
        let (before, after) = (pair.before.as_ref(), pair.after.as_ref());
        let answered = |standing: Option<&'a Standing>| standing?.rack_id.as_deref();
        Self {
            vmid: pair.vm.id.as_str(),
            name: pair.vm.name.as_deref(),
            rack_id: answered(after).or(answered(before)).or(pair.rack.as_deref()),
            difference,
            changes: before.zip(after).map(|(before, after)| after.changes_since(before)).unwrap_or_default(),
            before,
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::Expected;
    use crate::difference::tests::{answered, failed};
    use crate::inventory::Vm;
    use crate::ledger::Overview;
    use crate::outcome::{Failure, Outcome};
    use crate::report::runs::tests::overview;

    pub(super) fn pair(vmid: u64, before: Option<Standing>, after: Option<Standing>) -> Pair {
        let id = vmid.to_string().parse().unwrap();
        let name = Some(format!("=vm\u{1b}-{vmid}"));
        let vm = Vm { id, name, action: None, expected: Expected::default(), labels: vec![] };
        Pair { vm, rack: Some("dc1r29".into()), before, after }
    }

    /// Every kind of difference, and a VM that does not differ.
    pub(super) fn pairs() -> Vec<Pair> {
        let moved = Standing { next_hop: Some("2001:db8:1000::2".into()), ..answered() };
        let created = Standing { outcome: Outcome::Created, ..answered() };
        let [timeout, missing, never] =
            [Failure::Timeout, Failure::NotFound, Failure::NotAttempted].map(failed);
        vec![
            pair(1, Some(answered()), Some(timeout.clone())),
            pair(2, Some(timeout.clone()), Some(answered())),
            pair(3, Some(answered()), Some(moved)),
            pair(4, Some(timeout), Some(missing.clone())),
            pair(5, None, Some(created)),
            pair(6, Some(missing), None),
            pair(7, Some(answered()), Some(never)),
            pair(8, Some(answered()), Some(answered())),
        ]
    }

    pub(super) fn runs() -> (Overview, Overview) {
        let complete = |id: &str, at: &str| Overview { complete: true, ..overview(id, at) };
        (
            complete("20261123T021500Z-0001", "2026-11-23T02:15:00Z"),
            complete("20261124T021500Z-0002", "2026-11-24T02:15:00Z"),
        )
    }

    /// Counts the pairs and gives each that differs to `each`.
    pub(super) fn compare(pairs: &[Pair], mut each: impl FnMut(&DiffRow<'_>)) -> Differences {
        let mut counts = Differences::default();
        for pair in pairs {
            counts.add(pair.difference());
            if let Some(difference) = pair.difference() {
                each(&DiffRow::new(pair, difference));
            }
        }
        counts
    }
}
