//! A ledger in virtual time that several workers write: leases that run out, burials, claims that others were faster with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::book::{index, rack, vm};
use super::plan::Plan;
use crate::ledger::{
    Claimed, Counted, Counts, Item, LeftAlone, Seen, Settled, Sick, Take, Tally, Trial, Tried,
};
use crate::outcome::{Kind, Unanswered};
use crate::reconcile::Looks;
use crate::reconcile::event::{Command, Event, Now};
use crate::reconcile::work::tests::item;
use crate::stop::Stop;

/// How long a worker's claims are its own without a word of it: shorter than a claim holds good, which would keep calls from
/// leaving after it as well.
pub(super) const LEASE: Duration = Duration::from_millis(1_500);

/// How long a lease that ran out while the ledger was away goes on once it is back.
const GRACE: Duration = Duration::from_secs(5);

/// Names a lease: a worker whose lease ran out has another one afterwards.
pub(super) type LeaseNo = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    /// It waits for another call.
    Held(LeaseNo),
    Claimed(LeaseNo),
    Settled,
}

#[derive(Debug, Clone)]
struct Entry {
    place: Place,
    tally: Tally,
    unanswered: Vec<Unanswered>,
    is_canary: bool,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    /// When its worker was heard last.
    heard_at: Instant,
    until: Instant,
    is_over: bool,
}

impl Lease {
    fn from(now: Instant) -> Self {
        Self { heard_at: now, until: now + LEASE, is_over: false }
    }
}

/// Something that is left alone.
#[derive(Debug, Clone, Copy)]
struct Breaker {
    wait: Duration,
    gap: Duration,
    found_by: LeaseNo,
    tried: Option<LeaseNo>,
    /// By the same one.
    since: Instant,
}

#[derive(Debug)]
pub(super) struct SharedBook {
    racks: Vec<u64>,
    is_contended: bool,
    /// By position.
    entries: Vec<Entry>,
    leases: Vec<Lease>,
    /// Those that were given up because they had run out.
    pub(super) lost: usize,
    /// How often one of them was given up.
    returns: u64,
    /// By worker.
    held_by: Vec<LeaseNo>,
    /// Workers that have yet to hear that their lease ran out.
    deaf: BTreeSet<usize>,
    breakers: BTreeMap<Sick, Breaker>,
    /// How often they have changed, and how often that was when a worker was last told.
    changes: u64,
    told: Vec<u64>,
    pub(super) counted: Counts,
    pub(super) stop: Option<Stop>,
}

impl SharedBook {
    pub(super) fn new(plan: &Plan, workers: usize, now: Instant) -> Self {
        let kind = if plan.settings.looks == Looks::Only { Kind::Plan } else { Kind::Run };
        let entry =
            Entry { place: Place::Free, tally: Tally::default(), unanswered: vec![], is_canary: false };
        Self {
            racks: plan.racks.clone(),
            is_contended: plan.is_contended,
            entries: vec![entry; usize::try_from(plan.vms()).unwrap()],
            leases: vec![Lease::from(now); workers],
            lost: 0,
            returns: 0,
            held_by: (0..workers).collect(),
            deaf: BTreeSet::new(),
            breakers: BTreeMap::new(),
            changes: 0,
            told: vec![0; workers],
            counted: Counts::none(kind),
            stop: None,
        }
    }

    pub(super) fn lease_of(&self, worker: usize) -> LeaseNo {
        self.held_by[worker]
    }

    pub(super) fn is_alive(&self, lease: LeaseNo, now: Instant) -> bool {
        !self.leases[lease].is_over && now < self.leases[lease].until
    }

    pub(super) fn place(&self, position: i64) -> Place {
        self.entries[index(position)].place
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.entries.iter().map(|entry| entry.place)
    }

    pub(super) fn pending(&self) -> usize {
        self.places().filter(|place| *place != Place::Settled).count()
    }

    /// One batch in one transaction, sent at `left_at`: what it answers.
    pub(super) fn commit(
        &mut self,
        worker: usize,
        mut batch: Vec<Command>,
        left_at: Instant,
        now: Now,
        chance: &mut fastrand::Rng,
    ) -> Vec<Event> {
        if self.is_deaf(worker, &mut batch, now) {
            return vec![];
        }
        let lease = self.held_by[worker];
        // One that has run out goes on, unless somebody has noticed.
        if self.leases[lease].is_over {
            self.deaf.insert(worker);
            return vec![Event::Lapsed];
        }
        self.leases[lease] = Lease::from(now.at);
        self.bury(now);
        let (mut events, mut counted, mut heard) = (vec![], vec![], 0);
        for command in batch {
            match command {
                Command::Breaker(sick, trial) => {
                    self.tries(lease, sick, trial, now.at);
                    heard += 1;
                }
                Command::Claim { again, take, allowance, .. } => {
                    let claimed = self.claimed(lease, again, &take, allowance, now, chance);
                    events.push(Event::Claimed(claimed));
                }
                Command::Settle(settled) => counted.push(self.settled(lease, &settled)),
                command => self.write(lease, command),
            }
        }
        events.extend((!counted.is_empty()).then_some(Event::Settled(counted)));
        events.extend(self.left_alone(worker, heard));
        events.push(Event::Seen(self.seen(left_at, now)));
        events
    }

