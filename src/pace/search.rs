//! The search for a rate limit that the API does not tell, from when it refuses.
//!
//! From the lower end of what an episode brackets, the pace climbs in growing steps while nothing is refused, at most
//! halfway to what was. Once both ends have met it rests, and then tries whether the limit has risen. What a refusal
//! tells depends on how the API counts. With a bucket, what went through together with its pause came to the limit, and
//! the pause lost nothing; with a window, the pause lost its calls, and the last step that went unrefused is the nearest.
//! Which it is shows where a pace that a bucket would not bear for long is kept for that long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::episode::{Doubt, Episode, LEAST, Record};
use super::moment::Moment;

/// How long, and for how many calls, a pace must go unrefused before it rises.
const STEP_TIME: Duration = Duration::from_secs(2);
const STEP_CALLS: f64 = 20.0;

/// The first step of a climb, where the limit is looked for and where it was found; each one doubles the next.
const SEEKING_STEP: f64 = 0.25;
const TRYING_STEP: f64 = 0.05;

/// Ends this near to each other have met.
const MET: f64 = 1.08;

/// How long a pace that was found is kept before the limit is tried again: longer after each vain trial, and so long
/// that what a trial loses is 2 % of it.
const SHORTEST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_mins(1);
const REST_PER_LOSS: f64 = 50.0;
const REST_GROWTH: f64 = 1.5;

/// An episode is told from a window's by so many pauses without a refusal, where a pace is tested and where it rested.
const SURE_WHERE_TESTED: u32 = 6;
const SURE_WHERE_RESTED: u32 = 10;

/// A pace is tested for so many times as long as a bucket would bear it, and for so long at most.
const TEST: f64 = 1.5;
const LONGEST_TEST: Duration = Duration::from_secs(12);

/// So many times slower must help, where it is a limit that refuses.
const SLOWED_DOWN: f64 = 1.2;

/// The pace below the ceiling. All paces are in calls a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Search {
    current: f64,
    /// What was refused, if anything was.
    high: Option<f64>,
    goal: Goal,
    climb: Option<Climb>,
    step: f64,
    rest: Duration,
    rises_at: Moment,
    /// Where the ends met last.
    found: Option<f64>,
    doubt: Doubt,
    /// Of the refusals where it rests.
    record: Record,
    /// Where it rested before it was slowed down once more.
    before: Option<Rested>,
}

/// A pace that was found, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Rested {
    pace: f64,
    doubt: Doubt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Goal {
    /// To bring the ends together.
    Seek,
    /// To use what was found.
    Rest,
    /// To see whether the limit has risen.
    Try,
}

impl Rested {
    fn again(self, from: Moment, record: Record) -> Search {
        Search { record, ..Search::hold(self.pace, None, Goal::Rest, SHORTEST_REST, from, self.doubt) }
    }
}

/// The pace rising from where it began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Climb {
    base: f64,
    began: Moment,
    /// The last step that went unrefused.
    proved: f64,
    /// Calls let through beyond the base, up to the last step.
    gained: f64,
    stepped_at: Moment,
}

impl Climb {
    fn new(base: f64, now: Moment) -> Self {
        Self { base, began: now, proved: base, gained: 0.0, stepped_at: now }
    }

    /// The step at `pace` is over.
    fn stepped(self, pace: f64, now: Moment) -> Self {
        Self { proved: pace, gained: self.gained_by(pace, now), stepped_at: now, ..self }
    }

    /// What a trial has shown once it is refused: the pace to go on with, and whether it was in vain.
    fn tried(&self, gained: f64, pause: Duration, now: Moment) -> (f64, bool) {
        let pause = pause.as_secs_f64();
        let is_bucket = gained >= self.base * pause / 2.0;
        if !is_bucket {
            return (self.proved, false);
        }
        let climbed = now.since(self.began).as_secs_f64();
        let throughput = (self.base * climbed + gained) / (climbed + pause);
        (throughput.max(self.base), throughput < self.base * MET)
    }

    fn gained_by(&self, pace: f64, now: Moment) -> f64 {
        self.gained + (pace - self.base) * now.since(self.stepped_at).as_secs_f64()
    }
}

impl Search {
    /// After the first refusals.
    pub(super) fn begin(episode: &Episode) -> Self {
        let low = episode.throughput();
        Self::hold(
            low,
            Some(episode.pace().max(low)),
            Goal::Seek,
            SHORTEST_REST,
            episode.until,
            Doubt::new(episode),
        )
    }

    /// With a pace that an earlier run has found, and that explains how an episode ended.
    pub(super) fn remembered(pace: f64, episode: &Episode) -> Self {
        let doubt = Doubt::new(episode);
        Self::hold(pace.max(LEAST), None, Goal::Rest, LONGEST_REST, episode.until, doubt)
    }

    /// A pace that is kept from `from` on, until it may rise.
    fn hold(pace: f64, high: Option<f64>, goal: Goal, rest: Duration, from: Moment, doubt: Doubt) -> Self {
        let (held, found) = match goal {
            Goal::Rest => (rest, Some(pace)),
            Goal::Seek | Goal::Try => (step_time(pace), None),
        };
        Self {
            current: pace,
            high,
            goal,
            climb: None,
            step: SEEKING_STEP,
            rest,
            rises_at: from + held,
            found,
            doubt,
            record: Record::at_limit(),
            before: None,
        }
    }

