//! Runs over one ledger while the server's clock is set again and again: a simulation, told the time.
//!
//! The judge knows nothing of times: what a call made is `created` in the first run that succeeds for its VM, and in
//! no other; what was there before never is.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;

use super::Lost;
use crate::allocation::Moment;
use crate::allocation::tests::example;
use crate::api::{Attempt, ServerClock};
use crate::outcome::{Answer, Evidence, FirstCall, Outcome, Unanswered, classify};

/// All times are in milliseconds.
const HOUR: i64 = 3_600_000;
const STEPS: [i64; 6] = [-5_000, 5_000, -300_000, 300_000, -HOUR, HOUR];
const SKEWS: [i64; 5] = [0, 2_000, -2_000, 5 * HOUR, -5 * HOUR];
const RUNS: usize = 4;
const VMS: usize = 12;
/// These had their allocation long before.
const OLD_VMS: usize = 4;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

/// How a call fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It did nothing, and no answer comes.
    Lost,
    ActsAndIsLost,
    /// No answer comes in time, and it acts at any moment.
    ActsLate,
    /// It acts, and the answer says no more than when that was.
    ActsAndFails,
    /// It does nothing, and the answer is an hour old.
    Stale,
}

const FAULTS: [Fate; 5] = [Fate::Lost, Fate::ActsAndIsLost, Fate::ActsLate, Fate::ActsAndFails, Fate::Stale];

struct Server {
    chance: fastrand::Rng,
    latency: Range<i64>,
    timeout: i64,
    /// Answers name the moment at which the call came in, not their own.
    dates_arrival: bool,
    now: i64,
    /// How far its clock is ahead.
    ahead: i64,
    /// It was set since the last good answer.
    is_set: bool,
    /// When each VM's allocation was made, as its clock showed it.
    made: HashMap<usize, i64>,
    /// What will be done, and when.
    late: Vec<(i64, usize)>,
}

impl Server {
    fn new(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let ahead = SKEWS[chance.usize(..SKEWS.len())];
        let made = (0..OLD_VMS).map(|vm| (vm, ahead - 240 * HOUR)).collect();
        let (latency, timeout) = if chance.bool() { (1..40, 1_000) } else { (3_000..6_000, 7_000) };
        let dates_arrival = chance.u8(..3) == 0;
        let late = vec![];
        Self { chance, latency, timeout, dates_arrival, now: 0, ahead, is_set: true, made, late }
    }

    fn pass(&mut self, millis: i64) {
        self.now += millis;
        self.late.sort_unstable();
        let due = self.late.partition_point(|(due, _)| *due <= self.now);
        for (due, vm) in self.late.drain(..due) {
            self.made.entry(vm).or_insert(due + self.ahead);
        }
    }

    /// Every setting is told by one good answer at least: of what nobody was told, nobody can know. Returns whether it
    /// was set.
    fn maybe_set_clock(&mut self) -> bool {
        let sets = !self.is_set && self.chance.u32(..8) == 0;
        if sets {
            self.ahead += STEPS[self.chance.usize(..STEPS.len())];
            self.is_set = true;
        }
        sets
    }

    /// Whether that made the VM's allocation.
    fn act(&mut self, vm: usize) -> bool {
        let shown = self.now + self.ahead;
        let is_new = !self.made.contains_key(&vm);
        self.made.entry(vm).or_insert(shown);
        is_new
    }

    fn call(&mut self, vm: usize, fate: Fate) -> (Attempt, bool) {
        let mut attempt = Attempt::unanswered(at(self.now));
        let arrived = self.now + self.ahead;
        let acts = matches!(fate, Fate::Answered | Fate::ActsAndIsLost | Fate::ActsAndFails);
        let created = acts && self.act(vm);
        let latency =
            if fate == Fate::ActsLate { self.timeout } else { self.chance.i64(self.latency.clone()) };
        if fate == Fate::ActsLate {
            self.late.push((self.now + self.chance.i64(1..9_000), vm));
        }
        let was_set = self.maybe_set_clock();
        self.pass(latency);
        attempt.latency = Duration::from_millis(latency.unsigned_abs());
        let shown = if self.dates_arrival { arrived } else { self.now + self.ahead };
        attempt.timestamp = match fate {
            Fate::Answered | Fate::ActsAndFails => Some(at(shown)),
            Fate::Stale => Some(at(shown - HOUR)),
            Fate::Lost | Fate::ActsAndIsLost | Fate::ActsLate => None,
        };
        self.is_set &= fate != Fate::Answered || was_set && self.dates_arrival;
        (attempt, created)
    }

