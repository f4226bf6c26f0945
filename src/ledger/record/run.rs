//! A run: what it was asked to do, and how it stands.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::counts::Counts;
use super::worker::{Contribution, Terms};
use crate::dialect::Dialect;
use crate::inventory::InventoryFile;
use crate::outcome::Kind;
use crate::stop::Stop;
use crate::text::moment_field;
use crate::vm::Action;

/// Names a run within its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunKey {
    /// Sorts by time: `20261123T021500Z-7f3a`.
    pub id: String,
}

impl RunKey {
    /// One that nobody may have yet.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { id: format!("{}-{:04x}", now.strftime("%Y%m%dT%H%M%SZ"), fastrand::u16(..)) }
    }
}

/// What is known of a run before its inventory is read.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub kind: Kind,
    pub base_url: String,
    pub dialect: Dialect,
    /// The typed `--action`.
    pub action: Option<Action>,
    /// The inventory files as they identify the job, in order; [`crate::inventory::PIPE`] is one that can be read only once.
    pub files: Vec<String>,
    /// The files of `--vmid @FILE`, likewise.
    pub id_files: Vec<InventoryFile>,
    pub options: serde_json::Map<String, serde_json::Value>,
    pub key_fingerprint: Option<String>,
    /// Of one call: how long an attempt that a crash cut off may have lasted.
    pub timeout: Duration,
    /// Of the process that begins it, or goes on with it.
    pub terms: Terms,
}

/// What a run was asked to do, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunInfo {
    /// Sorts by time: `20261123T021500Z-7f3a`.
    pub id: String,
    pub kind: Kind,
    pub tool_version: String,
    /// `sandbox` for a rehearsal, whatever its port.
    pub base_url: String,
    #[serde(rename = "api")]
    pub dialect: Dialect,
    /// The first 8 hex digits of the key's SHA-256.
    pub key_fingerprint: Option<String>,
    /// The typed `--action`; `None` where each row of the inventory had its own.
    pub action: Option<Action>,
    pub inventory: Vec<InventoryFile>,
    /// Valid VMs of the whole inventory, selected or not; `None` where that was not kept.
    pub inventory_vms: Option<u64>,
    /// The settings in force, by flag name.
    pub options: serde_json::Map<String, serde_json::Value>,
    #[serde(serialize_with = "moment_field")]
    pub started_at: Timestamp,
    /// `None` while it runs, or where it died.
    #[serde(serialize_with = "moment_field")]
    pub ended_at: Option<Timestamp>,
    pub resumes: u32,
    /// Every label column of the inventory, in the order of first appearance.
    #[serde(skip)]
    pub label_columns: Vec<String>,
    /// When the job last succeeded, by this run or an earlier one: every VM settled, and by its exit
    /// code none failed or skipped.
    #[serde(skip)]
    pub last_success_at: Option<Timestamp>,
    /// Of a run of a part of the inventory: when the job last succeeded for the whole of it, or 1970. `None` where that
    /// was never run.
    #[serde(skip)]
    pub whole_success_at: Option<Timestamp>,
}

/// One run in a list of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    pub id: String,
    pub kind: Kind,
    pub base_url: String,
    #[serde(rename = "api")]
    pub dialect: Dialect,
    /// The typed `--action`; `None` where each row of the inventory had its own.
    pub action: Option<Action>,
    pub inventory: Vec<InventoryFile>,
    /// Valid VMs of the whole inventory, selected or not; `None` where that was not kept.
    pub inventory_vms: Option<u64>,
    /// The settings in force, by flag name.
    #[serde(skip)]
    pub options: serde_json::Map<String, serde_json::Value>,
    #[serde(serialize_with = "moment_field")]
    pub started_at: Timestamp,
    /// `None` while it runs, or where it died.
    #[serde(serialize_with = "moment_field")]
    pub ended_at: Option<Timestamp>,
    pub resumes: u32,
    #[serde(flatten)]
    pub counts: Counts,
    pub complete: bool,
    /// A process is carrying it out now.
    pub running: bool,
    pub stopped_by: Option<Stop>,
    pub exit_code: Option<u8>,
    /// Never pruned.
    pub pinned: bool,
}

