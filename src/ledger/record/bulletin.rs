//! What a run says of itself while it is under way: made anew about once a second, and none but the last is there to be read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use crate::outcome::{Kind, Outcome};
use crate::text::moment_field;

/// How a run stands at one moment, as far as those know who carry it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bulletin {
    pub at: Timestamp,
    /// When this sitting began.
    pub begun_at: Timestamp,
    pub selected: u64,
    /// What came of the VMs that have an outcome, those of earlier sittings too.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Calls that have left in this sitting.
    pub calls: u64,
    /// Of late; `None` until there was time to see.
    pub calls_per_s: Option<f64>,
    pub in_flight: u64,
    /// Seconds, as things stand; `None` where nothing moves.
    pub left_s: Option<f64>,
    pub pace: Pacing,
    pub breakers: OpenBreakers,
    /// What keeps the run from its pace, for people.
    pub hindrance: Option<String>,
}

/// When calls may leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pacing {
    /// Calls a second; `None` without a limit.
    pub per_second: Option<f64>,
    /// Whose limit that is: typed, announced, remembered or learned.
    pub whose: Option<String>,
    #[serde(serialize_with = "moment_field")]
    pub paused_until: Option<Timestamp>,
}

/// What is left alone, but for single probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBreakers {
    pub api: bool,
    /// The first of the racks, by name.
    pub racks: Vec<String>,
    /// How many there are beside them.
    pub more_racks: u64,
}

impl Bulletin {
    /// What several workers of one run tell, of which so many VMs have no outcome yet; `None` where nobody tells anything.
    /// Of whatever is everybody's the newest knows best.
    pub fn together(told: &[&Self], pending: u64) -> Option<Self> {
        let newest = told.iter().max_by_key(|bulletin| bulletin.at)?;
        let rates: Vec<f64> = told.iter().filter_map(|bulletin| bulletin.calls_per_s).collect();
        let per_s = (!rates.is_empty()).then(|| rates.iter().sum());
        Some(Self {
            begun_at: told.iter().map(|bulletin| bulletin.begun_at).min()?,
            calls: told.iter().map(|bulletin| bulletin.calls).sum(),
            calls_per_s: per_s,
            in_flight: told.iter().map(|bulletin| bulletin.in_flight).sum(),
            left_s: per_s.and_then(|per_s| seconds(pending, per_s)),
            // Each worker's is its own.
            hindrance: newest.hindrance.clone().filter(|_| told.len() == 1),
            ..(*newest).clone()
        })
    }

    /// The outcomes of a run of that kind.
    pub fn counts(&self, kind: Kind) -> Counts {
        let none = Counts { selected: self.selected, ..Counts::none(kind) };
        self.outcomes.iter().fold(none, |mut counts, &(outcome, vms)| {
            counts.add(outcome, vms);
            counts
        })
    }

    /// Calls a second since this sitting began.
    #[expect(clippy::cast_precision_loss, reason = "no sitting makes 2^53 calls")]
    pub fn calls_per_s_over_all(&self) -> Option<f64> {
        let seconds = self.at.duration_since(self.begun_at).as_secs_f64();
        (seconds > 0.0).then(|| self.calls as f64 / seconds)
    }
}

/// How long so many VMs take.
#[expect(clippy::cast_precision_loss, reason = "no run has 2^53 VMs")]
fn seconds(vms: u64, per_s: f64) -> Option<f64> {
    (per_s > 0.0).then(|| vms as f64 / per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulletin(second: i32, calls: u64, per_s: Option<f64>) -> Bulletin {
        Bulletin {
            at: Timestamp::from_second(i64::from(1_000 + second)).unwrap(),
            begun_at: Timestamp::from_second(i64::from(900 - second)).unwrap(),
            selected: 100,
            outcomes: vec![(Outcome::Created, calls)],
            calls,
            calls_per_s: per_s,
            in_flight: 2,
            left_s: Some(1.0),
            pace: Pacing {
                per_second: Some(f64::from(second)),
                whose: Some("typed".into()),
                paused_until: None,
            },
            breakers: OpenBreakers { api: second > 1, racks: vec![], more_racks: 0 },
            hindrance: Some("it waits".into()),
        }
    }

    #[test]
    fn what_several_tell_is_added_up_and_the_newest_knows_the_pace() {
        let [first, second, new] =
            [bulletin(2, 30, Some(4.0)), bulletin(1, 50, Some(1.0)), bulletin(0, 0, None)];
        let all = Bulletin::together(&[&second, &first, &new], 20).unwrap();
        assert_eq!((all.calls, all.calls_per_s, all.in_flight, all.left_s), (80, Some(5.0), 6, Some(4.0)));
        assert_eq!((all.at, all.begun_at), (first.at, first.begun_at));
        assert_eq!(
            (all.pace, all.breakers, all.hindrance),
            (first.pace.clone(), first.breakers.clone(), None)
        );
        assert_eq!(Bulletin::together(&[&new], 20).unwrap(), Bulletin { left_s: None, ..new });
        assert_eq!(Bulletin::together(&[], 20), None);
        let idle = Bulletin::together(&[&bulletin(1, 9, Some(0.0))], 20).unwrap();
        assert_eq!((idle.left_s, idle.hindrance), (None, Some("it waits".into())));
    }
}
