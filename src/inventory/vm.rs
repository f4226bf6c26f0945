//! One VM of the fleet, as an inventory row describes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::allocation::Expected;

/// HostUp's id of a VM. Text, because other API dialects have other ids; v1's is an integer from 1 to 2^63−1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(Box<str>);

/// Why a text is not a [`VmId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)")]
pub struct InvalidVmId;

impl VmId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmId {
    type Err = InvalidVmId;

    /// Accepts the decimal form only: no sign, no leading zero, so that equal ids are equal texts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        match text.parse::<i64>() {
            Ok(1..) if canonical => Ok(Self(text.into())),
            _ => Err(InvalidVmId),
        }
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a call asks the API to do for one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Allocate,
    RefreshNextHop,
}

/// Why a text is not an [`Action`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown action (allocate or refresh_next_hop)")]
pub struct InvalidAction;

impl Action {
    pub const ALL: [Self; 2] = [Self::Allocate, Self::RefreshNextHop];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::RefreshNextHop => "refresh_next_hop",
        }
    }
}

impl FromStr for Action {
    type Err = InvalidAction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(InvalidAction)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One valid row of an inventory.
#[derive(Debug, Clone, PartialEq)]
pub struct Vm {
    pub id: VmId,
    pub name: Option<String>,
    /// The row's own action, where it has one.
    pub action: Option<Action>,
    /// What the answer should say. `expected.rack_id` is the row's rack.
    pub expected: Expected,
    /// Columns we know nothing of, by name, in the order of the row.
    pub labels: Vec<(String, String)>,
}

impl Vm {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_integers_from_1_to_2_pow_63_minus_1_are_ids() {
        for text in ["1", "10000", "9223372036854775807"] {
            assert_eq!(text.parse::<VmId>().unwrap().as_str(), text);
        }
        for text in ["", "0", "-1", "+1", "01", "1.0", "1e3", " 1", "9223372036854775808", "abc", "1/2", "١"]
        {
            assert_eq!(text.parse::<VmId>(), Err(InvalidVmId), "{text}");
        }
    }

    #[test]
    fn actions_are_named_as_the_api_names_them() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert_eq!("release".parse::<Action>(), Err(InvalidAction));
    }
}
