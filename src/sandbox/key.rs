//! Which API keys are accepted, and for what.

use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};

use super::scope::{InvalidScope, Scopes};
use crate::dialect::Dialect;

/// Which API keys are accepted.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Any that is not empty, but for [`Self::WRONG`].
    Any,
    Only(Vec<Key>),
}

/// A key with what it may do, written `KEY`, for all scopes, or `KEY read:vm write:network`.
#[derive(Debug, Clone)]
pub struct Key {
    secret: SecretString,
    scopes: Scopes,
}

/// Why a text is not a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("there is no key in it")]
    Empty,
    #[error(transparent)]
    Scope(#[from] InvalidScope),
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let secret = words.next().ok_or(InvalidKey::Empty)?.into();
        let scopes = words.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        let scopes = if scopes.is_empty() { Scopes::All } else { Scopes::Only(scopes) };
        Ok(Self { secret, scopes })
    }
}

impl Keys {
    /// Refused by [`Self::Any`], so that a refused key can be rehearsed.
    pub const WRONG: &'static str = "wrong-key";

    /// What the key may do; `None` where it is not accepted.
    pub(super) fn accept(&self, key: Option<&[u8]>) -> Option<Scopes> {
        let key = key.filter(|key| !key.is_empty())?;
        match self {
            Self::Any => (key != Self::WRONG.as_bytes()).then_some(Scopes::All),
            Self::Only(keys) => {
                let accepted = keys.iter().find(|accepted| accepted.secret.expose_secret().as_bytes() == key);
                accepted.map(|accepted| accepted.scopes.clone())
            }
        }
    }
}

/// The key that a request carries: v1 takes `X-API-Key`, and both take `Authorization: Bearer`.
pub(super) fn key_of(dialect: Dialect, headers: &HeaderMap) -> Option<&[u8]> {
    match headers.get("x-api-key").filter(|_| dialect == Dialect::V1) {
        Some(key) => Some(key.as_bytes()),
        None => bearer(headers),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::super::scope::Scope;
    use super::*;

    #[test]
    fn any_key_is_accepted_but_an_empty_or_the_wrong_one_unless_keys_are_named() {
        let only = Keys::Only(["one", "two"].map(|key| key.parse().unwrap()).into());
        for (key, any, named) in [
            (None, false, false),
            (Some(""), false, false),
            (Some("wrong-key"), false, false),
            (Some("three"), true, false),
            (Some("two"), true, true),
        ] {
            let key = key.map(str::as_bytes);
            let accepted = (Keys::Any.accept(key).is_some(), only.accept(key).is_some());
            assert_eq!(accepted, (any, named), "{key:?}");
        }
    }

    #[test]
    fn a_key_has_the_scopes_of_its_line_and_all_where_it_names_none() {
        let keys = Keys::Only(
            ["all", "reader read:vm", " both\twrite:network read:vm "].map(|key| key.parse().unwrap()).into(),
        );
        for (key, reads, writes) in [("all", true, true), ("reader", true, false), ("both", true, true)] {
            let scopes = keys.accept(Some(key.as_bytes())).unwrap();
            assert_eq!(
                (scopes.hold(Scope::ReadVm), scopes.hold(Scope::WriteNetwork)),
                (reads, writes),
                "{key}"
            );
        }
        assert!(matches!(" ".parse::<Key>(), Err(InvalidKey::Empty)));
        assert!(matches!("key read".parse::<Key>(), Err(InvalidKey::Scope(InvalidScope))));
    }
}
