//! What a look has found of a VM, and what follows: whether what was asked for is done, and what a call would change.
//!
//! What the API does not say is unknown, and never a change.

use super::Outcome;
use super::verdict::{Answer, oddities};
use crate::allocation::{Allocation, Moment, NextHop};
use crate::vm::Action;

/// The state of a VM's routed IPv6. A look changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Whether it can be had at all.
    pub available: Option<bool>,
    /// Why not, in the API's own words.
    pub reason: Option<String>,
    /// What a refresh would set.
    pub suggested: Option<NextHop>,
    /// Also one that was released, and cools down.
    pub allocation: Option<Allocation>,
    /// What was odd about the answer.
    pub warnings: Vec<String>,
}

/// What a call would do for a VM.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// One of [`super::Kind::Plan`]'s.
    pub outcome: Outcome,
    /// Why it is blocked.
    pub reason: Option<String>,
    /// The next hop that the call would set, where it would change anything.
    pub next_hop: Option<NextHop>,
    pub warnings: Vec<String>,
}

impl Look {
    /// The answer to a call that need not be made any more. A look says nothing of who made the allocation.
    pub fn done(self, action: Action) -> Option<Answer> {
        let is_done = match action {
            Action::Allocate => true,
            Action::RefreshNextHop => self.is_fresh() == Some(true),
        };
        let Self { allocation, warnings, .. } = self;
        let allocation = allocation.filter(|allocation| is_done && is_in_use(allocation))?;
        Some(Answer { created: false, allocation, warnings })
    }

    /// What `action` would do, by what was found.
    pub fn forecast(&self, action: Action) -> Forecast {
        let mut forecast = match &self.allocation {
            None => self.of_none(action),
            Some(allocation) if is_in_use(allocation) => self.of_one_in_use(action),
            Some(allocation) => blocked(why_unused(allocation)),
        };
        forecast.warnings.extend(self.warnings.iter().cloned());
        if let Some(allocation) = self.allocation.as_ref().filter(|_| forecast.outcome != Outcome::Blocked) {
            forecast.warnings.extend(oddities(allocation));
        }
        forecast
    }

    fn of_none(&self, action: Action) -> Forecast {
        match (action, self.available) {
            (_, Some(false)) => blocked(self.words().to_owned()),
            (Action::RefreshNextHop, _) => blocked("there is no allocation to refresh".into()),
            (Action::Allocate, Some(true)) => self.change(Outcome::Create),
            (Action::Allocate, None) => Forecast {
                warnings: vec!["the API does not say whether an allocation can be had".into()],
                ..self.change(Outcome::Create)
            },
        }
    }

    fn of_one_in_use(&self, action: Action) -> Forecast {
        match (action, self.is_fresh()) {
            (Action::Allocate, _) | (Action::RefreshNextHop, Some(true)) => keep(vec![]),
            (Action::RefreshNextHop, Some(false)) if self.available == Some(false) => {
                blocked(self.words().to_owned())
            }
            (Action::RefreshNextHop, Some(false)) => self.change(Outcome::Update),
            (Action::RefreshNextHop, None) => {
                keep(vec!["the API does not say which next hop a refresh would change, or to what".into()])
            }
        }
    }

    /// Whether the next hop is the one that a refresh would set; `None` where one of them is unknown.
    fn is_fresh(&self) -> Option<bool> {
        let own = self.allocation.as_ref().and_then(|allocation| allocation.next_hop.as_ref());
        self.suggested.as_ref().zip(own).map(|(suggested, own)| suggested.agrees_with(own))
    }

    /// Why nothing can be had.
    fn words(&self) -> &str {
        self.reason.as_deref().unwrap_or("no reason is given")
    }

    fn change(&self, outcome: Outcome) -> Forecast {
        Forecast { outcome, reason: None, next_hop: self.suggested.clone(), warnings: vec![] }
    }
}

fn keep(warnings: Vec<String>) -> Forecast {
    Forecast { outcome: Outcome::Keep, reason: None, next_hop: None, warnings }
}

fn blocked(reason: String) -> Forecast {
    Forecast { outcome: Outcome::Blocked, reason: Some(reason), next_hop: None, warnings: vec![] }
}

/// The status of an allocation that is there and not used.
const COOLDOWN: &str = "cooldown";

/// Not one that was released, and cools down. One of an unknown status is.
fn is_in_use(allocation: &Allocation) -> bool {
    allocation.released_at.is_none() && allocation.status.as_deref().is_none_or(|status| status == "active")
}

fn why_unused(Allocation { status, released_at, cooldown_until, .. }: &Allocation) -> String {
    match (status.as_deref(), released_at) {
        (Some(COOLDOWN), _) | (_, Some(_)) => cools_down(cooldown_until.as_ref()),
        (status, None) => format!("the allocation is {}", status.unwrap_or("in no known state")),
    }
}

