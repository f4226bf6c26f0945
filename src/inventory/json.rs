//! Objects whose keys are columns: the elements of a JSON document's list, and the lines of JSON Lines.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::columns::{Column, ColumnMap, MAX_COLUMNS, no_such_column, no_vmid, two_names};
use super::encoding::Encoding;
use super::error::{Fault, FileFault, Numbered};
use super::path::{Path, joined, within};
use super::proxmox::Proxmox;
use super::row::Cells;
use super::source::{Line, Source};
use crate::text::spelled_out;

/// The keys under which a document that is an object may hold the list of VMs.
pub(super) const ENVELOPES: [&str; 3] = ["vms", "results", "data"];

/// One element of the list, its fields in the order of the file.
#[derive(Debug)]
pub(super) enum Element {
    Object {
        fields: Vec<(String, Value)>,
        /// The path of a key that a nested object has twice.
        doubled: Option<String>,
    },
    /// An object of more than [`MAX_COLUMNS`] keys.
    TooWide,
    /// Something else, in words.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

macro_rules! other {
    ($($visit:ident: $kind:ty => $words:literal),*) => {$(
        fn $visit<E>(self, _: $kind) -> Result<Element, E> {
            Ok(Element::Other($words))
        }
    )*};
}

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element, A::Error> {
        let (mut fields, mut doubled) = (Vec::with_capacity(16), None);
        while let Some((key, nested)) = map.next_entry::<String, Nested>()? {
            if fields.len() == MAX_COLUMNS {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Element::TooWide);
            }
            doubled = doubled.or_else(|| nested.doubled.map(|inner| within(&key, &inner)));
            fields.push((key, nested.value));
        }
        Ok(Element::Object { fields, doubled })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Element, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Element::Other("a list"))
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(Element::Other("null"))
    }

    other!(visit_bool: bool => "a boolean", visit_i64: i64 => "a number", visit_u64: u64 => "a number",
        visit_f64: f64 => "a number", visit_str: &str => "a text");
}

/// A value, in whose objects no key may be twice: the last would go for the only one.
struct Nested {
    value: Value,
    /// The path of one that is.
    doubled: Option<String>,
}

impl Nested {
    fn new(value: impl Into<Value>) -> Self {
        Self { value: value.into(), doubled: None }
    }
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NestedVisitor)
    }
}

struct NestedVisitor;

macro_rules! scalar {
    ($($visit:ident: $kind:ty),*) => {$(
        fn $visit<E>(self, scalar: $kind) -> Result<Nested, E> {
            Ok(Nested::new(scalar))
        }
    )*};
}

impl<'de> Visitor<'de> for NestedVisitor {
    type Value = Nested;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Nested, A::Error> {
        let (mut map, mut doubled) = (Map::new(), None);
        while let Some((key, nested)) = entries.next_entry::<String, Nested>()? {
            let inner = nested.doubled.map(|inner| within(&key, &inner));
            let own = map.contains_key(&key).then(|| joined("", &key));
            doubled = doubled.or(inner).or(own);
            map.insert(key, nested.value);
        }
        Ok(Nested { value: Value::Object(map), doubled })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Nested, A::Error> {
        let (mut list, mut doubled) = (Vec::new(), None);
        while let Some(nested) = elements.next_element::<Nested>()? {
            doubled = doubled.or(nested.doubled);
            list.push(nested.value);
        }
        Ok(Nested { value: Value::Array(list), doubled })
    }

    fn visit_unit<E>(self) -> Result<Nested, E> {
        Ok(Nested::new(Value::Null))
    }

    scalar!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_string: String);
}

/// How the keys of one file's objects become columns.
pub(super) struct Keys<'m> {
    map: &'m ColumnMap,
    /// The mapped headers as paths, in their order, where they are some.
    paths: Vec<Option<Path>>,
    /// Which of the mappings some object had a value for, in their order.
    found: Vec<bool>,
    /// Some object named its id.
    any_vmid: bool,
    proxmox: Proxmox,
    /// The keys of the first object, and its paths, for messages.
    first: Option<(Vec<String>, Vec<String>)>,
}

