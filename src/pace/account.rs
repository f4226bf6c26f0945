//! What the workers of one account tell each other, and what they are answered: plain data.
//!
//! They share one row, whose clock is that of whoever keeps it. What they count is added up there; what follows from it one
//! of them decides, and it holds where nobody else has decided meanwhile; slots are handed out in one order.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::episode::Episode;
use super::moment::Moment;

/// What one worker tells and asks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ask {
    /// Between two calls at the worker's own ceiling; zero without one.
    #[serde(with = "nanos")]
    pub ceiling: Duration,
    /// Of which `tally` tells: what is told of one that is over counts no more.
    pub episode: u32,
    pub tally: Tally,
    /// The end of the pause that the API has asked for, if the row does not know it yet.
    pub pause: Option<Moment>,
    pub lesson: Option<Lesson>,
    /// So many slots, the last no later than `horizon` from now; where nobody has taken any for a while, the first is `lead`
    /// from now.
    pub slots: u32,
    #[serde(with = "nanos")]
    pub lead: Duration,
    #[serde(with = "nanos")]
    pub horizon: Duration,
}

impl Ask {
    /// What it tells is known to the row by now, and would count twice.
    pub fn is_heard(&mut self) {
        (self.tally, self.lesson) = (Tally::default(), None);
    }
}

/// What one worker has learned from the row. It holds where the row still has this version and this pause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lesson {
    pub version: u64,
    pub pause: Option<Moment>,
    /// Opaque to whoever keeps it.
    pub known: String,
    /// The time between two calls that follows from it; zero where nothing does.
    #[serde(with = "nanos")]
    pub interval: Duration,
    /// A new episode begins with the end of the pause, of which nothing is counted yet.
    pub begins: bool,
    /// One call a second leaves, until one is accepted.
    pub is_probing: bool,
}

/// How the row stands after an [`Ask`], and when it was asked and had answered, by our clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    pub sent: Instant,
    pub received: Instant,
    pub standing: Standing,
}

/// How the row stands after an [`Ask`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Standing {
    /// When it was asked, by its own clock.
    pub at: Moment,
    /// When somebody had asked before.
    pub before: Option<Moment>,
    pub version: u64,
    pub known: Option<String>,
    pub episode: u32,
    pub tally: Tally,
    /// The end of a pause of which nobody has learned yet.
    pub pause: Option<Moment>,
    /// No slot was before the end of the last pause.
    pub resumed: Moment,
    /// Between two calls, as the slowest of all runs under way wants it; zero where none has a ceiling.
    #[serde(with = "nanos")]
    pub ceiling: Duration,
    /// Slots that are the worker's now: so many, `interval` apart, from `first` on, which is the next free one where there
    /// are none.
    pub slots: u32,
    pub first: Moment,
    #[serde(with = "nanos")]
    pub interval: Duration,
}

/// What became of the calls of one episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// But for those that left after one that was refused.
    pub accepted: u64,
    pub refused: u64,
    pub accepted_after: u64,
    /// When the first call left.
    pub first_left: Option<Moment>,
    /// When the last one left of those that were accepted.
    pub last_left: Option<Moment>,
    /// The first call that was refused, or that the API has told would be.
    pub refusal: Option<Refusal>,
}

/// A call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub left_at: Moment,
    pub at: Moment,
    /// The API has told that it would be.
    pub is_announced: bool,
}

impl Tally {
    /// With what another counted.
    pub(super) fn and(self, other: Self) -> Self {
        let first = |a: Option<Moment>, b: Option<Moment>| a.into_iter().chain(b).min();
        let refusals = self.refusal.into_iter().chain(other.refusal);
        Self {
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            accepted_after: self.accepted_after + other.accepted_after,
            first_left: first(self.first_left, other.first_left),
            last_left: self.last_left.max(other.last_left),
            refusal: refusals.min_by_key(|refusal| refusal.left_at),
        }
    }

    pub(super) fn all_accepted(&self) -> u64 {
        self.accepted + self.accepted_after
    }

    /// What it comes to at the end of a pause, if a call was refused; `sent_at` is the pace then, in calls a second.
    pub(super) fn episode(&self, until: Moment, sent_at: Option<f64>) -> Option<Episode> {
        let (first_left, refusal) = self.first_left.zip(self.refusal)?;
        Some(Episode {
            accepted: self.accepted,
            refused: self.refused,
            accepted_after: self.accepted_after,
            active: refusal.left_at.since(first_left),
            pause: until.since(refusal.at),
            sent_at,
            refused_at: refusal.at,
            until,
            is_announced: refusal.is_announced,
        })
    }
}

/// Times as whole nanoseconds.
mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}
