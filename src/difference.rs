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
        /// Its allocation is another one, or it fails for another reason.
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
    pub error: Option<String>,
    /// As answered.
    pub rack_id: Option<String>,
    pub prefix: Option<String>,
    pub next_hop: Option<String>,
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

    /// The network fields that both know and that differ, in the order of [`Field::ALL`].
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let change = |field| {
            let (before, after) = (before.value(field)?, self.value(field)?);
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
        (None, None) => (!after.changes_since(before).is_empty()).then_some(Difference::Changed),
    }
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
