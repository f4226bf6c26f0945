//! A JSON object of an answer, each field as it stands there.
//!
//! Nothing is concluded before it is asked for: a number that no type can hold, nesting without end or half a
//! surrogate spoils the field that has it, and no other.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One value, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// `None` where the text is no JSON.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok().map(Self::of)
    }

    fn of(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(super) fn boolean(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// As it is written, which may be larger or finer than any type of ours.
    pub(super) fn number(self) -> Option<&'a str> {
        self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(self.0)
    }

    /// A string's characters; half a surrogate is no character.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        match inner.contains('\\') {
            true => serde_json::from_str::<Unescaped>(self.0).ok().map(|text| text.0.into()),
            false => Some(inner.into()),
        }
    }

    pub(super) fn list(self) -> Option<Vec<Self>> {
        let elements: Vec<&RawValue> =
            self.0.starts_with('[').then(|| serde_json::from_str(self.0).ok())??;
        Some(elements.into_iter().map(Self::of).collect())
    }

    pub(super) fn object(self) -> Option<Object<'a>> {
        Object::read(self.0)
    }
}

/// The fields in their order, and all of those with the same name.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'a> Object<'a> {
    /// `None` where the text is no JSON object.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Of several fields with that name the last, as most readers of JSON have it.
    pub(super) fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.all(name).next()
    }

    /// The last field with that name, and whether there is another.
    pub(super) fn get_all(&self, name: &str) -> (Option<Raw<'a>>, bool) {
        let mut all = self.all(name);
        (all.next(), all.next().is_some())
    }

    /// The last one first.
    fn all(&self, name: &str) -> impl Iterator<Item = Raw<'a>> {
        self.0.iter().rev().filter(move |(key, _)| key == name).map(|&(_, value)| value)
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        self.0.iter().map(|(key, value)| (&**key, *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    // A key is a string wherever JSON is read at all.
                    let key = Raw::of(key).string().unwrap_or_default();
                    fields.push((key, Raw::of(value)));
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The characters of a JSON string with escapes in it.
struct Unescaped(String);

impl<'de> Deserialize<'de> for Unescaped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Unescaped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Unescaped, E> {
                Ok(Unescaped(String::from_utf8_lossy(bytes).into_owned()))
            }
        }

        // As bytes, half a surrogate is no error.
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        Raw::read(text).unwrap()
    }

    #[test]
    fn every_kind_of_value_is_known_by_its_text() {
        assert_eq!(raw(r#" "a/b" "#).string().as_deref(), Some("a/b"));
        assert_eq!(raw(r#""\u00e5\n\"""#).string().as_deref(), Some("å\n\""));
        assert_eq!(raw("true").boolean(), Some(true));
        assert_eq!(raw("-1.50e99999").number(), Some("-1.50e99999"));
        assert_eq!(raw("[1, []]").list(), Some(vec![raw("1"), raw("[]")]));
        assert!(raw("null").is_null() && raw("{}").object().is_some());
        for text in ["1", "\"true\"", "[true]", "{}", "null"] {
            assert_eq!(raw(text).boolean(), None, "{text}");
        }
        for text in ["true", "\"1\"", "[1]", "null"] {
            assert!(raw(text).number().is_none() && raw(text).object().is_none(), "{text}");
        }
        for text in ["", "tru", "{", "[1,]", "{\"a\":1} x", "\u{feff}{}", "\"\u{7}\""] {
            assert_eq!(Raw::read(text), None, "{text}");
        }
    }

    #[test]
    fn one_field_never_spoils_another() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        for odd in ["1e999", "-0", &"9".repeat(5_000), r#""\ud800""#, r#""\udc00\ud800x""#, &deep] {
            let text = format!(r#"{{"odd": {odd}, "\ud800": 1, "\u0061": "b"}}"#);
            let object = Object::read(&text).unwrap();
            assert_eq!(object.get("odd").map(Raw::as_str), Some(odd));
            assert_eq!(object.get("a").and_then(Raw::string).as_deref(), Some("b"));
        }
        let half = raw(r#""a\ud800b""#).string().unwrap();
        assert!(half.starts_with('a') && half.ends_with('b') && half.contains('\u{fffd}'), "{half}");
    }

    #[test]
    fn of_fields_with_the_same_name_the_last_one_counts() {
        let object = Object::read(r#"{"a":1,"b":2,"\u0061":3}"#).unwrap();
        assert_eq!(object.get("a"), Some(raw("3")));
        let all = |name| object.get_all(name);
        assert_eq!(
            [all("a"), all("b"), all("c")],
            [(Some(raw("3")), true), (Some(raw("2")), false), (None, false)]
        );
    }
}
