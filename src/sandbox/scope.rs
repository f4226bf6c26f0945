//! What an API key may do.

use std::str::FromStr;

/// One permission, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To look at VMs and to list them.
    ReadVm,
    /// Accepted in a key file; nothing that is served here needs it.
    ReadNetwork,
    /// To allocate and to refresh.
    WriteNetwork,
}

/// Why a text is not a [`Scope`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a scope (read:vm, read:network or write:network)")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "read:vm" => Ok(Self::ReadVm),
            "read:network" => Ok(Self::ReadNetwork),
            "write:network" => Ok(Self::WriteNetwork),
            _ => Err(InvalidScope),
        }
    }
}

/// The scopes of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    All,
    Only(Vec<Scope>),
}

impl Scopes {
    pub(super) fn hold(&self, scope: Scope) -> bool {
        match self {
            Self::All => true,
            Self::Only(scopes) => scopes.contains(&scope),
        }
    }
}
