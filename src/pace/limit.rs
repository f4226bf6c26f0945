//! What is known of the API's own limit, and how fast calls may leave for it. Pure: time is told, and whoever shares the
//! limit may store it between two decisions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::episode::{Episode, Record};
use super::hint::Hint;
use super::moment::Moment;
use super::search::Search;
use super::whose::Whose;

/// Of a rate that the API announces, this share is used: its clock and ours may differ.
const SHARE: f64 = 0.995;

/// The API's own limit, as far as it is known. Rates are in calls a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Limit {
    /// What the API says.
    announced: Option<f64>,
    /// What an earlier run found, until it is known to be wrong.
    remembered: Option<f64>,
    /// While that is tested.
    hint: Option<Hint>,
    /// Of the refusals at the ceiling.
    record: Record,
    /// Below the ceiling, while the API shows a limit of its own.
    search: Option<Search>,
}

impl Limit {
    /// `ceiling` is the least time between two calls; zero without one.
    pub(super) fn new(ceiling: Duration, remembered: Option<f64>, now: Moment) -> Self {
        let below = remembered.filter(|&rate| between(rate) > ceiling);
        Self {
            announced: None,
            remembered,
            hint: below.map(|rate| Hint::new(rate, now)),
            record: Record::at_ceiling(),
            search: None,
        }
    }

    /// The time between two calls, as things stand: a search that has risen to the ceiling is over.
    pub(super) fn interval(&mut self, ceiling: Duration, now: Moment) -> Duration {
        let least = self.announced.map_or(ceiling, |rate| ceiling.max(between(rate)));
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
    pub(super) fn per_second(&self, ceiling: Duration) -> Option<f64> {
        self.held_to(ceiling).map(|(per_second, _)| per_second)
    }

    /// The same, and who says so.
    pub(super) fn held_to(&self, ceiling: Duration) -> Option<(f64, Whose)> {
        let limits = [
            ((!ceiling.is_zero()).then(|| ceiling.as_secs_f64().recip()), Whose::Typed),
            (self.announced, Whose::Announced),
            (self.hint.map(|hint| hint.per_second()), Whose::Remembered),
            (self.search.as_ref().map(Search::current), Whose::Learned),
        ];
        let limits = limits.into_iter().filter_map(|(rate, whose)| Some((rate?, whose)));
        limits.min_by(|(one, _), (other, _)| one.total_cmp(other))
    }

    /// The time between two calls that follows from it alone; zero where none does.
    pub(super) fn interval_alone(&self) -> Duration {
        self.per_second(Duration::ZERO).map(between).unwrap_or_default()
    }

    /// Whether something else follows from it than from `other`.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let what_holds = |limit: &Self| (limit.interval_alone(), limit.announced, limit.remembered);
        what_holds(self) != what_holds(other) || self.search != other.search || self.record != other.record
    }

    /// Whether every rate in it is one.
    pub(super) fn is_sound(&self) -> bool {
        let hinted = self.hint.map(|hint| hint.per_second());
        let searched = self.search.iter().flat_map(Search::paces);
        let rates = [self.announced, self.remembered, hinted].into_iter().flatten().chain(searched);
        rates.into_iter().all(|rate| rate.is_finite() && rate > 0.0)
    }

    /// What an earlier run found, while it is tested.
    pub(super) fn tests(&self) -> Option<f64> {
        self.hint.map(|hint| hint.remembered())
    }

    /// What was tested, and held.
    pub(super) fn to_remember(&self) -> Option<f64> {
        self.search.as_ref().and_then(Search::found).or(self.remembered)
    }

    /// So many more calls went through, the last of which left at `left_at`.
    pub(super) fn accepted(&mut self, calls: f64, left_at: Moment, now: Moment) {
        let Some(hint) = self.hint else { return };
        self.hint = hint.accepted(calls, left_at, now);
        if self.hint.is_none() {
            self.remembered = None;
        }
    }

    /// What the API says goes before what an earlier run found.
    pub(super) fn announced(&mut self, per_second: f64) {
        if self.announced.is_none() {
            self.search = None;
            self.hint = None;
        }
        self.announced = Some(per_second * SHARE);
    }

    pub(super) fn learn(&mut self, episode: &Episode) {
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
