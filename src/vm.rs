//! What a VM is known by, what a call may ask for it, and what the account's list says of it.
//!
//! Whether a text is an id is the dialect's to say (`dialect.rs`). Here an id is taken as it is, as the ledger has it.

mod listed;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

pub use listed::Listed;

use crate::words::words;

/// HostUp's id of a VM, opaque: nothing is told from it but whether two are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(Box<str>);

impl VmId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for VmId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl FromStr for VmId {
    type Err = Infallible;

    /// Takes any text; one that a person typed is for [`crate::dialect::Dialect::vm_id`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

words! {
    /// What a call asks the API to do for one VM.
    Action {
        Allocate = "allocate",
        RefreshNextHop = "refresh_next_hop",
    }
}

/// Why a text is not an [`Action`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown action (allocate or refresh_next_hop)")]
pub struct InvalidAction;

impl FromStr for Action {
    type Err = InvalidAction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_word(text).ok_or(InvalidAction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_text_that_it_was_made_of() {
        for text in ["10000", "vps_01hxa3b4c5d6e7f8g9h0j1k2m3", "", "01", "a/../b"] {
            assert_eq!((VmId::from(text).as_str(), text.parse()), (text, Ok(VmId::from(text))));
        }
    }

    #[test]
    fn actions_are_named_as_the_api_names_them() {
        for &action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert_eq!("release".parse::<Action>(), Err(InvalidAction));
    }
}
