//! The breakers of a run: one for the API as a whole, one for each rack.

use std::time::{Duration, Instant};

use crate::api::Attempt;
use crate::breaker::{Breaker, Health, Purpose};
use crate::ledger::RackNo;
use crate::outcome::Failure;
use crate::retry::is_worth_a_retry;

#[derive(Debug)]
pub(super) struct Breakers {
    api: Breaker,
    racks: Vec<Breaker>,
    /// How many of the racks' are not closed.
    open: u32,
}

/// What a call was for, as each of its two breakers sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purposes {
    api: Purpose,
    rack: Purpose,
}

/// Which breakers a call opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) api: bool,
    pub(super) rack: bool,
}

impl Breakers {
    pub(super) fn new(racks: usize) -> Self {
        Self { api: Breaker::of_api(), racks: vec![Breaker::of_rack(); racks], open: 0 }
    }

    pub(super) fn api_is_closed(&self) -> bool {
        self.api.is_closed()
    }

    pub(super) fn rack_is_closed(&self, no: RackNo) -> bool {
        self.racks[no.0 as usize].is_closed()
    }

    pub(super) fn all_are_closed(&self) -> bool {
        self.api.is_closed() && self.open == 0
    }

    /// The racks that are left alone at the moment.
    pub(super) fn open_racks(&self) -> impl Iterator<Item = RackNo> {
        (0..).map(RackNo).zip(&self.racks).filter(|(_, rack)| !rack.is_closed()).map(|(no, _)| no)
    }

    /// Whether a call for a VM of this rack may leave now, or the earliest moment at which one may.
    pub(super) fn allows(&self, no: RackNo, now: Instant) -> Result<(), Option<Instant>> {
        self.api.allows(now).and_then(|()| self.racks[no.0 as usize].allows(now))
    }

    pub(super) fn left(&mut self, no: RackNo, now: Instant) -> Purposes {
        Purposes { api: self.api.left(now), rack: self.racks[no.0 as usize].left(now) }
    }

    /// Takes note of what came back; `is_first`: the VM had not been called in this run.
    pub(super) fn came_back(
        &mut self,
        no: RackNo,
        purposes: Purposes,
        is_first: bool,
        attempt: &Attempt,
        now: Instant,
    ) -> Opened {
        let health = health(attempt);
        let announced = match &attempt.result {
            Err(fault) if fault.status != Some(429) => fault.retry_after.unwrap_or_default(),
            Ok(_) | Err(_) => Duration::ZERO,
        };
        // Whoever cannot be reached is the API, not one rack of it.
        let of_rack = if health == Health::Unreachable { Health::Unknown } else { health };
        let rack = &mut self.racks[no.0 as usize];
        let was_open = !rack.is_closed();
        let opened = Opened {
            api: self.api.came_back(purposes.api, is_first, health, announced, now),
            rack: rack.came_back(purposes.rack, is_first, of_rack, announced, now),
        };
        self.open = self.open + u32::from(!rack.is_closed()) - u32::from(was_open);
        opened
    }
}

fn health(attempt: &Attempt) -> Health {
    match &attempt.result {
        Err(fault) if matches!(fault.status, Some(409 | 429)) => Health::Unknown,
        Err(fault) if fault.failure == Failure::Connect => Health::Unreachable,
        Err(fault) if is_worth_a_retry(fault) => Health::Ill,
        Ok(_) | Err(_) => Health::Well,
    }
}
