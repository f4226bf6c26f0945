//! The pace of one process alone: its slots follow one another, and what it learns it learns from its own calls.

use std::time::{Duration, Instant};

use super::budget::Budget;
use super::ceiling::Ceiling;
use super::episode::Episode;
use super::governor::Governor;
use super::limit::Limit;
use super::moment::Moment;
use super::pause::{UNSTATED_PAUSE, unstated_pause};
use super::ticket::{CATCH_UP, Ticket};
use super::whose::Whose;
use crate::api::Announced;

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

/// The pace of one process that shares it with nobody.
#[derive(Debug)]
pub(super) struct Own {
    /// The zero of its moments.
    begun: Instant,
    governor: Option<Governor>,
    /// Between two calls at the ceiling; zero without one.
    ceiling: Duration,
    limit: Limit,
    budget: Option<Budget>,
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

impl Own {
    pub(super) fn new(ceiling: Ceiling, remembered: Option<f64>, now: Instant) -> Self {
        let interval = ceiling.interval();
        let ceiling = interval.unwrap_or_default();
        Self {
            begun: now,
            governor: interval.and_then(|interval| Governor::new(interval, now)),
            ceiling,
            limit: Limit::new(ceiling, remembered, Moment::from_nanos(0)),
            budget: None,
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

    fn moment(&self, at: Instant) -> Moment {
        Moment::from_nanos(0) + at.saturating_duration_since(self.begun)
    }

    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(super) fn next(&mut self, now: Instant) -> Result<Ticket, Instant> {
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
        let moment = self.moment(now);
        let mut interval = self.limit.interval(self.ceiling, moment);
        if self.is_probing && self.first.is_some() {
            interval = interval.max(UNSTATED_PAUSE);
        }
        let due = self.last_slot.map(|last| last + interval).max(self.resumed_at);
        due.map_or(now, |due| due.max(now.checked_sub(CATCH_UP).unwrap_or(now)))
    }

    pub(super) fn per_second(&self) -> Option<f64> {
        self.limit.per_second(self.ceiling)
    }

    pub(super) fn held_to(&self) -> Option<(f64, Whose)> {
        self.limit.held_to(self.ceiling)
    }

    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|&until| until > now)
    }

    pub(super) fn accepted(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        self.unstated_pauses = 0;
        if ticket.episode == self.episode {
            self.is_probing = false;
            if let Some(refusal) = self.refusal.as_mut().filter(|refusal| refusal.number < ticket.number) {
                refusal.accepted_after += 1;
            }
        }
        self.limit.accepted(1.0, self.moment(ticket.left_at), self.moment(now));
        self.told(ticket, announced, now);
    }

    pub(super) fn failed(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        self.failed += u64::from(ticket.episode == self.episode);
        self.told(ticket, announced, now);
    }

    fn told(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        let Announced { remaining, reset_in, per_second } = announced;
        match per_second {
            Some(rate) => self.limit.announced(rate),
            None => self.budget = Budget::told(self.budget, ticket, remaining, reset_in, now),
        }
    }

    /// Once all that the API said may leave has left, nothing does until its limit is reset.
    fn keep_to_budget(&mut self, now: Instant) {
        let used_up = self.budget.filter(|budget| budget.is_used_up(self.sent, now));
        let Some(Budget { until, .. }) = used_up else { return };
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

    pub(super) fn throttled(&mut self, ticket: Ticket, wait: Option<Duration>, now: Instant) -> Instant {
        let wait =
            wait.filter(|wait| !wait.is_zero()).unwrap_or_else(|| unstated_pause(self.unstated_pauses));
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

    /// A pause is over. What it and the calls before it tell is known by now: most calls in flight have come back.
    fn go_on(&mut self, until: Instant) {
        self.paused_until = None;
        self.resumed_at = Some(until);
        self.episode = self.episode.wrapping_add(1);
        let (first, failed) = (self.first.take(), std::mem::take(&mut self.failed));
        if let (Some(first), Some(refusal)) = (first, self.refusal.take()) {
            let episode = Episode {
                accepted: refusal.number.saturating_sub(first.number).saturating_sub(failed),
                refused: refusal.calls,
                accepted_after: refusal.accepted_after,
                active: refusal.left_at.saturating_duration_since(first.left_at),
                pause: until.saturating_duration_since(refusal.at),
                sent_at: self.per_second(),
                refused_at: self.moment(refusal.at),
                until: self.moment(until),
                is_announced: refusal.is_announced,
            };
            self.is_probing = episode.is_vain();
            self.limit.learn(&episode);
        }
    }
}
