//! How many VMs came out how.

use std::iter;

use serde::{Serialize, Serializer};

use crate::outcome::{Failure, Kind, Outcome};

/// How many VMs came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Which outcomes there can be.
    pub kind: Kind,
    pub selected: u64,
    pub created: u64,
    pub unchanged: u64,
    pub updated: u64,
    pub create: u64,
    pub update: u64,
    pub keep: u64,
    pub blocked: u64,
    pub failed: u64,
    /// Of the failed: those that were never called.
    pub not_attempted: u64,
}

impl Counts {
    /// Of no VM yet.
    pub fn none(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// One more VM, which came out like this.
    pub fn add_vm(&mut self, outcome: Outcome, failure: Option<Failure>) {
        self.add_vms(outcome, failure, 1);
    }

    /// So many VMs more, which came out like this.
    pub fn add_vms(&mut self, outcome: Outcome, failure: Option<Failure>, vms: u64) {
        self.selected += vms;
        self.not_attempted += if failure == Some(Failure::NotAttempted) { vms } else { 0 };
        self.add(outcome, vms);
    }

    /// Counts so many VMs more that came out like this. They are selected already.
    pub fn add(&mut self, outcome: Outcome, vms: u64) {
        *self.count_mut(outcome) += vms;
    }

    /// Where so many have no outcome yet: those do not count as failed.
    #[must_use]
    pub fn without_pending(self, pending: u64) -> Self {
        Self { failed: self.failed.saturating_sub(pending), not_attempted: 0, ..self }
    }

    /// Of racks, or of runs of one kind.
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |mut sum, counts| {
            sum.kind = counts.kind;
            sum.selected += counts.selected;
            sum.not_attempted += counts.not_attempted;
            for (outcome, vms) in counts.by_outcome() {
                sum.add(outcome, vms);
            }
            sum
        })
    }

    /// Each outcome that there can be, and how many VMs came out so.
    pub fn by_outcome(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let mut counts = *self;
        self.kind.outcomes().iter().map(move |&outcome| (outcome, *counts.count_mut(outcome)))
    }

    /// VMs whose network is another than before, or would be after a call.
    pub fn changed(&self) -> u64 {
        self.created + self.updated + self.create + self.update
    }

    /// VMs with an outcome; equals `selected` in every finished report.
    pub fn settled(&self) -> u64 {
        self.by_outcome().map(|(_, vms)| vms).sum()
    }

    fn count_mut(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Updated => &mut self.updated,
            Outcome::Create => &mut self.create,
            Outcome::Update => &mut self.update,
            Outcome::Keep => &mut self.keep,
            Outcome::Blocked => &mut self.blocked,
            Outcome::Failed => &mut self.failed,
        }
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let outcomes = self.by_outcome().map(|(outcome, vms)| (outcome.as_str(), vms));
        let all = iter::once(("selected", self.selected)).chain(outcomes);
        serializer.collect_map(all.chain([("not_attempted", self.not_attempted)]))
    }
}
