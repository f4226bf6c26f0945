//! When the next call may leave: the typed ceiling, the pauses that the API asks for, and its own limit, as it
//! announces it, as an earlier run has found it, or as it is found by searching.
//!
//! Time is an argument, and nothing here sleeps. `governor` is the hard ceiling; the slots in front of it
//! spread calls evenly, so that it hardly ever has to refuse one.

mod ceiling;
mod episode;
mod governor;
mod hint;
#[cfg(test)]
mod race;
mod search;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use ceiling::{Ceiling, InvalidRate, Unit};

use self::governor::Governor;
use crate::api::Announced;
use episode::{Episode, Record};
use hint::Hint;
use search::Search;

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
    pub left_at: Instant,
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

/// The first call since the last pause that was refused, or that the API has told would be.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    number: u64,
    left_at: Instant,
    at: Instant,
    is_announced: bool,
    /// All calls since the last pause that were refused.
    calls: u64,
    accepted_after: u64,
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
    /// What an earlier run found, in calls a second, until it is known to be wrong.
    remembered: Option<f64>,
    /// While that is tested.
    hint: Option<Hint>,
    /// Of the refusals at the ceiling.
    record: Record,
    /// Below the ceiling, while the API shows a limit of its own.
    search: Option<Search>,
    last_slot: Option<Instant>,
    paused_until: Option<Instant>,
    /// The end of the last pause, until a call has left.
    resumed_at: Option<Instant>,
    /// Counts the pauses: refusals of calls that left before the last one say nothing new.
    episode: u32,
    unstated_pauses: u32,
    /// Calls that have left.
    sent: u64,
    /// The first call since the last pause.
    first: Option<Ticket>,
    /// Calls since then that neither were accepted nor refused.
    failed: u64,
    refusal: Option<Refusal>,
    /// Between the last two pauses nothing was accepted, nor since: one call tries whether anything is.
    is_probing: bool,
}

impl Pace {
    /// `remembered` is the API's own limit as an earlier run found it, in calls a second.
    pub fn new(ceiling: Ceiling, remembered: Option<f64>, now: Instant) -> Self {
        let interval = ceiling.interval();
        let least_interval = interval.unwrap_or_default();
        let below = remembered.filter(|&rate| between(rate) > least_interval);
        Self {
            governor: interval.and_then(|interval| Governor::new(interval, now)),
            least_interval,
            announced: None,
            budget: None,
            remembered,
            hint: below.map(|rate| Hint::new(rate, now)),
            record: Record::at_ceiling(),
            search: None,
            last_slot: None,
            paused_until: None,
            resumed_at: None,
            episode: 0,
            unstated_pauses: 0,
            sent: 0,
            first: None,
            failed: 0,
            refusal: None,
            is_probing: false,
        }
    }

    /// Leave to send a call now, or the earliest moment at which to ask again.
    pub fn next(&mut self, now: Instant) -> Result<Ticket, Instant> {
        self.keep_to_budget(now);
        if let Some(until) = self.paused_until {
            if now < until {
                return Err(until);
            }
            self.go_on(until);
        }
        let slot = self.slot(now);
        if slot > now {
            return Err(slot);
        }
        if let Some(governor) = &mut self.governor {
            governor.check(now)?;
        }
        self.last_slot = Some(slot);
        self.resumed_at = None;
        self.sent += 1;
        let ticket = Ticket { left_at: now, number: self.sent, episode: self.episode };
        self.first.get_or_insert(ticket);
        Ok(ticket)
    }

    /// When the next call is due. At the end of a pause that is one call, not all that have gathered.
    fn slot(&mut self, now: Instant) -> Instant {
        let mut interval = self.interval(now);
        if self.is_probing && self.first.is_some() {
            interval = interval.max(UNSTATED_PAUSE);
        }
        let due = self.last_slot.map(|last| last + interval).max(self.resumed_at);
        due.map_or(now, |due| due.max(now.checked_sub(CATCH_UP).unwrap_or(now)))
    }

    /// The time between two calls, as things stand.
    fn interval(&mut self, now: Instant) -> Duration {
        let least = self.announced.map_or(self.least_interval, |rate| self.least_interval.max(between(rate)));
        if let Some(hint) = self.hint {
            return least.max(between(hint.per_second()));
        }
        let Some(search) = &mut self.search else { return least };
        let interval = between(search.per_second(now));
        if interval <= least {
            self.search = None;
            self.record = Record::at_ceiling();
        }
        interval.max(least)
    }

    /// Calls a second that may leave now; `None` without a limit.
    pub fn per_second(&self) -> Option<f64> {
        let ceiling = (!self.least_interval.is_zero()).then(|| self.least_interval.as_secs_f64().recip());
        let hinted = self.hint.map(|hint| hint.per_second());
        let searched = self.search.as_ref().map(Search::current);
        [ceiling, self.announced, hinted, searched].into_iter().flatten().reduce(f64::min)
    }

