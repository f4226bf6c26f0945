//! A process that carries a run out, beside others where the ledger can be shared.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::bulletin::Bulletin;
use super::counts::Counts;
use crate::text::moment_field;

/// How a process works on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long what it has claimed stays its own without a word from it.
    pub lease: Duration,
    /// Calls that it makes at once, at most.
    pub concurrency: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), concurrency: 16 }
    }
}

/// A worker of a run, and what it has done for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    pub no: i64,
    pub host: String,
    pub pid: u32,
    pub terms: Terms,
    /// These two are told by the ledger's clock.
    pub since: Timestamp,
    pub seen_at: Timestamp,
    pub presence: Presence,
    /// What it has told of itself last.
    pub bulletin: Option<Bulletin>,
    /// VMs that it holds.
    pub holds: u64,
    /// VMs that it has settled, by outcome.
    pub settled: Counts,
}

/// What a worker did for a run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contribution {
    pub host: String,
    pub pid: u32,
    #[serde(serialize_with = "moment_field")]
    pub since: Timestamp,
    /// When it was heard of last.
    #[serde(serialize_with = "moment_field")]
    pub until: Timestamp,
    /// It was not heard of any more, and others took over what it held.
    pub lost: bool,
    /// VMs that have their outcome from it.
    pub settled: u64,
    /// Of these.
    pub failed: u64,
}

impl From<Worker> for Contribution {
    fn from(worker: Worker) -> Self {
        let Worker { host, pid, since, seen_at, presence, settled, .. } = worker;
        let lost = presence == Presence::Lost;
        Self { host, pid, since, until: seen_at, lost, settled: settled.settled(), failed: settled.failed }
    }
}

/// Who ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Whoever asks.
    Ours,
    /// Whoever asks, and it has.
    Noted,
    /// Another worker has ended it.
    Before,
    /// Other workers go on with it, or are about to end it: whoever asks has left it to them.
    Held,
}

/// Whether a worker is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its lease has not run out.
    Live,
    /// It has left by itself.
    Left,
    /// It was not heard of any more.
    Lost,
}
