//! What a writer is asked while a run goes on, and what it answers once that is on disk.

use jiff::{SignedDuration, Timestamp};

use super::error::LedgerError;
use super::record::{Deferred, Item, RackNo, Settled};
use crate::outcome::{Offset, Outcome, Unanswered};
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
    /// clock minus ours, for whoever finds the claims if we die.
    Claim {
        again: Vec<i64>,
        take: Vec<Take>,
        offset: Option<Offset>,
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
}

/// What is on disk now.
#[derive(Debug)]
pub enum Reply {
    /// Calls for these may leave.
    Claimed(Claimed),
    Settled(Vec<Counted>),
    /// Nothing more will be written.
    Failed(LedgerError),
}

/// The answer to one claim.
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
