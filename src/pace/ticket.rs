//! Leave to send one call, and how long it holds.

use std::time::{Duration, Instant};

/// How late a call may be and still leave in its own slot: what a timer's grain takes is caught up with, no more.
pub(super) const CATCH_UP: Duration = Duration::from_millis(10);

/// Leave to send one call; handed back with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// When the call left.
    pub left_at: Instant,
    /// Counts the calls that leave.
    pub(super) number: u64,
    pub(super) episode: u32,
}
