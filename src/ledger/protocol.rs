//! What a writer is asked while a run goes on, and what it answers once that is on disk.

use std::time::{Duration, Instant};

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
    /// clock minus ours, for whoever finds the claims if we die. Of a run that several workers may share, no more VMs than the
    /// `allowance` are claimed by all of them together, those given back among them: these come first, of any rack.
    Claim {
        again: Vec<i64>,
        take: Vec<Take>,
        offset: Option<Offset>,
        allowance: Option<u64>,
    },
    /// Claimed items whose call never left are given back.
    Release(Vec<i64>),
    /// Items that are claimed, or wait for another call, are for others to claim, where several workers may share the run.
    GiveBack(Vec<i64>),
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
    /// A breaker that all workers of a run share.
    Breaker(Sick, Trial),
}

/// What is left alone: a rack, or the API as a whole.
pub type Sick = Option<RackNo>;

/// Of workers that share a breaker, one at a time tries what it leaves alone, and the others call nothing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// We have found it ill, and nobody else tries it: the worker that follows us does, or we do where there is no other one. The
    /// next trial is after so long, and another one after such a gap.
    Begins { wait: Duration, gap: Duration },
    /// We try it from now on, if nobody else does.
    TakenOver,
    /// We do no longer.
    GivenUp,
    /// It is well.
    Succeeded,
}

/// Something that all workers of a run leave alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftAlone {
    pub sick: Sick,
    /// Before its next trial, and from that to another one, as whoever tried it said last.
    pub wait: Duration,
    pub gap: Duration,
    pub tried: Tried,
    /// We were the last to find it ill.
    pub is_found_by_us: bool,
}

/// Who tries what is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    ByUs,
    ByOthers,
    ByNobody,
}

/// What is on disk now.
#[derive(Debug)]
pub enum Reply {
    /// Calls for these may leave.
    Claimed(Claimed),
    Settled(Vec<Counted>),
    /// Of a run that several workers may share, after all else that a batch is answered.
    Seen(Seen),
    /// All that is left alone, where that has changed, or `heard` of our own trials were written since.
    LeftAlone {
        all: Vec<LeftAlone>,
        heard: usize,
    },
    /// The answer to [`Request::Pace`].
    Paced(Box<Exchange>),
    /// The lease ran out before it was renewed: what was claimed by it is others' now, and nothing that was asked
    /// for since is written, up to [`Request::Rejoin`].
    Lapsed,
    /// The run has ended, or was resumed since: nothing that is asked is written any more.
    Over,
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
    /// How often a worker has given VMs back, or lost them.
    pub returns: u64,
    /// Why it is to end, where somebody wants it to.
    pub stop: Option<Stop>,
    /// What this worker holds is its own until then, at least.
    pub leased_until: Instant,
    /// Those that are alive, this one among them.
    pub workers: u32,
    /// There is something that all are to know at once: a pause, say.
    pub is_alerted: bool,
}
