//! Workers of one run, and one of another run of the same VMs, in any order, their leases running out at any moment, against a
//! model.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const WORKERS: usize = 3;
const VMS: usize = 8;

/// VMs are in them in turn.
const RACKS: [Option<&str>; 2] = [Some("a"), Some("b")];

/// The worker of the other run.
const OTHER: usize = WORKERS;

#[derive(Debug, Clone, Copy)]
enum Event {
    /// Of all racks from one on.
    Claim {
        worker: usize,
        rack: usize,
        vms: u32,
    },
    /// One of those that the worker calls, by a number that is cut to what there is.
    Settle(usize, usize),
    Release(usize, usize),
    /// One that it calls, or lets wait.
    GiveBack(usize, usize),
    /// One of those that wait for another call.
    Again(usize, usize),
    Idle(usize),
    /// The leases of all but one run out.
    RunOut(usize),
    /// The worker of the other run claims so many of each rack.
    OtherClaims(u32),
    /// It settles all that it calls.
    OtherSettles,
}

fn event() -> impl Strategy<Value = Event> {
    let worker = 0..WORKERS;
    prop_oneof![
        4 => (worker.clone(), 0..RACKS.len(), 1..4_u32)
            .prop_map(|(worker, rack, vms)| Event::Claim { worker, rack, vms }),
        4 => (worker.clone(), 0..VMS).prop_map(|(worker, nth)| Event::Settle(worker, nth)),
        2 => (worker.clone(), 0..VMS).prop_map(|(worker, nth)| Event::Release(worker, nth)),
        1 => (worker.clone(), 0..VMS).prop_map(|(worker, nth)| Event::GiveBack(worker, nth)),
        1 => (worker.clone(), 0..VMS).prop_map(|(worker, nth)| Event::Again(worker, nth)),
        1 => worker.clone().prop_map(Event::Idle),
        1 => worker.prop_map(Event::RunOut),
        1 => (1..3_u32).prop_map(Event::OtherClaims),
        1 => Just(Event::OtherSettles),
    ]
}

/// What must be so of one VM.
#[derive(Debug, Clone, Default)]
struct Fate {
    holder: Option<usize>,
    /// The call that its holder makes, unless it waits.
    called: Option<Item>,
    /// Calls whose answers were lost with those that made them.
    attempts: u32,
    is_settled: bool,
    was_claimed: bool,
    elsewhere: Elsewhere,
}

/// What has become of a VM in the other run.
#[derive(Debug, Clone, Default)]
enum Elsewhere {
    #[default]
    Pending,
    Called(Box<Item>),
    /// What called it was lost.
    Back,
    Settled,
}

struct History {
    /// So many are claimed before the others, until as many are settled.
    canary: Option<u64>,
    hands: Vec<Hand>,
    fates: Vec<Fate>,
    /// By worker, that of the other run behind all others: whether its lease has run out, and whether others have noticed.
    has_run_out: [bool; WORKERS + 1],
    is_buried: [bool; WORKERS + 1],
}

impl History {
    fn happens(&mut self, place: &Database, event: Event) {
        match event {
            Event::Claim { worker, rack, vms } => self.claim(worker, &takes(rack, vms)),
            Event::Settle(worker, nth) => self.settle(worker, nth),
            Event::Release(worker, nth) => self.release(worker, nth),
            Event::GiveBack(worker, nth) => self.give_back(worker, nth),
            Event::Again(worker, nth) => self.again(worker, nth),
            Event::Idle(worker) => drop(self.write(worker, vec![Request::Tick])),
            Event::RunOut(but) => {
                leases_run_out(place);
                self.has_run_out = [true; WORKERS + 1];
                self.write(but, vec![Request::Tick]);
            }
            Event::OtherClaims(vms) => self.other_claims(vms),
            Event::OtherSettles => self.other_settles(),
        }
    }

    /// The `nth` VM that a worker holds and calls, or lets wait.
    fn pick(&self, worker: usize, nth: usize, is_called: bool) -> Option<usize> {
        let is_meant = |fate: &Fate| fate.holder == Some(worker) && fate.called.is_some() == is_called;
        let held: Vec<usize> = (0..VMS).filter(|vm| is_meant(&self.fates[*vm])).collect();
        (!held.is_empty()).then(|| held[nth % held.len()])
    }

