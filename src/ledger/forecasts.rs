//! What a plan's VMs would come to, added up: those of a rack that a call would change alike, and those that are blocked
//! for one reason.
//!
//! Reasons are the API's words, and may be others for each VM: how many are kept is fixed, and of the rest only the
//! outcomes count.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::record::{ChangeCount, Forecasts, RackCounts, ReasonCount};
use crate::outcome::Outcome;

/// How many VMs stand for a failure, a change or a reason.
pub(super) const EXAMPLES: usize = 3;

/// Different changes that are kept.
const CHANGES: usize = 500;

/// Different reasons that are kept.
const REASONS: usize = 50;

/// Characters that are kept of a reason.
const REASON: usize = 300;

/// What stands for words that differ.
const ANY: &str = "…";

/// Rack, outcome, next hop, planned next hop.
type Change = (u32, Outcome, Option<String>, Option<String>);

/// The sums while VMs are added, in inventory order.
#[derive(Debug, Default)]
pub(super) struct ForecastSums {
    changes: HashMap<Change, Alike>,
    reasons: HashMap<String, Blocked>,
}

/// So many VMs, and the first of them.
#[derive(Debug)]
struct Alike {
    /// Which was the first, of all changes or reasons.
    no: usize,
    vms: u64,
    examples: Vec<String>,
}

#[derive(Debug)]
struct Blocked {
    reason: String,
    alike: Alike,
}

impl Alike {
    fn new(no: usize) -> Self {
        Self { no, vms: 0, examples: vec![] }
    }

    fn add(&mut self, vmid: &str) {
        self.vms += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(vmid.to_owned());
        }
    }
}

impl ForecastSums {
    /// One more VM of the rack with this number, of which a call would make `outcome`.
    pub(super) fn add_change(&mut self, rack: u32, outcome: Outcome, hops: [Option<&str>; 2], vmid: &str) {
        let [now, planned] = hops.map(|hop| hop.map(str::to_owned));
        let change = (rack, outcome, now, planned);
        let no = self.changes.len();
        if no < CHANGES || self.changes.contains_key(&change) {
            self.changes.entry(change).or_insert_with(|| Alike::new(no)).add(vmid);
        }
    }

    /// One more VM that is blocked.
    pub(super) fn add_reason(&mut self, reason: &str, vmid: &str) {
        let reason: String = reason.chars().take(REASON).collect();
        let (key, no) = (without_numbers(&reason), self.reasons.len());
        if no == REASONS && !self.reasons.contains_key(&key) {
            return;
        }
        let first = || Blocked { reason: reason.clone(), alike: Alike::new(no) };
        let blocked = self.reasons.entry(key).or_insert_with(first);
        if blocked.reason != reason {
            blocked.reason = common(&blocked.reason, &reason);
        }
        blocked.alike.add(vmid);
    }

    /// `racks` are all of the run's, by number.
    pub(super) fn finish(self, racks: &[RackCounts]) -> Forecasts {
        let mut changes: Vec<_> = self.changes.into_iter().collect();
        changes.sort_by_key(|((rack, ..), alike)| (*rack, alike.no));
        let change = |((rack, outcome, next_hop, planned_next_hop), Alike { vms, examples, .. })| {
            let rack_id = racks.get(rack as usize).and_then(|rack: &RackCounts| rack.rack_id.clone());
            ChangeCount { rack_id, outcome, next_hop, planned_next_hop, vms, examples }
        };
        let mut reasons: Vec<_> = self.reasons.into_values().collect();
        reasons.sort_by_key(|Blocked { alike, .. }| (Reverse(alike.vms), alike.no));
        let reason =
            |Blocked { reason, alike: Alike { vms, examples, .. } }| ReasonCount { reason, vms, examples };
        Forecasts {
            would_change: changes.into_iter().map(change).collect(),
            reasons: reasons.into_iter().map(reason).collect(),
        }
    }
}

