//! Whose turn it is: racks one after another, and none with more slots than is fair. Pure.
//!
//! While others wait, a rack earns its slots by answers: one whose calls hang keeps few of them.

use std::collections::VecDeque;

use crate::ledger::{RackNo, Take};

/// The slots that a rack may hold before any of its calls was answered.
const UNEARNED: u32 = 2;

/// The racks of a run: what waits in them, and what they hold.
#[derive(Debug)]
pub(super) struct Turn {
    slots: u32,
    rack_slots: Option<u32>,
    racks: Vec<Rack>,
    /// Racks with pending VMs, the next one first.
    order: VecDeque<RackNo>,
    /// VMs that are pending, of all racks together.
    pending: u64,
    /// Racks with VMs that wait for a slot.
    waiting_racks: u32,
    /// Slots that are held.
    flying: u32,
}

#[derive(Debug, Default, Clone, Copy)]
struct Rack {
    /// Not claimed yet, as far as we know.
    pending: u64,
    /// Whether any was, when the run began.
    has_had: bool,
    /// Claimed, and waiting for a slot.
    ready: u32,
    /// Holding a slot.
    flying: u32,
    /// The slots that answers have earned it; it has [`UNEARNED`] in any case.
    earned: u32,
}

impl Rack {
    fn waits(self) -> bool {
        self.pending > 0 || self.ready > 0
    }
}

impl Turn {
    /// `pending` is the number of VMs by rack; `rack_slots` the most slots that one rack may ever hold.
    pub(super) fn new(slots: u32, rack_slots: Option<u32>, pending: &[u64]) -> Self {
        let racks: Vec<Rack> = pending
            .iter()
            .map(|&pending| Rack { pending, has_had: pending > 0, ..Rack::default() })
            .collect();
        let order: VecDeque<RackNo> =
            (0..).map(RackNo).zip(pending).filter(|(_, n)| **n > 0).map(|(no, _)| no).collect();
        let waiting_racks = u32::try_from(order.len()).unwrap_or(u32::MAX);
        let pending = pending.iter().sum();
        Self { slots, rack_slots, racks, order, pending, waiting_racks, flying: 0 }
    }

    /// VMs that have not been claimed yet, as far as we know.
    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    /// The most slots that a rack may hold now: half of all while others wait.
    fn share(&self, rack: Rack) -> u32 {
        let most = self.rack_slots.unwrap_or(self.slots).min(self.slots);
        if self.others_wait(rack) { most.min(self.slots.div_ceil(2)) } else { most }
    }

    fn others_wait(&self, rack: Rack) -> bool {
        self.waiting_racks > u32::from(rack.waits())
    }

    pub(super) fn has_room(&self, no: RackNo) -> bool {
        self.room(no) > 0
    }

    /// How many more slots a rack may hold now.
    pub(super) fn room(&self, no: RackNo) -> u32 {
        let rack = self.racks[no.0 as usize];
        self.earned(rack).min(self.share(rack)).saturating_sub(rack.flying)
    }

    /// Whether a rack has room, or will have some as soon as any slot is free.
    pub(super) fn has_room_soon(&self, no: RackNo) -> bool {
        let rack = self.racks[no.0 as usize];
        let is_full = self.flying >= self.slots;
        let is_limited = self.rack_slots.is_some_and(|most| rack.flying >= most);
        self.has_room(no) || is_full && !is_limited && rack.flying < self.earned(rack)
    }

    fn earned(&self, rack: Rack) -> u32 {
        if self.others_wait(rack) { rack.earned.max(UNEARNED) } else { u32::MAX }
    }

    /// Picks up to `vms` pending VMs to claim, each rack in turn, so that no rack has more ready than `ahead` says, nor
    /// than it has slots or its part of the `soon` calls that leave in a while.
    pub(super) fn take(&mut self, vms: u32, soon: u32, ahead: impl Fn(RackNo) -> u32) -> Vec<Take> {
        let part = soon / self.waiting_racks.max(1);
        let mut picked: Vec<Take> = Vec::new();
        let (mut vms, mut passed_over) = (vms, 0);
        while vms > 0 && passed_over < self.order.len() {
            let Some(no) = self.order.pop_front() else { break };
            let rack = self.racks[no.0 as usize];
            if rack.ready < ahead(no).min(self.share(rack).max(part)) {
                self.change(no, |rack| {
                    rack.pending -= 1;
                    rack.ready += 1;
                });
                match picked.last_mut() {
                    Some(take) if take.rack == no => take.vms += 1,
                    Some(_) | None => picked.push(Take { rack: no, vms: 1 }),
                }
                (vms, passed_over) = (vms - 1, 0);
            } else {
                passed_over += 1;
            }
            if self.racks[no.0 as usize].pending > 0 {
                self.order.push_back(no);
            }
        }
        picked
    }

