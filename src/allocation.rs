//! A routed IPv6 allocation in one normalised form, whichever API dialect it came from.
//!
//! Addresses, networks and times are parsed once, here; the text they came as is kept for reports.
//! Two allocations are the same when their *network fields* are: timestamps and metadata never count.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;
use jiff::{SignedDuration, Timestamp};
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

/// The router of a prefix as it was written; equal to another when the addresses and zones are.
///
/// A length after the address (`2001:db8::1/128`) is accepted and says nothing: the API adds it to some answers.
/// A link-local address may have a zone, the interface behind which it is: `fe80::1%vmbr0`.
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

    pub fn zone(&self) -> Option<&str> {
        let (_, zone) = self.text.split_once('%')?;
        Some(zone.split_once('/').map_or(zone, |(zone, _)| zone))
    }

    /// Whether both may be the same router: a zone that one of them does not say is unknown.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let zones_agree = self.zone().zip(other.zone()).is_none_or(|(own, other)| own == other);
        self.address == other.address && zones_agree
    }
}

impl FromStr for NextHop {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, length) = text.split_once('/').unwrap_or((text, "128"));
        let (address, zone) = whole.split_once('%').unwrap_or((whole, "none"));
        let is_length = length.parse().is_ok_and(|length: u8| length <= 128) && !length.starts_with('+');
        let is_zone = !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_graphic() && b != b'%');
        match address.parse() {
            Ok(address) if is_length && is_zone => Ok(Self { text: text.into(), address }),
            _ => Err(InvalidAddress::NextHop),
        }
    }
}

impl PartialEq for NextHop {
    fn eq(&self, other: &Self) -> bool {
        (self.address, self.zone()) == (other.address, other.zone())
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

    /// `None` where the text is no time. Reads RFC 3339, PostgreSQL's `2026-02-10 00:00:00.658429+00`, and the seconds
    /// or milliseconds since 1970.
    pub fn at(&self) -> Option<Timestamp> {
        self.text.parse().ok().or_else(|| since_1970(self.text.parse().ok()?))
    }
}

/// Seconds after 1973, or milliseconds where that is beyond the year 5138.
fn since_1970(number: f64) -> Option<Timestamp> {
    let seconds = match number {
        1e8..1e11 => number,
        1e11..1e14 => number / 1000.0,
        _ => return None,
    };
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
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

/// One field that differs from what the inventory expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub field: Field,
    pub expected: String,
    pub actual: String,
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
    /// Every expectation that `actual` does not meet, in the order of [`Field::ALL`]. What is unknown is no drift.
    pub fn drift(&self, actual: &Allocation) -> Vec<Drift> {
        let drift = |field| {
            let (expected, actual) = (self.text(field)?, actual.text(field)?);
            Some(Drift { field, expected: expected.into(), actual: actual.into() })
        };
        Field::ALL.into_iter().filter(|&field| !self.is_met(actual, field)).filter_map(drift).collect()
    }

    /// The fields of which something is expected and nothing known.
    pub fn unknown<'a>(&'a self, actual: &'a Allocation) -> impl Iterator<Item = Field> {
        let is_unknown = |field: &Field| self.text(*field).is_some() && actual.text(*field).is_none();
        Field::ALL.into_iter().filter(is_unknown)
    }

    fn is_met(&self, actual: &Allocation, field: Field) -> bool {
        match field {
            Field::Prefix => self.prefix.as_ref().is_none_or(|prefix| *prefix == actual.prefix),
            Field::NextHop => agree(self.next_hop.as_ref(), actual.next_hop.as_ref()),
            Field::RackId
            | Field::Status
            | Field::Id
            | Field::AccountId
            | Field::ClientId
            | Field::ProxmoxVmId => self.text(field) == actual.text(field),
        }
    }

