//! Which VMs are claimed next, and which of the claimed ones is called next. Pure.
//!
//! A VM is pending in the ledger, being claimed, ready to be called, or waiting for another call; with its call under
//! way it is in flight. Few are claimed ahead of their calls: what a crash leaves claimed may have been called.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::mem;
use std::time::Instant;

use super::ahead::{self, Ahead};
use super::breakers::{Breakers, Opened, Purposes};
use super::event::Now;
use super::tempo::Tempo;
use super::turn::Turn;
use super::waiting::Waiting;
use super::work::Work;
use crate::api::Attempt;
use crate::ledger::{Claimed, Item, RackNo, Take};

/// The most VMs claimed ahead, however fast they leave.
const CLAIMED_CAP: u32 = 1024;

/// VMs that wait for another call, per slot; beyond it no new VM is started.
const WAITING_PER_SLOT: usize = 16;

#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) breakers: Breakers,
    turn: Turn,
    waiting: Waiting,
    /// The claim on its way to the disk.
    claiming: Option<Claiming>,
    ahead: Ahead,
    /// Claimed, and waiting for their slot.
    ready: VecDeque<Work>,
    tempo: Tempo,
    /// Enough VMs are ready until so many calls have left.
    enough_until: u64,
    /// VMs claimed for their first call.
    started: u64,
    concurrency: u32,
}

/// A claim on its way to the disk.
#[derive(Debug)]
struct Claiming {
    again: BTreeMap<i64, Work>,
    take: Vec<Take>,
    /// Not all pending VMs may be started.
    is_bounded: bool,
    since: Instant,
}

impl Claiming {
    fn vms(&self) -> u64 {
        self.again.len() as u64 + asked(&self.take)
    }
}

/// How many VMs are to be taken.
fn asked(take: &[Take]) -> u64 {
    take.iter().map(|take| u64::from(take.vms)).sum()
}

/// VMs to be claimed.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) again: Vec<i64>,
    pub(super) take: Vec<Take>,
    /// These have drawn too many 429s, and are called no more.
    pub(super) struck_out: Vec<Work>,
}

/// What bounds a claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Calls a second that may leave now; `None` without a limit.
    pub(super) per_second: Option<f64>,
    /// VMs that may be started now; `None` without a limit.
    pub(super) startable: Option<u64>,
    /// VMs that have succeeded.
    pub(super) successes: u64,
}

impl Schedule {
    /// `pending` is the number of VMs by rack; `rack_slots` the most slots that one rack may ever hold.
    pub(super) fn new(concurrency: u32, rack_slots: Option<u32>, pending: &[u64], now: Instant) -> Self {
        Self {
            breakers: Breakers::new(pending.len()),
            turn: Turn::new(concurrency, rack_slots, pending),
            waiting: Waiting::default(),
            claiming: None,
            ahead: Ahead::default(),
            ready: VecDeque::new(),
            tempo: Tempo::new(now, ahead::LEAST),
            enough_until: 0,
            started: 0,
            concurrency,
        }
    }

    /// Nothing is claimed or being claimed.
    pub(super) fn is_idle(&self) -> bool {
        self.claiming.is_none() && self.ready.is_empty()
    }

    /// Some VMs have yet to be called, for their first time or again.
    pub(super) fn has_more(&self) -> bool {
        self.pending() > 0 || !self.waiting.is_empty()
    }

    /// Whether a VM waits for another call.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// VMs that were claimed for their first call.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Up to `free` VMs are pending, whichever racks had no more.
    pub(super) fn refill(&mut self, free: u64) {
        self.turn.refill(free);
        self.enough_until = 0;
    }

    /// VMs that are not even being claimed yet, as far as we know.
    pub(super) fn pending(&self) -> u64 {
        self.turn.pending()
    }

    pub(super) fn is_claiming(&self) -> bool {
        self.claiming.is_some()
    }

    /// No VM has to be called again, and nobody is left alone.
    pub(super) fn is_at_ease(&self) -> bool {
        self.waiting.is_empty() && self.breakers.all_are_closed()
    }

    /// The next moment at which something is to be claimed.
    pub(super) fn wake(&self, now: Instant, stopped: bool) -> Option<Instant> {
        let retry = self.waiting.next_due().filter(|_| !stopped && self.claiming.is_none());
        // A VM that is due but finds no room waits for whatever makes room.
        let retry = retry.filter(|&due| due > now);
        // Nothing is claimed before a probe may leave.
        let probe = self.breakers.api_allows(now).err().flatten();
        [retry, probe].into_iter().flatten().min()
    }

