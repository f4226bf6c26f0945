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
trait Limited {
    /// Accepts a call and says how it stands with the limit, or how many seconds to wait.
    fn call(&mut self, at: f64) -> Result<Standing, f64>;
}

#[derive(Clone, Copy)]
struct Standing {
    remaining: f64,
    reset: f64,
    rate: f64,
}

struct Bucket {
    rate: f64,
    capacity: f64,
    tokens: f64,
    last: f64,
}

impl Bucket {
    fn new(rate: f64, capacity: f64) -> Self {
        Self { rate, capacity, tokens: capacity, last: 0.0 }
    }
}

impl Limited for Bucket {
    fn call(&mut self, at: f64) -> Result<Standing, f64> {
        self.tokens = (self.tokens + (at - self.last) * self.rate).min(self.capacity);
        self.last = at;
        if self.tokens < 1.0 {
            return Err(((1.0 - self.tokens) / self.rate).ceil().max(1.0));
        }
        self.tokens -= 1.0;
        let reset = (self.capacity - self.tokens) / self.rate;
        Ok(Standing { remaining: self.tokens.floor(), reset, rate: self.rate })
    }
}

/// At most `calls` in every so many `seconds`: from one boundary to the next, or in any such span.
struct Window {
    calls: usize,
    seconds: f64,
    sliding: bool,
    accepted: Vec<f64>,
}

impl Limited for Window {
    fn call(&mut self, at: f64) -> Result<Standing, f64> {
        let begin = if self.sliding { at - self.seconds } else { (at / self.seconds).floor() * self.seconds };
        let used = self.accepted.iter().rev().take_while(|&&t| t > begin).count();
        let oldest = self.accepted.len() - used;
        let end = if self.sliding { self.accepted.get(oldest).unwrap_or(&at) } else { &begin } + self.seconds;
        if used >= self.calls {
            return Err((end - at).ceil().max(1.0));
        }
        self.accepted.push(at);
        let (remaining, rate) = ((self.calls - used - 1) as f64, self.calls as f64 / self.seconds);
        Ok(Standing { remaining, reset: end - at, rate })
    }
}

/// Which answers say how they stand with the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Nothing,
    Remaining,
    Rate,
}

impl Says {
    fn of(self, standing: Standing) -> Announced {
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
    /// Of all calls.
    refused: f64,
    found: Option<f64>,
}

/// Has `calls` accepted, with 64 in flight at 40 to 44 ms each and a timer that wakes up late by up to 1 ms.
fn race(api: &mut dyn Limited, says: Says, pace: (&str, Option<f64>), calls: u32, seed: u64) -> Race {
    let mut random = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let phase = random.f64() * 10.0;
    let mut pace = Pace::new(pace.0.parse().unwrap(), pace.1, start);
    let mut in_flight: BinaryHeap<(Reverse<Instant>, usize)> = BinaryHeap::new();
    let mut answers: Vec<(Ticket, Result<Announced, f64>)> = Vec::new();
    let (mut now, mut accepted, mut refused, mut left) = (start, 0, 0_u32, 0_u32);
    while accepted < calls {
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
                    (refused, left) = (refused + 1, left - 1);
                    pace.throttled(ticket, Some(Duration::from_secs_f64(wait)), now);
                }
            }
        }
        let due = in_flight.peek().map(|&(Reverse(back), _)| back);
        let mut wake = due.unwrap_or(now + Duration::from_millis(40));
        while in_flight.len() < 64 && left < calls {
            match pace.next(now) {
                Ok(ticket) => {
                    left += 1;
                    let back = now + Duration::from_micros(random.u64(40_000..44_000));
                    in_flight.push((Reverse(back), answers.len()));
                    let answer = api.call(phase + (now - start).as_secs_f64());
                    answers.push((ticket, answer.map(|standing| says.of(standing))));
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
    let refused = f64::from(refused) / f64::from(accepted + refused);
    Race { seconds: (now - start).as_secs_f64(), refused, found: pace.to_remember() }
}

const SEEDS: std::ops::Range<u64> = 0..5;

#[track_caller]
fn assert_fast_and_gentle(name: &str, race: &Race, ideal: f64, slowest: f64, most_refused: f64) {
    let ratio = race.seconds / ideal;
    assert!(
        ratio <= slowest && race.refused <= most_refused,
        "{name}: {ratio:.3} of the ideal, {:.4} refused",
        race.refused
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
            let race = race(&mut Bucket::new(50.0, capacity), Says::Nothing, (rate, None), 5000, seed);
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
            let race = race(&mut window, Says::Nothing, (rate, None), calls, seed);
            assert_fast_and_gentle(name, &race, ideal, 1.2, 0.025);
        }
    }
}

#[test]
fn a_limit_that_was_found_is_used_from_the_first_call_of_the_next_run() {
    for seed in SEEDS {
        let bucket = || Bucket::new(50.0, 50.0);
        let found = race(&mut bucket(), Says::Nothing, ("250/s", None), 5000, seed).found;
        let next = race(&mut bucket(), Says::Nothing, ("250/s", found), 5000, seed);
        assert_fast_and_gentle("bucket", &next, 99.0, 1.04, 0.001);
    }
}

#[test]
fn a_limit_that_is_announced_costs_hardly_a_call() {
    for says in [Says::Remaining, Says::Rate] {
        for seed in SEEDS {
            let race = race(&mut Bucket::new(50.0, 50.0), says, ("250/s", None), 5000, seed);
            assert_fast_and_gentle(&format!("{says:?}"), &race, 99.0, 1.04, 0.0);
            let mut window = Window { calls: 100, seconds: 1.0, sliding: false, accepted: vec![] };
            let race = self::race(&mut window, says, ("500/s", None), 5000, seed);
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
    fn call(&mut self, at: f64) -> Result<Standing, f64> {
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
            let race = race(&mut api, Says::Nothing, ("250/s", None), 5000, seed);
            assert_fast_and_gentle(name, &race, 2450.0 / 50.0 + 2500.0 / then, slowest, most_refused);
        }
    }
}