impl<'m> Keys<'m> {
    pub(super) fn new(map: &'m ColumnMap) -> Self {
        let paths = map.mappings().iter().map(|mapping| mapping.header.parse().ok()).collect();
        let found = vec![false; map.mappings().len()];
        Self { map, paths, found, any_vmid: false, proxmox: Proxmox::default(), first: None }
    }

    pub(super) fn cells(&mut self, element: Element) -> Result<Cells<'m>, Fault> {
        let fields = match element {
            Element::Object { doubled: Some(path), .. } => {
                return Err(Fault::in_column(&path, "the key is there twice"));
            }
            Element::Object { fields, doubled: None } => fields,
            Element::TooWide => return Err(Fault::of_row(format!("more than {MAX_COLUMNS} keys"))),
            Element::Other(kind) => return Err(Fault::of_row(format!("{kind}, where an object is needed"))),
        };
        let names = || fields.iter().map(|(key, _)| key.as_str());
        self.first.get_or_insert_with(|| (names().map(str::to_owned).collect(), scalars(&fields)));
        let mut cells = Cells::default();
        for ((mapping, path), found) in self.map.mappings().iter().zip(&self.paths).zip(&mut self.found) {
            if let Some(value) = lookup(&fields, &mapping.header, path.as_ref()) {
                *found = true;
                set(&mut cells, mapping.column, Cow::Borrowed(&mapping.header), value)?;
            }
        }
        if !has_vmid(&fields, self.map) {
            return Err(Fault::in_column(Column::Vmid.as_str(), no_vmid(names())));
        }
        self.any_vmid = true;
        let cells = self.rest(&fields, cells)?;
        self.proxmox.note(&cells, self.map);
        Ok(cells)
    }

    /// The paths of what the first object has in nested objects.
    pub(super) fn nested(&self) -> &[String] {
        self.first.as_ref().map_or(&[], |(_, paths)| paths)
    }

    /// The keys that no mapping names.
    fn rest(&self, fields: &[(String, Value)], mut cells: Cells<'m>) -> Result<Cells<'m>, Fault> {
        let mut keys = HashSet::with_capacity(fields.len());
        let mut names = [None; Column::ALL.len()];
        for (key, value) in fields {
            if !keys.insert(key.as_str()) {
                return Err(Fault::in_column(key, "the key is there twice"));
            }
            match self.map.column_of(key) {
                None => cells.label(key, text(value)),
                Some(column) if self.map.header_of(column).is_some() => {}
                Some(column) => {
                    if let Some(first) = names[column as usize].replace(key) {
                        return Err(Fault::in_column(key, two_names(column, first, key)));
                    }
                    set(&mut cells, column, Cow::Owned(key.clone()), value)?;
                }
            }
        }
        Ok(cells)
    }

    /// Checks, at the end of the file, that every mapped name was there, and an id, and that it was HostUp's.
    pub(super) fn finish(self) -> Result<(), FileFault> {
        let Some((keys, paths)) = self.first else { return Ok(()) };
        self.proxmox.refuse(&paths)?;
        let names = keys.iter().chain(&paths).map(String::as_str);
        match self.map.mappings().iter().zip(&self.found).find(|(_, found)| !**found) {
            Some((absent, _)) => Err(FileFault::Columns(no_such_column(absent, names))),
            None if self.any_vmid => Ok(()),
            None => Err(FileFault::Columns(no_vmid(names))),
        }
    }
}

/// Whether an object says which VM it is: its id is mapped, or one of its keys means it.
pub(super) fn has_vmid(fields: &[(String, Value)], map: &ColumnMap) -> bool {
    map.header_of(Column::Vmid).is_some()
        || fields.iter().any(|(key, _)| map.column_of(key) == Some(Column::Vmid))
}

/// A key of that very name, else what the path leads to: `custom_fields.hostup_vmid`.
fn lookup<'v>(fields: &'v [(String, Value)], header: &str, path: Option<&Path>) -> Option<&'v Value> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    field(header).or_else(|| path?.find(field))
}