    /// Whether a claim is due, as far as that is known without looking at the VMs.
    pub(super) fn may_claim(&self) -> bool {
        self.claiming.is_none() && self.tempo.calls() >= self.enough_until
    }

    /// Claims as many VMs as may leave soon: first those whose wait is over, then new ones.
    pub(super) fn claim(&mut self, bounds: Bounds, now: Instant) -> Option<Claim> {
        let ahead = match self.breakers.api_allows(now) {
            Ok(()) if self.breakers.api_is_closed() => self.ahead(bounds.per_second),
            Ok(()) => 1,
            Err(_) => return None,
        };
        let leaving = self.leaving(now);
        if leaving > ahead / 2 {
            self.enough_until = self.tempo.calls() + u64::from(leaving - ahead / 2);
            return None;
        }
        let mut room = ahead - leaving;
        let (again, struck_out) = self.claim_again(&mut room, bounds.successes, now);
        let vms = self.startable(room, bounds.startable);
        let soon = self.leaving_soon();
        let take = self.turn.take(vms, soon, |no| self.breakers.ahead(no, ahead));
        self.started += asked(&take);
        let claim = Claim { again: again.keys().copied().collect(), take: take.clone(), struck_out };
        let is_bounded = bounds.startable.is_some();
        self.claiming = (!claim.is_empty()).then_some(Claiming { again, take, is_bounded, since: now });
        Some(claim)
    }

    /// How many of the ready VMs may leave, now or as soon as any slot is free.
    pub(super) fn leaving(&self, now: Instant) -> u32 {
        let retries = self.retries(now);
        let may_leave = |work: &&Work| {
            self.may_leave(work, self.turn.has_room_soon(work.item.rack), &retries, now).is_ok()
        };
        u32::try_from(self.ready.iter().filter(may_leave).count()).unwrap_or(u32::MAX)
    }

    /// How many of the ready VMs may leave now, all of them together.
    pub(super) fn leaving_now(&self, now: Instant) -> usize {
        let retries = self.retries(now);
        let mut rooms: HashMap<RackNo, u32> = HashMap::new();
        let leaves = |work: &&Work| {
            let no = work.item.rack;
            let room = rooms.entry(no).or_insert_with(|| self.turn.room(no));
            let may_leave = self.may_leave(work, *room > 0, &retries, now).is_ok();
            *room -= u32::from(may_leave);
            may_leave
        };
        self.ready.iter().filter(leaves).count()
    }

    /// VMs that are claimed, or being claimed, and not called yet, or to be called again.
    pub(super) fn in_hand(&self) -> u64 {
        let claiming = self.claiming.as_ref().map_or(0, Claiming::vms);
        claiming + (self.ready.len() + self.waiting.len()) as u64
    }

    /// Those of the waiting VMs that may be called again, and take up `room`; and those that were struck out.
    fn claim_again(
        &mut self,
        room: &mut u32,
        successes: u64,
        now: Instant,
    ) -> (BTreeMap<i64, Work>, Vec<Work>) {
        let tried = self.ready.iter().filter(|work| !work.is_new()).map(|work| work.item.rack);
        let mut tried: HashSet<RackNo> = tried.collect();
        let (mut again, mut struck_out) = (BTreeMap::new(), Vec::new());
        while *room > 0 {
            // One VM at a time tries a sick rack again.
            let may = |no: RackNo| self.breakers.rack_is_closed(no) || !tried.contains(&no);
            let Some(mut work) = self.waiting.pop_due(now, may) else { break };
            if work.is_struck_out(successes) {
                struck_out.push(work);
                continue;
            }
            tried.insert(work.item.rack);
            self.turn.renewed(work.item.rack);
            again.insert(work.item.position, work);
            *room -= 1;
        }
        (again, struck_out)
    }

    /// How many of `room` may be VMs that were not called yet, of those that may be started.
    fn startable(&self, room: u32, startable: Option<u64>) -> u32 {
        let most_waiting = WAITING_PER_SLOT * self.concurrency as usize;
        // What waits for a sick rack holds nobody else back, and single probes alone add to it.
        let closed = |no: &RackNo| self.breakers.rack_is_closed(*no);
        if self.waiting.len() >= most_waiting && self.waiting.racks().filter(closed).count() >= most_waiting {
            return 0;
        }
        startable.map_or(room, |vms| room.min(u32::try_from(vms).unwrap_or(u32::MAX)))
    }

