//! Several workers with one pace, in virtual time: they join, leave, hang and die, and the row answers when it comes to it.

#![expect(clippy::cast_precision_loss, reason = "the tests count thousands of calls")]

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use super::model::Row;
use super::race::{Bucket, Limited, Open, Says, Window};
use super::tests::{ceiling, most_within};
use super::{Ask, Ceiling, Exchange, Moment, Pace, Ticket, Wanted};
use crate::api::Announced;

/// VMs that a worker has claimed at the most.
const CLAIMED: u32 = 50;

/// Calls that a worker may have in flight before any was answered.
const UNEARNED: u32 = 8;

/// One worker joins so long after another.
const JOINS_AFTER: Duration = Duration::from_millis(50);

/// What is to come, and to which worker.
enum Coming {
    Wake,
    Answer(Ticket, Result<Announced, Option<f64>>),
    /// What it has asked reaches the row.
    Asked(Ask, Instant),
    Granted(Exchange),
    Alerted,
    /// It takes part no more: a new one begins in its place.
    Gone(End),
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// With what it has asked and called.
    Dies,
    Hangs(Duration),
}

/// How the nth one ends.
type Ends = fn(u64) -> End;

struct Worker {
    pace: Pace,
    /// VMs that it has claimed, and not called yet.
    claimed: u32,
    in_flight: u32,
    /// Calls that it may have in flight: as its answers have earned it.
    earned: u32,
    hangs_until: Option<Instant>,
    /// The next moment at which it looks around by itself.
    wakes_at: Option<Instant>,
}

impl Worker {
    /// Calls that would leave now, were it not for the pace.
    fn may_call(&self) -> u32 {
        self.claimed.min(self.earned.saturating_sub(self.in_flight))
    }
}

/// How a fleet is set up.
#[derive(Clone)]
struct Fleet {
    rate: &'static str,
    calls: u32,
    workers: usize,
    /// Calls that each has in flight at most.
    concurrency: u32,
    remembered: Option<f64>,
    says: Says,
    /// How long a call takes, and a question to the row and back without the wait for others, in microseconds.
    latency: u64,
    exchange: u64,
    /// Whether they hear at once that there is a pause; else they find it out when they ask.
    alerts: bool,
    /// Every so many seconds, one of them comes to such an end.
    ends: Option<(f64, Ends)>,
    seed: u64,
}

impl Fleet {
    fn new(rate: &'static str, calls: u32, workers: usize, seed: u64) -> Self {
        Self {
            rate,
            calls,
            workers,
            concurrency: 64,
            remembered: None,
            says: Says::Nothing,
            latency: 40_000,
            exchange: 3_000,
            alerts: false,
            ends: None,
            seed,
        }
    }

    fn run(&self, api: &mut dyn Limited) -> Run {
        let mut world = World::new(self, api);
        world.go();
        let share = f64::from(world.refused) / f64::from(world.refused + world.accepted);
        let seconds = (world.now - world.begun).as_secs_f64();
        let found = world.workers.iter().find_map(|worker| worker.pace.to_remember());
        Run { seconds, share, found, left: world.left }
    }
}

/// What it came to.
struct Run {
    seconds: f64,
    share: f64,
    found: Option<f64>,
    /// When each call left, in seconds.
    left: Vec<f64>,
}

struct World<'a> {
    fleet: &'a Fleet,
    api: &'a mut dyn Limited,
    chance: fastrand::Rng,
    phase: f64,
    begun: Instant,
    now: Instant,
    row: Row,
    /// What its clock shows at the begin.
    clock: Moment,
    /// The row answers one after another.
    row_free_at: Instant,
    workers: Vec<Worker>,
    coming: BTreeMap<(Instant, u64), (usize, Coming)>,
    known: u64,
    unsent: u32,
    accepted: u32,
    refused: u32,
    left: Vec<f64>,
}

