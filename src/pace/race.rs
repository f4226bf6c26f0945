//! The pace against APIs that hide a limit, remember one or announce it: how long a fleet takes, and what it costs.
//!
//! A simulation, told the time; what it shows is measured against the real program by `make bench-pace`.

#![expect(clippy::cast_precision_loss, reason = "the tests count thousands of calls")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::{Pace, Ticket};
use crate::api::Announced;

/// An API with a limit, told the time in seconds.
pub(super) trait Limited {
    /// Accepts a call and says how it stands with the limit, or how many seconds to wait, if it says so.
    fn call(&mut self, at: f64) -> Result<Standing, Option<f64>>;
}

#[derive(Clone, Copy)]
pub(super) struct Standing {
    remaining: f64,
    reset: f64,
    rate: f64,
}

pub(super) struct Bucket {
    rate: f64,
    capacity: f64,
    tokens: f64,
    last: f64,
}

impl Bucket {
    pub(super) fn new(rate: f64, capacity: f64) -> Self {
        Self { rate, capacity, tokens: capacity, last: 0.0 }
    }
}

impl Limited for Bucket {
    fn call(&mut self, at: f64) -> Result<Standing, Option<f64>> {
        self.tokens = (self.tokens + (at - self.last) * self.rate).min(self.capacity);
        self.last = at;
        if self.tokens < 1.0 {
            return Err(Some(((1.0 - self.tokens) / self.rate).ceil().max(1.0)));
        }
        self.tokens -= 1.0;
        let reset = (self.capacity - self.tokens) / self.rate;
        Ok(Standing { remaining: self.tokens.floor(), reset, rate: self.rate })
    }
}

/// At most `calls` in every so many `seconds`: from one boundary to the next, or in any such span.
pub(super) struct Window {
    calls: usize,
    seconds: f64,
    sliding: bool,
    accepted: Vec<f64>,
}

impl Window {
    /// From one boundary to the next.
    pub(super) fn new(calls: usize, seconds: f64) -> Self {
        Self { calls, seconds, sliding: false, accepted: vec![] }
    }
}

impl Limited for Window {
    fn call(&mut self, at: f64) -> Result<Standing, Option<f64>> {
        let begin = if self.sliding { at - self.seconds } else { (at / self.seconds).floor() * self.seconds };
        let used = self.accepted.iter().rev().take_while(|&&t| t > begin).count();
        let oldest = self.accepted.len() - used;
        let end = if self.sliding { self.accepted.get(oldest).unwrap_or(&at) } else { &begin } + self.seconds;
        if used >= self.calls {
            return Err(Some((end - at).ceil().max(1.0)));
        }
        self.accepted.push(at);
        let (remaining, rate) = ((self.calls - used - 1) as f64, self.calls as f64 / self.seconds);
        Ok(Standing { remaining, reset: end - at, rate })
    }
}

/// Which answers say how they stand with the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Says {
    Nothing,
    Remaining,
    Rate,
}

impl Says {
    pub(super) fn of(self, standing: Standing) -> Announced {
        let Standing { remaining, reset, rate } = standing;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of calls")]
        let remaining = Some(remaining as u64);
        let reset_in = Some(Duration::from_secs_f64(reset));
        match self {
            Self::Nothing => Announced::default(),
            Self::Remaining => Announced { remaining, reset_in, per_second: None },
            Self::Rate => Announced { remaining, reset_in, per_second: Some(rate) },
        }
    }
}

/// What a fleet came to.
struct Race {
    seconds: f64,
    /// Calls refused.
    refused: u32,
    /// Of all calls.
    share: f64,
    found: Option<f64>,
}

/// A fleet on its way.
#[derive(Clone, Copy)]
struct Fleet {
    rate: &'static str,
    remembered: Option<f64>,
    calls: u32,
    says: Says,
    /// In microseconds; an answer takes up to a tenth longer.
    latency: u64,
    seed: u64,
}

