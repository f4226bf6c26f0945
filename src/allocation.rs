//! A routed IPv6 allocation in one normalised form, whichever API dialect it came from.
//!
//! Addresses, networks and times are parsed once, here; the text they came as is kept for reports.
//! Two allocations are the same when their *network fields* are: timestamps and metadata never count.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a text is not an IPv6 prefix or next hop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("not an IPv6 network in CIDR notation such as 2001:db8::/48")]
    Prefix,
    #[error("not an IPv6 address such as 2001:db8::1")]
    NextHop,
}

/// An IPv6 network as it was written; equal to another when the networks are.
///
/// Host bits are allowed (`2001:db8::1/48` is the network `2001:db8::/48`): the API sends them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    text: Box<str>,
    network: Ipv6Net,
}

impl Prefix {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn network(&self) -> Ipv6Net {
        self.network
    }

    /// Whether the text says more than the network, as `2001:db8::1/48` does.
    pub fn has_host_bits(&self) -> bool {
        Ipv6Net::from_str(&self.text).is_ok_and(|written| written != self.network)
    }

    /// The length that the text itself gives, 0 to 128.
    pub fn length(&self) -> u8 {
        self.network.prefix_len()
    }
}

impl FromStr for Prefix {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = Ipv6Net::from_str(text).map_err(|_| InvalidAddress::Prefix)?;
        Ok(Self { text: text.into(), network: network.trunc() })
    }
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        self.network == other.network
    }
}

/// The router of a prefix as it was written; equal to another when the addresses are.
///
/// A length after the address (`2001:db8::1/128`) is accepted and says nothing: the API adds it to some answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NextHop {
    text: Box<str>,
    address: Ipv6Addr,
}

impl NextHop {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn address(&self) -> Ipv6Addr {
        self.address
    }
}

impl FromStr for NextHop {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = match text.contains('/') {
            true => Ipv6Net::from_str(text).map(|net| net.addr()).ok(),
            false => Ipv6Addr::from_str(text).ok(),
        };
        let address = address.ok_or(InvalidAddress::NextHop)?;
        Ok(Self { text: text.into(), address })
    }
}

impl PartialEq for NextHop {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

/// A moment as the server wrote it. Text that cannot be read is kept, and is no moment.
///
/// It is read when it is asked for: of most moments nobody asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Moment {
    text: Box<str>,
}

impl Moment {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `None` where the text is no time. Reads RFC 3339 and PostgreSQL's `2026-02-10 00:00:00.658429+00`.
    pub fn at(&self) -> Option<Timestamp> {
        self.text.parse().ok()
    }
}

impl From<String> for Moment {
    fn from(text: String) -> Self {
        Self { text: text.into() }
    }
}

macro_rules! text_conversions {
    ($($kind:ty),*) => {$(
        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.text.into()
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }
    )*};
}
text_conversions!(Prefix, NextHop, Moment);

macro_rules! try_from_string {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = InvalidAddress;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    )*};
}
try_from_string!(Prefix, NextHop);

/// What the API says of one VM's routed prefix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Allocation {
    pub id: String,
    pub rack_id: String,
    pub client_id: String,
    pub account_id: String,
    pub proxmox_vm_id: String,
    pub prefix: Prefix,
    pub next_hop: NextHop,
    pub status: String,
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

/// One network field that differs from the VM's last-known allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub field: Field,
    pub before: String,
    pub after: String,
}

/// One field that differs from what the inventory expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub field: Field,
    pub expected: String,
    pub actual: String,
}

impl Allocation {
    /// The network fields in which `self` differs from `before`, in the order of [`Field::ALL`].
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        Field::ALL
            .into_iter()
            .filter(|&field| !self.same(before, field))
            .map(|field| Change { field, before: before.text(field).into(), after: self.text(field).into() })
            .collect()
    }

    fn same(&self, other: &Self, field: Field) -> bool {
        match field {
            Field::Prefix => self.prefix == other.prefix,
            Field::NextHop => self.next_hop == other.next_hop,
            Field::RackId
            | Field::Status
            | Field::Id
            | Field::AccountId
            | Field::ClientId
            | Field::ProxmoxVmId => self.text(field) == other.text(field),
        }
    }

    fn text(&self, field: Field) -> &str {
        match field {
            Field::Prefix => self.prefix.as_str(),
            Field::NextHop => self.next_hop.as_str(),
            Field::RackId => &self.rack_id,
            Field::Status => &self.status,
            Field::Id => &self.id,
            Field::AccountId => &self.account_id,
            Field::ClientId => &self.client_id,
            Field::ProxmoxVmId => &self.proxmox_vm_id,
        }
    }
}

/// What an inventory says the answer should be; `None` expects nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expected {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxmox_vm_id: Option<String>,
}

impl Expected {
    /// Every expectation that `actual` does not meet, in the order of [`Field::ALL`].
    pub fn drift(&self, actual: &Allocation) -> Vec<Drift> {
        Field::ALL
            .into_iter()
            .filter_map(|field| {
                let expected = self.unmet(actual, field)?;
                Some(Drift { field, expected: expected.into(), actual: actual.text(field).into() })
            })
            .collect()
    }

