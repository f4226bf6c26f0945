//! When the next call may leave: the typed ceiling, the pauses that the API asks for, and its own limit, as it
//! announces it, as an earlier run has found it, or as it is found by searching.
//!
//! Time is an argument, and nothing here sleeps. `governor` is the hard ceiling; the slots in front of it
//! spread calls evenly, so that it hardly ever has to refuse one.

mod ceiling;
mod governor;
#[cfg(test)]
mod race;
mod search;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use ceiling::{Ceiling, InvalidRate, Unit};

use self::governor::Governor;
use crate::api::Announced;
use search::{Episode, Search};

/// How late a call may be and still leave in its own slot: what a timer's grain takes is caught up with, no more.
const CATCH_UP: Duration = Duration::from_millis(10);

/// Of a rate that the API announces, this share is used: its clock and ours may differ.
const SHARE: f64 = 0.995;

/// The pause after a 429 that names none; doubled while nothing succeeds in between.
const UNSTATED_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_UNSTATED_PAUSE: Duration = Duration::from_secs(30);

/// Leave to send one call; handed back with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// When the call left.
    pub left: Instant,
    /// Counts the calls that leave.
    number: u64,
    episode: u32,
}

/// What the API said may still leave: calls up to this number, until then.
#[derive(Debug, Clone, Copy)]
struct Budget {
    told_to: u64,
    last: u64,
    until: Instant,
}

/// Decides when calls leave.
#[derive(Debug)]
pub struct Pace {
    governor: Option<Governor>,
    /// Between two calls at the ceiling; zero without one.
    least_interval: Duration,
    /// The rate that the API announces, in calls a second.
    announced: Option<f64>,
    budget: Option<Budget>,
    /// What an earlier run found, in calls a second.
    remembered: Option<f64>,
    /// Below the ceiling, while the API shows a limit of its own.
    search: Option<Search>,
    last_slot: Option<Instant>,
    paused_until: Option<Instant>,
    /// Counts the API's refusals: those of calls that left before the last one say nothing new.
    episode: u32,
    unstated_pauses: u32,
    /// Calls that have left.
    sent: u64,
    /// The first call since the last refusal.
    first: Option<Ticket>,
}

impl Pace {
    /// `remembered` is the API's own limit as an earlier run found it, in calls a second.
    pub fn new(ceiling: Ceiling, remembered: Option<f64>, now: Instant) -> Self {
        let interval = ceiling.interval();
        Self {
            governor: interval.and_then(|interval| Governor::new(interval, now)),
            least_interval: interval.unwrap_or_default(),
            announced: None,
            budget: None,
            remembered,
            search: remembered.map(|rate| Search::remembered(rate, now)),
            last_slot: None,
            paused_until: None,
            episode: 0,
            unstated_pauses: 0,
            sent: 0,
            first: None,
        }
    }

    /// Leave to send a call now, or the earliest moment at which to ask again.
    pub fn next(&mut self, now: Instant) -> Result<Ticket, Instant> {
        self.keep_to_budget(now);
        if let Some(until) = self.paused_until {
            if now < until {
                return Err(until);
            }
            self.paused_until = None;
            // The pause is over for one call, not for all that have gathered.
            self.last_slot = self.last_slot.max(Some(until));
        }
        let slot = match self.last_slot {
            None => now,
            Some(last) => (last + self.interval(now)).max(now.checked_sub(CATCH_UP).unwrap_or(now)),
        };
        if slot > now {
            return Err(slot);
        }
        if let Some(governor) = &mut self.governor {
            governor.check(now)?;
        }
        self.last_slot = Some(slot);
        self.sent += 1;
        let ticket = Ticket { left: now, number: self.sent, episode: self.episode };
        self.first.get_or_insert(ticket);
        Ok(ticket)
    }

    /// The time between two calls, as things stand.
    fn interval(&mut self, now: Instant) -> Duration {
        let least = self.announced.map_or(self.least_interval, |rate| self.least_interval.max(between(rate)));
        let Some(search) = &mut self.search else { return least };
        let interval = between(search.per_second(now));
        if interval <= least {
            self.search = None;
        }
        interval.max(least)
    }

