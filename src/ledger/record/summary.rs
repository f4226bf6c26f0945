//! What a run's rows add up to.

use serde::Serialize;

use super::counts::Counts;
use super::worker::Contribution;
use crate::outcome::{Failure, Outcome};
use crate::stop::Stop;

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
    /// Of the calls, those in [`Self::duration_s`].
    pub calls_in_duration: u64,
    /// These a second.
    pub calls_per_s: f64,
    /// VMs without an outcome of their own yet; they count as failed, and can be resumed.
    pub pending: u64,
    /// Every selected VM had its turn and was settled, and the end is noted.
    pub complete: bool,
    /// It can be gone on with, once nobody carries it out.
    #[serde(skip)]
    pub resumable: bool,
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
