//! What happens to a run, and what it does about it: plain data.

use std::time::Instant;

use jiff::Timestamp;

use super::flights::FlightNo;
use super::notice::Notice;
use crate::api::Attempt;
use crate::clock;
use crate::ledger::{Claimed, Counted, Deferred, LeftAlone, Seen, Settled, Sick, Take, Trial};
use crate::outcome::{Offset, Outcome, Unanswered};
use crate::pace::{Ask, Exchange};
use crate::stop::Stop;
use crate::vm::{Action, VmId};

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) date: Timestamp,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { at: Instant::now(), date: clock::now() }
    }
}

/// What happens.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and nearly all of them are answers")]
pub(super) enum Event {
    /// Time has passed.
    Woken,
    /// Somebody wants the run to end.
    Signalled(Stop),
    /// VMs are claimed on disk: their calls may leave.
    Claimed(Claimed),
    /// Outcomes are on disk.
    Settled(Vec<Counted>),
    /// The ledger cannot be reached, in words: what is to be written waits.
    Away(String),
    /// The ledger can be reached again.
    Back,
    /// How the run stands that others share.
    Seen(Seen),
    /// All that the run leaves alone, once `heard` more of our trials are on disk.
    LeftAlone { all: Vec<LeftAlone>, heard: usize },
    /// The lease ran out: what was claimed is others' now.
    Lapsed,
    /// Others have ended the run.
    Over,
    /// How the pace that is shared stands.
    Paced(Box<Exchange>),
    /// A call has ended.
    Answered(FlightNo, Attempt),
}

/// What is to be done, in the order in which it is said. VMs are named by their positions in the inventory.
#[derive(Debug)]
pub(super) enum Command {
    Call {
        flight: FlightNo,
        vm: VmId,
        action: Action,
    },
    /// A call too, but for what it can do.
    Look {
        flight: FlightNo,
        vm: VmId,
    },
    /// To be claimed on disk. `offset` is the server's clock minus ours; the `allowance` is that of all workers.
    Claim {
        again: Vec<i64>,
        take: Vec<Take>,
        offset: Option<Offset>,
        allowance: Option<u64>,
    },
    /// Claimed, and not called after all.
    Release(Vec<i64>),
    /// For other workers.
    GiveBack(Vec<i64>),
    /// To be told to those who share the pace, and asked of them.
    Pace(Box<Ask>),
    Defer(Box<Deferred>),
    Settle(Box<Settled>),
    /// What is to be written is to wait for no more.
    Flush,
    /// What is known by now of a settled VM's lost answers.
    Remember(VmId, Vec<Unanswered>),
    /// The run has run into a brake.
    Brake(Stop),
    /// All who share the run are to end it.
    Stop(Stop),
    /// To be told to all who share the run.
    Breaker(Sick, Trial),
    /// Nothing is held of what was claimed before the lease ran out.
    Rejoin,
    /// So many VMs more are done, for whoever watches.
    Count(Outcome, u64),
    Tell(Notice),
}
