//! What a run's rows add up to.

use std::iter;

use serde::{Serialize, Serializer};

use super::worker::Contribution;
use crate::outcome::{Failure, Kind, Outcome};
use crate::stop::Stop;

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
        self.selected += 1;
        self.not_attempted += u64::from(failure == Some(Failure::NotAttempted));
        self.add(outcome, 1);
    }

    /// Counts so many VMs more that came out like this. They are selected already.
    pub fn add(&mut self, outcome: Outcome, vms: u64) {
        *self.count_mut(outcome) += vms;
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

/// The outcomes of one rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RackCounts {
    /// `None` for the VMs whose rack nobody knows.
    pub rack_id: Option<String>,
    #[serde(flatten)]
    pub counts: Counts,
}

/// The failed VMs of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    pub failure: Failure,
    pub vms: u64,
    /// How many of them an unanswered call may have changed all the same.
    pub may_have_applied: u64,
    /// The first few VMs, in inventory order.
    pub examples: Vec<String>,
    /// The error of the first of them, in words.
    pub error: Option<String>,
}

/// VMs of one rack of which a call would make the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeCount {
    pub rack_id: Option<String>,
    /// `create` or `update`.
    pub outcome: Outcome,
    /// As it is now.
    pub next_hop: Option<String>,
    pub planned_next_hop: Option<String>,
    pub vms: u64,
    /// The first few VMs, in inventory order.
    pub examples: Vec<String>,
}

/// VMs that are blocked for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// `…` stands for words, such as moments and numbers, in which the VMs' reasons differ.
    pub reason: String,
    pub vms: u64,
    /// The first few VMs, in inventory order.
    pub examples: Vec<String>,
}

/// What a plan's VMs add up to beside their outcomes. Of very many kinds the first are here: the counts tell the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Forecasts {
    /// In the order of the racks.
    pub would_change: Vec<ChangeCount>,
    /// The most frequent first.
    pub reasons: Vec<ReasonCount>,
}

/// What a run's rows add up to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    #[serde(flatten)]
    pub counts: Counts,
    /// Invalid inventory rows that `--skip-invalid` left out.
    pub skipped: u64,
    /// VMs with at least one drift.
    pub drifted: u64,
    /// VMs with at least one warning.
    pub warned: u64,
    /// Warnings about the run as a whole.
    pub warnings: Vec<String>,
    /// Who carried it out, in the order in which they came: of a run that several may carry out, once it has ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<Contribution>,
    pub racks: Vec<RackCounts>,
    pub failures: Vec<FailureCount>,
    /// Of a plan.
    #[serde(flatten)]
    pub forecasts: Option<Forecasts>,
    /// Calls sent, all of them.
    pub calls: u64,
    /// Calls beyond each VM's first, 429s aside.
    pub retries: u64,
    /// Calls answered with a 429.
    pub throttled: u64,
    /// From the start (or the last resume) to the end.
    pub duration_s: f64,
    /// Calls sent a second, in [`Self::duration_s`].
    pub calls_per_s: f64,
    /// VMs without an outcome of their own yet; they count as failed, and can be resumed.
    pub pending: u64,
    /// Every selected VM had its turn and was settled.
    pub complete: bool,
    /// A process is carrying it out now.
    pub running: bool,
    pub stopped_by: Option<Stop>,
    /// The program's exit code for this run.
    pub exit_code: u8,
    /// `None` where there is no run to compare it with, or nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// How a run's failures differ from those of an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Since {
    /// The id of the earlier run.
    pub run: String,
    /// Those that were not in the earlier run too.
    pub newly_failing: Named,
    pub recovered: Named,
}

/// So many VMs, and the first few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    pub vms: u64,
    pub examples: Vec<String>,
}