impl<'a> World<'a> {
    fn new(fleet: &'a Fleet, api: &'a mut dyn Limited) -> Self {
        let mut chance = fastrand::Rng::with_seed(fleet.seed);
        let begun = Instant::now();
        let mut world = Self {
            fleet,
            api,
            phase: chance.f64() * 10.0,
            row: Row::new(),
            clock: Moment::from_nanos(chance.u64(..1 << 60)),
            chance,
            begun,
            now: begun,
            row_free_at: begun,
            workers: Vec::new(),
            coming: BTreeMap::new(),
            known: 0,
            unsent: fleet.calls,
            accepted: 0,
            refused: 0,
            left: Vec::new(),
        };
        (0..fleet.workers).for_each(|_| world.join());
        if let Some((seconds, end)) = fleet.ends {
            for nth in 1..1_000_u64 {
                let end = end(nth);
                world.comes(Duration::from_secs_f64(seconds * nth as f64), usize::MAX, Coming::Gone(end));
            }
        }
        world
    }

    fn rate(&self) -> Ceiling {
        ceiling(self.fleet.rate)
    }

    fn join(&mut self) {
        let pace = Pace::shared(self.rate(), self.fleet.remembered, self.now);
        let no = self.workers.len();
        self.workers.push(Worker {
            pace,
            claimed: 0,
            in_flight: 0,
            earned: UNEARNED,
            hangs_until: None,
            wakes_at: None,
        });
        self.comes(JOINS_AFTER * u32::try_from(no).unwrap(), no, Coming::Wake);
    }

    fn comes(&mut self, after: Duration, worker: usize, coming: Coming) {
        self.known += 1;
        self.coming.insert((self.now + after, self.known), (worker, coming));
    }

    fn go(&mut self) {
        while self.accepted < self.fleet.calls {
            let ((at, _), (worker, coming)) = self.coming.pop_first().expect("something is always to come");
            self.now = at;
            match coming {
                Coming::Asked(ask, sent) => self.asked(worker, &ask, sent),
                Coming::Gone(end) => self.end(end),
                coming => self.happens(worker, coming),
            }
        }
    }

    /// Those that died hear nothing any more, and those that hang later.
    fn happens(&mut self, no: usize, coming: Coming) {
        let now = self.now;
        let worker = &mut self.workers[no];
        if let Some(until) = worker.hangs_until.filter(|until| *until > now) {
            return self.comes(until - now, no, coming);
        }
        match coming {
            Coming::Wake if worker.wakes_at.is_some_and(|at| at > now) => return,
            Coming::Answer(ticket, answer) => self.answered(no, ticket, answer),
            Coming::Granted(exchange) => {
                worker.pace.granted(Exchange { received: now, ..exchange }, now);
            }
            Coming::Alerted => worker.pace.alerted(),
            Coming::Wake | Coming::Asked(..) | Coming::Gone(_) => {}
        }
        self.acts(no);
    }

    fn answered(&mut self, no: usize, ticket: Ticket, answer: Result<Announced, Option<f64>>) {
        let worker = &mut self.workers[no];
        worker.in_flight -= 1;
        worker.earned = (worker.earned + 1).min(self.fleet.concurrency);
        match answer {
            Ok(announced) => {
                self.accepted += 1;
                worker.pace.accepted(ticket, announced, self.now);
            }
            Err(wait) => {
                self.refused += 1;
                self.unsent += 1;
                worker.pace.throttled(ticket, wait.map(Duration::from_secs_f64), self.now);
            }
        }
    }

    fn acts(&mut self, no: usize) {
        let mut wake = self.now + Duration::from_millis(250);
        self.claims(no);
        while self.workers[no].may_call() > 0 {
            match self.workers[no].pace.next(self.now) {
                Ok(ticket) => self.calls(no, ticket),
                Err(at) => {
                    assert!(at > self.now, "asked to ask again at once");
                    wake = wake.min(at);
                    break;
                }
            }
        }
        let worker = &mut self.workers[no];
        let wanted = Wanted { now: worker.may_call().into(), in_all: (self.unsent + worker.claimed).into() };
        let asked = worker.pace.ask(|| wanted, self.now);
        wake = wake.min(worker.pace.asks_at().unwrap_or(wake)).max(self.now);
        let wake = wake - self.now + Duration::from_micros(self.chance.u64(1..1_000));
        worker.wakes_at = Some(self.now + wake);
        self.comes(wake, no, Coming::Wake);
        if let Some(ask) = asked {
            let way = Duration::from_micros(self.chance.u64(self.fleet.exchange / 4..=self.fleet.exchange));
            self.comes(way, no, Coming::Asked(ask, self.now));
        }
    }

