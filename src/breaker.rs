//! When to leave a sick API, or a sick rack of it, alone: a pure state machine, used for both.
//!
//! Only a VM's first calls open it: at the end of a run just the sick VMs are left, and they must run out of
//! attempts. Once open, single probes go out, at growing distances; after one that succeeds, the pace comes back
//! step by step, and the first failure on the way opens it again for longer.

use std::time::{Duration, Instant};

/// First calls looked back upon.
const WINDOW: u32 = 20;

/// Failed connects in a row that open the API's breaker.
const CONNECTS: u32 = 5;

/// The same where others could make these calls: a VM is to have attempts left for them.
const CONNECTS_BESIDE_OTHERS: u32 = 2;

const FIRST_PROBE: Duration = Duration::from_secs(1);
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// The distance between calls after a probe that succeeded; each success halves it.
const FIRST_STEP: Duration = Duration::from_millis(500);
const LAST_STEP: Duration = Duration::from_millis(10);

/// What a call says of the health of whoever answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answered, and that is all that matters here: also a refusal is an answer.
    Well,
    /// It failed in a way worth a retry.
    Ill,
    /// It could not even be reached.
    Unreachable,
    /// A rate limit or a conflict: says nothing.
    Unknown,
}

/// Whether a call left in the ordinary course, or to try an open breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Work,
    Trial,
}

/// One circuit breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    /// Of the last [`WINDOW`] first calls, this many bad ones open it.
    most_bad: u32,
    /// The last first calls, the latest in the lowest bit; a bad one is 1.
    window: u32,
    connects: u32,
    most_connects: u32,
    state: State,
    /// Before the next time's first probe: grows with every opening, shrinks with every way back, and is as at first
    /// after a whole window that was well.
    gap: Duration,
    well_since: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    /// One probe at a time.
    Open {
        next: Instant,
        probing: bool,
    },
    /// Calls at a growing pace.
    Returning {
        next: Instant,
        step: Duration,
        /// The probe that succeeded was a retry: of first calls it says nothing.
        by_retry: bool,
    },
    /// It is open, and others try it, or nobody does.
    Left,
}

impl Breaker {
    pub fn of_rack() -> Self {
        Self::new(10)
    }

    pub fn of_api() -> Self {
        Self::new(15)
    }

    fn new(most_bad: u32) -> Self {
        Self {
            most_bad,
            window: 0,
            connects: 0,
            most_connects: CONNECTS,
            state: State::Closed,
            gap: FIRST_PROBE,
            well_since: 0,
        }
    }

    /// Whether there are others who could make the calls.
    pub fn beside(&mut self, others: bool) {
        self.most_connects = if others { CONNECTS_BESIDE_OTHERS } else { CONNECTS };
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// It is open, and whoever asks tries it: sends its probes, and is the first to come back.
    pub fn is_tried(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Returning { .. })
    }