impl Fleet {
    fn new(rate: &'static str, calls: u32, seed: u64) -> Self {
        Self { rate, remembered: None, calls, says: Says::Nothing, latency: 40_000, seed }
    }

    /// Gets all calls accepted, with 64 in flight and a timer that wakes up late by up to 1 ms.
    fn race(self, api: &mut dyn Limited) -> Race {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let start = Instant::now();
        let phase = random.f64() * 10.0;
        let mut pace = Pace::new(self.rate.parse().unwrap(), self.remembered, start);
        let mut in_flight: BinaryHeap<(Reverse<Instant>, usize)> = BinaryHeap::new();
        let mut answers: Vec<(Ticket, Result<Announced, Option<f64>>)> = Vec::new();
        let (mut now, mut accepted, mut refused, mut sent) = (start, 0, 0_u32, 0_u32);
        while accepted < self.calls {
            while let Some(&(Reverse(back), index)) = in_flight.peek()
                && back <= now
            {
                in_flight.pop();
                match answers[index] {
                    (ticket, Ok(announced)) => {
                        accepted += 1;
                        pace.accepted(ticket, announced, now);
                    }
                    (ticket, Err(wait)) => {
                        (refused, sent) = (refused + 1, sent - 1);
                        pace.throttled(ticket, wait.map(Duration::from_secs_f64), now);
                    }
                }
            }
            let due = in_flight.peek().map(|&(Reverse(back), _)| back);
            let mut wake = due.unwrap_or(now + Duration::from_millis(40));
            while in_flight.len() < 64 && sent < self.calls {
                match pace.next(now) {
                    Ok(ticket) => {
                        sent += 1;
                        let late = random.u64(self.latency..=self.latency * 11 / 10);
                        let back = now + Duration::from_micros(late);
                        in_flight.push((Reverse(back), answers.len()));
                        let answer = api.call(phase + (now - start).as_secs_f64());
                        answers.push((ticket, answer.map(|standing| self.says.of(standing))));
                        wake = wake.min(back);
                    }
                    Err(at) => {
                        wake = due.map_or(at, |due| due.min(at));
                        break;
                    }
                }
            }
            now = wake.max(now + Duration::from_micros(100)) + Duration::from_micros(random.u64(..1_000));
        }
        let share = f64::from(refused) / f64::from(accepted + refused);
        Race { seconds: (now - start).as_secs_f64(), refused, share, found: pace.to_remember() }
    }
}

/// Refuses calls now and then, whatever the pace.
struct Fickle<L> {
    api: L,
    refuses: Now,
    wait: Option<f64>,
    calls: u64,
    chance: fastrand::Rng,
}

/// Which calls are refused.
#[derive(Clone, Copy, Debug)]
enum Now {
    /// One in so many, evenly.
    Every(u64),
    /// One in so many, by chance.
    About(u64),
    /// The calls of this span, by number.
    From(u64, u64),
}

impl<L> Fickle<L> {
    fn new(api: L, refuses: Now, wait: Option<f64>, seed: u64) -> Self {
        Self { api, refuses, wait, calls: 0, chance: fastrand::Rng::with_seed(seed) }
    }
}

impl<L: Limited> Limited for Fickle<L> {
    fn call(&mut self, at: f64) -> Result<Standing, Option<f64>> {
        self.calls += 1;
        let refused = match self.refuses {
            Now::Every(calls) => self.calls.is_multiple_of(calls),
            Now::About(calls) => self.chance.u64(..calls) == 0,
            Now::From(first, last) => (first..=last).contains(&self.calls),
        };
        if refused { Err(self.wait) } else { self.api.call(at) }
    }
}

/// An API without a limit.
pub(super) struct Open;

impl Limited for Open {
    fn call(&mut self, _: f64) -> Result<Standing, Option<f64>> {
        Ok(Standing { remaining: 1e6, reset: 1.0, rate: 1e6 })
    }
}

const SEEDS: std::ops::Range<u64> = 0..5;