    fn started(&self) -> u64 {
        self.count(|fate| fate.is_settled || fate.holder.is_some())
    }

    fn count(&self, is_meant: impl Fn(&Fate) -> bool) -> u64 {
        self.fates.iter().filter(|fate| is_meant(fate)).count() as u64
    }

    /// The VMs that a claim gets: those that were given back before others, and of a canary these, of any rack, before any
    /// other; which are had only while it is not whole.
    fn next(&self, take: &[Take], allowance: Option<u64>) -> Vec<usize> {
        let room = allowance.map_or(u64::MAX, |allowance| allowance.saturating_sub(self.started()));
        let asked = take.iter().map(|take| u64::from(take.vms)).sum();
        let most = usize::try_from(room.min(asked)).unwrap();
        let fresh = allowance.map_or(u64::MAX, |vms| vms - self.count(|fate| fate.was_claimed));
        let is_free = |vm: &usize| self.fates[*vm].is_free() && !self.fates[*vm].is_called_elsewhere();
        let (back, anew): (Vec<usize>, Vec<usize>) =
            (0..VMS).filter(is_free).partition(|vm| self.fates[*vm].was_claimed);
        let mut next = if allowance.is_some() { back } else { of_racks(take, &back, &[]) };
        next.truncate(most);
        let fresh = usize::try_from(fresh).unwrap().min(most - next.len());
        let anew = of_racks(take, &anew, &next);
        next.extend(anew.into_iter().take(fresh));
        next.sort_unstable();
        next
    }

    fn claim(&mut self, worker: usize, take: &[Take]) {
        let allowance = self.canary.filter(|&vms| self.count(|fate| fate.is_settled) < vms);
        let expected = if self.is_buried[worker] { vec![] } else { self.next(take, allowance) };
        let claim = Request::Claim { again: vec![], take: take.to_vec(), offset: None, allowance };
        self.holding(worker, &expected);
        let items = self.write(worker, vec![claim]).map_or(vec![], |claimed| claimed.items);
        assert_eq!(positions(&items), expected);
        for item in items {
            let fate = &mut self.fates[usize::try_from(item.position).unwrap()];
            assert_eq!(item.tally.attempts, fate.attempts, "{item:?}");
            fate.called = Some(item);
        }
    }

    fn holding(&mut self, worker: usize, vms: &[usize]) {
        for vm in vms {
            (self.fates[*vm].holder, self.fates[*vm].was_claimed) = (Some(worker), true);
        }
    }

    fn settle(&mut self, worker: usize, nth: usize) {
        let Some(vm) = self.pick(worker, nth, true) else { return };
        let item = self.fates[vm].called.take().unwrap();
        (self.fates[vm].holder, self.fates[vm].is_settled) = (None, true);
        let settled = success(item, Outcome::Created, Basis::CreatedFlag);
        self.write(worker, vec![Request::Settle(Box::new(settled))]);
    }

    fn release(&mut self, worker: usize, nth: usize) {
        let Some(vm) = self.pick(worker, nth, true) else { return };
        let position = self.fates[vm].called.take().unwrap().position;
        self.write(worker, vec![Request::Release(vec![position])]);
    }

    fn give_back(&mut self, worker: usize, nth: usize) {
        let Some(vm) = self.pick(worker, nth, nth.is_multiple_of(2)) else { return };
        (self.fates[vm].holder, self.fates[vm].called) = (None, None);
        self.write(worker, vec![Request::GiveBack(vec![i64::try_from(vm).unwrap()])]);
    }

    fn again(&mut self, worker: usize, nth: usize) {
        let Some(vm) = self.pick(worker, nth, false) else { return };
        let position = i64::try_from(vm).unwrap();
        let again = vec![position];
        let claim = Request::Claim { again: again.clone(), take: vec![], offset: None, allowance: None };
        let claimed = self.write(worker, vec![claim]).unwrap();
        if self.fates[vm].is_called_elsewhere() {
            return assert!(claimed.again.is_empty(), "{claimed:?}");
        }
        assert_eq!(claimed.again, again);
        let item = Item { position, ..claimed_before(vm, self.fates[vm].attempts) };
        self.fates[vm].called = Some(item);
    }

