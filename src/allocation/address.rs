//! Networks and routers: parsed once, here; the text they came as is kept for reports.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;
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

macro_rules! text_conversions {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = InvalidAddress;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

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
text_conversions!(Prefix, NextHop);

#[cfg(test)]
mod tests {
    use super::*;

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
}