/// The paths that lead into nested objects to what can be a text.
fn scalars(fields: &[(String, Value)]) -> Vec<String> {
    /// Enough for a message.
    const MOST: usize = 1000;
    let mut paths = Vec::new();
    let mut objects: Vec<(String, &Map<String, Value>)> = Vec::new();
    objects
        .extend(fields.iter().rev().filter_map(|(key, value)| Some((joined("", key), value.as_object()?))));
    while let Some((path, object)) = objects.pop() {
        for (key, value) in object {
            let path = joined(&path, key);
            match value {
                Value::Object(object) => objects.push((path, object)),
                Value::Array(_) => {}
                _ if paths.len() == MOST => return paths,
                _ => paths.push(path),
            }
        }
    }
    paths
}

fn set<'m>(cells: &mut Cells<'m>, column: Column, header: Cow<'m, str>, value: &Value) -> Result<(), Fault> {
    if value.is_object() || value.is_array() {
        let (name, header) = (column.as_str(), spelled_out(&header));
        let reason = format!(
            "an object or a list, where a text is needed: a path leads into it, --column {name}={header}.KEY"
        );
        return Err(Fault { column: header, reason });
    }
    cells.set(column, header, Cow::Owned(text(value)));
    Ok(())
}

/// A scalar's text; an object or a list as compact JSON; nothing for null.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The rows of a JSON Lines file. A line that is broken hides no other.
pub(super) struct Lines<'s, 'a> {
    source: &'s mut Source<'a>,
    encoding: Encoding,
    line: u64,
    text: Vec<u8>,
}

impl<'s, 'a> Lines<'s, 'a> {
    pub(super) fn new(source: &'s mut Source<'a>, encoding: Encoding) -> Self {
        Self { source, encoding, line: 0, text: Vec::new() }
    }

    /// The next line that is not blank, and its number; `None` at the end.
    pub(super) fn next_element(&mut self) -> io::Result<Option<Numbered<Element>>> {
        loop {
            let read = self.source.read_line(&mut self.text)?;
            self.line += 1;
            match read {
                Line::End => return Ok(None),
                Line::Oversized => return Ok(Some((self.line, Err(Fault::oversized())))),
                Line::Whole if self.text.trim_ascii().is_empty() => {}
                Line::Whole => return Ok(Some((self.line, self.element()))),
            }
        }
    }

    fn element(&self) -> Result<Element, Fault> {
        let text = std::str::from_utf8(&self.text).map_err(|_| Fault::of_row(self.encoding.refusal()))?;
        serde_json::from_str(text).map_err(|error| {
            Fault::of_row(format!("not JSON: {} at column {}", message(&error), error.column()))
        })
    }
}