#[track_caller]
fn assert_fast_and_gentle(name: &str, race: &Race, ideal: f64, slowest: f64, most_refused: f64) {
    let ratio = race.seconds / ideal;
    assert!(
        ratio <= slowest && race.share <= most_refused,
        "{name}: {ratio:.3} of the ideal, {:.4} refused",
        race.share
    );
}

#[test]
fn a_hidden_limit_is_found_and_used_at_the_price_of_few_calls() {
    for (name, capacity, rate, slowest) in [
        ("bucket of a second", 50.0, "250/s", 1.08),
        ("bucket of a second without a ceiling", 50.0, "none", 1.08),
        ("bucket of ten seconds", 500.0, "250/s", 1.08),
        ("bucket of a tenth", 5.0, "250/s", 1.3),
    ] {
        for seed in SEEDS {
            let race = Fleet::new(rate, 5000, seed).race(&mut Bucket::new(50.0, capacity));
            assert_fast_and_gentle(name, &race, (5000.0 - capacity) / 50.0, slowest, 0.01);
        }
    }
    for (name, seconds, sliding, rate, calls, ideal) in [
        ("fixed window", 1.0, false, "500/s", 5000, 49.0),
        ("sliding window", 10.0, true, "50/s", 1000, 90.0),
        ("long fixed window", 10.0, false, "50/s", 1000, 90.0),
    ] {
        for seed in SEEDS {
            let mut window = Window { calls: 100, seconds, sliding, accepted: vec![] };
            let race = Fleet::new(rate, calls, seed).race(&mut window);
            assert_fast_and_gentle(name, &race, ideal, 1.2, 0.025);
        }
    }
}

#[test]
fn a_limit_that_was_found_is_used_from_the_first_call_of_the_next_run() {
    for seed in SEEDS {
        let bucket = || Bucket::new(50.0, 50.0);
        let fleet = Fleet::new("250/s", 5000, seed);
        let remembered = fleet.race(&mut bucket()).found;
        let next = Fleet { remembered, ..fleet }.race(&mut bucket());
        assert_fast_and_gentle("bucket", &next, 99.0, 1.04, 0.001);
    }
}

#[test]
fn a_limit_that_is_announced_costs_hardly_a_call() {
    for says in [Says::Remaining, Says::Rate] {
        for seed in SEEDS {
            let race = Fleet { says, ..Fleet::new("250/s", 5000, seed) }.race(&mut Bucket::new(50.0, 50.0));
            assert_fast_and_gentle(&format!("{says:?}"), &race, 99.0, 1.04, 0.0);
            let mut window = Window { calls: 100, seconds: 1.0, sliding: false, accepted: vec![] };
            let race = Fleet { says, ..Fleet::new("500/s", 5000, seed) }.race(&mut window);
            assert_fast_and_gentle(&format!("window, {says:?}"), &race, 49.0, 1.1, 0.001);
        }
    }
}

/// A bucket whose rate changes after so many calls.
struct Changing {
    bucket: Bucket,
    calls: u32,
    then: f64,
}

impl Limited for Changing {
    fn call(&mut self, at: f64) -> Result<Standing, Option<f64>> {
        if self.calls == 0 {
            (self.bucket.rate, self.bucket.capacity) = (self.then, self.then);
        }
        self.bucket.call(at).inspect(|_| self.calls = self.calls.saturating_sub(1))
    }
}

#[test]
fn a_limit_that_falls_or_rises_is_followed() {
    for (name, then, slowest, most_refused) in [("halved", 25.0, 1.12, 0.015), ("doubled", 100.0, 1.25, 0.01)]
    {
        for seed in SEEDS {
            let mut api = Changing { bucket: Bucket::new(50.0, 50.0), calls: 2500, then };
            let race = Fleet::new("250/s", 5000, seed).race(&mut api);
            assert_fast_and_gentle(name, &race, 2450.0 / 50.0 + 2500.0 / then, slowest, most_refused);
        }
    }
}

