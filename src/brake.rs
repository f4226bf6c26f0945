//! May the run go on? Thresholds on what it has settled so far, and doubts about the key. Pure.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use jiff::Timestamp;

use crate::outcome::{Failure, Outcome};
use crate::stop::Stop;

/// Without a canary, a run whose first settled VMs all failed is stopped after this many.
const FIRST_VMS: u64 = 20;

/// This many refusals of the key or the certificate in a row stop a run.
const REFUSALS: u32 = 5;

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

/// Counts what was settled, and says when it is too much.
#[derive(Debug)]
pub struct Brake {
    limits: Limits,
    selected: u64,
    settled: u64,
    failed: u64,
    changed: u64,
    drifted: u64,
}

impl Brake {
    /// `selected` is what percentages are of.
    pub fn new(limits: Limits, selected: u64) -> Self {
        Self { limits, selected, settled: 0, failed: 0, changed: 0, drifted: 0 }
    }

    /// How many VMs may be started in all; `None` is all of them.
    pub fn allowance(&self) -> Option<u64> {
        match self.limits.canary {
            Canary::Vms(vms) if self.settled < u64::from(vms.get()) => Some(vms.get().into()),
            Canary::Vms(_) | Canary::Default | Canary::Off => None,
        }
    }

    /// Counts a VM whose outcome is on disk.
    pub fn settled(&mut self, outcome: Outcome, drifted: bool) -> Option<Stop> {
        self.settled += 1;
        self.failed += u64::from(outcome == Outcome::Failed);
        self.changed += u64::from(matches!(outcome, Outcome::Created | Outcome::Updated));
        self.drifted += u64::from(drifted);
        let exceeded =
            |limit: Option<Threshold>, vms| limit.is_some_and(|l| l.is_exceeded(vms, self.selected));
        let in_first = match self.limits.canary {
            Canary::Vms(vms) => (self.failed > 0 && self.settled <= vms.get().into()).then_some(Stop::Canary),
            Canary::Default => {
                (self.failed == FIRST_VMS && self.settled == FIRST_VMS).then_some(Stop::AllFailed)
            }
            Canary::Off => None,
        };
        [
            in_first,
            exceeded(self.limits.max_failed, self.failed).then_some(Stop::MaxFailed),
            exceeded(self.limits.max_changed, self.changed).then_some(Stop::MaxChanged),
            exceeded(self.limits.max_drift, self.drifted).then_some(Stop::MaxDrift),
        ]
        .into_iter()
        .flatten()
        .max()
    }
}

/// Whether the key and the certificate hold, as far as the answers tell.
#[derive(Debug, Default)]
pub struct Trust {
    keys_refused: u32,
    certificates_refused: u32,
    /// When the latest refused call left: what left before it, or with it, proves nothing.
    last_refused: Option<Timestamp>,
    anything_else: bool,
}

impl Trust {
    /// A valid success of a call that left at `sent_at`. Returns whether it proves the key good after all refusals.
    pub fn proved(&mut self, sent_at: Timestamp) -> bool {
        self.anything_else = true;
        let proves = self.last_refused.is_none_or(|refused| sent_at > refused);
        if proves {
            *self = Self { anything_else: true, ..Self::default() };
        }
        proves
    }

    /// An answer that neither proves nor refuses the key.
    pub fn neutral(&mut self) {
        self.anything_else = true;
    }

    /// The key (or, with [`Failure::Tls`], the certificate) was refused once more.
    pub fn refused(&mut self, failure: Failure, sent_at: Timestamp) -> Option<Stop> {
        self.last_refused = self.last_refused.max(Some(sent_at));
        let (refusals, stop) = match failure {
            Failure::Tls => (&mut self.certificates_refused, Stop::CertificateRefused),
            _ => (&mut self.keys_refused, Stop::KeyRefused),
        };
        *refusals += 1;
        (*refusals >= REFUSALS).then_some(stop)
    }

    /// At the end of a run: was there nothing but refusals?
    pub fn verdict(&self) -> Option<Stop> {
        match (self.anything_else, self.certificates_refused, self.keys_refused) {
            (true, _, _) | (false, 0, 0) => None,
            (false, 0, _) => Some(Stop::KeyRefused),
            (false, _, _) => Some(Stop::CertificateRefused),
        }
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn five_refusals_without_a_success_between_are_enough() {
        let mut trust = Trust::default();
        for _ in 0..4 {
            assert_eq!(trust.refused(Failure::Unauthorized, at(0)), None);
        }
        trust.neutral();
        assert_eq!(trust.refused(Failure::Unauthorized, at(0)), Some(Stop::KeyRefused));
        assert!(!trust.proved(at(0)), "it left with them");
        assert_eq!(trust.refused(Failure::Unauthorized, at(0)), Some(Stop::KeyRefused));
        assert!(trust.proved(at(1)));
        assert_eq!(trust.refused(Failure::Unauthorized, at(0)), None);
        for _ in 0..4 {
            assert_eq!(trust.refused(Failure::Tls, at(2)), None);
        }
        assert_eq!(trust.refused(Failure::Tls, at(2)), Some(Stop::CertificateRefused));
    }

    #[test]
    fn nothing_but_refusals_is_a_refused_key_however_few() {
        let mut trust = Trust::default();
        assert_eq!(trust.verdict(), None);
        trust.refused(Failure::Unauthorized, at(0));
        assert_eq!(trust.verdict(), Some(Stop::KeyRefused));
        trust.neutral();
        assert_eq!(trust.verdict(), None);
    }
}