    fn other_claims(&mut self, vms: u32) {
        self.revive(OTHER);
        let take = takes(0, vms);
        let free = |is_back: bool| -> Vec<usize> {
            let is_meant = |fate: &Fate| match fate.elsewhere {
                Elsewhere::Pending => !is_back,
                Elsewhere::Back => is_back,
                Elsewhere::Called(_) | Elsewhere::Settled => false,
            };
            let is_free = |vm: &usize| is_meant(&self.fates[*vm]) && self.fates[*vm].called.is_none();
            (0..VMS).filter(is_free).collect()
        };
        let mut expected = of_racks(&take, &free(true), &[]);
        expected.extend(of_racks(&take, &free(false), &expected));
        expected.sort_unstable();
        let items = self.hands[OTHER].claims(vec![], take, None).items;
        assert_eq!(positions(&items), expected);
        for item in items {
            let fate = &mut self.fates[usize::try_from(item.position).unwrap()];
            fate.elsewhere = Elsewhere::Called(Box::new(item));
        }
        self.wrote(OTHER);
    }

    fn other_settles(&mut self) {
        self.revive(OTHER);
        for fate in &mut self.fates {
            if let Elsewhere::Called(item) = &fate.elsewhere {
                self.hands[OTHER].settles((**item).clone()).unwrap();
                fate.elsewhere = Elsewhere::Settled;
            }
        }
        self.wrote(OTHER);
    }

    /// What nobody has settled is one worker's in the end, whatever has happened.
    fn all_is_claimed(&mut self, place: &Database) {
        self.canary = None;
        self.happens(place, Event::RunOut(0));
        self.claim(0, &takes(0, u32::try_from(VMS).unwrap()));
        assert_eq!(self.count(Fate::is_free), 0);
    }

    /// One batch, whose effects the model has already; what it is told, and what it claims. One whose worker holds nothing any
    /// more changes nothing, and goes on as another.
    fn write(&mut self, worker: usize, batch: Vec<Request>) -> Option<Claimed> {
        if self.is_buried[worker] {
            assert_eq!(self.hands[worker].sees(batch), None);
            self.is_buried[worker] = false;
            return self.write(worker, vec![Request::Rejoin]);
        }
        self.has_run_out[worker] = false;
        let mut replies = self.hands[worker].write(batch);
        let Some(Reply::Seen(seen)) = replies.pop() else { panic!("{replies:?}") };
        self.check(&seen);
        self.bury();
        replies.into_iter().find_map(|reply| match reply {
            Reply::Claimed(claimed) => Some(claimed),
            _ => None,
        })
    }

    /// A worker that was lost is there again.
    fn revive(&mut self, worker: usize) {
        if std::mem::take(&mut self.is_buried[worker]) {
            assert_eq!(self.hands[worker].sees(vec![Request::Tick]), None);
            self.hands[worker].sees(vec![Request::Rejoin]).unwrap();
        }
    }

    fn check(&self, seen: &Seen) {
        let free = self.count(Fate::is_free);
        assert_eq!((seen.pending, seen.free), (self.count(|fate| !fate.is_settled), free));
        assert_eq!(
            (seen.counted.created, seen.started),
            (self.count(|fate| fate.is_settled), self.started())
        );
        let live = (0..WORKERS).filter(|no| !self.has_run_out[*no] && !self.is_buried[*no]).count();
        assert_eq!(seen.workers as usize, live);
    }

    fn wrote(&mut self, worker: usize) {
        self.has_run_out[worker] = false;
        self.bury();
    }

    /// Whoever writes buries those whose lease has run out.
    fn bury(&mut self) {
        for no in 0..=WORKERS {
            if self.has_run_out[no] && !self.is_buried[no] {
                self.is_buried[no] = true;
                let elsewhere = self.fates.iter_mut().map(|fate| &mut fate.elsewhere);
                elsewhere
                    .filter(|elsewhere| no == OTHER && matches!(elsewhere, Elsewhere::Called(_)))
                    .for_each(|elsewhere| *elsewhere = Elsewhere::Back);
                for fate in self.fates.iter_mut().filter(|fate| fate.holder == Some(no)) {
                    fate.holder = None;
                    fate.attempts += u32::from(fate.called.take().is_some());
                }
            }
        }
    }
}

impl Fate {
    fn is_free(&self) -> bool {
        !self.is_settled && self.holder.is_none()
    }

