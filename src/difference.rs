//! What sets two runs apart for one VM. A pure function of what each of them says of it.

use serde::{Deserialize, Serialize};

use crate::allocation::{Allocation, Change, Field, NextHop, Prefix};
use crate::outcome::{Failure, Outcome};
use crate::words::words;

words! {
    /// In what way a VM differs from one run to another.
    Difference {
        /// It failed, and had succeeded before.
        NewlyFailing = "newly_failing",
        /// It succeeded, and had failed before.
        Recovered = "recovered",
        /// Its allocation is another one, or it fails for another reason; or a forecast is another one, or did not come true.
        Changed = "changed",
        Appeared = "appeared",
        Gone = "gone",
        /// One of the two runs stopped before its turn: nothing can be concluded.
        NotAttempted = "not_attempted",
    }
}

/// What one run says of a VM, as far as two runs are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub outcome: Outcome,
    pub failure: Option<Failure>,
    /// Why it failed, or is blocked.
    pub error: Option<String>,
    /// As answered.
    pub rack_id: Option<String>,
    pub prefix: Option<String>,
    pub next_hop: Option<String>,
    /// Of a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_next_hop: Option<String>,
    pub status: Option<String>,
    /// `None` where none was answered, or by a run of a v6fleet that did not keep them.
    #[serde(flatten)]
    pub ids: Option<Ids>,
}

/// The ids of an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    pub id: Option<String>,
    pub account_id: Option<String>,
    pub client_id: Option<String>,
    pub proxmox_vm_id: Option<String>,
}

impl From<&Allocation> for Ids {
    fn from(allocation: &Allocation) -> Self {
        Self {
            id: allocation.id.clone(),
            account_id: allocation.account_id.clone(),
            client_id: allocation.client_id.clone(),
            proxmox_vm_id: allocation.proxmox_vm_id.clone(),
        }
    }
}

impl Standing {
    fn was_attempted(&self) -> bool {
        self.failure != Some(Failure::NotAttempted)
    }

    fn value(&self, field: Field) -> Option<&str> {
        let id = |of: fn(&Ids) -> &Option<String>| self.ids.as_ref().map(of)?.as_deref();
        match field {
            Field::Prefix => self.prefix.as_deref(),
            Field::NextHop => self.next_hop.as_deref(),
            Field::RackId => self.rack_id.as_deref(),
            Field::Status => self.status.as_deref(),
            Field::Id => id(|ids| &ids.id),
            Field::AccountId => id(|ids| &ids.account_id),
            Field::ClientId => id(|ids| &ids.client_id),
            Field::ProxmoxVmId => id(|ids| &ids.proxmox_vm_id),
        }
    }

    /// What a run after this plan is to find, if this is one.
    fn foreseen(&self, field: Field) -> Option<&str> {
        let planned = self.planned_next_hop.as_deref().filter(|_| field == Field::NextHop);
        planned.or_else(|| self.value(field))
    }

    /// Whether what is forecast here, or came of it there, is no other than one would expect.
    fn agrees_with(&self, before: &Self) -> bool {
        match (before.outcome.is_forecast(), self.outcome.is_forecast()) {
            (false, false) => true,
            (true, false) => before.outcome.come_true() == self.outcome,
            // What a run has done is not to be done again.
            (false, true) => self.outcome == Outcome::Keep,
            (true, true) => {
                let hops = before.planned_next_hop.as_deref().zip(self.planned_next_hop.as_deref());
                let hop_agrees = hops.is_none_or(|(before, after)| same(Field::NextHop, before, after));
                before.outcome == self.outcome && hop_agrees && before.error == self.error
            }
        }
    }

    /// The network fields that both know and that differ, in the order of [`Field::ALL`]. Before a run, a plan's are what it
    /// has foreseen.
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let change = |field| {
            let before =
                if self.outcome.is_forecast() { before.value(field) } else { before.foreseen(field) };
            let (before, after) = (before?, self.value(field)?);
            (!same(field, before, after)).then(|| Change {
                field,
                before: before.into(),
                after: after.into(),
            })
        };
        Field::ALL.into_iter().filter_map(change).collect()
    }
}

/// However an address or a network is written, it is the same one.
fn same(field: Field, a: &str, b: &str) -> bool {
    a == b
        || match field {
            Field::Prefix => matches!((a.parse::<Prefix>(), b.parse()), (Ok(a), Ok(b)) if a == b),
            Field::NextHop => {
                matches!((a.parse::<NextHop>(), b.parse::<NextHop>()), (Ok(a), Ok(b)) if a.agrees_with(&b))
            }
            Field::RackId
            | Field::Status
            | Field::Id
            | Field::AccountId
            | Field::ClientId
            | Field::ProxmoxVmId => false,
        }
}