/// The same for reasons that differ in moments, ids and other numbers alone.
fn without_numbers(reason: &str) -> String {
    words(reason, |word| if word.contains(char::is_numeric) { ANY } else { word })
}

/// What two reasons of as many words have in common.
fn common(one: &str, other: &str) -> String {
    let mut others = other.split_whitespace();
    words(one, |word| if others.next() == Some(word) { word } else { ANY })
}

fn words<'a>(text: &'a str, word: impl FnMut(&'a str) -> &'a str) -> String {
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Counts;
    use crate::outcome::Kind;

    fn summed(add: impl FnOnce(&mut ForecastSums)) -> Forecasts {
        let mut sums = ForecastSums::default();
        add(&mut sums);
        let rack = |rack_id: Option<&str>| RackCounts {
            rack_id: rack_id.map(Into::into),
            counts: Counts::none(Kind::Plan),
        };
        sums.finish(&[rack(Some("a")), rack(None)])
    }

    fn blocked(reasons: &[&str]) -> Forecasts {
        summed(|sums| {
            for (vmid, reason) in (1..).zip(reasons) {
                sums.add_reason(reason, &vmid.to_string());
            }
        })
    }

    fn told(of: &Forecasts) -> Vec<(&str, u64)> {
        of.reasons.iter().map(|count| (count.reason.as_str(), count.vms)).collect()
    }

    #[test]
    fn vms_that_would_change_alike_are_counted_by_rack() {
        let sums = summed(|sums| {
            let mut moved =
                |rack, vmid, to| sums.add_change(rack, Outcome::Update, [Some("::1"), Some(to)], vmid);
            moved(1, "1", "::2");
            moved(0, "2", "::3");
            for vmid in ["4", "5", "7", "8"] {
                moved(0, vmid, "::2");
            }
            sums.add_change(0, Outcome::Create, [None, Some("::2")], "6");
        });
        let told: Vec<_> = sums
            .would_change
            .iter()
            .map(|count| {
                let ChangeCount { rack_id, outcome, next_hop, planned_next_hop, vms, examples } = count;
                let word = |text: &Option<String>| text.clone().unwrap_or("-".into());
                let [rack, from, to] = [rack_id, next_hop, planned_next_hop].map(word);
                format!("{rack} {outcome} {from} {to} {vms} {}", examples.join(","))
            })
            .collect();
        let expected = [
            "a update ::1 ::3 1 2",
            "a update ::1 ::2 4 4,5,7",
            "a create - ::2 1 6",
            "- update ::1 ::2 1 1",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn reasons_that_differ_in_numbers_alone_are_one_and_the_most_frequent_comes_first() {
        let [dec1, dec2] = ["cools down until 2026-12-01T00:00:00Z", "cools down until 2026-12-02T00:00:00Z"];
        let sums = blocked(&["No IPv4 on net0  first", dec1, dec2]);
        assert_eq!(told(&sums), [("cools down until …", 2), ("No IPv4 on net0  first", 1)]);
        assert_eq!(sums.reasons[0].examples, ["2", "3"]);
        assert_eq!(told(&blocked(&["no v4 on net0", "no v4 on net1"])), [("no v4 on …", 2)]);
    }

    #[test]
    fn whatever_the_api_says_memory_is_bounded() {
        let text = |n: usize| format!("{} {}", "x".repeat(n), "y".repeat(9_000));
        let hop = |n: usize| format!("2001:db8::{n:x}");
        let sums = summed(|sums| {
            for n in 0..2_000 {
                sums.add_reason(&text(n), "1");
                sums.add_change(0, Outcome::Update, [None, Some(&hop(n))], "1");
            }
        });
        assert_eq!((sums.reasons.len(), sums.would_change.len()), (REASONS, CHANGES));
        assert!(sums.reasons.iter().all(|count| count.reason.chars().count() <= REASON));
    }
}