    /// After one more refusal; `None` where slowing down has not helped.
    pub(super) fn refused(self, episode: &Episode) -> Option<Self> {
        // What is refused above a pace that was borne, a limit explains as well.
        let weight = self.climb.map_or(1.0, |climb| climb.base / self.current);
        let search = Self { doubt: self.doubt.with(episode, weight), ..self };
        if search.doubt.is_confirmed() && !episode.is_announced {
            return search.before.map(|rested| rested.again(episode.until, search.record.with_patience()));
        }
        Some(match search.climb {
            Some(climb) => search.climb_refused(climb, episode, episode.refused_at, episode.until),
            None if search.goal == Goal::Rest && !episode.is_announced => search.rest_refused(episode),
            None if episode.measures_nothing() => search,
            None => search.hold_refused(episode, episode.until).doubted_after(search.current),
        })
    }

    /// Slowed down once more, to a pace at which a limit would be felt less.
    fn doubted_after(self, pace: f64) -> Self {
        let is_settled = self.doubt.is_dispelled() || self.current > pace / SLOWED_DOWN;
        let doubt = if is_settled { self.doubt } else { self.doubt.again() };
        Self { doubt, ..self }
    }

    /// Where a limit was found, one refusal is no lower one.
    fn rest_refused(self, episode: &Episode) -> Self {
        let record = self.record.with(episode);
        match record.limit() {
            None => Self { record, ..self },
            Some(limit) => {
                let before = Some(Rested { pace: self.current, doubt: self.doubt });
                Self { found: self.found, before, ..Self::begin(&limit) }
            }
        }
    }

    /// The pace that was kept is too fast after all, or the limit has fallen.
    fn hold_refused(self, episode: &Episode, until: Moment) -> Self {
        let throughput = episode.throughput().min(self.current);
        let sure_after = match self.goal {
            Goal::Seek => SURE_WHERE_TESTED,
            Goal::Rest | Goal::Try => SURE_WHERE_RESTED,
        };
        let is_sure = episode.active >= episode.pause * sure_after;
        let next = if is_sure { throughput } else { f64::midpoint(throughput, self.current) };
        self.go_on(next.min(self.current / 1.01), self.rest, is_sure, until)
    }

    fn climb_refused(self, climb: Climb, episode: &Episode, now: Moment, until: Moment) -> Self {
        let gained = climb.gained_by(self.current, now);
        let lost = Duration::from_secs_f64((episode.pause.as_secs_f64() - gained / climb.base).max(0.0));
        let rest_after = |rest: Duration| rest.max(lost.mul_f64(REST_PER_LOSS)).min(LONGEST_REST);
        if self.goal == Goal::Try {
            let (next, is_vain) = climb.tried(gained, episode.pause, now);
            return self.go_on(next, rest_after(self.rest.mul_f64(REST_GROWTH)), is_vain, until);
        }
        let next = f64::midpoint(climb.proved, episode.throughput()).max(climb.base);
        self.go_on(next, rest_after(self.rest), false, until).tested(episode, until)
    }

    /// Kept for longer where what went through contradicts it: a bucket will not bear that, and a window will.
    fn tested(self, episode: &Episode, until: Moment) -> Self {
        let throughput = episode.throughput();
        if self.goal != Goal::Seek || self.current < throughput * 1.05 {
            return self;
        }
        let borne = throughput * episode.pause.as_secs_f64() / (self.current - throughput);
        let test = Duration::from_secs_f64(borne * TEST).clamp(STEP_TIME, LONGEST_TEST);
        Self { rises_at: until + test, ..self }
    }

    fn go_on(self, next: f64, rest: Duration, is_found: bool, until: Moment) -> Self {
        let goal = if is_found || self.current < next * MET { Goal::Rest } else { Goal::Seek };
        let held = Self::hold(next, Some(self.current), goal, rest, until, self.doubt);
        Self { found: held.found.or(self.found), before: self.before, ..held }
    }

    pub(super) fn current(&self) -> f64 {
        self.current
    }

    /// All paces that anything follows from.
    pub(super) fn paces(&self) -> impl Iterator<Item = f64> + use<> {
        let (climb, before) = (self.climb, self.before);
        let climbed = climb.into_iter().flat_map(|climb| [climb.base, climb.proved]);
        [self.current].into_iter().chain(self.high).chain(climbed).chain(before.map(|rested| rested.pace))
    }

    /// The limit, once both ends have met and slowing down has helped.
    pub(super) fn found(&self) -> Option<f64> {
        self.found.filter(|_| self.doubt.is_dispelled())
    }

    /// Calls a second from now on.
    pub(super) fn per_second(&mut self, now: Moment) -> f64 {
        if now >= self.rises_at {
            *self = self.risen(now);
        }
        self.current
    }

    fn risen(self, now: Moment) -> Self {
        match self.goal {
            Goal::Seek if self.high.is_some_and(|high| high < self.current * MET) => {
                let held = Self::hold(self.current, self.high, Goal::Rest, self.rest, now, self.doubt);
                Self { before: self.before, ..held }
            }
            Goal::Rest => Self { goal: Goal::Try, high: None, step: TRYING_STEP, ..self }.stepped_up(now),
            Goal::Seek | Goal::Try => self.stepped_up(now),
        }
    }

    fn stepped_up(self, now: Moment) -> Self {
        let climb = self.climb.unwrap_or(Climb::new(self.current, now)).stepped(self.current, now);
        let raised = self.current * (1.0 + self.step);
        let current = self.high.map_or(raised, |high| raised.min(f64::midpoint(self.current, high)));
        let step = (self.step * 2.0).min(1.0);
        Self { current, step, climb: Some(climb), rises_at: now + step_time(current), ..self }
    }
}

fn step_time(pace: f64) -> Duration {
    STEP_TIME.max(Duration::from_secs_f64(STEP_CALLS / pace))
}
