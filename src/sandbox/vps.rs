//! v2's ids of VMs, `vps_` and a ULID in lower case, and which VM each of them is.
//!
//! What the two dialects call one VM belongs together here and nowhere else.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::dialect::{Dialect, VPS};

/// How the ids begin that the sandbox makes up; 19 digits follow.
const MADE_UP: &[u8] = b"01hxa3b";

/// A VM's public id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct VpsId([u8; 26]);

/// Why a text is not a [`VpsId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id such as vps_01hxa3b4c5d6e7f8g9h0j1k2m3")]
pub(super) struct InvalidVpsId;

impl VpsId {
    /// The id of a VM to which nobody gave one: its number can be read in it.
    pub(super) fn made_up(number: u64) -> Self {
        let mut ulid = *b"01hxa3b0000000000000000000";
        let mut rest = number;
        for place in ulid[MADE_UP.len()..].iter_mut().rev() {
            *place = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
            rest /= 10;
        }
        Self(ulid)
    }

    /// The number that [`Self::made_up`] wrote.
    fn number(self) -> Option<u64> {
        let digits = self.ulid().strip_prefix("01hxa3b")?;
        let number: i64 = digits.parse().ok()?;
        u64::try_from(number).ok().filter(|&number| number > 0)
    }

    /// The number of a VM that exists in an open world, for an id that nobody there made up.
    fn any_number(self) -> u64 {
        let digest = Sha256::digest(self.0);
        let bits = digest.iter().take(8).fold(0, |bits, &byte| (bits << 8) | u64::from(byte)) >> 1;
        let exists = if bits % 100 == 99 { bits - 1 } else { bits };
        exists.max(1)
    }

    /// The 26 characters, without what they begin with.
    pub(super) fn ulid(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for VpsId {
    type Err = InvalidVpsId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Dialect::V2.vm_id(text).map_err(|_| InvalidVpsId)?;
        let ulid = text.strip_prefix(VPS).and_then(|ulid| ulid.as_bytes().try_into().ok());
        ulid.map(Self).ok_or(InvalidVpsId)
    }
}

impl TryFrom<String> for VpsId {
    type Error = InvalidVpsId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for VpsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VPS}{}", self.ulid())
    }
}

/// Which VM has which id, where it is not the one that is made up for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    numbers: HashMap<VpsId, u64>,
    ids: HashMap<u64, VpsId>,
}

impl Names {
    /// Says no where the id is another VM's.
    pub(super) fn give(&mut self, number: u64, id: VpsId) -> bool {
        if id.number().is_some_and(|made_up| made_up != number) || self.numbers.contains_key(&id) {
            return false;
        }
        self.numbers.insert(id, number);
        self.ids.insert(number, id);
        true
    }

    pub(super) fn id(&self, number: u64) -> VpsId {
        self.ids.get(&number).copied().unwrap_or_else(|| VpsId::made_up(number))
    }

    /// The VM of that id, by its name or by the number in a made-up one.
    pub(super) fn number(&self, id: VpsId) -> Option<u64> {
        let made_up = || id.number().filter(|number| !self.ids.contains_key(number));
        self.numbers.get(&id).copied().or_else(made_up)
    }

    /// The same for every id there can be; one that is new here is some VM's from now on.
    pub(super) fn number_of_any(&mut self, id: VpsId) -> Option<u64> {
        if self.numbers.contains_key(&id) || id.number().is_some() {
            return self.number(id);
        }
        let number = id.any_number();
        self.numbers.insert(id, number);
        self.ids.entry(number).or_insert(id);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> VpsId {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_is_26_characters_of_crockfords_base_32_in_lower_case() {
        for text in ["vps_01hxa3b4c5d6e7f8g9h0j1k2m3", "vps_7zzzzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(id(text).to_string(), text);
        }
        for text in [
            "",
            "10000",
            "vps_",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2m",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2m34",
            "vps_01HXA3B4C5D6E7F8G9H0J1K2M3",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2mi",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2mu",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2é",
            "vm_01hxa3b4c5d6e7f8g9h0j1k2m3",
            "vps_../x",
            "vps_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "vps_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert_eq!(text.parse::<VpsId>(), Err(InvalidVpsId), "{text}");
        }
    }

    #[test]
    fn a_made_up_id_is_known_back() {
        let names = Names::default();
        for number in [1, 10_000, 9_223_372_036_854_775_807] {
            let id = names.id(number);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(names.number(id), Some(number));
        }
        assert_eq!(names.id(10_000), id("vps_01hxa3b0000000000000010000"));
        for none in ["vps_01hxa3b0000000000000000000", "vps_01hxa3b9223372036854775808"] {
            assert_eq!(names.number(id(none)), None, "{none}");
        }
    }

    #[test]
    fn a_given_id_stands_in_place_of_the_made_up_one() {
        let mut names = Names::default();
        let given = id("vps_01hxa3b4c5d6e7f8g9h0j1k2m3");
        assert!(names.give(10_000, given));
        assert_eq!((names.id(10_000), names.number(given)), (given, Some(10_000)));
        assert_eq!(names.number(VpsId::made_up(10_000)), None);
        assert!(!names.give(10_001, given));
        assert!(!names.give(10_001, VpsId::made_up(10_002)));
    }

    #[test]
    fn every_id_is_some_vm_and_the_same_one_each_time() {
        let mut names = Names::default();
        let mut numbers = std::collections::HashSet::new();
        for number in 0..10_000 {
            let id = id(&format!("vps_7zzz{number:022}"));
            let vm = names.number_of_any(id).unwrap();
            assert!(vm % 100 != 99 && numbers.insert(vm), "{id}: {vm}");
            assert_eq!((Names::default().number_of_any(id), names.number(id)), (Some(vm), Some(vm)));
            assert_eq!(names.id(vm), id);
        }
        assert_eq!(names.number_of_any(id("vps_01hxa3b0000000000000010099")), Some(10_099));
    }
}
