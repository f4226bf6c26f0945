//! What a writer is asked while a run goes on, and what it answers once that is on disk.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::error::LedgerError;
use super::record::{Counts, Deferred, Item, RackNo, Settled};
use crate::outcome::{Offset, Outcome, Unanswered};
use crate::pace::{Ask, Exchange};
use crate::stop::Stop;
use crate::vm::VmId;

/// A claim older than this is renewed before its call leaves: what a crash leaves claimed was about to be sent.
pub const CLAIM_LIFE: SignedDuration = SignedDuration::from_secs(2);

/// How many VMs to claim from one rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    pub rack: RackNo,
    pub vms: u32,
}

/// What a writer is asked. Items are named by their positions.
#[derive(Debug)]
pub enum Request {
    /// Pending VMs are claimed, and those that wait for another call are claimed `again`. `offset` is the server's
    /// clock minus ours, for whoever finds the claims if we die. Of a run that several workers may share, VMs are taken only
    /// while fewer than `allowance` were started, by all of them together.
    Claim {
        again: Vec<i64>,
        take: Vec<Take>,
        offset: Option<Offset>,
        allowance: Option<u64>,
    },
    /// Claimed items whose call never left are given back.
    Release(Vec<i64>),
    /// A VM waits for another call.
    Defer(Box<Deferred>),
    Settle(Box<Settled>),
    /// What is known by now of a settled VM's attempts whose answer was lost.
    Remember(VmId, Vec<Unanswered>),
    /// The run has run into a brake.
    Brake(Stop),
    /// The run is to end, whoever works on it.
    Stop(Stop),
    /// Whoever asks has heard that the lease ran out, and holds nothing that was claimed by it.
    Rejoin,
    /// Time has passed: the lease goes on.
    Tick,
    /// For the pace that all workers of one account share.
    Pace(Box<Ask>),
}

/// What is on disk now.
#[derive(Debug)]
pub enum Reply {
    /// Calls for these may leave.
    Claimed(Claimed),
    Settled(Vec<Counted>),
    /// Of a run that several workers may share, after all else that a batch is answered.
    Seen(Seen),
    /// The answer to [`Request::Pace`].
    Paced(Box<Exchange>),
    /// The lease ran out before it was renewed: what was claimed by it is others' now, and nothing that was asked
    /// for since is written, up to [`Request::Rejoin`].
    Lapsed,
    /// The ledger cannot be reached, in words: what was asked for is kept, and written once it can be.
    Away(String),
    /// It can be reached again.
    Back,
    /// Nothing more will be written.
    Failed(LedgerError),
}

/// The answer to one claim. It may have fewer items than were asked for: other workers have them, or their VM is in a call of
/// another run.
#[derive(Debug)]
pub struct Claimed {
    /// The claims' date: the earliest moment at which one of the calls can leave.
    pub at: Timestamp,
    /// Items that were claimed afresh.
    pub again: Vec<i64>,
    pub items: Vec<Item>,
}

/// A settled VM, as far as counting it goes.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub rack: RackNo,
    pub outcome: Outcome,
    pub drifted: bool,
}

/// How a run stands that several workers may share, as of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What came of its VMs since its start or its last resume, by all workers together; how many are selected is not said.
    pub counted: Counts,
    /// Of those, VMs with a drift.
    pub drifted: u64,
    /// VMs that were claimed since then, and not given back: those that are settled, and those that a worker holds.
    pub started: u64,
    /// VMs without an outcome.
    pub pending: u64,
    /// Of these, held by no worker.
    pub free: u64,
    /// Why it is to end, where somebody wants it to.
    pub stop: Option<Stop>,
    /// What this worker holds is its own until then, at least.
    pub leased_until: Instant,
    /// Those that are alive, this one among them.
    pub workers: u32,
}