    fn is_called_elsewhere(&self) -> bool {
        matches!(self.elsewhere, Elsewhere::Called(_))
    }
}

/// So many VMs of all racks from one on.
fn takes(rack: usize, vms: u32) -> Vec<Take> {
    (rack..RACKS.len()).map(|rack| Take { rack: RackNo(rack.try_into().unwrap()), vms }).collect()
}

/// Those of `vms` that are asked for, in order, beside those that are taken.
fn of_racks(take: &[Take], vms: &[usize], taken: &[usize]) -> Vec<usize> {
    let of_rack = |Take { rack, vms: asked }: &Take| -> Vec<usize> {
        let in_rack = |vm: &&usize| **vm % RACKS.len() == rack.0 as usize;
        let more = (*asked as usize).saturating_sub(taken.iter().filter(in_rack).count());
        vms.iter().filter(in_rack).take(more).copied().collect()
    };
    let mut found: Vec<usize> = take.iter().flat_map(of_rack).collect();
    found.sort_unstable();
    found
}

fn positions(items: &[Item]) -> Vec<usize> {
    let mut positions: Vec<usize> = items.iter().map(|item| item.position.try_into().unwrap()).collect();
    positions.sort_unstable();
    positions
}

/// An item that was claimed before, as a worker has it still.
fn claimed_before(vm: usize, attempts: u32) -> Item {
    Item {
        position: i64::try_from(vm).unwrap(),
        rack: RackNo((vm % RACKS.len()).try_into().unwrap()),
        vm: VmId::from((vm + 1).to_string().as_str()),
        action: Action::Allocate,
        expected: Expected::default(),
        before: None,
        unanswered: vec![],
        first_call: None,
        tally: Tally { attempts, ..Tally::default() },
        setback: None,
    }
}

#[test]
fn whatever_happens_to_workers_each_vm_is_one_ones_and_settled_once_and_the_sums_say_so() {
    if !is_installed() {
        return;
    }
    let cases = if std::env::var("V6FLEET_TORTURE").is_ok_and(|form| form == "full") { 500 } else { 8 };
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let canary = proptest::option::of(1..=VMS as u64);
    let histories = (canary, proptest::collection::vec(event(), 1..40));
    let place = Database::new();
    let nth = Cell::new(0);
    let held = TestRunner::new(config).run(&histories, |(canary, events)| {
        nth.set(nth.get() + 1);
        let racks = RACKS.repeat(VMS / RACKS.len());
        let [run, other] =
            ["", "other "].map(|name| begun_in(&place, &format!("{name}{}", nth.get()), &racks));
        let hands = (0..WORKERS).map(|_| &run).chain([&other]).map(|run| Hand::join(&place, run)).collect();
        let fates = vec![Fate::default(); VMS];
        let nobody = [false; WORKERS + 1];
        let mut history = History { canary, hands, fates, has_run_out: nobody, is_buried: nobody };
        for event in events {
            history.happens(&place, event);
        }
        history.all_is_claimed(&place);
        let counts: BTreeMap<_, _> =
            rows(&place.read(), &run).into_iter().map(|row| (row.vmid, row.outcome)).collect();
        let settled = history.fates.iter().filter(|fate| fate.is_settled).count();
        let created = counts.values().filter(|outcome| **outcome == Outcome::Created).count();
        assert_eq!((counts.len(), created), (VMS, settled));
        Ok(())
    });
    held.unwrap();
}

#[test]
fn what_a_worker_gives_back_another_one_claims_with_all_that_it_has_been_through() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 3);
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    let held = one.takes(3);
    let waits = Deferred {
        position: 1,
        vm: held[1].vm.clone(),
        tally: Tally { attempts: 1, ..Tally::default() },
        unanswered: vec![],
        last: LastCall::default(),
        setback: setback(),
    };
    let batch = vec![Request::GiveBack(vec![0, 1]), Request::Defer(Box::new(waits))];
    let seen = one.sees(batch).unwrap();
    assert_eq!((seen.free, seen.pending, seen.started), (2, 3, 1));
    let taken = two.takes(9);
    assert_eq!(vms(&taken), ["1", "2"]);
    assert_eq!(taken.iter().map(|item| item.tally.attempts).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(two.settles(taken[0].clone()).unwrap().pending, 2);
}