    fn unmet(&self, actual: &Allocation, field: Field) -> Option<&str> {
        let text = match field {
            Field::Prefix => {
                return self.prefix.as_ref().filter(|&p| *p != actual.prefix).map(Prefix::as_str);
            }
            Field::NextHop => {
                return self.next_hop.as_ref().filter(|&n| *n != actual.next_hop).map(NextHop::as_str);
            }
            Field::RackId => &self.rack_id,
            Field::AccountId => &self.account_id,
            Field::ClientId => &self.client_id,
            Field::ProxmoxVmId => &self.proxmox_vm_id,
            Field::Status | Field::Id => &None,
        };
        text.as_deref().filter(|&text| text != actual.text(field))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The allocation of the API's documented example.
    pub(crate) fn example() -> Allocation {
        let moment = |text: &str| Some(Moment::from(text.to_owned()));
        Allocation {
            id: "3".into(),
            rack_id: "dc1r28".into(),
            client_id: "30000".into(),
            account_id: "20000".into(),
            proxmox_vm_id: "10048".into(),
            prefix: "2001:db8::1/48".parse().unwrap(),
            next_hop: "2001:db8::1".parse().unwrap(),
            status: "active".into(),
            allocated_at: moment("2026-02-10 00:00:00.658429+00"),
            released_at: None,
            cooldown_until: None,
            created_at: moment("2026-02-10 00:00:00.658429+00"),
            updated_at: moment("2026-02-10 00:00:00.658429+00"),
            metadata_updated_at: moment("2026-02-10T00:00:00.000Z"),
        }
    }

    #[test]
    fn prefixes_are_compared_as_networks_and_keep_their_text() {
        let with_host_bits: Prefix = "2001:db8::1/48".parse().unwrap();
        for same in ["2001:db8::/48", "2001:DB8::/48", "2001:0db8:0000::/48", "2001:db8::ffff/48"] {
            assert_eq!(with_host_bits, same.parse().unwrap(), "{same}");
        }
        for other in ["2001:db8::/49", "2001:db8:1::/48"] {
            assert_ne!(with_host_bits, other.parse().unwrap(), "{other}");
        }
        assert_eq!(with_host_bits.as_str(), "2001:db8::1/48");
    }

    #[test]
    fn host_bits_are_noticed_however_the_network_is_written() {
        for (text, has) in [
            ("2001:db8::1/48", true),
            ("2001:db8::ffff/127", true),
            ("2001:db8::/48", false),
            ("2001:0DB8:0:0::/48", false),
            ("2001:db8::1/128", false),
            ("::/0", false),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().has_host_bits(), has, "{text}");
        }
    }

    #[test]
    fn next_hops_are_compared_as_addresses_whatever_their_length() {
        let plain: NextHop = "2001:db8::1".parse().unwrap();
        for same in ["2001:db8::1/128", "2001:DB8::1", "2001:db8:0:0:0:0:0:1"] {
            assert_eq!(plain, same.parse().unwrap(), "{same}");
        }
        assert_ne!(plain, "2001:db8::2/128".parse().unwrap());
    }

    #[test]
    fn texts_that_are_no_address_do_not_parse() {
        for text in ["", "2001:db8::", "10.0.0.0/8", "2001:db8::/129", "2001:db8::/-1", " 2001:db8::/48"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        for text in ["", "10.0.0.1", "2001:db8::1/129", "2001:db8::1/", "fe80::1%eth0"] {
            assert!(text.parse::<NextHop>().is_err(), "{text}");
        }
    }

    #[test]
    fn both_time_formats_of_the_api_are_read_and_others_are_kept_as_text() {
        let read = |text: &str| Moment::from(text.to_owned()).at();
        assert_eq!(read("2026-02-10 00:00:00.658429+00"), read("2026-02-10T00:00:00.658429Z"));
        assert!(read("2026-02-10 00:00:00.658429+00").is_some());
        for text in ["", "soon", "2026-02-30 00:00:00+00", "2026-02-10 00:00:00"] {
            assert_eq!(read(text), None, "{text}");
            assert_eq!(Moment::from(text.to_owned()).as_str(), text);
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
        after.next_hop = "2001:db8::2/128".parse().unwrap();
        for text in [
            &mut after.rack_id,
            &mut after.status,
            &mut after.id,
            &mut after.account_id,
            &mut after.client_id,
            &mut after.proxmox_vm_id,
        ] {
            *text = "other".into();
        }
        let changes = after.changes_since(&before);
        assert_eq!(changes.iter().map(|c| c.field).collect::<Vec<_>>(), Field::ALL);
        assert_eq!(changes[1].before, "2001:db8::1");
        assert_eq!(changes[1].after, "2001:db8::2/128");
    }

    #[test]
    fn drift_compares_networks_and_addresses_too() {
        let met = Expected {
            prefix: Some("2001:DB8::/48".parse().unwrap()),
            next_hop: Some("2001:db8::1/128".parse().unwrap()),
            rack_id: Some("dc1r28".into()),
            ..Expected::default()
        };
        assert_eq!(met.drift(&example()), []);
        let unmet = Expected { client_id: Some("1".into()), rack_id: Some("dc1r29".into()), ..met };
        let drift = unmet.drift(&example());
        assert_eq!(drift.iter().map(|d| d.field).collect::<Vec<_>>(), [Field::RackId, Field::ClientId]);
        assert_eq!((drift[0].expected.as_str(), drift[0].actual.as_str()), ("dc1r29", "dc1r28"));
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