    /// Until its next probe, where one is yet to leave.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { next, probing: false } => Some(next.saturating_duration_since(now)),
            State::Open { probing: true, .. } | State::Returning { .. } | State::Closed | State::Left => None,
        }
    }

    /// The distance to the probe after the next one, should that fail as well.
    pub fn gap(&self) -> Duration {
        self.gap
    }

    /// It is open, and not to be tried.
    pub fn leave(&mut self) {
        self.state = State::Left;
        self.forget();
    }

    /// Goes on to try what was left, first after this `wait`, and then after that `gap`.
    pub fn take_over(&mut self, wait: Duration, gap: Duration, now: Instant) {
        self.state = State::Open { next: now + wait, probing: false };
        self.gap = gap;
    }

    /// What was left is well.
    pub fn heal(&mut self) {
        self.close();
        self.forget();
    }

    /// Whether a call may leave now, or the earliest moment at which one may (`None`: that is not up to the time).
    pub fn allows(&self, now: Instant) -> Result<(), Option<Instant>> {
        match self.state {
            State::Open { probing: true, .. } | State::Left => Err(None),
            State::Open { next, .. } | State::Returning { next, .. } if now < next => Err(Some(next)),
            State::Closed | State::Open { .. } | State::Returning { .. } => Ok(()),
        }
    }

    /// A call leaves that was allowed.
    pub fn left(&mut self, now: Instant) -> Purpose {
        match &mut self.state {
            State::Closed | State::Left => Purpose::Work,
            State::Open { probing, .. } => {
                *probing = true;
                Purpose::Trial
            }
            State::Returning { next, step, .. } => {
                *next = now + *step;
                Purpose::Trial
            }
        }
    }

    /// A call came back. `announced` is the wait that its answer asked for. Returns whether this opened the breaker.
    pub fn came_back(
        &mut self,
        purpose: Purpose,
        is_first: bool,
        health: Health,
        announced: Duration,
        now: Instant,
    ) -> bool {
        self.connects = match health {
            Health::Unreachable => self.connects + 1,
            Health::Well | Health::Ill | Health::Unknown => 0,
        };
        match (self.state, purpose) {
            (State::Closed, _) => return self.watch(is_first, health, announced, now),
            // Calls that left before it opened say nothing new.
            (State::Open { .. } | State::Returning { .. }, Purpose::Work) | (State::Left, _) => {}
            (State::Open { .. }, Purpose::Trial) => self.probed(is_first, health, announced, now),
            (State::Returning { next, step, by_retry }, Purpose::Trial) => match health {
                Health::Ill | Health::Unreachable => {
                    // Whoever answers second calls is not down.
                    if by_retry && is_first {
                        self.gap = FIRST_PROBE;
                    }
                    self.open(announced, now);
                }
                Health::Well => self.step(next, step / 2, by_retry, now),
                Health::Unknown => self.step(next, step, by_retry, now),
            },
        }
        false
    }

    fn probed(&mut self, is_first: bool, health: Health, announced: Duration, now: Instant) {
        match health {
            Health::Unknown => {
                self.state = State::Open { next: now + announced.max(FIRST_PROBE), probing: false };
            }
            Health::Ill | Health::Unreachable => self.open(announced, now),
            Health::Well => {
                self.state = State::Returning { next: now, step: FIRST_STEP, by_retry: !is_first };
            }
        }
    }

    /// Calls come back at the pace of a `step` each, until that is pace enough.
    fn step(&mut self, next: Instant, step: Duration, by_retry: bool, now: Instant) {
        self.state = State::Returning { next: next.min(now + step), step, by_retry };
        if step < LAST_STEP {
            self.close();
        }
    }

    fn watch(&mut self, is_first: bool, health: Health, announced: Duration, now: Instant) -> bool {
        let ill = matches!(health, Health::Ill | Health::Unreachable);
        if is_first && health != Health::Unknown {
            self.window = ((self.window << 1) | u32::from(ill)) & ((1 << WINDOW) - 1);
            self.well_since = if ill { 0 } else { self.well_since + 1 };
            if self.well_since >= WINDOW {
                self.gap = FIRST_PROBE;
            }
        }
        let opens = self.window.count_ones() >= self.most_bad || self.connects >= self.most_connects;
        if opens {
            self.open(announced, now);
        }
        opens
    }

    fn open(&mut self, announced: Duration, now: Instant) {
        self.state = State::Open { next: now + self.gap.max(announced), probing: false };
        self.gap = (self.gap * 2).min(LONGEST_GAP);
        self.forget();
    }

    /// Calls so far say nothing of what comes.
    fn forget(&mut self) {
        self.window = 0;
        self.connects = 0;
        self.well_since = 0;
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.shrink();
    }

    /// The next time is no longer than this one.
    fn shrink(&mut self) {
        self.gap = (self.gap / 2).max(FIRST_PROBE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn first_calls(breaker: &mut Breaker, health: Health, calls: u32, now: Instant) -> bool {
        (0..calls).any(|_| breaker.came_back(Purpose::Work, true, health, Duration::ZERO, now))
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::of_rack();
        assert!(first_calls(&mut breaker, Health::Ill, 10, now));
        breaker
    }

    fn probe(breaker: &mut Breaker, health: Health, now: Instant) {
        assert_eq!(breaker.allows(now), Ok(()));
        let purpose = breaker.left(now);
        assert_eq!(purpose, Purpose::Trial);
        breaker.came_back(purpose, true, health, Duration::ZERO, now);
    }

    #[test]
    fn ten_of_twenty_open_a_racks_and_fifteen_the_apis() {
        let now = Instant::now();
        for (mut breaker, bad) in [(Breaker::of_rack(), 10), (Breaker::of_api(), 15)] {
            first_calls(&mut breaker, Health::Well, 20 - bad, now);
            assert!(!first_calls(&mut breaker, Health::Ill, bad - 1, now));
            assert!(first_calls(&mut breaker, Health::Ill, 1, now));
            assert!(!breaker.is_closed());
        }
    }

    #[test]
    fn only_the_last_twenty_first_calls_count() {
        let now = Instant::now();
        let mut breaker = Breaker::of_rack();
        first_calls(&mut breaker, Health::Ill, 9, now);
        first_calls(&mut breaker, Health::Well, 11, now);
        first_calls(&mut breaker, Health::Unknown, 100, now);
        assert!(!first_calls(&mut breaker, Health::Ill, 1, now), "the oldest has gone");
        for _ in 0..100 {
            breaker.came_back(Purpose::Work, false, Health::Ill, Duration::ZERO, now);
        }
        assert!(breaker.is_closed(), "retries open nothing");
    }

    #[test]
    fn five_failed_connects_in_a_row_open_it_whatever_the_call() {
        let now = Instant::now();
        let mut breaker = Breaker::of_api();
        let mut connect = |health| breaker.came_back(Purpose::Work, false, health, Duration::ZERO, now);
        let opened: Vec<bool> = [Health::Unreachable; 4].into_iter().map(&mut connect).collect();
        assert_eq!(opened, [false; 4]);
        connect(Health::Well);
        let opened: Vec<bool> = [Health::Unreachable; 5].into_iter().map(&mut connect).collect();
        assert_eq!(opened, [false, false, false, false, true]);
    }

    #[test]
    fn probes_go_out_one_at_a_time_at_growing_distances() {
        let begun = Instant::now();
        let mut breaker = opened(begun);
        let mut now = begun;
        let mut distances = Vec::new();
        for _ in 0..7 {
            let Err(Some(next)) = breaker.allows(now) else { panic!("allowed at once") };
            distances.push((next - now).as_secs());
            now = next;
            assert_eq!(breaker.allows(now), Ok(()));
            let purpose = breaker.left(now);
            assert_eq!(breaker.allows(now + 100 * SECOND), Err(None), "one at a time");
            breaker.came_back(purpose, false, Health::Ill, Duration::ZERO, now);
        }
        assert_eq!(distances, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn what_is_left_is_not_called_until_it_is_taken_over_or_well() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!((breaker.is_tried(), breaker.wait(now)), (true, Some(SECOND)));
        breaker.leave();
        assert_eq!((breaker.is_tried(), breaker.is_closed()), (false, false));
        assert_eq!(breaker.allows(now + 100 * SECOND), Err(None));
        first_calls(&mut breaker, Health::Well, 20, now);
        breaker.take_over(4 * SECOND, 8 * SECOND, now);
        assert_eq!(breaker.allows(now), Err(Some(now + 4 * SECOND)));
        probe(&mut breaker, Health::Ill, now + 4 * SECOND);
        assert_eq!(breaker.wait(now + 4 * SECOND), Some(8 * SECOND), "as if it had been ours all the time");
        breaker.leave();
        breaker.heal();
        assert!(!first_calls(&mut breaker, Health::Ill, 9, now) && breaker.is_closed());
        first_calls(&mut breaker, Health::Ill, 1, now);
        assert_eq!(breaker.wait(now), Some(8 * SECOND), "the next time is no longer");
    }

    #[test]
    fn an_announced_wait_is_over_before_the_next_probe() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let purpose = breaker.left(now + SECOND);
        breaker.came_back(purpose, false, Health::Ill, 90 * SECOND, now + SECOND);
        assert_eq!(breaker.allows(now + 2 * SECOND), Err(Some(now + 91 * SECOND)));
    }

    #[test]
    fn after_a_probe_that_succeeds_the_pace_comes_back_step_by_step() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let mut at = now + SECOND;
        probe(&mut breaker, Health::Well, at);
        let mut calls = 0;
        while !breaker.is_closed() {
            match breaker.allows(at) {
                Ok(()) => {
                    calls += 1;
                    probe(&mut breaker, Health::Well, at);
                }
                Err(next) => at = next.unwrap(),
            }
        }
        let took = at - now;
        assert!((5..=10).contains(&calls) && took < 3 * SECOND, "{calls} calls in {took:?}");
    }

    #[test]
    fn a_failure_on_the_way_back_opens_it_for_longer_until_a_whole_window_was_well() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let mut at = now + SECOND;
        for expected in [2, 4, 8] {
            probe(&mut breaker, Health::Well, at);
            probe(&mut breaker, Health::Ill, at);
            let Err(Some(next)) = breaker.allows(at) else { panic!("allowed at once") };
            assert_eq!((next - at).as_secs(), expected);
            at = next;
        }
        while !breaker.is_closed() {
            match breaker.allows(at) {
                Ok(()) => probe(&mut breaker, Health::Well, at),
                Err(next) => at = next.unwrap(),
            }
        }
        first_calls(&mut breaker, Health::Well, 20, at);
        first_calls(&mut breaker, Health::Ill, 10, at);
        assert_eq!(breaker.allows(at), Err(Some(at + SECOND)));
    }

    #[test]
    fn where_retries_succeed_and_first_calls_fail_it_opens_for_no_longer() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let mut at = now;
        for _ in 0..5 {
            let Err(Some(next)) = breaker.allows(at) else { panic!("allowed at once") };
            assert_eq!(next - at, SECOND);
            at = next;
            for (is_first, health) in [(false, Health::Well), (true, Health::Ill)] {
                let purpose = breaker.left(at);
                breaker.came_back(purpose, is_first, health, Duration::ZERO, at);
            }
        }
    }

    #[test]
    fn calls_that_left_before_it_opened_say_nothing_new() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let before = breaker.allows(now);
        for health in [Health::Well, Health::Ill, Health::Unreachable] {
            assert!(!breaker.came_back(Purpose::Work, true, health, Duration::ZERO, now));
        }
        assert_eq!(breaker.allows(now), before);
    }
}
