//! A run as a whole: what it was, and what its rows add up to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::inventory::Action;
use crate::outcome::{Failure, Outcome};
use crate::stop::Stop;

/// One file of the fleet's inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryFile {
    /// As it was named on the command line; `-` is standard input.
    pub path: String,
    /// Of its bytes, in lower-case hex.
    pub sha256: String,
}

/// What a run was asked to do, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunInfo {
    /// Sorts by time: `20261123T021500Z-7f3a`.
    pub id: String,
    pub tool_version: String,
    /// `sandbox` for a rehearsal, whatever its port.
    pub base_url: String,
    /// The first 8 hex digits of the key's SHA-256.
    pub key_fingerprint: Option<String>,
    /// The typed `--action`; `None` where each row of the inventory had its own.
    pub action: Option<Action>,
    pub inventory: Vec<InventoryFile>,
    /// Valid VMs of the whole inventory, selected or not; `None` where that was not kept.
    pub inventory_vms: Option<u64>,
    /// The settings in force, by flag name.
    pub options: serde_json::Map<String, serde_json::Value>,
    pub started_at: Timestamp,
    /// `None` while it runs, or where it died.
    pub ended_at: Option<Timestamp>,
    pub resumes: u32,
    /// Every label column of the inventory, in the order of first appearance.
    #[serde(skip)]
    pub label_columns: Vec<String>,
    /// When the job last succeeded, by this run or an earlier one: every VM settled, none failed or skipped.
    #[serde(skip)]
    pub last_success_at: Option<Timestamp>,
    /// Of a run of a part of the inventory: when the job last succeeded for the whole of it, or 1970. `None` where that
    /// was never run.
    #[serde(skip)]
    pub whole_success_at: Option<Timestamp>,
}

/// How many VMs came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub selected: u64,
    pub created: u64,
    pub unchanged: u64,
    pub updated: u64,
    pub failed: u64,
    /// Of the failed: those that were never called.
    #[serde(default)]
    pub not_attempted: u64,
}

impl Counts {
    /// One more VM, which came out like this.
    pub fn add_vm(&mut self, outcome: Outcome, failure: Option<Failure>) {
        self.selected += 1;
        self.not_attempted += u64::from(failure == Some(Failure::NotAttempted));
        self.add(outcome, 1);
    }

    pub fn add(&mut self, outcome: Outcome, vms: u64) {
        match outcome {
            Outcome::Created => self.created += vms,
            Outcome::Unchanged => self.unchanged += vms,
            Outcome::Updated => self.updated += vms,
            Outcome::Failed => self.failed += vms,
        }
    }

    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, counts| Self {
            selected: sum.selected + counts.selected,
            created: sum.created + counts.created,
            unchanged: sum.unchanged + counts.unchanged,
            updated: sum.updated + counts.updated,
            failed: sum.failed + counts.failed,
            not_attempted: sum.not_attempted + counts.not_attempted,
        })
    }

    pub fn changed(&self) -> u64 {
        self.created + self.updated
    }

    /// VMs with an outcome; equals `selected` in every finished report.
    pub fn settled(&self) -> u64 {
        self.created + self.unchanged + self.updated + self.failed
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

/// What a run's rows add up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    pub racks: Vec<RackCounts>,
    pub failures: Vec<FailureCount>,
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
    pub newly_failing: Named,
    pub recovered: Named,
}

/// So many VMs, and the first few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    pub vms: u64,
    pub examples: Vec<String>,
}
