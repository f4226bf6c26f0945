//! A routed IPv6 allocation in one normalised form, whichever API dialect it came from.
//!
//! Two allocations are the same when their *network fields* are: timestamps and metadata never count.

mod address;
mod expected;
mod moment;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use address::{InvalidAddress, NextHop, Prefix};
pub use expected::{Drift, Expected};
pub use moment::Moment;

/// What the API says of one VM's routed prefix. What an answer does not say is unknown, and no change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Allocation {
    pub id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: Option<String>,
    pub account_id: Option<String>,
    pub proxmox_vm_id: Option<String>,
    pub prefix: Prefix,
    pub next_hop: Option<NextHop>,
    pub status: Option<String>,
    pub allocated_at: Option<Moment>,
    pub released_at: Option<Moment>,
    pub cooldown_until: Option<Moment>,
    pub created_at: Option<Moment>,
    pub updated_at: Option<Moment>,
    pub metadata_updated_at: Option<Moment>,
}

/// The fields that make two allocations different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Prefix,
    NextHop,
    RackId,
    Status,
    Id,
    AccountId,
    ClientId,
    ProxmoxVmId,
}

impl Field {
    pub const ALL: [Self; 8] = [
        Self::Prefix,
        Self::NextHop,
        Self::RackId,
        Self::Status,
        Self::Id,
        Self::AccountId,
        Self::ClientId,
        Self::ProxmoxVmId,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::NextHop => "next_hop",
            Self::RackId => "rack_id",
            Self::Status => "status",
            Self::Id => "id",
            Self::AccountId => "account_id",
            Self::ClientId => "client_id",
            Self::ProxmoxVmId => "proxmox_vm_id",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One network field that differs from the VM's last-known allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub field: Field,
    pub before: String,
    pub after: String,
}

impl Allocation {
    /// The network fields that both know and in which `self` differs from `before`, in the order of [`Field::ALL`].
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let change = |field| {
            let (was, is) = (before.text(field)?, self.text(field)?);
            let differs = match field {
                Field::Prefix => self.prefix != before.prefix,
                Field::NextHop => !agree(self.next_hop.as_ref(), before.next_hop.as_ref()),
                Field::RackId
                | Field::Status
                | Field::Id
                | Field::AccountId
                | Field::ClientId
                | Field::ProxmoxVmId => was != is,
            };
            differs.then(|| Change { field, before: was.into(), after: is.into() })
        };
        Field::ALL.into_iter().filter_map(change).collect()
    }

    /// Whether this is not the allocation that was known before: by their ids, else by their prefixes.
    pub fn is_another_than(&self, before: &Self) -> bool {
        match (&self.id, &before.id) {
            (Some(id), Some(before)) => id != before,
            _ => self.prefix != before.prefix,
        }
    }

    /// Whether both say the same to the letter, also of times.
    pub fn is_the_very(&self, other: &Self) -> bool {
        Field::ALL.into_iter().all(|field| self.text(field) == other.text(field))
            && self.times() == other.times()
    }

    fn times(&self) -> [Option<&Moment>; 6] {
        let Self {
            allocated_at,
            released_at,
            cooldown_until,
            created_at,
            updated_at,
            metadata_updated_at,
            ..
        } = self;
        [allocated_at, released_at, cooldown_until, created_at, updated_at, metadata_updated_at]
            .map(Option::as_ref)
    }

    /// With what was known before where it says nothing itself: of the VM, and of the allocation if it is the same.
    pub fn or_as_before<'a>(&'a self, before: Option<&Self>) -> Cow<'a, Self> {
        let is_whole = Field::ALL.into_iter().all(|field| self.text(field).is_some());
        let Some(before) = before.filter(|_| !is_whole) else { return Cow::Borrowed(self) };
        let or = |own: &Option<String>, before: &Option<String>| own.as_ref().or(before.as_ref()).cloned();
        let of_the_vm = Self {
            rack_id: or(&self.rack_id, &before.rack_id),
            client_id: or(&self.client_id, &before.client_id),
            account_id: or(&self.account_id, &before.account_id),
            proxmox_vm_id: or(&self.proxmox_vm_id, &before.proxmox_vm_id),
            ..self.clone()
        };
        Cow::Owned(match self.is_another_than(before) {
            true => of_the_vm,
            false => Self {
                id: or(&self.id, &before.id),
                status: or(&self.status, &before.status),
                next_hop: self.next_hop.as_ref().or(before.next_hop.as_ref()).cloned(),
                ..of_the_vm
            },
        })
    }

    /// `None` where it is unknown.
    fn text(&self, field: Field) -> Option<&str> {
        match field {
            Field::Prefix => Some(self.prefix.as_str()),
            Field::NextHop => self.next_hop.as_ref().map(NextHop::as_str),
            Field::RackId => self.rack_id.as_deref(),
            Field::Status => self.status.as_deref(),
            Field::Id => self.id.as_deref(),
            Field::AccountId => self.account_id.as_deref(),
            Field::ClientId => self.client_id.as_deref(),
            Field::ProxmoxVmId => self.proxmox_vm_id.as_deref(),
        }
    }
}

