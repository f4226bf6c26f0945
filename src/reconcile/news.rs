//! What a run tells of itself to whoever asks how it stands: about once a second, on the board that its ledger has.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::event::Now;
use super::state::State;
use crate::ledger::{Board, Bulletin};
use crate::progress::{Progress, Rate};

/// The least time between two bulletins.
const EVERY: Duration = Duration::from_secs(1);

/// The bulletins of one sitting.
#[derive(Debug)]
pub(super) struct News {
    board: Option<Box<dyn Board>>,
    begun_at: Timestamp,
    /// Of calls that leave.
    rate: Rate,
    posted_at: Option<Instant>,
}

impl News {
    pub(super) fn new(board: Option<Box<dyn Board>>, now: Now) -> Self {
        Self { board, begun_at: now.date, rate: Rate::new(0, now.at), posted_at: None }
    }

    /// Posts one where that is due; in any case where it is the `last`.
    pub(super) fn post(&mut self, state: &State<'_>, progress: &Progress, now: Now, last: bool) {
        let is_due = self.posted_at.is_none_or(|posted| now.at.saturating_duration_since(posted) >= EVERY);
        let Some(board) = self.board.as_mut().filter(|_| is_due || last) else { return };
        self.posted_at = Some(now.at);
        self.rate.observe(state.calls(), now.at);
        let counts = progress.counts();
        board.post(&Bulletin {
            at: now.date,
            begun_at: self.begun_at,
            selected: counts.selected,
            outcomes: counts.by_outcome().collect(),
            calls: state.calls(),
            calls_per_s: self.rate.per_s(),
            in_flight: state.in_flight(),
            left_s: progress.seconds_left(),
            pace: state.pacing(now),
            breakers: state.open_breakers(),
            hindrance: state.obstacle(now.at),
        });
    }
}