    /// What an earlier run found, in calls a second, while it is tested.
    pub fn tests(&self) -> Option<f64> {
        self.hint.map(|hint| hint.remembered())
    }

    /// The API's own limit, in calls a second, for the next run to begin with: what was tested, and held.
    pub fn to_remember(&self) -> Option<f64> {
        self.search.as_ref().and_then(Search::found).or(self.remembered)
    }

    /// The end of the pause that the API asked for.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|&until| until > now)
    }

    /// The API took a call in, whatever it made of it, and said how that call stands with its limit.
    pub fn accepted(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        self.unstated_pauses = 0;
        if ticket.episode == self.episode {
            self.is_probing = false;
            if let Some(refusal) = self.refusal.as_mut().filter(|refusal| refusal.number < ticket.number) {
                refusal.accepted_after += 1;
            }
        }
        if let Some(hint) = self.hint {
            self.hint = hint.accepted(ticket.left_at, now);
            if self.hint.is_none() {
                self.remembered = None;
            }
        }
        self.told(ticket, announced, now);
    }

    /// A call came to nothing, for reasons that are none of its rate.
    pub fn failed(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        self.failed += u64::from(ticket.episode == self.episode);
        self.told(ticket, announced, now);
    }

    fn told(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        let Announced { remaining, reset_in, per_second } = announced;
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
            self.hint = None;
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
        let number = self.sent + 1;
        self.refusal.get_or_insert(Refusal {
            number,
            left_at: now,
            at: now,
            is_announced: true,
            calls: 0,
            accepted_after: 0,
        });
    }

    /// The API refused a call for its rate: nothing leaves until `wait` is over. Returns the moment of that.
    pub fn throttled(&mut self, ticket: Ticket, wait: Option<Duration>, now: Instant) -> Instant {
        let wait = wait.filter(|wait| !wait.is_zero()).unwrap_or_else(|| self.unstated_pause());
        let until = now + wait;
        let until = self.paused_until.map_or(until, |paused| paused.max(until));
        self.paused_until = Some(until);
        if ticket.episode == self.episode {
            self.refused(ticket, now);
        }
        until
    }

    fn refused(&mut self, Ticket { number, left_at, .. }: Ticket, now: Instant) {
        if self.refusal.is_none() {
            self.unstated_pauses = self.unstated_pauses.saturating_add(1);
        }
        let first = Refusal { number, left_at, at: now, is_announced: false, calls: 0, accepted_after: 0 };
        self.refusal.get_or_insert(first).calls += 1;
    }

    fn unstated_pause(&self) -> Duration {
        UNSTATED_PAUSE.saturating_mul(1 << self.unstated_pauses.min(5)).min(LONGEST_UNSTATED_PAUSE)
    }

    /// A pause is over. What it and the calls before it tell is known by now: most calls in flight have come back.
    fn go_on(&mut self, until: Instant) {
        self.paused_until = None;
        self.resumed_at = Some(until);
        self.episode = self.episode.wrapping_add(1);
        let (first, failed) = (self.first.take(), std::mem::take(&mut self.failed));
        if let (Some(first), Some(refusal)) = (first, self.refusal.take()) {
            self.learn(&Episode {
                accepted: refusal.number.saturating_sub(first.number).saturating_sub(failed),
                refused: refusal.calls,
                accepted_after: refusal.accepted_after,
                active: refusal.left_at.saturating_duration_since(first.left_at),
                pause: until.saturating_duration_since(refusal.at),
                sent_at: self.per_second(),
                refused_at: refusal.at,
                until,
                is_announced: refusal.is_announced,
            });
        }
    }

    fn learn(&mut self, episode: &Episode) {
        self.is_probing = episode.accepted == 0 && !episode.is_announced;
        if episode.accepted == 0 {
            return;
        }
        if let Some(hint) = self.hint {
            let (hint, explained) = hint.refused(episode);
            self.hint = explained.is_none().then_some(hint);
            match explained {
                None => return,
                Some(true) => {
                    self.search = Some(Search::remembered(hint.remembered(), episode));
                    return;
                }
                Some(false) => self.remembered = None,
            }
        }
        match self.search {
            Some(search) => {
                self.search = search.refused(episode);
                if self.search.is_none() {
                    self.remembered = None;
                    self.record = self.record.with_patience();
                }
            }
            None if episode.is_announced => {
                if !episode.measures_nothing() {
                    self.search = Some(Search::begin(episode));
                }
            }
            None => {
                self.record = self.record.with(episode);
                self.search = self.record.limit().map(|limit| Search::begin(&limit));
            }
        }
    }
}

fn between(per_second: f64) -> Duration {
    Duration::try_from_secs_f64(per_second.recip()).unwrap_or(Duration::MAX)
}
