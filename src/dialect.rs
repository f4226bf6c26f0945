//! The two dialects that the API speaks, and which texts are ids of VMs in each. What else they differ in is `api`'s.

use std::fmt;
use std::str::FromStr;

use crate::vm::VmId;
use crate::words::words;

words! {
    /// The API's older routes, or the newer ones.
    #[derive(Default)]
    Dialect {
        #[default]
        V1 = "v1",
        V2 = "v2",
    }
}

/// Why a text is not a [`Dialect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown dialect of the API (v1 or v2)")]
pub struct InvalidDialect;

impl FromStr for Dialect {
    type Err = InvalidDialect;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_word(text).ok_or(InvalidDialect)
    }
}

/// Why a text is not a [`VmId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a HostUp VM id ({}){}", .dialect.form(), Fit(*.fits))]
pub struct InvalidVmId {
    dialect: Dialect,
    /// The dialect in which it would be one.
    fits: Option<Dialect>,
}

/// Says in which dialect a text would be an id.
struct Fit(Option<Dialect>);

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |dialect| write!(f, "; with --api {dialect} it is one"))
    }
}

impl Dialect {
    /// [`Self::ALL`], as many as they are.
    pub const EACH: [Self; 2] = [Self::V1, Self::V2];

    /// The id that a person means by `text`.
    ///
    /// v1: an integer from 1 to 2^63−1, in decimal without a sign or a leading zero. v2: `vps_` and a ULID in lower case.
    /// Equal ids are equal texts.
    pub fn vm_id(self, text: &str) -> Result<VmId, InvalidVmId> {
        self.number(text).map(|_| text.into())
    }

    /// The number that an id stands for: another for each id of one dialect, and in v1 the id itself.
    pub fn number(self, id: &str) -> Result<u128, InvalidVmId> {
        let fits = || Self::of(id).map(|(other, _)| other);
        self.read(id).ok_or_else(|| InvalidVmId { dialect: self, fits: fits() })
    }

    /// The dialect that has such an id, and its number there.
    pub fn of(id: &str) -> Option<(Self, u128)> {
        Self::ALL.iter().find_map(|&dialect| Some((dialect, dialect.read(id)?)))
    }

    fn read(self, id: &str) -> Option<u128> {
        match self {
            Self::V1 => integer(id),
            Self::V2 => id.strip_prefix(VPS).and_then(ulid),
        }
    }

    /// The id of that [`Self::number`].
    pub fn written(self, number: u128) -> VmId {
        match self {
            Self::V1 => number.to_string().as_str().into(),
            Self::V2 => format!("{VPS}{}", in_base32(number)).as_str().into(),
        }
    }

    /// Whether the state of a VM can be seen without changing it.
    pub fn can_look(self) -> bool {
        match self {
            Self::V1 => false,
            Self::V2 => true,
        }
    }

    /// Whether the account's VMs can be listed.
    pub fn can_list(self) -> bool {
        match self {
            Self::V1 => false,
            Self::V2 => true,
        }
    }

    /// What an id looks like.
    fn form(self) -> &'static str {
        match self {
            Self::V1 => "an integer from 1 to 9223372036854775807, such as 10000",
            Self::V2 => "vps_ and 26 digits and lower-case letters, such as vps_01hxa3b4c5d6e7f8g9h0j1k2m3",
        }
    }
}

/// What v2's ids begin with.
pub(crate) const VPS: &str = "vps_";

/// The decimal form only: no sign, no leading zero.
fn integer(text: &str) -> Option<u128> {
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number: i64 = text.parse().ok().filter(|_| is_canonical)?;
    Some(number.cast_unsigned().into())
}

/// Crockford's base 32 in lower case: no `i`, `l`, `o` or `u`.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What each byte is worth as a digit; more than 31 where it is none.
const WORTH: [u8; 256] = {
    let mut worth = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 32 {
        worth[DIGITS[digit as usize] as usize] = digit;
        digit += 1;
    }
    worth
};

/// 128 bits in 26 characters: the first has three of them.
fn ulid(text: &str) -> Option<u128> {
    let digits: &[u8; 26] = text.as_bytes().try_into().ok()?;
    let part = |digits| base32(digits).map(u128::from);
    // As many at once as a machine's word has room for.
    let number = part(&digits[..2])? << 120 | part(&digits[2..14])? << 60 | part(&digits[14..])?;
    (WORTH[usize::from(digits[0])] < 8).then_some(number)
}

/// As [`ulid`] reads it.
fn in_base32(number: u128) -> String {
    (0..26).rev().map(|place| char::from(DIGITS[(number >> (5 * place) & 31) as usize])).collect()
}

