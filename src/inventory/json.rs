//! Inventories in JSON: an array of objects, an object that holds one, or one object a line.

use std::cell::Cell;
use std::fmt;
use std::io::BufRead;
use std::rc::Rc;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::columns::{self, Field, Mapping};
use super::input::{Gauge, Lines};
use super::read::{FileError, Labels};
use super::row::{Fault, Values};

/// The keys under which a document may hold its VMs.
pub(super) const ENVELOPES: [&str; 3] = ["vms", "results", "data"];

/// Calls `each` with the line and the values of every element of a document.
pub(super) fn read_document<E: From<FileError>>(
    text: impl BufRead,
    gauge: &Gauge,
    mappings: &[Mapping],
    labels: &mut Labels,
    mut each: impl FnMut(u64, Result<Values, Fault>) -> Result<(), E>,
) -> Result<(), E> {
    let (text, line) = Lines::new(text);
    let mut refused = None;
    let mut document = serde_json::Deserializer::from_reader(text);
    let rows = Rows {
        line: &line,
        each: &mut |at: u64, row: Value| {
            gauge.row_begins();
            each(at, values(row, mappings, labels)).map_err(|error| refused = Some(error)).is_ok()
        },
    };
    let read = Document(rows).deserialize(&mut document).and_then(|()| document.end());
    match (refused, read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(syntax(&error, line.get()).into()),
    }
}

/// Calls `each` with the number and the values of every line that is not blank.
pub(super) fn read_lines<E: From<FileError>>(
    mut text: impl BufRead,
    gauge: &Gauge,
    mappings: &[Mapping],
    labels: &mut Labels,
    mut each: impl FnMut(u64, Result<Values, Fault>) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = Vec::new();
    for line in 1.. {
        gauge.row_begins();
        bytes.clear();
        let read = text.read_until(b'\n', &mut bytes);
        let read = read.map_err(|error| FileError::Syntax { line, reason: error.to_string() })?;
        if read == 0 {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let row = match std::str::from_utf8(&bytes) {
            Ok(text) => serde_json::from_str(text).map_err(|error| Fault::new("row", without_place(&error))),
            Err(_) => Err(Fault::new("row", "not UTF-8")),
        };
        each(line, row.and_then(|row| values(row, mappings, labels)))?;
    }
    Ok(())
}

fn syntax(error: &serde_json::Error, line: u64) -> FileError {
    FileError::Syntax { line, reason: without_place(error) }
}

/// The error in words; the place it names is within what was parsed, not within the file.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(place) => text[..place].to_owned(),
        None => text,
    }
}

fn values(row: Value, mappings: &[Mapping], labels: &mut Labels) -> Result<Values, Fault> {
    let Value::Object(object) = row else { return Err(Fault::new("row", "not an object")) };
    let mut values = Values::default();
    let mut fields = Vec::new();
    for mapping in mappings.iter().filter(|mapping| !object.contains_key(&mapping.header)) {
        if let Some(text) = below(&object, &mapping.header).and_then(text) {
            fields.push(mapping.field);
            values.set(Some(mapping.field), &mapping.header, &text);
        }
    }
    for (key, value) in &object {
        let field = columns::field_of(key, mappings);
        let Some(text) = text(value) else { continue };
        match field {
            None => labels.note(key),
            Some(field) if fields.contains(&field) => return Err(twice(field)),
            Some(field) => fields.push(field),
        }
        values.set(field, key, &text);
    }
    Ok(values)
}

fn twice(field: Field) -> Fault {
    Fault::new(field.as_str(), "two keys stand for this field; name one with --column")
}

/// The value at a dotted path, such as `custom_fields.hostup_vmid`.
fn below<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.')?;
    let inner = object.get(first)?.as_object()?;
    inner.get(rest).or_else(|| below(inner, rest))
}

/// Scalars as they are, anything nested as compact JSON; null is nothing.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// The elements of an array, one at a time.
struct Rows<'a> {
    line: &'a Rc<Cell<u64>>,
    /// Whether to go on.
    each: &'a mut dyn FnMut(u64, Value) -> bool,
}

/// An element, and the line on which it begins.
struct Element<'a>(&'a Cell<u64>);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = (u64, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let line = self.0.get();
        Ok((line, de::Deserialize::deserialize(deserializer)?))
    }
}

impl<'de> DeserializeSeed<'de> for &mut Rows<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of VMs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some((line, row)) = rows.next_element_seed(Element(self.line))? {
            if !(self.each)(line, row) {
                return Err(de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// A whole document.
struct Document<'a>(Rows<'a>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of VMs, or an object that holds one under vms, results or data")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, rows: A) -> Result<(), A::Error> {
        (&mut self.0).visit_seq(rows)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut found: Option<String> = None;
        while let Some(key) = map.next_key::<String>()? {
            if !ENVELOPES.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if let Some(first) = &found {
                return Err(de::Error::custom(format!("both {first} and {key} could hold the VMs")));
            }
            map.next_value_seed(&mut self.0)?;
            found = Some(key);
        }
        found.map(drop).ok_or_else(|| de::Error::custom(format!("no VMs: expected {}", Expecting(&self))))
    }
}

struct Expecting<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}