    /// As many as leave in a while, and before half of them have left more.
    fn claims(&mut self, no: usize) {
        let worker = &mut self.workers[no];
        if worker.claimed <= CLAIMED / 2 {
            let more = self.unsent.min(CLAIMED - worker.claimed);
            worker.claimed += more;
            self.unsent -= more;
        }
    }

    fn calls(&mut self, no: usize, ticket: Ticket) {
        self.workers[no].claimed -= 1;
        self.workers[no].in_flight += 1;
        let since = (self.now - self.begun).as_secs_f64();
        self.left.push(since);
        let answer = self.api.call(self.phase + since).map(|standing| self.fleet.says.of(standing));
        let latency = self.chance.u64(self.fleet.latency..=self.fleet.latency * 11 / 10);
        self.comes(Duration::from_micros(latency), no, Coming::Answer(ticket, answer));
    }

    fn asked(&mut self, no: usize, ask: &Ask, sent: Instant) {
        // A commit takes its time, and the next one waits for it.
        let begins = self.row_free_at.max(self.now);
        self.row_free_at = begins + Duration::from_micros(self.chance.u64(500..2_000));
        let standing = self.row.answer(ask, self.clock + (begins - self.begun));
        if self.fleet.alerts && ask.pause.is_some() {
            let back = self.row_free_at - self.now;
            (0..self.workers.len()).for_each(|no| self.comes(back, no, Coming::Alerted));
        }
        let exchange = Exchange { sent, received: sent, standing };
        let way = Duration::from_micros(self.chance.u64(self.fleet.exchange / 4..=self.fleet.exchange));
        let back = self.row_free_at + way - self.now;
        self.comes(back, no, Coming::Granted(exchange));
    }

    fn end(&mut self, end: End) {
        let no = self.chance.usize(..self.workers.len());
        match end {
            End::Hangs(time) => {
                self.workers[no].hangs_until = Some(self.now + time);
                // Its lease runs out.
                self.unsent += mem::take(&mut self.workers[no].claimed);
            }
            End::Dies => {
                self.unsent += self.workers[no].in_flight + self.workers[no].claimed;
                self.coming.retain(|_, (worker, _)| *worker != no);
                self.workers[no].pace = Pace::shared(self.rate(), self.fleet.remembered, self.now);
                let worker = &mut self.workers[no];
                (worker.in_flight, worker.claimed, worker.earned, worker.wakes_at) = (0, 0, UNEARNED, None);
                self.comes(Duration::from_millis(100), no, Coming::Wake);
            }
        }
    }
}

#[track_caller]
fn assert_fast_and_gentle(name: &str, run: &Run, ideal: f64, slowest: f64, most_refused: f64) {
    let (ratio, share) = (run.seconds / ideal, run.share);
    assert!(ratio <= slowest && share <= most_refused, "{name}: {ratio:.3} of the ideal, {share:.4} refused");
}

const SEEDS: std::ops::Range<u64> = 0..2;

#[track_caller]
fn assert_never_over(name: &str, left: &[f64], rate: f64) {
    let (second, tenth) = (most_within(left, 1.0) as f64, most_within(left, 0.1) as f64);
    assert!(second <= rate * 1.03 + 1.0, "{name}: {second} in a second");
    assert!(tenth <= rate * 0.12 + 1.0, "{name}: {tenth} in 100 ms");
}

/// Calls a second from the first to the last, as a share of `rate`.
fn mean(left: &[f64], rate: f64) -> f64 {
    (left.len() - 1) as f64 / (left[left.len() - 1] - left[0]) / rate
}

/// How many seconds longer it takes from the first to the last than at `rate`. Answers have to earn it first.
fn lost(left: &[f64], rate: f64) -> f64 {
    left[left.len() - 1] - left[0] - (left.len() - 1) as f64 / rate
}

