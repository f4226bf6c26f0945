//! Whole runs in virtual time, thousands of them: a ledger, an API and whoever stops it, drawn by chance.
//!
//! The judge sees what happens and what is done about it, and no more of the state than that.

mod api;
mod book;
mod judge;
mod plan;
mod shared_book;
mod workers;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::event::{Command, Event, Now};
use super::flights::FlightNo;
use super::racks::Racks;
use super::state::State;
use crate::api::Attempt;
use crate::brake::Brake;
use crate::pace::Pace;
use crate::stop::Stop;
use crate::vm::VmId;
use api::{Sent, SimulatedApi};
use book::Book;
use judge::Judge;
use plan::{Plan, Trouble};

/// What is to come.
#[derive(Debug)]
enum Coming {
    Answer(FlightNo, Box<Attempt>),
    Commit,
    /// The ledger is found to be away.
    Away,
    Back,
    Signal(Stop),
}

/// Everything around a run.
struct World<'a> {
    plan: &'a Plan,
    chance: fastrand::Rng,
    begun: Now,
    now: Now,
    api: SimulatedApi<'a>,
    book: Book,
    in_flight: usize,
    /// By the moment at which it comes, and in the order in which that was known.
    coming: BTreeMap<(Instant, u64), Coming>,
    known: u64,
    /// What happens at one and the same moment.
    events: Vec<Event>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, chance: fastrand::Rng) -> Self {
        let begun = Now { at: Instant::now(), date: Timestamp::from_second(1_800_000_000).unwrap() };
        let mut world = Self {
            plan,
            chance,
            begun,
            now: begun,
            api: SimulatedApi::new(plan),
            book: Book::new(&plan.racks),
            in_flight: 0,
            coming: BTreeMap::new(),
            known: 0,
            events: vec![],
        };
        for &(at, stop) in &plan.signals {
            world.comes(at, Coming::Signal(stop));
        }
        world
    }

    fn comes(&mut self, after: Duration, coming: Coming) {
        self.known += 1;
        self.coming.insert((self.now.at + after, self.known), coming);
    }

    fn does(&mut self, command: Command) {
        match command {
            Command::Call { flight, vm, .. } => {
                let sent = self.leaves(&vm);
                let attempt = self.api.call(&sent, &mut self.chance);
                self.comes(attempt.latency, Coming::Answer(flight, Box::new(attempt)));
            }
            Command::Look { flight, vm, .. } => {
                let sent = self.leaves(&vm);
                let attempt = self.api.look(&sent, &mut self.chance);
                self.comes(attempt.latency, Coming::Answer(flight, Box::new(attempt)));
            }
            Command::Claim { .. } => self.book.claim(command),
            Command::Release(_) | Command::GiveBack(_) | Command::Defer(_) | Command::Settle(_) => {
                self.book.hold(command, self.now.at);
            }
            Command::Flush | Command::Brake(_) => self.book.flush(),
            // Nobody shares the run.
            Command::Stop(_)
            | Command::Breaker(..)
            | Command::Rejoin
            | Command::Pace(_)
            | Command::Remember(..)
            | Command::Count(..)
            | Command::Tell(_) => {}
        }
    }

    fn leaves<'v>(&mut self, vm: &'v VmId) -> Sent<'v> {
        self.in_flight += 1;
        let since_begun = self.now.at - self.begun.at;
        Sent { vm, now: self.now, since_begun, in_flight: self.in_flight }
    }

    /// As the shell does it, after each event.
    fn flush(&mut self) {
        if self.in_flight == 0 || self.book.due().is_some_and(|due| self.now.at >= due) {
            self.book.flush();
        }
        if self.book.begins() {
            let takes = Duration::from_millis(self.chance.u64(self.plan.commit.clone()));
            let away = self.away_for();
            if let Some(away) = away {
                self.comes(Duration::ZERO, Coming::Away);
                self.comes(away + takes, Coming::Back);
            }
            self.comes(away.unwrap_or_default() + takes, Coming::Commit);
        }
    }

    /// How long the ledger cannot be reached from now on, where it cannot.
    fn away_for(&self) -> Option<Duration> {
        let since_begun = self.now.at - self.begun.at;
        let away = self.plan.ledger_away.as_ref().filter(|away| away.contains(&since_begun))?;
        Some(away.end.saturating_sub(since_begun))
    }

    /// The next event, `wake` being when the run wants to be woken at the latest.
    fn next(&mut self, wake: Instant) -> Event {
        let wake = self.book.due().map_or(wake, |due| due.min(wake));
        loop {
            if let Some(event) = self.events.pop() {
                return event;
            }
            let first = self.coming.first_key_value().map(|(&key, _)| key).filter(|(at, _)| *at <= wake);
            let Some(key) = first else {
                // A timer wakes up late by up to 1 ms.
                let late = Duration::from_micros(self.chance.u64(..1_000));
                self.passes(wake.max(self.now.at) + late);
                return Event::Woken;
            };
            self.passes(key.0);
            match self.coming.remove(&key) {
                Some(Coming::Answer(flight, attempt)) => {
                    self.in_flight -= 1;
                    return Event::Answered(flight, *attempt);
                }
                Some(Coming::Away) => return Event::Away("gone".into()),
                Some(Coming::Back) => return Event::Back,
                Some(Coming::Signal(stop)) => return Event::Signalled(stop),
                Some(Coming::Commit) => {
                    self.events = self.book.commit(self.now);
                    self.events.reverse();
                    self.flush();
                }
                None => {}
            }
        }
    }

    fn passes(&mut self, to: Instant) {
        let passed = to.saturating_duration_since(self.now.at);
        self.now = Now { at: self.now.at + passed, date: self.now.date + passed };
    }
}