    /// `None` where nothing is expected.
    fn text(&self, field: Field) -> Option<&str> {
        match field {
            Field::Prefix => self.prefix.as_ref().map(Prefix::as_str),
            Field::NextHop => self.next_hop.as_ref().map(NextHop::as_str),
            Field::RackId => self.rack_id.as_deref(),
            Field::AccountId => self.account_id.as_deref(),
            Field::ClientId => self.client_id.as_deref(),
            Field::ProxmoxVmId => self.proxmox_vm_id.as_deref(),
            Field::Status | Field::Id => None,
        }
    }
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
    fn a_next_hop_may_have_a_zone_and_one_that_is_not_said_is_unknown() {
        let hop = |text: &str| text.parse::<NextHop>().unwrap();
        for text in ["fe80::1%vmbr0", "FE80::1%vmbr0/128", "fe80::1%vmbr0/64"] {
            let address: Ipv6Addr = "fe80::1".parse().unwrap();
            assert_eq!((hop(text).address(), hop(text).zone()), (address, Some("vmbr0")), "{text}");
            assert_eq!(hop(text), hop("fe80::1%vmbr0"));
            assert_eq!(hop(text).as_str(), text);
        }
        for (a, b, agree) in [
            ("fe80::1%vmbr0", "fe80::1", true),
            ("fe80::1", "fe80::1%vmbr0/128", true),
            ("fe80::1%vmbr0", "fe80::1%vmbr1", false),
            ("fe80::1%vmbr0", "fe80::2%vmbr0", false),
        ] {
            assert_eq!((hop(a).agrees_with(&hop(b)), hop(a) == hop(b)), (agree, false), "{a} {b}");
        }
    }

    #[test]
    fn texts_that_are_no_address_do_not_parse() {
        for text in ["", "2001:db8::", "10.0.0.0/8", "2001:db8::/129", "2001:db8::/-1", " 2001:db8::/48"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        for text in [
            "",
            "10.0.0.1",
            "2001:db8::1/129",
            "2001:db8::1/",
            "2001:db8::1/+1",
            "2001:db8::1/64/64",
            "fe80::1%",
            "fe80::1%/64",
            "fe80::1%a b",
            "fe80::1%a%b",
            "fe80::1%\u{1b}",
            "%eth0",
            "fe80::1/64%eth0",
        ] {
            assert!(text.parse::<NextHop>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_times_of_the_api_are_read_and_others_are_kept_as_text() {
        let read = |text: &str| Moment::from(text.to_owned()).at();
        assert_eq!(read("2026-02-10 00:00:00.658429+00"), read("2026-02-10T00:00:00.658429Z"));
        assert!(read("2026-02-10 00:00:00.658429+00").is_some());
        let moment = read("2026-02-10 00:00:00.5+00");
        for text in ["1770681600.5", "1770681600500", "1.7706816005e9"] {
            assert_eq!(read(text), moment, "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-02-30 00:00:00+00",
            "2026-02-10 00:00:00",
            "0",
            "20260210",
            "-1770681600",
            "1e99",
            "nan",
            "inf",
        ] {
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

    /// The example, of which nothing is known but the prefix.
    fn prefix_only() -> Allocation {
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
    fn what_is_unknown_is_neither_a_change_nor_drift() {
        let (whole, bare) = (example(), prefix_only());
        assert_eq!(bare.changes_since(&whole), []);
        assert_eq!(whole.changes_since(&bare), []);
        let expected = Expected {
            prefix: Some(whole.prefix.clone()),
            rack_id: Some("dc1r29".into()),
            account_id: Some("1".into()),
            next_hop: "2001:db8::9".parse().ok(),
            ..Expected::default()
        };
        assert_eq!(expected.drift(&bare), []);
        let unknown: Vec<Field> = expected.unknown(&bare).collect();
        assert_eq!(unknown, [Field::NextHop, Field::RackId, Field::AccountId]);
        assert_eq!(expected.drift(&whole).len(), 3);
        assert_eq!(expected.unknown(&whole).count(), 0);
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
