//! The fields of v2's answers that may be null, and how they are made so.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::json;

/// A field, by its place among [`FIELDS`]; written as in answers: `reason`, `allocation.nextHop`, `primaryIp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Nullable(usize);

/// Why a text is not a [`Nullable`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a field of v2's answers that may be null; there are {}", FIELDS.join(", "))]
pub struct NotNullable;

const FIELDS: [&str; 22] = [
    "reason",
    "parentCidr",
    "prefixLength",
    "cooldownDays",
    "maxPerVm",
    "suggestedNextHop",
    "created",
    "allocation",
    "allocation.id",
    "allocation.prefix",
    "allocation.prefixLength",
    "allocation.nextHop",
    "allocation.status",
    "allocation.allocatedAt",
    "allocation.releasedAt",
    "allocation.cooldownUntil",
    "allocation.createdAt",
    "allocation.updatedAt",
    "primaryIp",
    "powerState",
    "operatingSystem",
    "pendingMaintenance",
];

impl Nullable {
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..FIELDS.len()).map(Self)
    }

    fn apply(self, value: &mut Value) {
        let pointer = format!("/{}", FIELDS[self.0].replace('.', "/"));
        if let Some(field) = value.pointer_mut(&pointer) {
            *field = Value::Null;
        }
    }
}

impl FromStr for Nullable {
    type Err = NotNullable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        FIELDS.iter().position(|field| *field == text).map(Self).ok_or(NotNullable)
    }
}

impl TryFrom<String> for Nullable {
    type Error = NotNullable;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The document with these fields null, those of them that it has.
pub(super) fn with_nulls(document: &impl Serialize, mut nulls: impl Iterator<Item = Nullable>) -> Vec<u8> {
    let Some(first) = nulls.next() else {
        return json(document);
    };
    let mut value = serde_json::to_value(document).unwrap_or_default();
    std::iter::once(first).chain(nulls).for_each(|null| null.apply(&mut value));
    json(&value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_becomes_null_where_there_is_one_and_is_never_added() {
        let document = json!({"reason": "x", "allocation": {"id": 1, "prefix": 2}});
        let nulls = ["reason", "allocation.id", "primaryIp"].map(|field| field.parse().unwrap());
        let text = with_nulls(&document, nulls.into_iter());
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value, json!({"reason": null, "allocation": {"id": null, "prefix": 2}}));
        assert_eq!("available".parse::<Nullable>(), Err(NotNullable));
        assert_eq!(Nullable::all().count(), FIELDS.len());
    }
}