    /// Whether a worker has yet to hear that its lease ran out. Once it says that it has, it has another one.
    fn is_deaf(&mut self, worker: usize, batch: &mut Vec<Command>, now: Now) -> bool {
        if !self.deaf.contains(&worker) {
            return false;
        }
        let Some(heard) = batch.iter().position(|command| matches!(command, Command::Rejoin)) else {
            return true;
        };
        batch.drain(..=heard);
        self.deaf.remove(&worker);
        self.held_by[worker] = self.leases.len();
        self.leases.push(Lease::from(now.at));
        false
    }

    fn tries(&mut self, lease: LeaseNo, sick: Sick, trial: Trial, now: Instant) {
        self.changes += 1;
        let tried = self.breakers.get(&sick).and_then(|breaker| breaker.tried);
        let (is_ours, is_free) = (tried == Some(lease), tried.is_none());
        let is_known = self.breakers.contains_key(&sick);
        match trial {
            Trial::Begins { wait, gap } if is_ours || is_free => {
                let next = self.follower(lease, now);
                let since = if is_ours && next == lease { self.breakers[&sick].since } else { now };
                let begun = Breaker { wait, gap, found_by: lease, tried: Some(next), since };
                self.breakers.insert(sick, begun);
            }
            Trial::TakenOver if is_known && is_free => self.hand_over(sick, Some(lease), now),
            Trial::GivenUp if is_ours => self.hand_over(sick, None, now),
            Trial::Succeeded if is_ours => drop(self.breakers.remove(&sick)),
            _ => {}
        }
    }

    /// The next one that lives.
    fn follower(&self, lease: LeaseNo, now: Instant) -> LeaseNo {
        let others = (lease + 1..self.leases.len()).chain(0..lease);
        others.into_iter().find(|&other| self.is_alive(other, now)).unwrap_or(lease)
    }

    fn hand_over(&mut self, sick: Sick, tried: Option<LeaseNo>, now: Instant) {
        self.breakers.entry(sick).and_modify(|breaker| (breaker.tried, breaker.since) = (tried, now));
    }

    fn left_alone(&mut self, worker: usize, heard: usize) -> Option<Event> {
        let told = std::mem::replace(&mut self.told[worker], self.changes);
        let lease = self.held_by[worker];
        let all = self.breakers.iter().map(|(&sick, breaker)| LeftAlone {
            sick,
            wait: breaker.wait,
            gap: breaker.gap,
            is_found_by_us: breaker.found_by == lease,
            tried: match breaker.tried {
                Some(tried) if tried == lease => Tried::ByUs,
                Some(_) => Tried::ByOthers,
                None => Tried::ByNobody,
            },
        });
        (told != self.changes).then(|| Event::LeftAlone { all: all.collect(), heard })
    }

    /// Who alone has tried a rack, or the API, for so long.
    pub(super) fn tried_by(&self, sick: Sick, for_so_long: Duration, now: Instant) -> Option<LeaseNo> {
        let breaker = self.breakers.get(&sick).filter(|breaker| now >= breaker.since + for_so_long)?;
        breaker.tried.filter(|&lease| self.is_alive(lease, now))
    }

    fn settled(&mut self, lease: LeaseNo, settled: &Settled) -> Counted {
        self.ours(lease, settled.item.position).place = Place::Settled;
        let (outcome, drifted) = (settled.settlement.outcome(), settled.settlement.has_drift());
        self.counted.add(outcome, 1);
        Counted { rack: settled.item.rack, outcome, drifted }
    }

    fn write(&mut self, lease: LeaseNo, command: Command) {
        match command {
            Command::Release(positions) => {
                for position in positions {
                    self.ours(lease, position).place = Place::Held(lease);
                }
            }
            Command::GiveBack(positions) => {
                for position in positions {
                    self.ours(lease, position).place = Place::Free;
                }
            }
            Command::Defer(deferred) => {
                let entry = self.ours(lease, deferred.position);
                entry.place = Place::Held(lease);
                (entry.tally, entry.unanswered) = (deferred.tally, deferred.unanswered);
            }
            Command::Stop(stop) => self.stop = self.stop.max(Some(stop)),
            _ => {}
        }
    }

