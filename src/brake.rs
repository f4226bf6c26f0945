//! May the run go on? Thresholds on what it has settled so far. Pure.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::outcome::Outcome;
use crate::stop::Stop;

/// Without a canary, a run whose first settled VMs all failed is stopped after this many.
const FIRST_VMS: u64 = 20;

/// "More than this many VMs": a number, or a share of the selected ones in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    Vms(u64),
    Percent(f64),
}

/// Why a text is not a [`Threshold`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a threshold: write a number of VMs such as 10, or a share of the selected ones such as 5%")]
pub struct InvalidThreshold;

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('%') {
            Some(share) => match share.parse() {
                Ok(share) if (0.0..=100.0).contains(&share) => Ok(Self::Percent(share)),
                _ => Err(InvalidThreshold),
            },
            None => text.parse().map(Self::Vms).map_err(|_| InvalidThreshold),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vms(vms) => write!(f, "{vms}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

impl Threshold {
    #[expect(clippy::cast_precision_loss, reason = "no fleet has 2^53 VMs")]
    fn is_exceeded(self, vms: u64, selected: u64) -> bool {
        match self {
            Self::Vms(most) => vms > most,
            Self::Percent(share) => vms as f64 * 100.0 > share * selected as f64,
        }
    }
}

/// What the first VMs must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// Nothing.
    Off,
    /// The first settled VMs must not all fail.
    Default,
    /// These many must all succeed before the rest starts.
    Vms(NonZeroU32),
}

/// When a run is to be stopped.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub canary: Canary,
    pub max_failed: Option<Threshold>,
    pub max_changed: Option<Threshold>,
    pub max_drift: Option<Threshold>,
}

/// How many VMs were settled, and how many of them came out as brakes count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub settled: u64,
    pub failed: u64,
    pub changed: u64,
    pub drifted: u64,
}

impl Outcomes {
    fn add(&mut self, outcome: Outcome, drifted: bool) {
        self.settled += 1;
        self.failed += u64::from(outcome == Outcome::Failed);
        self.changed += u64::from(outcome.is_change());
        self.drifted += u64::from(drifted);
    }

    fn and(self, more: Self) -> Self {
        Self {
            settled: self.settled + more.settled,
            failed: self.failed + more.failed,
            changed: self.changed + more.changed,
            drifted: self.drifted + more.drifted,
        }
    }

    /// Those that are not among `some`.
    #[must_use]
    pub fn without(self, some: Self) -> Self {
        Self {
            settled: self.settled.saturating_sub(some.settled),
            failed: self.failed.saturating_sub(some.failed),
            changed: self.changed.saturating_sub(some.changed),
            drifted: self.drifted.saturating_sub(some.drifted),
        }
    }
}

/// Counts what was settled, and says when it is too much.
#[derive(Debug, Clone)]
pub struct Brake {
    limits: Limits,
    selected: u64,
    ours: Outcomes,
    /// What other workers of the run have settled.
    others: Outcomes,
}

impl Brake {
    /// `selected` is what percentages are of.
    pub fn new(limits: Limits, selected: u64) -> Self {
        Self { limits, selected, ours: Outcomes::default(), others: Outcomes::default() }
    }

    /// How many VMs may be started in all; `None` is all of them.
    pub fn allowance(&self) -> Option<u64> {
        match self.limits.canary {
            Canary::Vms(vms) if self.all().settled < u64::from(vms.get()) => Some(vms.get().into()),
            Canary::Vms(_) | Canary::Default | Canary::Off => None,
        }
    }

    /// Whether an outcome may bring the run nearer to a stop: such a one is to be on disk, and counted, at once.
    pub fn watches(&self, outcome: Outcome, drifted: bool) -> bool {
        match outcome {
            Outcome::Failed => true,
            changed if changed.is_change() && self.limits.max_changed.is_some() => true,
            _ => drifted && self.limits.max_drift.is_some(),
        }
    }

    /// Counts a VM whose outcome is on disk.
    pub fn settled(&mut self, outcome: Outcome, drifted: bool) -> Option<Stop> {
        self.ours.add(outcome, drifted);
        self.reached()
    }

    /// What was counted by [`Self::settled`].
    pub fn ours(&self) -> Outcomes {
        self.ours
    }

    /// Counts what other workers of the run have settled so far, all of it.
    pub fn others(&mut self, others: Outcomes) -> Option<Stop> {
        self.others = others;
        self.reached()
    }

    fn all(&self) -> Outcomes {
        self.ours.and(self.others)
    }

