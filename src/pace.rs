//! When the next call may leave: the typed ceiling, the pauses that the API asks for, and its own limit, as it
//! announces it, as an earlier run has found it, or as it is found by searching.
//!
//! `limit` decides what the API's own limit is; slots are a process's `own`, or a `share` of those that all workers of one
//! account are granted. Time is an argument, and nothing here sleeps. `governor` is the hard ceiling; the slots in front of
//! it spread calls evenly, so that it hardly ever has to refuse one.

mod account;
mod budget;
mod ceiling;
mod episode;
#[cfg(test)]
mod fleet;
mod governor;
mod hint;
mod known;
mod limit;
#[cfg(test)]
pub(crate) mod model;
mod moment;
mod own;
mod pause;
#[cfg(test)]
mod race;
mod search;
mod share;
mod shared_clock;
#[cfg(test)]
mod tests;
mod ticket;
mod whose;

use std::time::{Duration, Instant};

pub use account::{Ask, Exchange, Lesson, Refusal, Standing, Tally};
pub use ceiling::{Ceiling, InvalidRate, Unit};
pub use moment::Moment;
pub use ticket::Ticket;
pub use whose::Whose;

use crate::api::Announced;
use limit::Limit;
use own::Own;
use share::Share;
pub use share::Wanted;

/// Decides when calls leave.
#[derive(Debug)]
pub struct Pace {
    slots: Slots,
}

/// Where slots come from.
#[derive(Debug)]
enum Slots {
    Own(Box<Own>),
    Share(Box<Share>),
}

impl Pace {
    /// The pace of a process that is alone. `remembered` is the API's own limit as an earlier run found it, in calls a
    /// second.
    pub fn new(ceiling: Ceiling, remembered: Option<f64>, now: Instant) -> Self {
        Self { slots: Slots::Own(Box::new(Own::new(ceiling, remembered, now))) }
    }

    /// The pace of a worker that shares the account's limit, and its ceiling, with others: see [`Self::ask`].
    pub fn shared(ceiling: Ceiling, remembered: Option<f64>, now: Instant) -> Self {
        Self { slots: Slots::Share(Box::new(Share::new(ceiling, remembered, now))) }
    }

    /// Leave to send a call now, or the earliest moment at which to ask again.
    pub fn next(&mut self, now: Instant) -> Result<Ticket, Instant> {
        match &mut self.slots {
            Slots::Own(own) => own.next(now),
            Slots::Share(share) => share.next(now),
        }
    }

    /// What is to be told to those who share this pace, and asked of them, if it is time for that. It is answered by [`Self::granted`], and until then no more is asked.
    pub fn ask(&mut self, wanted: impl FnOnce() -> Wanted, now: Instant) -> Option<Ask> {
        match &mut self.slots {
            Slots::Own(_) => None,
            Slots::Share(share) => share.ask(wanted, now),
        }
    }

    /// The next moment at which to call [`Self::ask`], if nothing else happens before.
    pub fn asks_at(&self) -> Option<Instant> {
        match &self.slots {
            Slots::Own(_) => None,
            Slots::Share(share) => share.asks_at(),
        }
    }

    /// How those who share this pace stand, after what was asked last.
    pub fn granted(&mut self, exchange: Exchange, now: Instant) {
        if let Slots::Share(share) = &mut self.slots {
            share.granted(exchange, now);
        }
    }

    /// Those who share this pace are to know something at once: what that is, is asked as soon as may be.
    pub fn alerted(&mut self) {
        if let Slots::Share(share) = &mut self.slots {
            share.alerted();
        }
    }

    /// What was asked last was not heard: nothing was granted.
    pub fn unheard(&mut self) {
        if let Slots::Share(share) = &mut self.slots {
            share.unheard();
        }
    }

    /// Calls a second that may leave now; `None` without a limit.
    pub fn per_second(&self) -> Option<f64> {
        match &self.slots {
            Slots::Own(own) => own.per_second(),
            Slots::Share(share) => share.per_second(),
        }
    }

    /// The same, and who says so.
    pub fn held_to(&self) -> Option<(f64, Whose)> {
        match &self.slots {
            Slots::Own(own) => own.held_to(),
            Slots::Share(share) => share.held_to(),
        }
    }

    /// What an earlier run found, in calls a second, while it is tested.
    pub fn tests(&self) -> Option<f64> {
        self.limit().and_then(Limit::tests)
    }

    /// The API's own limit, in calls a second, for the next run to begin with: what was tested, and held.
    pub fn to_remember(&self) -> Option<f64> {
        match &self.slots {
            Slots::Own(own) => own.limit().to_remember(),
            Slots::Share(share) => share.to_remember(),
        }
    }

    fn limit(&self) -> Option<&Limit> {
        match &self.slots {
            Slots::Own(own) => Some(own.limit()),
            Slots::Share(share) => share.limit(),
        }
    }

    /// The end of the pause that the API asked for.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        match &self.slots {
            Slots::Own(own) => own.paused_until(now),
            Slots::Share(share) => share.paused_until(now),
        }
    }

    /// The API took a call in, whatever it made of it, and said how that call stands with its limit.
    pub fn accepted(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        match &mut self.slots {
            Slots::Own(own) => own.accepted(ticket, announced, now),
            Slots::Share(share) => share.accepted(ticket, announced, now),
        }
    }

    /// A call came to nothing, for reasons that are none of its rate.
    pub fn failed(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        match &mut self.slots {
            Slots::Own(own) => own.failed(ticket, announced, now),
            Slots::Share(share) => share.told(ticket, announced, now),
        }
    }

    /// The API refused a call for its rate: nothing leaves until `wait` is over. Returns the moment of that.
    pub fn throttled(&mut self, ticket: Ticket, wait: Option<Duration>, now: Instant) -> Instant {
        match &mut self.slots {
            Slots::Own(own) => own.throttled(ticket, wait, now),
            Slots::Share(share) => share.throttled(ticket, wait, now),
        }
    }
}