/// Whether both may be the same router: one that is not said is unknown.
fn agree(one: Option<&NextHop>, other: Option<&NextHop>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one.agrees_with(other))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The allocation of the API's documented example.
    pub(crate) fn example() -> Allocation {
        let moment = |text: &str| Some(Moment::from(text.to_owned()));
        Allocation {
            id: Some("3".into()),
            rack_id: Some("dc1r28".into()),
            client_id: Some("30000".into()),
            account_id: Some("20000".into()),
            proxmox_vm_id: Some("10048".into()),
            prefix: "2001:db8::1/48".parse().unwrap(),
            next_hop: "2001:db8::1".parse().ok(),
            status: Some("active".into()),
            allocated_at: moment("2026-02-10 00:00:00.658429+00"),
            released_at: None,
            cooldown_until: None,
            created_at: moment("2026-02-10 00:00:00.658429+00"),
            updated_at: moment("2026-02-10 00:00:00.658429+00"),
            metadata_updated_at: moment("2026-02-10T00:00:00.000Z"),
        }
    }

    /// The example, of which nothing is known but the prefix.
    pub(super) fn prefix_only() -> Allocation {
        Allocation {
            id: None,
            rack_id: None,
            client_id: None,
            account_id: None,
            proxmox_vm_id: None,
            next_hop: None,
            status: None,
            ..example()
        }
    }

    #[test]
    fn timestamps_and_metadata_are_no_change() {
        let before = example();
        let mut after = example();
        let later = Some(Moment::from("2026-03-01 00:00:00+00".to_owned()));
        after.updated_at.clone_from(&later);
        after.created_at.clone_from(&later);
        after.allocated_at.clone_from(&later);
        after.cooldown_until.clone_from(&later);
        after.released_at.clone_from(&later);
        after.metadata_updated_at = None;
        assert_eq!(after.changes_since(&before), []);
    }

    #[test]
    fn every_network_field_is_a_change_with_before_and_after() {
        let before = example();
        let mut after = example();
        after.prefix = "2001:db8:1::/48".parse().unwrap();
        after.next_hop = "2001:db8::2/128".parse().ok();
        for text in [
            &mut after.rack_id,
            &mut after.status,
            &mut after.id,
            &mut after.account_id,
            &mut after.client_id,
            &mut after.proxmox_vm_id,
        ] {
            *text = Some("other".into());
        }
        let changes = after.changes_since(&before);
        assert_eq!(changes.iter().map(|c| c.field).collect::<Vec<_>>(), Field::ALL);
        assert_eq!(changes[1].before, "2001:db8::1");
        assert_eq!(changes[1].after, "2001:db8::2/128");
    }

    #[test]
    fn what_is_unknown_is_no_change() {
        let (whole, bare) = (example(), prefix_only());
        assert_eq!(bare.changes_since(&whole), []);
        assert_eq!(whole.changes_since(&bare), []);
    }

    #[test]
    fn what_was_known_of_a_vm_stays_known_and_what_was_known_of_another_allocation_does_not() {
        let before = example();
        let same = prefix_only().or_as_before(Some(&before)).into_owned();
        assert_eq!(serde_json::to_value(&same).unwrap(), serde_json::to_value(&before).unwrap());
        let another = Allocation { prefix: "2001:db8:9::/48".parse().unwrap(), ..prefix_only() };
        let known = another.or_as_before(Some(&before)).into_owned();
        assert_eq!((known.id, known.status, known.next_hop), (None, None, None));
        assert_eq!((known.rack_id, known.account_id), (before.rack_id, before.account_id));
        assert!(matches!(example().or_as_before(Some(&example())), Cow::Borrowed(_)));
        assert!(matches!(prefix_only().or_as_before(None), Cow::Borrowed(_)));
    }

    #[test]
    fn another_allocation_has_another_id_or_where_one_is_unknown_another_prefix() {
        let id = |id: Option<&str>| Allocation { id: id.map(str::to_owned), ..example() };
        let moved = Allocation { prefix: "2001:db8:9::/48".parse().unwrap(), ..example() };
        assert!(id(Some("4")).is_another_than(&example()));
        assert!(!moved.is_another_than(&example()));
        assert!(!id(None).is_another_than(&example()) && !example().is_another_than(&id(None)));
        assert!(Allocation { id: None, ..moved }.is_another_than(&example()));
    }

    #[test]
    fn an_allocation_survives_storage_as_it_was_written() {
        let stored = serde_json::to_string(&example()).unwrap();
        let read: Allocation = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.changes_since(&example()), []);
        assert_eq!(read.prefix.as_str(), "2001:db8::1/48");
        assert_eq!(read.updated_at, example().updated_at);
    }
}