fn cools_down(until: Option<&Moment>) -> String {
    let until = until.map(|until| format!(" until {until}"));
    format!("the last allocation cools down{}", until.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::tests::example;

    const OLD: &str = "2001:db8::1";
    const NEW: &str = "2001:db8::9";

    fn hop(text: &str) -> Option<NextHop> {
        text.parse().ok()
    }

    /// A VM whose allocation has the next hop [`OLD`].
    fn found(edit: impl FnOnce(&mut Look, &mut Allocation)) -> Look {
        let mut look = Look { available: Some(true), suggested: hop(OLD), ..Look::default() };
        let mut allocation = Allocation { next_hop: hop(OLD), ..example() };
        edit(&mut look, &mut allocation);
        Look { allocation: Some(allocation), ..look }
    }

    fn none(available: Option<bool>, reason: Option<&str>) -> Look {
        Look { available, reason: reason.map(str::to_owned), suggested: hop(NEW), ..Look::default() }
    }

    /// `outcome reason / planned next hop / warnings` of a forecast.
    fn shown(look: &Look, action: Action) -> String {
        let Forecast { outcome, reason, next_hop, warnings } = look.forecast(action);
        let next_hop = next_hop.map(|hop| format!(" → {}", hop.as_str()));
        let reason = reason.map(|reason| format!(": {reason}"));
        format!(
            "{outcome}{}{} ({})",
            reason.unwrap_or_default(),
            next_hop.unwrap_or_default(),
            warnings.len()
        )
    }

    #[test]
    fn what_a_call_would_do_follows_from_what_was_found() {
        let set = |text: &str| Some(Moment::from(text.to_owned()));
        for (look, allocate, refresh, why) in [
            (
                none(Some(true), None),
                "create → 2001:db8::9 (0)",
                "blocked: there is no allocation to refresh (0)",
                "nothing is there",
            ),
            (
                none(None, None),
                "create → 2001:db8::9 (1)",
                "blocked: there is no allocation to refresh (0)",
                "nothing is said of whether",
            ),
            (
                none(Some(false), Some("Assign IPv6 first")),
                "blocked: Assign IPv6 first (0)",
                "blocked: Assign IPv6 first (0)",
                "it cannot be had",
            ),
            (
                none(Some(false), None),
                "blocked: no reason is given (0)",
                "blocked: no reason is given (0)",
                "nobody says why",
            ),
            (found(|_, _| {}), "keep (0)", "keep (0)", "all is as it should be"),
            (
                found(|look, _| look.suggested = hop(NEW)),
                "keep (0)",
                "update → 2001:db8::9 (0)",
                "the router moved",
            ),
            (
                found(|look, _| look.suggested = hop("2001:DB8:0::1")),
                "keep (0)",
                "keep (0)",
                "it is written otherwise",
            ),
            (found(|look, _| look.suggested = None), "keep (0)", "keep (1)", "nothing is suggested"),
            (found(|_, own| own.next_hop = None), "keep (0)", "keep (1)", "the own next hop is unknown"),
            (
                found(|look, _| (look.suggested, look.available) = (hop(NEW), Some(false))),
                "keep (0)",
                "blocked: no reason is given (0)",
                "a move that cannot be had",
            ),
            (found(|_, own| own.status = None), "keep (0)", "keep (0)", "the status is unknown"),
            (
                found(|_, own| own.status = Some("pending".into())),
                "blocked: the allocation is pending (0)",
                "blocked: the allocation is pending (0)",
                "a word for it that is new",
            ),
            (
                found(|_, own| {
                    own.status = Some("cooldown".into());
                    own.cooldown_until = set("2026-12-01T00:00:00Z");
                }),
                "blocked: the last allocation cools down until 2026-12-01T00:00:00Z (0)",
                "blocked: the last allocation cools down until 2026-12-01T00:00:00Z (0)",
                "it cools down",
            ),
            (
                found(|_, own| own.released_at = set("2026-11-01")),
                "blocked: the last allocation cools down (0)",
                "blocked: the last allocation cools down (0)",
                "it was released",
            ),
            (
                found(|_, own| own.cooldown_until = set("2026-12-01T00:00:00Z")),
                "keep (1)",
                "keep (1)",
                "in use, with a cooldown that is odd",
            ),
            (found(|look, _| look.warnings = vec!["odd".into()]), "keep (1)", "keep (1)", "odd in itself"),
        ] {
            assert_eq!(shown(&look, Action::Allocate), allocate, "{why}");
            assert_eq!(shown(&look, Action::RefreshNextHop), refresh, "{why}");
        }
    }

    #[test]
    fn what_was_asked_for_is_done_only_where_that_is_known() {
        for (look, done, why) in [
            (none(Some(true), None), [false, false], "nothing is there"),
            (found(|_, _| {}), [true, true], "both are done"),
            (found(|look, _| look.suggested = hop(NEW)), [true, false], "an old next hop"),
            (found(|_, own| own.next_hop = None), [true, false], "an unknown next hop"),
            (found(|look, _| look.suggested = None), [true, false], "nothing is suggested"),
            (found(|_, own| own.status = Some("cooldown".into())), [false, false], "it cools down"),
            (
                found(|_, own| own.released_at = Some(Moment::from(String::new()))),
                [false, false],
                "it was released",
            ),
            (found(|_, own| own.status = None), [true, true], "its status is unknown"),
        ] {
            for (action, expected) in [Action::Allocate, Action::RefreshNextHop].into_iter().zip(done) {
                let answer = look.clone().done(action);
                assert_eq!(answer.is_some(), expected, "{why}: {action}");
                assert!(answer.is_none_or(|answer| !answer.created), "{why}");
            }
        }
    }
}