    /// Racks with a call under way, and those with pending VMs where some `may_be_claimed`.
    pub(super) fn busy(&self, may_be_claimed: bool) -> impl Iterator<Item = RackNo> {
        let is_busy = move |rack: &Rack| rack.flying > 0 || may_be_claimed && rack.pending > 0;
        (0..).map(RackNo).zip(&self.racks).filter(move |(_, rack)| is_busy(rack)).map(|(no, _)| no)
    }

    /// A VM that waited for another call is ready again.
    pub(super) fn renewed(&mut self, no: RackNo) {
        self.change(no, |rack| rack.ready += 1);
    }

    /// A ready VM takes a slot.
    pub(super) fn left(&mut self, no: RackNo) {
        self.flying += 1;
        self.change(no, |rack| {
            rack.ready -= 1;
            rack.flying += 1;
        });
    }

    /// A ready VM does not leave after all.
    pub(super) fn given_back(&mut self, no: RackNo) {
        self.change(no, |rack| rack.ready -= 1);
    }

    /// So many VMs were not there to be claimed: the others of the rack are not either, or it `has_more` that may not be
    /// started yet.
    pub(super) fn missed(&mut self, no: RackNo, vms: u32, has_more: bool) {
        let had = self.racks[no.0 as usize].pending;
        self.change(no, |rack| {
            rack.ready -= vms;
            rack.pending = if has_more { rack.pending + u64::from(vms) } else { 0 };
        });
        match (had > 0, has_more) {
            (true, false) => self.order.retain(|&rack| rack != no),
            (false, true) => self.order.push_back(no),
            (true, true) | (false, false) => {}
        }
    }

    /// A VM is ready of a rack that was not asked for it.
    pub(super) fn came_unasked(&mut self, no: RackNo) {
        let had = self.racks[no.0 as usize].pending;
        self.change(no, |rack| {
            rack.ready += 1;
            rack.pending = rack.pending.saturating_sub(1);
        });
        if had == 1 {
            self.order.retain(|&rack| rack != no);
        }
    }

    /// Up to `free` VMs are pending, some of them again, and nobody knows in which racks.
    pub(super) fn refill(&mut self, free: u64) {
        for no in (0..).map(RackNo).take(self.racks.len()) {
            let Rack { pending, has_had, .. } = self.racks[no.0 as usize];
            if has_had {
                self.change(no, |rack| rack.pending = pending.max(free));
            }
            if has_had && pending == 0 {
                self.order.push_back(no);
            }
        }
    }

    /// A slot is free again. A call that was `answered` earns its rack one more where it makes use of half of them;
    /// one that was not costs it half.
    pub(super) fn came_back(&mut self, no: RackNo, answered: bool) {
        self.flying -= 1;
        self.change(no, |rack| {
            let earned = rack.earned.max(UNEARNED);
            rack.earned = match answered {
                true => earned + u32::from(earned < 2 * rack.flying),
                false => earned / 2,
            };
            rack.flying -= 1;
        });
    }