impl Overview {
    /// Of a run that goes on, and what its VMs have come to so far.
    pub fn under_way(run: RunInfo, counts: Counts) -> Self {
        Self {
            counts,
            complete: false,
            running: true,
            stopped_by: None,
            exit_code: None,
            pinned: false,
            id: run.id,
            kind: run.kind,
            base_url: run.base_url,
            dialect: run.dialect,
            action: run.action,
            inventory: run.inventory,
            inventory_vms: run.inventory_vms,
            options: run.options,
            started_at: run.started_at,
            ended_at: None,
            resumes: run.resumes,
        }
    }
}

/// Whether a run came to its end by itself, which it does once every VM is settled.
pub fn is_complete(ended_at: Option<Timestamp>, stopped_by: Option<Stop>) -> bool {
    ended_at.is_some() && stopped_by.is_none()
}

/// Whether a run that nobody carries out can be gone on with: it stopped with VMs `pending`, or its end was not noted.
pub fn is_resumable(ended_at: Option<Timestamp>, stopped_by: Option<Stop>, pending: u64) -> bool {
    ended_at.is_none() || stopped_by.is_some() && pending > 0
}

/// A run with VMs that have no outcome yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfinished {
    pub run: RunKey,
    pub vms: u64,
    /// Of these, without an outcome.
    pub pending: u64,
    /// The brake that it ran into, else what stopped it; `None` where it died.
    pub stopped_by: Option<Stop>,
    /// What it was read from: the inventory files, then those of `--vmid @FILE`.
    pub files: Vec<InventoryFile>,
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// A rack's VMs without an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingVms {
    pub rack_id: Option<String>,
    pub vms: u64,
    /// Of these, seen before.
    pub known: u64,
}

/// An inventory at its last complete run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastInventory {
    pub run: String,
    pub vms: u64,
}

/// An invalid inventory row that a run went on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub file: String,
    pub line: i64,
    pub column: String,
    pub reason: String,
}

/// How a run ends, to be noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending<'e> {
    pub at: Timestamp,
    pub stopped_by: Option<Stop>,
    pub exit_code: u8,
    pub counts: Counts,
    /// Who carried it out.
    pub workers: &'e [Contribution],
}

/// A file that a run has written in a directory of its own, as it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Absolute.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// What a run's summary says beside what its VMs add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// Its start, or its last resume.
    pub begun_at: Timestamp,
    /// `None` while it runs, or where it died.
    pub ended_at: Option<Timestamp>,
    pub stopped_by: Option<Stop>,
    pub exit_code: Option<u8>,
    /// About the run as a whole.
    pub warnings: Vec<String>,
    /// Who carried it out, once it has ended; of a ledger that one process writes at a time, nobody is told.
    pub workers: Vec<Contribution>,
    /// Calls made before its last resume.
    pub calls_before: u64,
    /// Invalid inventory rows that it went on without.
    pub skipped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_complete_or_can_be_gone_on_with_or_has_stopped_with_nothing_left() {
        let (ended, stopped) = (Some(Timestamp::UNIX_EPOCH), Some(Stop::Deadline));
        for (ended_at, stopped_by, pending, complete, resumable) in [
            (None, None, 0, false, true),
            (None, None, 1, false, true),
            (ended, None, 0, true, false),
            (ended, stopped, 0, false, false),
            (ended, stopped, 1, false, true),
        ] {
            let found = (is_complete(ended_at, stopped_by), is_resumable(ended_at, stopped_by, pending));
            assert_eq!(found, (complete, resumable), "{ended_at:?} {stopped_by:?} {pending}");
        }
    }
}