    fn ours(&mut self, lease: LeaseNo, position: i64) -> &mut Entry {
        let entry = &mut self.entries[index(position)];
        let is_ours = matches!(entry.place, Place::Held(holder) | Place::Claimed(holder) if holder == lease);
        assert!(is_ours, "VM {position} is changed on disk by {lease}, and is {:?}", entry.place);
        entry
    }

    fn seen(&self, left_at: Instant, now: Now) -> Seen {
        let free = self.places().filter(|place| *place == Place::Free).count();
        Seen {
            is_alerted: false,
            counted: self.counted,
            drifted: 0,
            started: self.started(),
            pending: self.pending() as u64,
            free: free as u64,
            returns: self.returns,
            stop: self.stop,
            leased_until: left_at + LEASE,
            workers: u32::try_from((0..self.leases.len()).filter(|&no| self.is_alive(no, now.at)).count())
                .unwrap(),
        }
    }

    /// Settled, or in somebody's hands.
    pub(super) fn started(&self) -> u64 {
        self.places().filter(|place| *place != Place::Free).count() as u64
    }

    fn claimed(
        &mut self,
        lease: LeaseNo,
        again: Vec<i64>,
        take: &[Take],
        allowance: Option<u64>,
        now: Now,
        chance: &mut fastrand::Rng,
    ) -> Claimed {
        for &position in &again {
            self.ours(lease, position).place = Place::Claimed(lease);
        }
        let mut items = vec![];
        for &Take { rack: no, vms } in take {
            // Now and then another transaction is busy with some of them.
            let vms = if self.is_contended && chance.u8(..20) == 0 { chance.u32(..=vms) } else { vms };
            for _ in 0..vms {
                let Some(position) = self.next_free(no.0, allowance) else { break };
                let entry = &mut self.entries[index(position)];
                (entry.place, entry.is_canary) = (Place::Claimed(lease), allowance.is_some());
                let (tally, unanswered) = (entry.tally, entry.unanswered.clone());
                items.push(Item {
                    rack: rack(position, &self.racks),
                    vm: vm(position),
                    tally,
                    unanswered,
                    ..item(position)
                });
            }
        }
        Claimed { at: now.date, again, items }
    }

    fn next_free(&self, no: u32, allowance: Option<u64>) -> Option<i64> {
        let mut positions = (0..).take(self.entries.len()).filter(|&p| self.place(p) == Place::Free);
        let in_rack = |p: &i64| rack(*p, &self.racks).0 == no;
        let Some(vms) = allowance else { return positions.find(in_rack) };
        let canary = self.entries.iter().filter(|entry| entry.is_canary).count() as u64;
        let given_back = positions.clone().find(|&p| self.entries[index(p)].is_canary);
        given_back.filter(|_| self.started() < vms).or_else(|| positions.find(|p| canary < vms && in_rack(p)))
    }

    /// As whoever could not reach the ledger does it first of all: a lease that ran out since anybody was heard goes on.
    pub(super) fn spare(&mut self, now: Instant) {
        let heard_at = self.leases.iter().map(|lease| lease.heard_at).max();
        let is_spared = |lease: &&mut Lease| {
            !lease.is_over && lease.until <= now && Some(lease.heard_at + LEASE) > heard_at
        };
        self.leases.iter_mut().filter(is_spared).for_each(|lease| lease.until = now + GRACE);
    }

    /// Whose lease ran out has lost what it held; its calls may have been made.
    fn bury(&mut self, now: Now) {
        for lease in 0..self.leases.len() {
            if !self.is_alive(lease, now.at) && !self.leases[lease].is_over {
                self.lost += 1;
                self.give_up(lease, now);
            }
        }
    }

    /// A worker is done, or as good as dead.
    pub(super) fn leave(&mut self, worker: usize, now: Now) {
        self.give_up(self.held_by[worker], now);
    }

    fn give_up(&mut self, lease: LeaseNo, now: Now) {
        self.leases[lease].is_over = true;
        (self.returns, self.changes) = (self.returns + 1, self.changes + 1);
        for breaker in self.breakers.values_mut().filter(|breaker| breaker.tried == Some(lease)) {
            (breaker.tried, breaker.since) = (None, now.at);
        }
        for entry in &mut self.entries {
            match entry.place {
                Place::Held(holder) if holder == lease => entry.place = Place::Free,
                Place::Claimed(holder) if holder == lease => {
                    entry.place = Place::Free;
                    entry.tally.attempts += 1;
                    let attempt = Unanswered { from: now.date, until: now.date, offset_then: None };
                    Unanswered::record(&mut entry.unanswered, attempt);
                }
                Place::Free | Place::Settled | Place::Held(_) | Place::Claimed(_) => {}
            }
        }
    }
}