/// How a VM differs between two runs; `None` where it does not, or is in neither.
pub fn difference(before: Option<&Standing>, after: Option<&Standing>) -> Option<Difference> {
    let (before, after) = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Difference::Appeared),
        (Some(_), None) => return Some(Difference::Gone),
        (Some(before), Some(after)) => (before, after),
    };
    match (before.was_attempted(), after.was_attempted()) {
        (false, false) => return None,
        (true, false) | (false, true) => return Some(Difference::NotAttempted),
        (true, true) => {}
    }
    match (before.failure, after.failure) {
        (None, Some(_)) => Some(Difference::NewlyFailing),
        (Some(_), None) => Some(Difference::Recovered),
        (Some(before), Some(after)) => (before != after).then_some(Difference::Changed),
        (None, None) => {
            let is_same = after.agrees_with(before) && after.changes_since(before).is_empty();
            (!is_same).then_some(Difference::Changed)
        }
    }
}

/// Whether a VM fails that had not failed in the earlier run too; one that was not in it had not. What was never called
/// fails in no way of its own.
pub fn fails_newly(before: Option<&Standing>, after: Option<&Standing>) -> bool {
    let fails = |standing: &Standing| standing.failure.is_some();
    after.is_some_and(|after| fails(after) && after.was_attempted()) && !before.is_some_and(fails)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn answered() -> Standing {
        Standing {
            outcome: Outcome::Unchanged,
            failure: None,
            error: None,
            rack_id: Some("dc1r28".into()),
            prefix: Some("2001:db8::1/48".into()),
            next_hop: Some("2001:db8:1000::1".into()),
            planned_next_hop: None,
            status: Some("active".into()),
            ids: Some(Ids {
                id: Some("1".into()),
                account_id: Some("2".into()),
                client_id: Some("3".into()),
                proxmox_vm_id: Some("4".into()),
            }),
        }
    }

    pub(crate) fn failed(failure: Failure) -> Standing {
        Standing {
            outcome: Outcome::Failed,
            failure: Some(failure),
            error: Some("in words".into()),
            rack_id: None,
            prefix: None,
            next_hop: None,
            planned_next_hop: None,
            status: None,
            ids: None,
        }
    }

    #[test]
    fn every_pair_of_outcomes_has_its_difference() {
        use Difference::{Appeared, Changed, Gone, NewlyFailing, NotAttempted, Recovered};
        let created = Standing { outcome: Outcome::Created, ..answered() };
        let moved = Standing { next_hop: Some("2001:db8:1000::2".into()), ..answered() };
        let (timeout, not_found) = (failed(Failure::Timeout), failed(Failure::NotFound));
        let never = failed(Failure::NotAttempted);
        let (created, answered) = (Some(&created), Some(&answered()));
        let (moved, timeout, not_found, never) =
            (Some(&moved), Some(&timeout), Some(&not_found), Some(&never));
        for (before, after, expected) in [
            (None, None, None),
            (answered, answered, None),
            (created, answered, None),
            (timeout, timeout, None),
            (never, never, None),
            (answered, timeout, Some(NewlyFailing)),
            (created, not_found, Some(NewlyFailing)),
            (timeout, answered, Some(Recovered)),
            (not_found, moved, Some(Recovered)),
            (answered, moved, Some(Changed)),
            (timeout, not_found, Some(Changed)),
            (None, answered, Some(Appeared)),
            (None, never, Some(Appeared)),
            (answered, None, Some(Gone)),
            (timeout, None, Some(Gone)),
            (never, answered, Some(NotAttempted)),
            (never, timeout, Some(NotAttempted)),
            (answered, never, Some(NotAttempted)),
            (timeout, never, Some(NotAttempted)),
        ] {
            assert_eq!(difference(before, after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_vm_fails_newly_where_it_had_not_failed_before_whatever_the_reason_is() {
        let (timeout, not_found) = (failed(Failure::Timeout), failed(Failure::NotFound));
        let (answered, never) = (answered(), failed(Failure::NotAttempted));
        let (answered, timeout, not_found, never) =
            (Some(&answered), Some(&timeout), Some(&not_found), Some(&never));
        for (before, after, expected) in [
            (answered, timeout, true),
            (None, timeout, true),
            (timeout, timeout, false),
            (not_found, timeout, false),
            (never, timeout, false),
            (answered, never, false),
            (None, never, false),
            (answered, answered, false),
            (timeout, answered, false),
            (None, answered, false),
            (timeout, None, false),
        ] {
            assert_eq!(fails_newly(before, after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn each_network_field_makes_a_change_and_a_way_of_writing_does_not() {
        let set = |field: Field, text: &str| {
            let mut standing = answered();
            let ids = standing.ids.as_mut().unwrap();
            match field {
                Field::Prefix => standing.prefix = Some(text.into()),
                Field::NextHop => standing.next_hop = Some(text.into()),
                Field::RackId => standing.rack_id = Some(text.into()),
                Field::Status => standing.status = Some(text.into()),
                Field::Id => ids.id = Some(text.into()),
                Field::AccountId => ids.account_id = Some(text.into()),
                Field::ClientId => ids.client_id = Some(text.into()),
                Field::ProxmoxVmId => ids.proxmox_vm_id = Some(text.into()),
            }
            standing
        };
        for field in Field::ALL {
            let other = set(field, "another");
            let [change] = &other.changes_since(&answered())[..] else { panic!("{field:?}") };
            assert_eq!((change.field, change.after.as_str()), (field, "another"));
            assert_eq!(difference(Some(&answered()), Some(&other)), Some(Difference::Changed), "{field:?}");
        }
        for (field, text) in [(Field::Prefix, "2001:DB8::/48"), (Field::NextHop, "2001:db8:1000:0::1/128")] {
            assert_eq!(set(field, text).changes_since(&answered()), []);
        }
    }

    /// A VM that a plan has looked at.
    pub(crate) fn forecast(outcome: Outcome, planned: Option<&str>, reason: Option<&str>) -> Standing {
        let [planned_next_hop, error] = [planned, reason].map(|text| text.map(str::to_owned));
        let standing = Standing { outcome, error, planned_next_hop, ..answered() };
        match outcome {
            Outcome::Update | Outcome::Keep => standing,
            _ => Standing { prefix: None, next_hop: None, status: None, ids: None, ..standing },
        }
    }

    #[test]
    fn a_forecast_that_is_another_or_does_not_come_true_is_a_difference() {
        use Difference::{Changed, NewlyFailing, Recovered};
        let (old, new, third) = ("2001:db8:1000::1", "2001:db8:1000::2", "2001:db8:1000::3");
        let ran = |outcome, hop: &str| Standing { outcome, next_hop: Some(hop.into()), ..answered() };
        let create = forecast(Outcome::Create, Some(new), None);
        let update = forecast(Outcome::Update, Some(new), None);
        let keep = forecast(Outcome::Keep, None, None);
        let blocked = |reason| forecast(Outcome::Blocked, None, Some(reason));
        let (created, updated) = (ran(Outcome::Created, new), ran(Outcome::Updated, new));
        let timeout = failed(Failure::Timeout);
        for (before, after, expected) in [
            (&create, &create, None),
            (&create, &keep, Some(Changed)),
            (&update, &forecast(Outcome::Update, Some(third), None), Some(Changed)),
            (&update, &forecast(Outcome::Update, Some("2001:DB8:1000:0::2"), None), None),
            (&blocked("a"), &blocked("a"), None),
            (&blocked("a"), &blocked("b"), Some(Changed)),
            (&blocked("a"), &create, Some(Changed)),
            (&blocked("a"), &timeout, Some(NewlyFailing)),
            (&timeout, &blocked("a"), Some(Recovered)),
            (&create, &created, None),
            (&create, &ran(Outcome::Unchanged, new), Some(Changed)),
            (&create, &ran(Outcome::Created, third), Some(Changed)),
            (&create, &timeout, Some(NewlyFailing)),
            (&update, &updated, None),
            (&update, &ran(Outcome::Updated, third), Some(Changed)),
            (&keep, &ran(Outcome::Unchanged, old), None),
            (&keep, &ran(Outcome::Updated, new), Some(Changed)),
            (&blocked("a"), &created, Some(Changed)),
            (&updated, &forecast(Outcome::Keep, None, None), Some(Changed)),
            (&ran(Outcome::Updated, old), &keep, None),
            (&created, &create, Some(Changed)),
        ] {
            assert_eq!(difference(Some(before), Some(after)), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_one_of_the_runs_did_not_keep_is_no_change() {
        let old = Standing { ids: None, ..answered() };
        let unknown = Ids { id: None, account_id: None, client_id: None, proxmox_vm_id: None };
        let bare = Standing { ids: Some(unknown), rack_id: None, status: None, ..answered() };
        for other in [old, bare] {
            assert_eq!(difference(Some(&other), Some(&answered())), None);
            assert_eq!(difference(Some(&answered()), Some(&other)), None);
        }
    }
}
