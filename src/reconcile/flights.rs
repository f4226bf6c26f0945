//! The calls that are under way, each in a slot of its own. Pure.

use super::breakers::Purposes;
use super::work::Work;
use crate::api::{Attempt, Meaning};
use crate::pace::Ticket;

/// Names a call while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FlightNo(usize);

/// A VM that is being called.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) work: Work,
    pub(super) ticket: Ticket,
    pub(super) purposes: Purposes,
}

#[derive(Debug)]
pub(super) struct Flights {
    slots: Vec<Option<Flight>>,
    /// Those of `slots` that are empty.
    free: Vec<usize>,
    /// The most calls at once.
    most: usize,
    /// The last call could not be made, for want of something of our own.
    pub(super) is_hampered: bool,
}

impl Flights {
    pub(super) fn new(most: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), most, is_hampered: false }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn have_room(&self) -> bool {
        self.len() < self.most
    }

    pub(super) fn begin(&mut self, flight: Flight) -> FlightNo {
        let no = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[no] = Some(flight);
        FlightNo(no)
    }

    /// A call has ended. `None` where no such call is under way.
    pub(super) fn end(&mut self, FlightNo(no): FlightNo, attempt: &Attempt) -> Option<Flight> {
        let flight = self.slots.get_mut(no)?.take()?;
        self.free.push(no);
        self.is_hampered = attempt.meaning() == Some(Meaning::Hampered);
        Some(flight)
    }

    /// Allows no more at once than are under way now. Returns how many that is, where it is fewer than before.
    pub(super) fn keep_to_fewer(&mut self) -> Option<usize> {
        let most = self.len().max(1);
        let is_fewer = most < self.most;
        self.most = self.most.min(most);
        is_fewer.then_some(most)
    }
}
