//! What an inventory expects of an allocation, and where the API says otherwise: drift.

use serde::{Deserialize, Serialize};

use super::{Allocation, Field, NextHop, Prefix, agree};

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

/// One field that differs from what the inventory expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub field: Field,
    pub expected: String,
    pub actual: String,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, prefix_only};
    use super::*;

    #[test]
    fn what_is_unknown_is_no_drift() {
        let (whole, bare) = (example(), prefix_only());
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
}