    /// What the run is to be stopped for, as things stand. Of several workers, who settles one of the first VMs has not
    /// heard of more; all that others have settled meanwhile is heard at once.
    fn reached(&self) -> Option<Stop> {
        let Outcomes { settled, failed, changed, drifted } = self.all();
        let exceeded =
            |limit: Option<Threshold>, vms| limit.is_some_and(|l| l.is_exceeded(vms, self.selected));
        let in_first = match self.limits.canary {
            Canary::Vms(vms) => (failed > 0 && settled <= vms.get().into()).then_some(Stop::Canary),
            Canary::Default => (failed == settled && settled >= FIRST_VMS).then_some(Stop::AllFailed),
            Canary::Off => None,
        };
        [
            in_first,
            exceeded(self.limits.max_failed, failed).then_some(Stop::MaxFailed),
            exceeded(self.limits.max_changed, changed).then_some(Stop::MaxChanged),
            exceeded(self.limits.max_drift, drifted).then_some(Stop::MaxDrift),
        ]
        .into_iter()
        .flatten()
        .max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Limits = Limits { canary: Canary::Off, max_failed: None, max_changed: None, max_drift: None };

    /// The number of VMs settled when the brake says stop, and what it says.
    fn stopped(
        limits: Limits,
        selected: u64,
        outcomes: impl Iterator<Item = (Outcome, bool)>,
    ) -> Option<(usize, Stop)> {
        let mut brake = Brake::new(limits, selected);
        outcomes
            .enumerate()
            .find_map(|(i, (outcome, drifted))| Some((i + 1, brake.settled(outcome, drifted)?)))
    }

    #[test]
    fn what_no_threshold_counts_is_not_watched() {
        let threshold = Some(Threshold::Vms(5));
        for (limits, outcome, drifted, watched) in [
            (NONE, Outcome::Failed, false, true),
            (NONE, Outcome::Created, true, false),
            (Limits { max_changed: threshold, ..NONE }, Outcome::Created, false, true),
            (Limits { max_changed: threshold, ..NONE }, Outcome::Updated, false, true),
            (Limits { max_changed: threshold, ..NONE }, Outcome::Unchanged, true, false),
            (Limits { max_drift: threshold, ..NONE }, Outcome::Unchanged, true, true),
            (Limits { max_drift: threshold, ..NONE }, Outcome::Updated, false, false),
        ] {
            assert_eq!(Brake::new(limits, 9).watches(outcome, drifted), watched, "{limits:?} {outcome:?}");
        }
    }

    fn all(outcome: Outcome) -> impl Iterator<Item = (Outcome, bool)> {
        std::iter::repeat_n((outcome, false), 100)
    }

    #[test]
    fn thresholds_read_as_written_and_stop_at_more_than() {
        for (text, selected, stop_at) in
            [("0", 50, 1), ("3", 50, 4), ("10%", 50, 6), ("0%", 50, 1), ("2.5%", 100, 3)]
        {
            let limits = Limits { max_failed: Some(text.parse().unwrap()), ..NONE };
            assert_eq!(
                stopped(limits, selected, all(Outcome::Failed)),
                Some((stop_at, Stop::MaxFailed)),
                "{text}"
            );
            assert_eq!(text.parse::<Threshold>().unwrap().to_string(), text);
        }
        for text in ["", "-1", "101%", "-1%", "%", "many", "1.5", "NaN%"] {
            assert_eq!(text.parse::<Threshold>(), Err(InvalidThreshold), "{text}");
        }
    }

    #[test]
    fn created_and_updated_count_as_changed() {
        let limits = Limits { max_changed: Some(Threshold::Vms(3)), ..NONE };
        let mixed = [Outcome::Created, Outcome::Unchanged, Outcome::Updated].map(|outcome| (outcome, false));
        assert_eq!(stopped(limits, 100, mixed.into_iter().cycle().take(50)), Some((6, Stop::MaxChanged)));
        assert_eq!(stopped(limits, 100, all(Outcome::Unchanged)), None);
    }

    #[test]
    fn drift_counts_whatever_the_outcome() {
        let limits = Limits { max_drift: Some(Threshold::Vms(1)), ..NONE };
        let drifted = std::iter::repeat_n((Outcome::Unchanged, true), 5);
        assert_eq!(stopped(limits, 100, drifted), Some((2, Stop::MaxDrift)));
    }

    #[test]
    fn twenty_failures_and_nothing_else_stop_a_run_without_a_canary() {
        let limits = Limits { canary: Canary::Default, ..NONE };
        assert_eq!(stopped(limits, 100, all(Outcome::Failed)), Some((20, Stop::AllFailed)));
        let one_success = std::iter::once((Outcome::Unchanged, false)).chain(all(Outcome::Failed));
        assert_eq!(stopped(limits, 100, one_success), None);
        assert_eq!(stopped(NONE, 100, all(Outcome::Failed)), None);
    }

    #[test]
    fn what_other_workers_settle_counts_as_ours_does_and_is_heard_at_once() {
        let of = |settled, failed| Outcomes { settled, failed, ..Outcomes::default() };
        let canary = Canary::Vms(NonZeroU32::new(5).unwrap());
        let first = Limits { canary: Canary::Default, ..NONE };
        let max_failed = Limits { max_failed: Some(Threshold::Vms(3)), ..NONE };
        for (limits, others, stop) in [
            (Limits { canary, ..NONE }, of(3, 0), None),
            (Limits { canary, ..NONE }, of(4, 1), Some(Stop::Canary)),
            (Limits { canary, ..NONE }, of(9, 1), None),
            (first, of(23, 23), Some(Stop::AllFailed)),
            (first, of(23, 22), None),
            (max_failed, of(50, 3), None),
            (max_failed, of(50, 4), Some(Stop::MaxFailed)),
        ] {
            let mut brake = Brake::new(limits, 100);
            assert_eq!(brake.others(others), stop, "{limits:?} {others:?}");
        }
        let mut brake = Brake::new(max_failed, 100);
        assert_eq!(brake.others(of(50, 3)), None);
        assert_eq!(brake.settled(Outcome::Failed, false), Some(Stop::MaxFailed));
        assert_eq!(of(51, 4).without(brake.ours()), of(50, 3));
    }

    #[test]
    fn a_canary_holds_the_rest_back_until_all_of_it_succeeded() {
        let limits = Limits { canary: Canary::Vms(NonZeroU32::new(3).unwrap()), ..NONE };
        let mut brake = Brake::new(limits, 100);
        for _ in 0..3 {
            assert_eq!(brake.allowance(), Some(3));
            assert_eq!(brake.settled(Outcome::Created, false), None);
        }
        assert_eq!(brake.allowance(), None);
        assert_eq!(brake.settled(Outcome::Failed, false), None);
        assert_eq!(stopped(limits, 100, all(Outcome::Failed)), Some((1, Stop::Canary)));
    }
}
