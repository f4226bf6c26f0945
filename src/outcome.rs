//! The words for what came of a VM, for what that was concluded from, and for why it failed; and how they are found.

mod kind;
mod look;
mod offset;
mod unanswered;
mod verdict;

pub use kind::Kind;
pub use look::{Forecast, Look};
pub use offset::{Offset, TOLERANCE};
pub use unanswered::{LATE_EFFECT, Unanswered};
pub use verdict::{Answer, Evidence, FirstCall, Verdict, classify};

use crate::words::words;

words! {
    /// What can be said of a VM: by a run that calls the first four, by a plan the others, and by either that it failed.
    Outcome {
        Created = "created",
        Unchanged = "unchanged",
        Updated = "updated",
        Create = "create",
        Update = "update",
        Keep = "keep",
        Blocked = "blocked",
        Failed = "failed",
    }
}

impl Outcome {
    /// Whether the VM's network is another than before.
    pub fn is_change(self) -> bool {
        matches!(self, Self::Created | Self::Updated)
    }

    /// Whether it says what a call would do, and not what one did.
    pub fn is_forecast(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Keep | Self::Blocked)
    }

    /// What a run says of a VM where this forecast comes true.
    #[must_use]
    pub fn come_true(self) -> Self {
        match self {
            Self::Create => Self::Created,
            Self::Update => Self::Updated,
            Self::Keep => Self::Unchanged,
            Self::Blocked => Self::Failed,
            Self::Created | Self::Unchanged | Self::Updated | Self::Failed => self,
        }
    }

    /// Whether a call would make it another one.
    pub fn would_change(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }
}

words! {
    /// What an outcome was concluded from.
    Basis {
        /// The answer said `created: true`.
        CreatedFlag = "created_flag",
        /// An attempt whose answer was lost made the allocation.
        LostAnswer = "lost_answer",
        /// The VM's last-known allocation.
        Ledger = "ledger",
        /// The allocation's own times, on the server's clock.
        ServerClock = "server_clock",
        /// Nothing: no time could be read.
        None = "none",
    }
}

words! {
    /// Why a VM failed.
    Failure {
        Rejected = "rejected",
        Unauthorized = "unauthorized",
        Forbidden = "forbidden",
        NotFound = "not_found",
        Conflict = "conflict",
        RateLimited = "rate_limited",
        ServerError = "server_error",
        Timeout = "timeout",
        Connect = "connect",
        Tls = "tls",
        Redirected = "redirected",
        MalformedAnswer = "malformed_answer",
        /// A 2xx that says `success: false`.
        RefusedByApi = "refused_by_api",
        /// The run stopped before the VM's turn.
        NotAttempted = "not_attempted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for &outcome in Outcome::ALL {
            assert_eq!(Outcome::from_word(outcome.as_str()), Some(outcome));
        }
        for &failure in Failure::ALL {
            assert_eq!(Failure::from_word(failure.as_str()), Some(failure));
        }
        assert_eq!(Basis::from_word("hearsay"), None);
    }
}
