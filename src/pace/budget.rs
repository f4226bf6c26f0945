//! What the API has said may still leave before its limit is reset.

use std::time::{Duration, Instant};

use super::ticket::Ticket;

/// Calls of this process up to a number, until then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    told_to: u64,
    last: u64,
    pub(super) until: Instant,
}

impl Budget {
    /// The answer to a call says that so many more may leave until the limit is reset; what a later call was told holds.
    pub(super) fn told(
        known: Option<Self>,
        ticket: Ticket,
        remaining: Option<u64>,
        reset_in: Option<Duration>,
        now: Instant,
    ) -> Option<Self> {
        let is_later = known.is_none_or(|known| ticket.number > known.told_to);
        let told = remaining.zip(reset_in).filter(|_| is_later).map(|(remaining, reset_in)| Self {
            told_to: ticket.number,
            last: ticket.number.saturating_add(remaining),
            until: now + reset_in,
        });
        told.or(known)
    }

    /// Whether all has left that may, of `sent` calls, and the limit is not reset yet.
    pub(super) fn is_used_up(&self, sent: u64, now: Instant) -> bool {
        sent >= self.last && now < self.until
    }
}
