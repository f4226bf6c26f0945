//! A ledger in virtual time: requests are held and sent as the real writer does it, and a commit takes its time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ledger::{Claimed, Counted, Item, RackNo, Take};
use crate::reconcile::event::{Command, Event, Now};
use crate::reconcile::work::tests::item;
use crate::vm::VmId;

/// How long an outcome waits for others to share its commit.
const PATIENCE: Duration = Duration::from_millis(50);

/// The VM's place on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Pending,
    Claimed,
    Settled,
}

#[derive(Debug)]
pub(super) struct Book {
    /// By position.
    places: Vec<Place>,
    /// Never claimed so far, by rack.
    fresh: Vec<VecDeque<i64>>,
    held: Vec<Command>,
    due: Option<Instant>,
    sent: Vec<Command>,
    is_writing: bool,
}

impl Book {
    /// VMs by rack; their positions go from rack to rack.
    pub(super) fn new(racks: &[u64]) -> Self {
        let mut positions = 0..;
        let fresh = racks.iter().map(|&vms| positions.by_ref().take(usize::try_from(vms).unwrap()).collect());
        Self {
            fresh: fresh.collect(),
            places: vec![Place::Pending; usize::try_from(racks.iter().sum::<u64>()).unwrap()],
            held: vec![],
            due: None,
            sent: vec![],
            is_writing: false,
        }
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn hold(&mut self, command: Command, now: Instant) {
        self.held.push(command);
        self.due.get_or_insert(now + PATIENCE);
    }

    pub(super) fn flush(&mut self) {
        self.due = None;
        self.sent.append(&mut self.held);
    }

    /// What was held shares the claim's commit, and is written before.
    pub(super) fn claim(&mut self, command: Command) {
        self.held.push(command);
        self.flush();
    }

    /// Whether a commit begins now.
    pub(super) fn begins(&mut self) -> bool {
        let begins = !self.is_writing && !self.sent.is_empty();
        self.is_writing |= begins;
        begins
    }

    /// A commit is on disk, with all that was sent meanwhile: what it answers.
    pub(super) fn commit(&mut self, now: Now) -> Vec<Event> {
        self.is_writing = false;
        let (mut events, mut counted) = (vec![], vec![]);
        for command in std::mem::take(&mut self.sent) {
            match command {
                Command::Claim { again, take, .. } => {
                    events.push(Event::Claimed(self.claimed(again, take, now)));
                }
                Command::Release(positions) => positions.into_iter().for_each(|p| self.release(p)),
                Command::Defer(deferred) => self.put(deferred.position, Place::Pending),
                Command::Settle(settled) => {
                    self.put(settled.item.position, Place::Settled);
                    let (outcome, drifted) = (settled.settlement.outcome(), settled.settlement.has_drift());
                    counted.push(Counted { rack: settled.item.rack, outcome, drifted });
                }
                _ => {}
            }
        }
        events.extend((!counted.is_empty()).then_some(Event::Settled(counted)));
        events
    }

    /// All is on disk.
    pub(super) fn close(&mut self, now: Now) {
        self.flush();
        self.commit(now);
    }

    fn claimed(&mut self, again: Vec<i64>, take: Vec<Take>, now: Now) -> Claimed {
        let mut items = Vec::new();
        for Take { rack, vms } in take {
            let fresh = &mut self.fresh[rack.0 as usize];
            let taken = fresh.drain(..fresh.len().min(vms as usize));
            items.extend(taken.map(|position| Item { rack, vm: vm(position), ..item(position) }));
        }
        for position in again.iter().copied().chain(items.iter().map(|item| item.position)) {
            self.put(position, Place::Claimed);
        }
        Claimed { at: now.date, again, items }
    }

    fn release(&mut self, position: i64) {
        if self.places[index(position)] == Place::Claimed {
            self.put(position, Place::Pending);
        }
    }

    fn put(&mut self, position: i64, place: Place) {
        let of = &mut self.places[index(position)];
        assert_ne!(*of, Place::Settled, "VM {position} is settled twice on disk, or called after that");
        *of = place;
    }
}

pub(super) fn index(position: i64) -> usize {
    usize::try_from(position).unwrap()
}

/// v1's ids begin at 1.
pub(super) fn vm(position: i64) -> VmId {
    (position + 1).to_string().parse().unwrap()
}

pub(super) fn position(vm: &VmId) -> i64 {
    vm.as_str().parse::<i64>().unwrap() - 1
}

/// Which rack a VM is in, where positions go from rack to rack.
pub(super) fn rack(position: i64, racks: &[u64]) -> RackNo {
    let mut end = 0;
    let past = racks.iter().take_while(|&&vms| {
        end += vms;
        end <= position.unsigned_abs()
    });
    RackNo(u32::try_from(past.count()).unwrap())
}