#[test]
fn one_rate_is_met_by_any_number_of_workers_and_never_exceeded() {
    for (rate, per_second, calls) in [("200/s", 200.0, 4_000), ("1000/s", 1000.0, 10_000)] {
        for (workers, exchange) in [(1, 1_000), (2, 3_000), (4, 3_000), (8, 3_000), (1, 20_000), (4, 20_000)]
        {
            for seed in SEEDS {
                let fleet = Fleet { exchange, ..Fleet::new(rate, calls, workers, seed) };
                let run = fleet.run(&mut Open);
                let name = format!("{rate}, {workers} workers, {exchange} µs");
                let lost = lost(&run.left, per_second);
                assert_never_over(&name, &run.left, per_second);
                assert!((-0.01..0.15).contains(&lost), "{name}: {lost} s");
            }
        }
    }
}

#[test]
fn who_dies_or_hangs_takes_hardly_a_slot_with_it_and_nobody_makes_up_for_it() {
    let ends: [(&str, Ends); 3] = [
        ("die", |_| End::Dies),
        ("hang", |_| End::Hangs(Duration::from_millis(1_500))),
        ("both", |nth| if nth % 2 == 0 { End::Dies } else { End::Hangs(Duration::from_secs(3)) }),
    ];
    for (name, end) in ends {
        for workers in [4, 8] {
            for seed in SEEDS {
                let fleet = Fleet { ends: Some((2.0, end)), ..Fleet::new("200/s", 4_000, workers, seed) };
                let run = fleet.run(&mut Open);
                let name = format!("{workers} workers that {name}");
                let mean = mean(&run.left, 200.0);
                assert_never_over(&name, &run.left, 200.0);
                assert!(mean >= 0.97, "{name}: mean {mean}");
            }
        }
    }
}

#[test]
fn a_hidden_limit_is_found_by_all_workers_together_at_the_price_of_few_calls() {
    for (workers, exchange) in [(1, 3_000), (4, 3_000), (8, 3_000), (4, 20_000)] {
        for seed in SEEDS {
            let fleet = Fleet { exchange, ..Fleet::new("250/s", 5_000, workers, seed) };
            let run = fleet.run(&mut Bucket::new(50.0, 50.0));
            assert_fast_and_gentle(&format!("{workers} workers, {exchange} µs"), &run, 99.0, 1.1, 0.015);
        }
    }
    let run = Fleet::new("500/s", 5_000, 4, 0).run(&mut Window::new(100, 1.0));
    assert_fast_and_gentle("4 workers, window", &run, 49.0, 1.3, 0.04);
}

#[test]
fn who_hears_at_once_that_there_is_a_pause_is_refused_less() {
    let refused = |alerts| -> f64 {
        let share = |seed| {
            let fleet = Fleet { alerts, ..Fleet::new("250/s", 5_000, 8, seed) };
            fleet.run(&mut Bucket::new(50.0, 50.0)).share
        };
        (0..4).map(share).sum()
    };
    let [polling, alerted] = [false, true].map(refused);
    assert!(alerted < polling * 0.9, "{alerted} of {polling}");
}

#[test]
fn what_one_sitting_has_found_or_the_api_announces_holds_for_all_from_the_first_call() {
    for workers in [2, 8] {
        for seed in SEEDS {
            let fleet = Fleet::new("250/s", 5_000, workers, seed);
            let remembered = Fleet { remembered: Some(50.0), ..fleet.clone() };
            let run = remembered.run(&mut Bucket::new(50.0, 50.0));
            assert_fast_and_gentle(&format!("{workers} workers, remembered"), &run, 99.0, 1.04, 0.005);
            assert!(run.found.is_some());
            for says in [Says::Remaining, Says::Rate] {
                let run = Fleet { says, ..fleet.clone() }.run(&mut Bucket::new(50.0, 50.0));
                assert_fast_and_gentle(&format!("{workers} workers, {says:?}"), &run, 99.0, 1.06, 0.01);
            }
        }
    }
}

#[test]
fn what_was_remembered_in_error_is_forgotten_by_all() {
    for workers in [1, 4] {
        let fleet = Fleet { remembered: Some(28.0), ..Fleet::new("200/s", 2_000, workers, 0) };
        let run = fleet.run(&mut Open);
        assert_fast_and_gentle(&format!("{workers} workers"), &run, 10.0, 1.15, 0.0);
        assert_eq!(run.found, None);
    }
}