    fn change(&mut self, no: RackNo, change: impl FnOnce(&mut Rack)) {
        let rack = &mut self.racks[no.0 as usize];
        let (waited, had) = (rack.waits(), rack.pending);
        change(rack);
        let waits = rack.waits();
        self.pending = self.pending - had + rack.pending;
        self.waiting_racks = self.waiting_racks + u32::from(waits) - u32::from(waited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many VMs are taken of each rack.
    fn racks(takes: &[Take]) -> Vec<(u32, u32)> {
        let mut racks: Vec<(u32, u32)> = Vec::new();
        for Take { rack, vms } in takes {
            match racks.iter_mut().find(|(no, _)| *no == rack.0) {
                Some((_, all)) => *all += vms,
                None => racks.push((rack.0, *vms)),
            }
        }
        racks
    }

    #[test]
    fn racks_are_taken_in_turn() {
        let mut turn = Turn::new(16, None, &[3, 1, 5]);
        assert_eq!(racks(&turn.take(4, 0, |_| 16)), [(0, 2), (1, 1), (2, 1)]);
        assert_eq!(racks(&turn.take(4, 0, |_| 16)), [(2, 3), (0, 1)]);
        assert_eq!(racks(&turn.take(4, 0, |_| 16)), [(2, 1)]);
        assert_eq!(turn.pending(), 0);
        let mut turn = Turn::new(16, None, &[3, 1, 5]);
        let order: Vec<_> = turn.take(8, 0, |_| 16).iter().map(|take| (take.rack.0, take.vms)).collect();
        assert_eq!(order, [(0, 1), (1, 1), (2, 1), (0, 1), (2, 1), (0, 1), (2, 2)]);
    }

    /// Fills the slots that the rack may have. Returns how many it holds then.
    fn fill(turn: &mut Turn, no: RackNo) -> u32 {
        turn.take(64, 0, |_| 16);
        while turn.has_room(no) && turn.racks[no.0 as usize].ready > 0 {
            turn.left(no);
            turn.take(64, 0, |_| 16);
        }
        turn.racks[no.0 as usize].flying
    }

    #[test]
    fn while_others_wait_a_rack_earns_its_slots_by_answers_up_to_half_of_all() {
        let mut turn = Turn::new(16, None, &[100, 100]);
        let rack = RackNo(0);
        let mut held = vec![fill(&mut turn, rack)];
        for _ in 0..8 {
            turn.came_back(rack, true);
            held.push(fill(&mut turn, rack));
        }
        assert_eq!(held, [2, 3, 4, 5, 6, 7, 8, 8, 8]);
        turn.came_back(rack, false);
        for _ in 0..6 {
            assert!(!turn.has_room(rack), "what hangs keeps two slots");
            turn.came_back(rack, false);
        }
        assert_eq!(fill(&mut turn, rack), 2);
    }

    #[test]
    fn a_rack_that_waits_alone_has_all_slots() {
        let mut turn = Turn::new(16, None, &[100]);
        assert_eq!(fill(&mut turn, RackNo(0)), 16);
    }

    #[test]
    fn who_waits_for_any_slot_has_room_soon_and_who_waits_for_its_own_calls_has_not() {
        let (healthy, hanging) = (RackNo(0), RackNo(1));
        let mut turn = Turn::new(4, None, &[100, 100]);
        assert_eq!((fill(&mut turn, hanging), fill(&mut turn, healthy)), (2, 2));
        assert!(!turn.has_room_soon(healthy), "it has to earn more");
        turn.came_back(healthy, true);
        assert!(turn.has_room(healthy));
        turn.left(healthy);
        assert!(turn.has_room_soon(healthy) && !turn.has_room(healthy), "its share is taken");
        assert!(!turn.has_room_soon(hanging));
        let mut limited = Turn::new(4, Some(2), &[100, 100]);
        assert_eq!(fill(&mut limited, healthy), 2);
        assert!(!limited.has_room_soon(healthy));
        limited.came_back(healthy, true);
        assert_eq!((fill(&mut limited, healthy), fill(&mut limited, hanging)), (2, 2));
        assert!(!limited.has_room_soon(healthy), "all slots are taken, but it has had its own");
    }

    #[test]
    fn a_racks_own_limit_always_holds() {
        let mut turn = Turn::new(16, Some(2), &[100]);
        turn.take(16, 0, |_| 16);
        turn.left(RackNo(0));
        turn.left(RackNo(0));
        assert!(!turn.has_room(RackNo(0)));
        turn.came_back(RackNo(0), true);
        assert!(turn.has_room(RackNo(0)));
    }

    #[test]
    fn no_more_is_claimed_ahead_of_a_rack_than_it_may_use_soon() {
        let mut turn = Turn::new(16, None, &[100, 100]);
        assert_eq!(racks(&turn.take(50, 0, |_| 3)), [(0, 3), (1, 3)]);
        assert!(turn.take(50, 0, |_| 3).is_empty());
        turn.left(RackNo(1));
        assert_eq!(racks(&turn.take(50, 0, |_| 3)), [(1, 1)]);
    }

    #[test]
    fn racks_whose_calls_leave_faster_than_they_have_slots_have_more_ready() {
        for (pending, expected) in [
            (&[100, 0][..], vec![(0, 50)]),
            (&[100, 100], vec![(0, 25), (1, 25)]),
            (
                &[100, 100, 100, 100, 100, 100, 100],
                vec![(0, 8), (1, 8), (2, 8), (3, 8), (4, 8), (5, 8), (6, 8)],
            ),
        ] {
            let mut turn = Turn::new(16, None, pending);
            assert_eq!(racks(&turn.take(64, 50, |_| 64)), expected);
        }
    }

    #[test]
    fn a_single_slot_is_everybodys_in_turn() {
        let mut turn = Turn::new(1, None, &[2, 2]);
        assert_eq!(racks(&turn.take(1, 0, |_| 1)), [(0, 1)]);
        assert!(turn.has_room(RackNo(0)));
        turn.left(RackNo(0));
        assert_eq!(racks(&turn.take(1, 0, |_| 1)), [(1, 1)]);
    }
}
