//! The search for a rate limit that the API does not tell, from when it refuses.
//!
//! Between two refusals, with `accepted` calls in an active time T and a pause p at the end, the limit is hardly below
//! accepted/(T + p), and below the pace that was refused. The lower end is gone on with; from there the pace rises in
//! growing steps while nothing is refused, halfway to what was refused last, and rests once the two ends have met.

use std::time::{Duration, Instant};

/// How long a pace must go unrefused before it rises, and how many calls that must have been.
const STEP_TIME: Duration = Duration::from_secs(2);

/// The first step up; each one that goes unrefused doubles the next.
const FIRST_STEP: f64 = 0.05;

/// Ends this near to each other have met.
const MET: f64 = 1.06;

/// How long a pace that was found is kept before the limit is tried again; longer after each vain trial.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_mins(1);

/// The slowest pace: the pauses that the API asks for do the rest.
const LEAST: f64 = 1.0 / 60.0;

/// What happened from the end of one pause to the next refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Episode {
    pub(super) accepted: u32,
    pub(super) active: Duration,
    pub(super) pause: Duration,
    /// The pace that was refused, in calls a second; `None` where there was none.
    pub(super) sent_at: Option<f64>,
}

/// The pace below the ceiling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// Calls a second.
    current: f64,
    /// What was refused.
    high: f64,
    /// What went unrefused for a whole step; zero where nothing has, or a refusal contradicts it.
    proved: f64,
    step: f64,
    rest: Duration,
    rises_at: Instant,
    /// The ends have met: what comes next is a trial whether the limit has risen.
    resting: bool,
}

impl Search {
    /// The search after one more refusal; `until` is the end of the pause.
    pub(super) fn after(earlier: Option<Self>, episode: &Episode, until: Instant) -> Self {
        let Episode { accepted, active, pause, sent_at } = *episode;
        let accepted = f64::from(accepted.max(1));
        let low = (accepted / (active + pause).as_secs_f64().max(1e-3)).max(LEAST);
        let measured = accepted / active.as_secs_f64().max(1e-3);
        let high = sent_at.unwrap_or(measured).max(low);
        let vain = earlier.is_some_and(|earlier| earlier.resting);
        let proved = earlier.map_or(0.0, |earlier| earlier.proved);
        let proved = if proved * MET < high { proved } else { 0.0 };
        let low = if vain { low } else { low.max(proved) };
        let rest = match earlier {
            Some(earlier) if vain => (earlier.rest * 3 / 2).min(LONGEST_REST),
            Some(earlier) => earlier.rest,
            None => FIRST_REST,
        };
        let met = high / low < MET;
        let current = if earlier.is_some() && !met && !vain { f64::midpoint(low, high) } else { low };
        let wait = if met || vain { rest } else { STEP_TIME };
        Self { current, high, proved, step: FIRST_STEP, rest, rises_at: until + wait, resting: met || vain }
    }

    pub(super) fn current(&self) -> f64 {
        self.current
    }

    /// Calls a second from now on.
    pub(super) fn per_second(&mut self, now: Instant) -> f64 {
        if now >= self.rises_at {
            self.rise(now);
        }
        self.current
    }

    fn rise(&mut self, now: Instant) {
        self.proved = self.current;
        let next = self.current * (1.0 + self.step);
        let halfway = f64::midpoint(self.current, self.high);
        if self.resting || self.high / self.current >= MET {
            self.current = if self.resting { next } else { next.min(halfway) };
            self.step = (self.step * 2.0).min(1.0);
            self.rises_at = now + STEP_TIME;
        } else {
            self.resting = true;
            self.step = FIRST_STEP;
            self.rises_at = now + self.rest;
        }
    }
}