    /// How many VMs to have claimed ahead of their calls.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
    fn ahead(&self, per_second: Option<f64>) -> u32 {
        let most = self.concurrency.saturating_mul(2).max(self.leaving_soon());
        let soon = per_second.map(|rate| (rate * self.ahead.time().as_secs_f64()).ceil() as u32);
        soon.unwrap_or(most).clamp(1, most)
    }

    /// How many calls leave in the time for which VMs are claimed ahead, as seen of late.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
    fn leaving_soon(&self) -> u32 {
        let spans = self.ahead.time().as_secs_f64() / ahead::LEAST.as_secs_f64();
        ((f64::from(self.tempo.of_late()) * spans) as u32).min(CLAIMED_CAP)
    }

    /// VMs are claimed on disk. Returns how many were asked for, beside those that are claimed again.
    pub(super) fn claimed(&mut self, Claimed { at, again, items }: Claimed, now: Instant) -> u64 {
        let Some(Claiming { again: mut waited, take, is_bounded, since }) = self.claiming.take() else {
            return 0;
        };
        self.ahead.claimed(now.saturating_duration_since(since));
        let asked = asked(&take);
        if (items.len() as u64) < asked || is_bounded {
            self.missed(&take, &items, is_bounded);
        }
        let renewed = again.into_iter().filter_map(|position| waited.remove(&position));
        self.ready.extend(renewed.map(|work| work.claimed(at)));
        self.ready.extend(items.into_iter().map(|item| Work::new(item, at)));
        asked
    }

    /// Others were faster, and fewer were claimed than were asked for; or they left some, of other racks.
    fn missed(&mut self, take: &[Take], items: &[Item], is_bounded: bool) {
        let mut missing: BTreeMap<RackNo, u32> = BTreeMap::new();
        for Take { rack, vms } in take {
            *missing.entry(*rack).or_default() += vms;
        }
        for item in items {
            match missing.get_mut(&item.rack).filter(|vms| **vms > 0) {
                Some(vms) => *vms -= 1,
                None => {
                    self.turn.came_unasked(item.rack);
                    self.started += 1;
                }
            }
        }
        for (rack, vms) in missing.into_iter().filter(|(_, vms)| *vms > 0) {
            self.turn.missed(rack, vms, is_bounded);
            self.started -= u64::from(vms);
        }
    }

    /// Shares the trials of what is left alone with others, as far as there are VMs for them: where we are to `go_on` those that
    /// are claimed, and where we `may_claim` some those that are pending.
    pub(super) fn share_trials(&mut self, go_on: bool, may_claim: bool, now: Instant) {
        if self.breakers.all_are_closed() {
            return;
        }
        let claimed = self.claiming.iter().flat_map(|claiming| claiming.again.values()).chain(&self.ready);
        let claimed = claimed.map(|work| work.item.rack).chain(self.waiting.racks());
        let mut busy: BTreeSet<RackNo> = claimed.filter(|_| go_on).collect();
        busy.extend(self.turn.busy(may_claim));
        self.breakers.share_trials(&busy, now);
    }

    /// All that is claimed or waits is others' now.
    pub(super) fn lapse(&mut self) {
        self.withdraw();
        if let Some(Claiming { again, take, .. }) = self.claiming.take() {
            for work in again.values() {
                self.turn.given_back(work.item.rack);
            }
            self.missed(&take, &[], true);
        }
        self.waiting = Waiting::default();
        self.breakers.lapse();
        self.enough_until = 0;
    }

    /// The first ready VM whose rack has room and may be called, by its place; or the earliest moment at which one may.
    pub(super) fn next(&mut self, now: Now) -> Result<usize, Option<Instant>> {
        loop {
            let next = self.next_ready(now.at).inspect_err(|_| {
                // What is ready cannot leave: others may.
                self.enough_until = 0;
            })?;
            if !self.ready[next].is_stale(now.date) {
                return Ok(next);
            }
            self.renew(next, now.at);
        }
    }

    fn next_ready(&self, now: Instant) -> Result<usize, Option<Instant>> {
        let mut earliest: Option<Instant> = None;
        let retries = self.retries(now);
        let next = self.ready.iter().position(|work| {
            match self.may_leave(work, self.turn.has_room(work.item.rack), &retries, now) {
                Ok(()) => true,
                Err(at) => {
                    earliest = [earliest, at].into_iter().flatten().min();
                    false
                }
            }
        });
        next.ok_or(earliest)
    }

    /// Whether a ready VM, whose rack may have room, is allowed to use it, or the earliest moment at which it may be.
    fn may_leave(
        &self,
        work: &Work,
        has_room: bool,
        retries: &HashSet<RackNo>,
        now: Instant,
    ) -> Result<(), Option<Instant>> {
        match has_room && !self.gives_way(work, retries) {
            true => self.breakers.allows(work.item.rack, now),
            false => Err(None),
        }
    }

