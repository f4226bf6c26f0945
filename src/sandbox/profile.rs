//! What a world says of a VM beyond its rack: how the account lists it, and whether it can have routed IPv6.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::nullable::Nullable;
use super::vps::VpsId;

/// How long a released prefix is kept from others, in days.
pub(super) const COOLDOWN_DAYS: u32 = 7;
/// The power state in which a VM's calls are refused.
const NOT_READY: &str = "provisioning";
const ACTIVE: &str = "active";
const COOLDOWN: &str = "cooldown";

/// Only what differs from an ordinary VM.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// v2's id, in place of the one that is made up.
    pub(super) id: Option<VpsId>,
    pub(super) name: Option<Box<str>>,
    pub(super) primary_ip: Option<IpAddr>,
    pub(super) service_status: Option<Box<str>>,
    pub(super) power_state: Option<Box<str>>,
    pub(super) operating_system: Option<Box<str>>,
    pub(super) payg: Option<bool>,
    #[serde(default)]
    pub(super) tags: Vec<Box<str>>,
    #[serde(default)]
    pub(super) pending_maintenance: bool,
    /// Why routed IPv6 cannot be had for it.
    pub(super) reason: Option<Box<str>>,
    /// Of its allocation.
    pub(super) status: Option<Box<str>>,
    /// What is null in the answers about it.
    #[serde(default)]
    pub(super) null: Vec<Nullable>,
}

impl Profile {
    pub(super) fn is_ready(&self) -> bool {
        self.power_state.as_deref() != Some(NOT_READY)
    }

    pub(super) fn status(&self) -> &str {
        self.status.as_deref().unwrap_or(ACTIVE)
    }

    pub(super) fn is_active(&self) -> bool {
        self.status() == ACTIVE
    }

    /// When an allocation that was last changed then was released, and until when it cools down, if it does.
    pub(super) fn cooldown(&self, released: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let until = released.saturating_add(SignedDuration::from_hours(24 * i64::from(COOLDOWN_DAYS)));
        (self.status() == COOLDOWN).then_some((released, until.unwrap_or(released)))
    }
}

/// What is said of which VMs.
#[derive(Debug, Clone, Default)]
pub(super) struct Profiles {
    /// By a range's first VM, with its last one.
    ranges: BTreeMap<u64, (u64, Profile)>,
    /// In place of what a range says.
    changed: HashMap<u64, Profile>,
    ordinary: Profile,
}

impl Profiles {
    pub(super) fn of(&self, vm: u64) -> &Profile {
        let range = || self.ranges.range(..=vm).next_back().map(|(_, range)| range);
        let in_range = || range().filter(|(last, _)| vm <= *last).map(|(_, profile)| profile);
        self.changed.get(&vm).or_else(in_range).unwrap_or(&self.ordinary)
    }

    /// Says no where something is said of one of them already.
    pub(super) fn describe(&mut self, first: u64, last: u64, profile: Profile) -> bool {
        let before = self.ranges.range(..=last).next_back();
        if before.is_some_and(|(_, (end, _))| *end >= first) {
            return false;
        }
        self.ranges.insert(first, (last, profile));
        true
    }

    /// What is said of it from now on, in place of all that was.
    pub(super) fn change(&mut self, vm: u64, profile: Profile) {
        self.changed.insert(vm, profile);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because(reason: &str) -> Profile {
        Profile { reason: Some(reason.into()), ..Profile::default() }
    }

    #[test]
    fn a_range_speaks_for_its_vms_until_one_is_changed() {
        let mut profiles = Profiles::default();
        assert!(profiles.describe(10, 19, because("a")));
        assert!(profiles.describe(30, 30, because("b")));
        for (first, last) in [(19, 20), (5, 10), (12, 13), (5, 40), (30, 30)] {
            assert!(!profiles.describe(first, last, because("c")), "{first}-{last}");
        }
        profiles.change(12, Profile::default());
        let reasons = [9, 10, 12, 19, 20, 30, 31].map(|vm| profiles.of(vm).reason.as_deref());
        assert_eq!(reasons, [None, Some("a"), None, Some("a"), None, Some("b"), None]);
    }

    #[test]
    fn only_what_cools_down_has_been_released() {
        let at = Timestamp::UNIX_EPOCH;
        let with = |status: &str| Profile { status: Some(status.into()), ..Profile::default() };
        assert_eq!(with("cooldown").cooldown(at).unwrap().1.as_second(), 7 * 86_400);
        assert_eq!((with("odd").cooldown(at), with("odd").is_active()), (None, false));
        assert!(Profile::default().is_active() && Profile::default().is_ready());
    }
}