/// Carries out one run. Returns how many events it took.
fn run(trouble: Trouble, seed: u64) -> u64 {
    let mut chance = fastrand::Rng::with_seed(seed);
    let plan = Plan::new(trouble, &mut chance);
    let mut world = World::new(&plan, chance);
    let mut pace = Pace::new(plan.ceiling(), None, world.now.at);
    let brake = Brake::new(plan.limits, plan.vms());
    let racks = Racks(vec![None; plan.racks.len()]);
    let mut state = State::new(&plan.settings, &mut pace, brake, racks, &plan.racks, world.now);
    let mut judge = Judge::new(&plan, (trouble, seed), world.now);
    let mut event = Event::Woken;
    for events in 1.. {
        judge.happens(&event, world.now);
        for command in state.on(event, world.now, world.chance.f64()) {
            judge.sees(&command);
            world.does(command);
        }
        if let Some(ending) = state.ending() {
            world.book.close(world.now);
            judge.ends(ending, world.book.places());
            return events;
        }
        world.flush();
        event = world.next(state.wake(world.now.at));
    }
    unreachable!("the judge ends a run that does not end");
}

/// So many runs of each trouble.
const RUNS: u64 = 400;

fn runs(troubles: &[Trouble]) {
    for &trouble in troubles {
        assert!((0..RUNS).map(|seed| run(trouble, seed)).sum::<u64>() > RUNS);
    }
}

#[test]
fn every_run_comes_to_its_end_and_loses_and_doubles_nothing_whatever_the_api_does() {
    runs(&Trouble::ALL[..7]);
}

#[test]
fn every_run_comes_to_its_end_and_loses_and_doubles_nothing_whatever_stops_it() {
    runs(&Trouble::ALL[7..15]);
}

#[test]
fn every_run_comes_to_its_end_and_loses_and_doubles_nothing_whatever_comes_together() {
    runs(&Trouble::ALL[15..]);
}

/// How long 4,000 calls take, the first thousand aside, whose answers take 20 ms as commits take `commit`.
fn calls_take(commit: u64) -> Duration {
    let mut chance = fastrand::Rng::with_seed(1);
    let mut plan = Plan::new(Trouble::Nothing, &mut chance);
    (plan.racks, plan.rate, plan.commit) = (vec![1_250; 4], "none", commit..commit + 1);
    (plan.settings.concurrency, plan.settings.rack_concurrency) = (NonZeroU32::new(64).unwrap(), None);
    plan.faults.latency = 20..21;
    let mut world = World::new(&plan, chance);
    let mut pace = Pace::new(plan.ceiling(), None, world.now.at);
    let brake = Brake::new(plan.limits, plan.vms());
    let racks = Racks(vec![None; plan.racks.len()]);
    let mut state = State::new(&plan.settings, &mut pace, brake, racks, &plan.racks, world.now);
    let (mut event, mut answers, mut since) = (Event::Woken, 0, world.now.at);
    while answers < plan.vms() {
        if matches!(event, Event::Answered(..)) {
            answers += 1;
            since = if answers == 1_000 { world.now.at } else { since };
        }
        for command in state.on(event, world.now, world.chance.f64()) {
            world.does(command);
        }
        world.flush();
        event = world.next(state.wake(world.now.at));
    }
    world.now.at - since
}

#[test]
fn a_ledger_that_is_far_away_costs_no_throughput() {
    let [near, far] = [1, 45].map(calls_take);
    assert!(far.mul_f64(0.95) <= near, "{near:?}, {far:?}");
}

#[test]
fn a_run_is_always_the_same_where_chance_is() {
    for seed in 0..50 {
        assert_eq!(run(Trouble::Any, seed), run(Trouble::Any, seed), "seed {seed}");
    }
}