/// The number that at most twelve digits are.
fn base32(digits: &[u8]) -> Option<u64> {
    let (number, worth) = digits.iter().fold((0, 0), |(number, all), &digit| {
        let worth = WORTH[usize::from(digit)];
        (number << 5 | u64::from(worth & 31), all | worth)
    });
    (worth < 32).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ULID: &str = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";
    const NO_V1: &str = "not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)";
    const NO_V2: &str = "not a HostUp VM id (vps_ and 26 digits and lower-case letters, such as vps_01hxa3b4c5d6e7f8g9h0j1k2m3)";

    fn refusal(dialect: Dialect, text: &str) -> String {
        dialect.vm_id(text).unwrap_err().to_string()
    }

    #[test]
    fn only_canonical_integers_from_1_to_2_pow_63_minus_1_are_ids_of_v1() {
        for text in ["1", "10000", "9223372036854775807"] {
            assert_eq!(Dialect::V1.vm_id(text).unwrap().as_str(), text);
        }
        for text in ["", "0", "-1", "+1", "01", "1.0", "1e3", " 1", "9223372036854775808", "abc", "1/2", "١"]
        {
            assert_eq!(refusal(Dialect::V1, text), NO_V1, "{text}");
        }
    }

    #[test]
    fn only_vps_and_a_ulid_in_lower_case_are_ids_of_v2() {
        for text in [ULID, "vps_00000000000000000000000000", "vps_7zzzzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(Dialect::V2.vm_id(text).unwrap().as_str(), text);
        }
        let ulid = &ULID[4..];
        for text in [
            "",
            "vps_",
            ulid,
            &ULID.to_uppercase(),
            &format!("VPS_{ulid}"),
            &format!("vps_{}", ulid.to_uppercase()),
            &ULID[..29],
            &format!("{ULID}0"),
            &format!(" {ULID}"),
            &format!("{ULID}\n"),
            "vps_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2mi",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2ml",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2mo",
            "vps_01hxa3b4c5d6e7f8g9h0j1k2mu",
            "vps-01hxa3b4c5d6e7f8g9h0j1k2m3",
            "192.0.2.1",
            "web-1.example.com",
        ] {
            assert_eq!(refusal(Dialect::V2, text), NO_V2, "{text}");
        }
    }

    #[test]
    fn an_id_of_the_other_dialect_is_told_from_what_is_none() {
        assert_eq!(refusal(Dialect::V1, ULID), format!("{NO_V1}; with --api v2 it is one"));
        assert_eq!(refusal(Dialect::V2, "10000"), format!("{NO_V2}; with --api v1 it is one"));
    }

    #[test]
    fn what_is_meant_to_do_harm_is_an_id_of_neither() {
        for text in [
            "vps_../x",
            "vps_../../../api/vm/1/x/y/zz",
            "vps_01hxa3b4c5d6e7f8g9h0/../m3",
            "vps_01hxa3b4c5d6e7f8g9h0%2f1k2",
            "vps_01hxa3b4c5d6e7f8g9h0?1k2m3",
            "vps_01hxa3b4c5d6e7f8g9h0\r\nx:y",
            "vps_01hxa3b4c5d6e7f8g9h0\u{0}1k2m3",
            "vps_01hxa3b4c5d6e7f8g9h0\u{1b}[2Jm",
            "vps_ååååååååååååå",
            "1/../2",
            "1\u{0}",
            "1\n",
            &"9".repeat(10_000),
            &format!("vps_{}", "0".repeat(10_000)),
        ] {
            assert_eq!(refusal(Dialect::V1, text), NO_V1, "{text}");
            assert_eq!(refusal(Dialect::V2, text), NO_V2, "{text}");
        }
    }

    proptest! {
        #[test]
        fn ids_are_of_one_dialect_at_most_and_numbers_in_their_order(
            texts in proptest::collection::vec("(vps_)?[0-7][0-9a-hjkmnp-tv-z]{25}|[0-9]{1,20}|.{0,40}", 2),
        ) {
            for dialect in Dialect::ALL {
                let ids = || texts.iter().filter_map(|text| dialect.vm_id(text).ok());
                for id in ids() {
                    prop_assert_eq!(Dialect::ALL.iter().filter(|other| other.vm_id(id.as_str()).is_ok()).count(), 1);
                }
                for id in ids() {
                    prop_assert_eq!(dialect.number(id.as_str()).map(|number| dialect.written(number)), Ok(id));
                }
                let order = |id: &VmId| (id.as_str().len(), id.clone());
                for (one, other) in ids().zip(ids().skip(1)) {
                    let number = |id: &VmId| dialect.number(id.as_str()).unwrap();
                    prop_assert_eq!(number(&one).cmp(&number(&other)), order(&one).cmp(&order(&other)));
                }
            }
        }
    }
}