    /// Calls a second that may leave now; `None` without a limit.
    pub fn per_second(&self) -> Option<f64> {
        let ceiling = (!self.least_interval.is_zero()).then(|| self.least_interval.as_secs_f64().recip());
        let searched = self.search.as_ref().map(Search::current);
        [ceiling, self.announced, searched].into_iter().flatten().reduce(f64::min)
    }

    /// The API's own limit, in calls a second, for the next run to begin with; `None` where it is above the ceiling.
    pub fn to_remember(&self) -> Option<f64> {
        let at_ceiling = |rate: &f64| between(*rate) <= self.least_interval;
        match &self.search {
            Some(search) => search.found().or(self.remembered),
            None => self.remembered.filter(at_ceiling),
        }
    }

    /// The end of the pause that the API asked for.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|&until| until > now)
    }

    /// The API answered a call with whatever but a refusal for its rate, and said how that call stands with its limit.
    pub fn accepted(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        let Announced { remaining, reset_in, per_second } = announced;
        self.unstated_pauses = 0;
        if let Some(rate) = per_second {
            self.keep_to_rate(rate * SHARE);
        } else if let Some((remaining, reset_in)) = remaining.zip(reset_in)
            && self.budget.is_none_or(|budget| ticket.number > budget.told_to)
        {
            let last = ticket.number.saturating_add(remaining);
            self.budget = Some(Budget { told_to: ticket.number, last, until: now + reset_in });
        }
    }

    /// What the API says goes before what an earlier run found.
    fn keep_to_rate(&mut self, rate: f64) {
        if self.announced.is_none() {
            self.search = None;
        }
        self.announced = Some(rate);
    }

    /// Once all that the API said may leave has left, nothing does until its limit is reset.
    fn keep_to_budget(&mut self, now: Instant) {
        let used_up = |budget: &Budget| self.sent >= budget.last && now < budget.until;
        let Some(Budget { until, .. }) = self.budget.filter(used_up) else { return };
        if self.paused_until.is_some_and(|paused| paused >= until) {
            return;
        }
        self.paused_until = Some(until);
        self.slow_down(self.sent + 1, now, now, until);
    }

    /// The API refused a call for its rate: nothing leaves until `wait` is over. Returns the moment of that.
    pub fn throttled(&mut self, ticket: Ticket, wait: Option<Duration>, now: Instant) -> Instant {
        let is_news = ticket.episode == self.episode;
        let wait = wait.filter(|wait| !wait.is_zero()).unwrap_or_else(|| self.unstated_pause());
        let until = now + wait;
        let until = self.paused_until.map_or(until, |paused| paused.max(until));
        self.paused_until = Some(until);
        if is_news {
            self.unstated_pauses = self.unstated_pauses.saturating_add(1);
            self.slow_down(ticket.number, ticket.left, now, until);
        }
        until
    }

    fn unstated_pause(&self) -> Duration {
        UNSTATED_PAUSE.saturating_mul(1 << self.unstated_pauses.min(5)).min(LONGEST_UNSTATED_PAUSE)
    }

    /// One reaction an episode: the calls before `number`, that would have been refused at `left`, bracket the limit.
    fn slow_down(&mut self, number: u64, left: Instant, now: Instant, until: Instant) {
        self.episode = self.episode.wrapping_add(1);
        let Some(first) = self.first.take() else { return };
        let episode = Episode {
            accepted: number.saturating_sub(first.number),
            active: left.saturating_duration_since(first.left),
            pause: until.saturating_duration_since(now),
            sent_at: self.per_second(),
        };
        self.search = Some(match self.search {
            Some(search) => search.refused(&episode, now, until),
            None => Search::begin(&episode, until),
        });
    }
}

fn between(per_second: f64) -> Duration {
    Duration::try_from_secs_f64(per_second.recip()).unwrap_or(Duration::MAX)
}