/// The longest race of several seeds, and what each found.
fn races(fleet: Fleet, api: impl Fn(u64) -> Box<dyn Limited>) -> Vec<Race> {
    SEEDS.map(|seed| Fleet { seed, ..fleet }.race(&mut *api(seed))).collect()
}

/// Asserts that each race takes its time at `rate` and the pauses, and little more.
#[track_caller]
fn assert_undeterred(name: &str, races: &[Race], calls: f64, rate: f64, pause: f64, most: f64) {
    for race in races {
        let ratio = race.seconds / (calls / rate + pause * f64::from(race.refused));
        assert!(ratio <= most, "{name}: {ratio:.3} of the calls' time and the pauses'");
        assert_eq!(race.found, None, "{name}");
    }
}

#[test]
fn refusals_that_have_nothing_to_do_with_the_pace_cost_their_pauses_and_nothing_is_remembered_of_them() {
    for (refuses, most) in [
        (Now::Every(200), 1.02),
        (Now::About(200), 1.15),
        (Now::Every(1000), 1.02),
        (Now::About(1000), 1.02),
        (Now::Every(50), 1.1),
        (Now::About(50), 1.25),
        (Now::Every(20), 1.25),
    ] {
        for (wait, pause) in [(Some(1.0), 1.0), (Some(5.0), 5.0), (None, 1.0), (Some(0.0), 1.0)] {
            for latency in [500, 40_000] {
                let fleet = Fleet { latency, ..Fleet::new("200/s", 2000, 0) };
                let races = races(fleet, |seed| Box::new(Fickle::new(Open, refuses, wait, seed)));
                let name = format!("{refuses:?}, Retry-After {wait:?}, {latency} µs");
                assert_undeterred(&name, &races, 2000.0, 200.0, pause, most);
            }
        }
    }
}

#[test]
fn a_real_limit_is_found_behind_refusals_that_have_nothing_to_do_with_it() {
    for seed in SEEDS {
        let mut api = Fickle::new(Bucket::new(50.0, 50.0), Now::About(1000), Some(1.0), seed);
        let race = Fleet::new("250/s", 5000, seed).race(&mut api);
        assert_fast_and_gentle("bucket", &race, 99.0 + 5.0, 1.25, 0.02);
    }
}

#[test]
fn an_api_that_refuses_all_for_a_while_costs_that_while() {
    for (first, last) in [(1, 1), (1, 3), (2, 4), (10, 14), (31, 33)] {
        let api = |seed| -> Box<dyn Limited> {
            Box::new(Fickle::new(Open, Now::From(first, last), Some(10.0), seed))
        };
        let races = races(Fleet::new("10/s", 60, 0), api);
        assert_undeterred(&format!("calls {first} to {last}"), &races, 60.0, 10.0, 10.0, 1.1);
    }
}

#[test]
fn a_remembered_limit_that_is_wrong_is_forgotten_within_the_run() {
    for (remembered, rate, calls, ideal, most) in [
        (28.0, "200/s", 2000, 10.0, 1.1),
        (0.416, "10/s", 60, 6.0, 1.05),
        (1e-9, "10/s", 60, 6.0, 1.05),
        (0.416, "200/s", 2000, 10.0, 1.2),
        (28.0, "none", 2000, 2.0, 1.8),
    ] {
        let fleet = Fleet { remembered: Some(remembered), ..Fleet::new(rate, calls, 0) };
        for race in races(fleet, |_| Box::new(Open)) {
            let ratio = race.seconds / ideal;
            assert!(ratio <= most, "{remembered}/s at {rate}: {ratio:.3} of the ideal");
            assert_eq!(race.found, None, "{remembered}/s at {rate}");
        }
    }
}

#[test]
fn a_remembered_limit_beyond_the_ceiling_stays_as_it_is() {
    let fleet = Fleet { remembered: Some(50.0), ..Fleet::new("10/s", 60, 0) };
    assert_eq!(fleet.race(&mut Open).found, Some(50.0));
}