/// An error's text without its place, which is of the parser's own counting.
pub(super) fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::document::{Halt, Spot, read_document};
    use super::super::source::tests::Trickle;
    use super::*;
    use crate::dialect::Dialect;

    type Row = (u64, Result<super::super::Vm, Fault>);

    fn rows(text: &str, pairs: &[&str]) -> Result<Vec<Row>, FileFault> {
        let map = ColumnMap::new(pairs.iter().map(|pair| pair.parse().unwrap())).unwrap();
        let mut source = Source::new(Trickle(text.as_bytes()));
        let (mut keys, mut rows) = (Keys::new(&map), Vec::new());
        let mut each = |Spot { line, .. }, element| {
            rows.push((line, keys.cells(element).and_then(|cells| cells.into_vm(Dialect::V1))));
            Ok::<(), ()>(())
        };
        match read_document(&mut source, Encoding::UTF_8, None, &mut each) {
            Ok(()) => keys.finish().map(|()| rows),
            Err(Halt::File(fault)) => Err(fault),
            Err(Halt::Caller(())) => unreachable!(),
        }
    }

    fn faults(text: &str, pairs: &[&str]) -> Vec<(u64, String, String)> {
        let faults = rows(text, pairs).unwrap().into_iter();
        faults.filter_map(|(line, row)| row.err().map(|fault| (line, fault.column, fault.reason))).collect()
    }

    #[test]
    fn scalars_are_text_and_nested_values_are_labels_of_compact_json() {
        let rows = rows(
            r#"[{"vmid": 7, "name": true, "client_id": 30000, "rack": null, "prefix": "",
                 "cpu": 2.5, "tags": ["a", {"b": 1}], "owner": null, "note": " x "}]"#,
            &[],
        );
        let vm = rows.unwrap().remove(0).1.unwrap();
        assert_eq!((vm.name.as_deref(), vm.expected.client_id.as_deref()), (Some("true"), Some("30000")));
        assert_eq!((vm.expected.rack_id, vm.expected.prefix), (None, None));
        let labels: Vec<_> = vm.labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(labels, [("cpu", "2.5"), ("tags", r#"["a",{"b":1}]"#), ("note", " x ")]);
    }

    #[test]
    fn a_dotted_path_leads_into_nested_objects_unless_a_key_is_named_so() {
        let text = r#"[{"id": 1, "custom_fields": {"hostup": {"vmid": 10000}}, "rack": {"name": "dc1r28"}},
                       {"id": 2, "custom_fields.hostup.vmid": 10001, "rack": {"name": null}}]"#;
        let rows = rows(text, &["vmid=custom_fields.hostup.vmid", "rack_id=rack.name"]).unwrap();
        let [first, second] = [0, 1].map(|index| rows[index].1.as_ref().unwrap());
        assert_eq!((first.id.as_str(), first.expected.rack_id.as_deref()), ("10000", Some("dc1r28")));
        assert_eq!((second.id.as_str(), second.expected.rack_id.as_deref()), ("10001", None));
        assert!(first.labels.contains(&("rack".into(), r#"{"name":"dc1r28"}"#.into())));
    }

    #[test]
    fn proxmoxs_own_vmid_can_be_what_it_is() {
        let pairs = ["vmid=tags.hostup", "proxmox_vm_id=vmid"];
        let rows = rows(r#"[{"vmid": 101, "tags": {"hostup": 10000}}]"#, &pairs).unwrap();
        let vm = rows[0].1.as_ref().unwrap();
        assert_eq!((vm.id.as_str(), vm.expected.proxmox_vm_id.as_deref()), ("10000", Some("101")));
        assert!(!vm.labels.iter().any(|(name, _)| name == "vmid"));
    }

    #[test]
    fn proxmoxs_own_list_is_refused_unless_its_vmid_was_mapped_or_is_another() {
        let own = r#"{"id": "qemu/100", "vmid": 100, "name": "web"}"#;
        let mapping = "--column proxmox_vm_id=vmid";
        for (text, pairs, refused) in [
            (own.to_owned(), &[][..], Some("--column vmid=FIELD")),
            (r#"{"id": "lxc/7", "vmid": "7"}"#.into(), &[], Some("--column vmid=FIELD")),
            (r#"{"id": "qemu/7", "VMID": 7}"#.into(), &[], Some("--column vmid=FIELD")),
            (r#"{"ID": "qemu/7", "VMID": 7}"#.into(), &[], Some("--column vmid=FIELD")),
            (r#"{"id": "QEMU/7", "vmid": 7}"#.into(), &[], Some("--column vmid=FIELD")),
            (format!(r#"{{"vmid": 9}}, {{"id": "storage/local"}}, {own}"#), &[], Some("--column vmid=FIELD")),
            (
                r#"{"id": "qemu/7", "vmid": 7, "hostup": {"vmid": 9}}"#.into(),
                &[],
                Some("--column vmid=hostup.vmid"),
            ),
            (own.to_owned(), &["name=id"], Some("--column vmid=FIELD")),
            (own.to_owned(), &["vmid=vmid"], None),
            (
                r#"{"id": "qemu/7", "vmid": 7, "hostup": 9}"#.into(),
                &["vmid=hostup", "proxmox_vm_id=vmid"],
                None,
            ),
            (r#"{"id": "qemu/7", "vmid": 8}"#.into(), &[], None),
            (r#"{"id": "node/7", "vmid": 7}"#.into(), &[], None),
            (r#"{"id": 7, "vmid": 7}"#.into(), &[], None),
            (r#"{"vmid": 7}"#.into(), &[], None),
        ] {
            match (rows(&format!("[{text}]"), pairs), refused) {
                (Err(FileFault::Columns(reason)), Some(remedy)) => assert!(
                    reason.starts_with("this is Proxmox's own list (id ")
                        && reason.ends_with(&format!("{remedy} {mapping}")),
                    "{reason}"
                ),
                (Ok(_), None) => {}
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_mapped_name_that_no_object_has_is_refused() {
        let absent = rows(r#"[{"vmid": 1}, {"vmid": 2}]"#, &["rack_id=rack.name"]);
        let Err(FileFault::Columns(reason)) = absent else { panic!("{absent:?}") };
        assert_eq!(
            reason,
            "no column is named rack.name (--column rack_id=rack.name); the columns are: vmid"
        );
        assert!(rows("[]", &["vmid=hostup"]).unwrap().is_empty());
    }

    #[test]
    fn a_bad_element_is_named_and_hides_no_other() {
        let text = "[{\"vmid\": 1.0},\n7,\n[{}],\n{\"id\": 1},\n{\"vmid\": 1, \"vm_id\": 2},\n\
                    {\"vmid\": 1, \"a\": 1, \"a\": 1},\n{\"vmid\": {\"id\": 1}},\n{\"vmid\": 8},\n{\"vmid\": null}]";
        let reasons: Vec<_> = faults(text, &[]);
        let expected = [
            (1, "vmid", "\"1.0\": not a HostUp VM id"),
            (2, "row", "a number, where an object is needed"),
            (3, "row", "a list, where an object is needed"),
            (4, "vmid", "no column is named vmid (or vm_id)"),
            (5, "vm_id", "both vmid and vm_id mean vmid"),
            (6, "a", "the key is there twice"),
            (7, "vmid", "an object or a list, where a text is needed"),
            (9, "vmid", "is empty"),
        ];
        assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
        for ((line, column, reason), (at, of, start)) in reasons.iter().zip(expected) {
            assert!(
                (*line, column.as_str()) == (at, of) && reason.starts_with(start),
                "{line} {column} {reason}"
            );
        }
    }

    #[test]
    fn a_key_that_a_nested_object_has_twice_makes_a_bad_row() {
        let text = r#"[{"cf": {"id": 1, "id": 2}}, {"cf": {"id": 3, "x.y": {"z": [{"a": 1, "a": 1}]}}}, {"cf": {"id": 4}}]"#;
        let faults = faults(text, &["vmid=cf.id"]);
        let expected = ["cf.id", "cf.\\\"x.y\\\".z.a"]
            .map(|path| (1, path.to_owned(), "the key is there twice".to_owned()));
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_broken_line_of_json_lines_hides_no_other() {
        let text = b"{\"vmid\": 1}\r\n\n{\"vmid\": \n\xFF\n[]\n {\"vmid\": 2}";
        let mut source = Source::new(Trickle(text));
        let mut lines = Lines::new(&mut source, Encoding::UTF_8);
        let (map, mut found) = (ColumnMap::default(), Vec::new());
        let mut keys = Keys::new(&map);
        while let Some((line, element)) = lines.next_element().unwrap() {
            let vm = element.and_then(|element| keys.cells(element)?.into_vm(Dialect::V1));
            found.push((line, vm.map(|vm| vm.id.to_string()).map_err(|fault| fault.reason)));
        }
        let expected = [
            (1, Ok("1".to_owned())),
            (3, Err("not JSON: EOF while parsing a value at column 9".to_owned())),
            (4, Err(Encoding::UTF_8.refusal())),
            (5, Err("a list, where an object is needed".to_owned())),
            (6, Ok("2".to_owned())),
        ];
        assert_eq!(found, expected);
    }
}