    /// Where a breaker lets single calls through, VMs that wait for another one come before those never called.
    fn gives_way(&self, work: &Work, retries: &HashSet<RackNo>) -> bool {
        let rack = work.item.rack;
        work.is_new()
            && match self.breakers.api_is_closed() {
                true => !self.breakers.rack_is_closed(rack) && retries.contains(&rack),
                false => !retries.is_empty(),
            }
    }

    /// While a breaker is open, the racks with VMs that have waited long enough and may be called again.
    fn retries(&self, now: Instant) -> HashSet<RackNo> {
        if self.breakers.all_are_closed() {
            return HashSet::new();
        }
        let claimed = self.claiming.iter().flat_map(|claiming| claiming.again.values()).chain(&self.ready);
        let retries = claimed.chain(self.waiting.due(now)).filter(|work| !work.is_new());
        let may_leave = |no: &RackNo| self.turn.has_room(*no) && self.breakers.allows(*no, now).is_ok();
        retries.map(|work| work.item.rack).filter(may_leave).collect()
    }

    /// A claim that is too old is made again: the next claim takes this VM first.
    fn renew(&mut self, place: usize, now: Instant) {
        if let Some(work) = self.ready.remove(place) {
            self.turn.given_back(work.item.rack);
            self.waiting.push(work, now);
        }
    }

    /// All calls that ever left.
    pub(super) fn calls(&self) -> u64 {
        self.tempo.calls()
    }

    /// The ready VM at this place is called.
    pub(super) fn leaves(&mut self, place: usize, now: Instant) -> Option<(Work, Purposes)> {
        let work = self.ready.remove(place)?;
        self.turn.left(work.item.rack);
        self.tempo.left(now);
        let purposes = self.breakers.left(work.item.rack, now);
        Some((work, purposes))
    }

    /// A VM's call came back. Returns which breakers that opened.
    pub(super) fn came_back(
        &mut self,
        work: &Work,
        purposes: Purposes,
        attempt: &Attempt,
        now: Instant,
    ) -> Opened {
        self.turn.came_back(work.item.rack, attempt.is_answered());
        self.breakers.came_back(work.item.rack, purposes, work.is_new(), attempt, now)
    }

    /// A VM waits for another call, which may leave at `due`.
    pub(super) fn wait(&mut self, work: Work, due: Instant) {
        self.waiting.push(work, due);
    }

    /// Nothing leaves any more: takes the ready VMs back. Returns which they are.
    pub(super) fn withdraw(&mut self) -> Vec<i64> {
        let ready = self.ready.drain(..);
        ready.inspect(|work| self.turn.given_back(work.item.rack)).map(|work| work.item.position).collect()
    }

    /// All that is ready is for others to call, and what waits, or one of those. Returns which they are.
    pub(super) fn give_back(&mut self, all_that_waits: bool) -> Vec<i64> {
        let mut given_back = self.withdraw();
        match all_that_waits {
            true => given_back.extend(mem::take(&mut self.waiting).positions()),
            false => given_back.extend(self.waiting.pop().map(|work| work.item.position)),
        }
        self.enough_until = 0;
        given_back
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = i64> {
        self.waiting.positions()
    }
}

impl Claim {
    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.take.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::clock;
    use crate::reconcile::work::tests::item;

    #[test]
    fn of_the_ready_vms_so_many_may_leave_as_their_racks_have_room_for() {
        let now = Instant::now();
        let mut schedule = Schedule::new(64, None, &[30, 30], now);
        let bounds = Bounds { per_second: Some(1_000.0), startable: None, successes: 0 };
        let claim = schedule.claim(bounds, now).unwrap();
        assert_eq!((claim.take.len() as u64, schedule.in_hand()), (asked(&claim.take), 50));
        let items = (0..)
            .zip(&claim.take)
            .map(|(position, Take { rack, .. })| Item { rack: *rack, ..item(position) });
        let claimed = Claimed { at: clock::now(), again: vec![], items: items.collect() };
        schedule.claimed(claimed, now);
        assert_eq!((schedule.leaving(now), schedule.leaving_now(now)), (50, 4));
        let date = Now { at: now, date: clock::now() };
        let left = iter::from_fn(|| {
            let place = schedule.next(date).ok()?;
            schedule.leaves(place, now)
        });
        assert_eq!(left.count(), 4);
        assert_eq!((schedule.leaving_now(now), schedule.in_hand()), (0, 46));
    }
}
