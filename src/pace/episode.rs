//! What happens from the end of one pause to the end of the next, and what several of them come to at one pace.
//!
//! One refusal is no limit: it may have nothing to do with the pace. Refusals come to a limit where they are too many
//! for the calls that went through, so that a pace of which they cost little is kept, and pauses are all that it costs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// The slowest pace: the pauses that the API asks for do the rest.
pub(super) const LEAST: f64 = 1.0 / 60.0;

/// Fewer calls that went through measure nothing.
const FEWEST_ACCEPTED: u64 = 5;

/// A pace is given up for so many refusals, and as many that their square is more than so many times what went through:
/// one refusal in 80 calls has to come ten times.
const BORNE: f64 = 1.0 / 8.0;

/// So many calls that go through after each refused one make it a lone one.
const LONE: u64 = 3;

/// How much more is borne each time that slowing down did not help.
const MORE_PATIENCE: f64 = 4.0;

/// What happened from the end of one pause to the end of the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Episode {
    /// Calls that went through before the first refusal.
    pub(super) accepted: u64,
    pub(super) refused: u64,
    /// Calls that went through although an earlier one had been refused.
    pub(super) accepted_after: u64,
    pub(super) active: Duration,
    pub(super) pause: Duration,
    /// The pace that was refused, in calls a second; `None` where there was none.
    pub(super) sent_at: Option<f64>,
    /// When the first refusal came.
    pub(super) refused_at: Moment,
    /// The end of the pause.
    pub(super) until: Moment,
    /// The API has told its limit: no refusal was needed.
    pub(super) is_announced: bool,
}

impl Episode {
    /// Too little went through to tell a rate from.
    pub(super) fn measures_nothing(&self) -> bool {
        self.accepted < FEWEST_ACCEPTED
    }

    /// Nothing went through, and the API has not said why: whether anything does is to be tried.
    pub(super) fn is_vain(&self) -> bool {
        self.accepted == 0 && !self.is_announced
    }

    /// What went through, in calls a second, the pause included: the limit is hardly below it.
    pub(super) fn throughput(&self) -> f64 {
        self.per_second_of(self.active + self.pause)
    }

    /// The pace that was refused, in calls a second.
    pub(super) fn pace(&self) -> f64 {
        self.sent_at.unwrap_or_else(|| self.per_second_of(self.active))
    }

    /// Those after the one that was refused went through: no limit far below the pace lets that happen.
    pub(super) fn is_lone(&self) -> bool {
        self.accepted_after > LONE * self.refused
    }

    /// Of those after it, more were refused than went through.
    pub(super) fn is_crowd(&self) -> bool {
        self.refused > self.accepted_after + 1
    }

    /// With a later one.
    fn and(&self, later: &Self) -> Self {
        Self {
            accepted: self.accepted + later.accepted,
            refused: self.refused + later.refused,
            accepted_after: self.accepted_after + later.accepted_after,
            active: self.active + later.active,
            pause: self.pause + later.pause,
            ..*later
        }
    }

    /// Refusals for each call that went through.
    #[expect(clippy::cast_precision_loss, reason = "no run makes 2^53 calls")]
    pub(super) fn refusals(&self) -> f64 {
        self.refused as f64 / self.all_accepted().max(1) as f64
    }

    fn all_accepted(&self) -> u64 {
        self.accepted + self.accepted_after
    }

    #[expect(clippy::cast_precision_loss, reason = "no run makes 2^53 calls")]
    fn per_second_of(&self, time: Duration) -> f64 {
        (self.accepted.max(1) as f64 / time.as_secs_f64().max(1e-3)).max(LEAST)
    }
}

/// The episodes at one pace, put together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// So many times more is borne.
    patience: f64,
    fewest_refused: u64,
    /// It tells as well what had gathered before it, so that no rate follows from it.
    first: Option<Episode>,
    rest: Option<Episode>,
    /// Refusals in all those that were lone ones.
    lone: u64,
}

impl Record {
    fn new(patience: f64, fewest_refused: u64) -> Self {
        Self { patience, fewest_refused, first: None, rest: None, lone: 0 }
    }

    /// Where no limit is known.
    pub(super) fn at_ceiling() -> Self {
        Self::new(1.0, 3)
    }

    /// Where a limit was found: it is the likely reason of a refusal.
    pub(super) fn at_limit() -> Self {
        Self::new(1.0 / 8.0, 2)
    }

    /// They had nothing to do with the pace: begins anew, and bears more.
    pub(super) fn with_patience(self) -> Self {
        Self::new(self.patience * MORE_PATIENCE, self.fewest_refused)
    }

    pub(super) fn with(self, episode: &Episode) -> Self {
        match self.first {
            None => Self { first: Some(*episode), ..self },
            Some(_) => {
                let rest = self.rest.map_or(*episode, |rest| rest.and(episode));
                let lone = self.lone + if episode.is_lone() { episode.refused } else { 0 };
                Self { rest: Some(rest), lone, ..self }
            }
        }
    }

    /// What the episodes come to, where that is a limit.
    #[expect(clippy::cast_precision_loss, reason = "no run makes 2^53 calls")]
    pub(super) fn limit(&self) -> Option<Episode> {
        let rest = self.rest.filter(|rest| !rest.measures_nothing())?;
        // Before a single refusal the pace was borne; before a crowd of them it was not.
        let weighed = self.first.filter(Episode::is_crowd).map_or(rest, |first| first.and(&rest));
        let borne = weighed.all_accepted() as f64 * BORNE * self.patience;
        let refused = weighed.refused - self.lone / 2;
        (refused >= self.fewest_refused && (refused as f64).powi(2) >= borne).then_some(rest)
    }
}

/// Whether slowing down helps. Against a limit it does; what comes as often as before has nothing to do with the pace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Doubt {
    /// Refusals for each call, before.
    before: f64,
    accepted: u64,
    refused: f64,
}

impl Doubt {
    pub(super) fn new(before: &Episode) -> Self {
        Self { before: before.refusals(), accepted: 0, refused: 0.0 }
    }

    #[expect(clippy::cast_precision_loss, reason = "no run makes 2^53 calls")]
    pub(super) fn with(self, episode: &Episode, weight: f64) -> Self {
        Self {
            accepted: self.accepted + episode.all_accepted(),
            refused: self.refused + weight * episode.refused as f64,
            ..self
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "no run makes 2^53 calls")]
    fn refusals(&self) -> f64 {
        self.refused / self.accepted.max(1) as f64
    }

    /// Slowed down once more: what was so far is before that.
    pub(super) fn again(self) -> Self {
        Self { before: self.refusals(), accepted: 0, refused: 0.0 }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.refused > 0.0 && self.refusals() >= self.before / 2.0
    }

    /// It has been refused again, above what went through, and much more rarely than before.
    pub(super) fn is_dispelled(&self) -> bool {
        self.refused > 0.0 && self.refusals() <= self.before / 4.0
    }
}