    fn answer(&self, vm: usize, created: bool) -> Answer {
        let made = Some(Moment::from(at(self.made[&vm]).to_string()));
        let mut allocation = example();
        (allocation.allocated_at, allocation.updated_at) = (made.clone(), made);
        allocation.metadata_updated_at = None;
        Answer { created, allocation, warnings: vec![] }
    }

    fn fate(&mut self) -> Fate {
        match self.chance.usize(..10) {
            0..6 => Fate::Answered,
            _ => FAULTS[self.chance.usize(..FAULTS.len())],
        }
    }
}

/// What the ledger knows of a VM.
#[derive(Clone, Default)]
struct Known {
    is_seen: bool,
    unanswered: Vec<Unanswered>,
}

/// One VM in one run.
struct Sitting {
    vm: usize,
    lost: Lost,
    first_call: Option<Timestamp>,
    attempts: u32,
}

/// One run. Returns what was said wrongly.
fn run(server: &mut Server, ledger: &mut [Known]) -> Vec<String> {
    let mut clock = ServerClock::default();
    let mut wrong = Vec::new();
    let mut given_up = Vec::new();
    let max_attempts = server.chance.u32(1..4);
    let sitting = |vm: usize| Sitting {
        vm,
        lost: Lost::inherited(ledger[vm].unanswered.clone()),
        first_call: None,
        attempts: 0,
    };
    let mut waiting: Vec<Sitting> = (0..VMS).map(sitting).collect();
    while !waiting.is_empty() {
        server.maybe_set_clock();
        let gap = server.chance.i64(0..30);
        server.pass(gap);
        let mut next = waiting.swap_remove(server.chance.usize(..waiting.len()));
        let fate = server.fate();
        let (attempt, created) = server.call(next.vm, fate);
        next.attempts += 1;
        let at = *next.first_call.get_or_insert(attempt.sent_at);
        if clock.observe(&attempt) {
            for Sitting { vm, lost, .. } in &given_up {
                ledger[*vm].unanswered = lost.dated(&clock);
            }
        }
        let known = &mut ledger[next.vm];
        if fate != Fate::Answered {
            next.lost.record(&attempt, Duration::from_millis(server.timeout.unsigned_abs()));
            known.unanswered = next.lost.dated(&clock);
            let again = next.attempts < max_attempts;
            if again { &mut waiting } else { &mut given_up }.push(next);
            continue;
        }
        let answer = server.answer(next.vm, created);
        let evidence = Evidence {
            before: known.is_seen.then_some(&answer.allocation),
            unanswered: &next.lost.dated(&clock),
            first_call: FirstCall { at, offset_then: None },
            offset: clock.offset(&attempt),
            heard: &clock.heard(),
            now: attempt.over_at(),
        };
        let truth = if next.vm >= OLD_VMS && !known.is_seen { Outcome::Created } else { Outcome::Unchanged };
        let verdict = classify(&answer, &evidence);
        if verdict.outcome != truth {
            wrong.push(format!("{}: {verdict:?}, where {truth} is true, of {evidence:?}", next.vm));
        }
        *known = Known { is_seen: true, unanswered: vec![] };
    }
    wrong
}

#[test]
fn each_allocation_is_created_in_exactly_one_run_however_the_servers_clock_is_set() {
    for seed in 0..1_000 {
        let mut server = Server::new(seed);
        let mut ledger = vec![Known::default(); VMS];
        let wrong: Vec<String> = (0..RUNS).flat_map(|_| run(&mut server, &mut ledger)).collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}
