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
    /// Whether its VM has not become another worker's meanwhile.
    pub(super) is_ours: bool,
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

    /// Whether one more call may leave while so many `others` count as under way.
    pub(super) fn have_room_beside(&self, others: usize) -> bool {
        self.len() + others < self.most
    }

    /// How many more calls may be under way.
    pub(super) fn room(&self) -> usize {
        self.most.saturating_sub(self.len())
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

    /// Whatever comes of the calls under way, their VMs are other workers' now.
    pub(super) fn disown(&mut self) {
        self.slots.iter_mut().flatten().for_each(|flight| flight.is_ours = false);
    }

    /// Allows no more at once than are under way now. Returns how many that is, where it is fewer than before.
    pub(super) fn keep_to_fewer(&mut self) -> Option<usize> {
        let most = self.len().max(1);
        let is_fewer = most < self.most;
        self.most = self.most.min(most);
        is_fewer.then_some(most)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::api::answered;
    use crate::ledger::RackNo;
    use crate::pace::Pace;
    use crate::reconcile::breakers::Breakers;
    use crate::reconcile::work::tests::work;

    fn flight(position: i64) -> Flight {
        let now = Instant::now();
        let ticket = Pace::new("none".parse().unwrap(), None, now).next(now).unwrap();
        let purposes = Breakers::new(1).left(RackNo(0), now);
        Flight { work: work(position), ticket, purposes, is_ours: true }
    }

    #[test]
    fn a_slot_is_free_once_its_call_has_ended_and_no_call_ends_twice() {
        let mut flights = Flights::new(2);
        let [first, second] = [1, 2].map(|position| flights.begin(flight(position)));
        assert!(!flights.have_room_beside(0));
        let attempt = answered(200, b"{}");
        let ended = flights.end(first, &attempt);
        assert_eq!(ended.map(|flight| flight.work.item.position), Some(1));
        assert!(flights.have_room_beside(0) && flights.end(first, &attempt).is_none());
        assert_eq!(flights.begin(flight(3)), first, "its slot is used again");
        assert!(flights.end(second, &attempt).is_some() && flights.end(first, &attempt).is_some());
        assert!(flights.is_empty());
    }

    #[test]
    fn more_at_once_than_were_under_way_are_not_tried_again() {
        let mut flights = Flights::new(8);
        let numbers = [1, 2, 3].map(|position| flights.begin(flight(position)));
        let mut attempt = answered(500, b"{}");
        attempt.result.as_mut().unwrap_err().meaning = Meaning::Hampered;
        assert!(flights.end(numbers[0], &attempt).is_some() && flights.is_hampered);
        assert_eq!(flights.keep_to_fewer(), Some(2));
        assert!(!flights.have_room_beside(0));
        assert_eq!(flights.keep_to_fewer(), None, "it is known");
        for no in &numbers[1..] {
            flights.end(*no, &answered(200, b"{}"));
        }
        assert_eq!((flights.keep_to_fewer(), flights.is_hampered), (Some(1), false), "but for one");
    }
}
