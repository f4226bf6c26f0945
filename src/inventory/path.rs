//! Paths into nested objects: keys with dots between them, a key with a dot in it in quotation marks.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::text::spelled_out;

/// A path such as `data.virtual_machines` or `custom_fields."a.b"`; `.` is the document itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<String>);

/// Why a text is not a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a path such as data.virtual_machines (a key with a dot in it in quotation marks: a.\"b.c\")")]
pub struct InvalidPath;

impl Path {
    pub(super) fn keys(&self) -> &[String] {
        &self.0
    }

    /// What is there, from the object on that has `first` under the first key.
    pub(super) fn find<'v>(&self, first: impl FnOnce(&str) -> Option<&'v Value>) -> Option<&'v Value> {
        let (key, keys) = self.0.split_first()?;
        keys.iter().try_fold(first(key)?, |value, key| value.get(key))
    }
}

impl FromStr for Path {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys = Vec::new();
        let mut rest = if text == "." { None } else { Some(text) };
        while let Some(text) = rest {
            let (key, behind) = match text.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(InvalidPath)?,
                None => text.split_at(text.find('.').unwrap_or(text.len())),
            };
            rest = match behind {
                "" => None,
                behind => Some(behind.strip_prefix('.').ok_or(InvalidPath)?),
            };
            if key.is_empty() || (key.contains('"') && !text.starts_with('"')) {
                return Err(InvalidPath);
            }
            keys.push(key.to_owned());
        }
        Ok(Self(keys))
    }
}

/// As it may be typed, harmless in a message.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => f.write_str("."),
            false => {
                f.write_str(&self.0.iter().fold(String::new(), |path, key| joined(&path, &spelled_out(key))))
            }
        }
    }
}

/// The path one key further.
pub(super) fn joined(path: &str, key: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    match key.contains('.') {
        true => format!("{path}{dot}\"{key}\""),
        false => format!("{path}{dot}{key}"),
    }
}

/// A path that begins one object further out, under `key`.
pub(super) fn within(key: &str, path: &str) -> String {
    format!("{}.{path}", joined("", key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_keys_with_dots_between_them() {
        for (text, keys) in [
            ("data", &["data"][..]),
            ("values.root_module.resources", &["values", "root_module", "resources"]),
            ("custom_fields.\"a.b\"", &["custom_fields", "a.b"]),
            ("\"a.b\".c d.@key", &["a.b", "c d", "@key"]),
            (".", &[]),
        ] {
            let path: Path = text.parse().unwrap();
            assert_eq!(path.keys(), keys, "{text}");
            assert_eq!(path.to_string(), text);
        }
        for text in ["", "..", ".a", "a.", "a..b", "a.\"b", "\"a\"b", "\"\"", "a\"b"] {
            assert_eq!(text.parse::<Path>(), Err(InvalidPath), "{text}");
        }
    }

    #[test]
    fn a_path_leads_to_what_is_there() {
        let object = json!({"status": {"value": "active", "a.b": 1}});
        let find = |path: &str| path.parse::<Path>().unwrap().find(|key| object.get(key)).cloned();
        assert_eq!(find("status.value"), Some("active".into()));
        assert_eq!(find("status.\"a.b\""), Some(1.into()));
        for absent in ["status.a.b", "state.value", "status.value.more", "."] {
            assert_eq!(find(absent), None, "{absent}");
        }
    }
}
