//! JSON and JSON Lines: objects whose keys are columns.
//!
//! A JSON document is streamed: one element of the list is held at a time, however long the list is.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::columns::{Column, ColumnMap, MAX_COLUMNS, no_such_column, no_vmid, two_names};
use super::error::{Fault, FileFault, Numbered, listed, shown};
use super::row::Cells;
use super::source::{Line, MAX_ROW_BYTES, Source};

/// The keys under which a document that is an object may hold the list of VMs.
pub(super) const ENVELOPES: [&str; 3] = ["vms", "results", "data"];

/// One element of the list, its fields in the order of the file.
#[derive(Debug)]
pub(super) enum Element {
    Object(Vec<(String, Value)>),
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
        let mut fields = Vec::with_capacity(16);
        while let Some(field) = map.next_entry()? {
            if fields.len() == MAX_COLUMNS {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Element::TooWide);
            }
            fields.push(field);
        }
        Ok(Element::Object(fields))
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

/// How the keys of one file's objects become columns.
pub(super) struct Keys<'m> {
    map: &'m ColumnMap,
    /// Which of the mappings some object had a value for, in their order.
    found: Vec<bool>,
    /// The keys of the first object, for a message.
    first: Option<String>,
}

impl<'m> Keys<'m> {
    pub(super) fn new(map: &'m ColumnMap) -> Self {
        Self { map, found: vec![false; map.mappings().len()], first: None }
    }

    pub(super) fn cells(&mut self, element: Element) -> Result<Cells<'m>, Fault> {
        let fields = match element {
            Element::Object(fields) => fields,
            Element::TooWide => return Err(Fault::of_row(format!("more than {MAX_COLUMNS} keys"))),
            Element::Other(kind) => return Err(Fault::of_row(format!("{kind}, where an object is needed"))),
        };
        let names = || fields.iter().map(|(key, _)| key.as_str());
        self.first.get_or_insert_with(|| listed(names()));
        let mut cells = Cells::default();
        let mut has_vmid = false;
        for (mapping, found) in self.map.mappings().iter().zip(&mut self.found) {
            if let Some(value) = lookup(&fields, &mapping.header) {
                *found = true;
                set(&mut cells, mapping.column, Cow::Borrowed(&mapping.header), value)?;
            }
            has_vmid |= mapping.column == Column::Vmid;
        }
        has_vmid |= names().any(|key| self.map.column_of(key) == Some(Column::Vmid));
        if !has_vmid {
            return Err(Fault::in_column(Column::Vmid.as_str(), no_vmid(names())));
        }
        self.rest(&fields, cells)
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

    /// Checks, at the end of the file, that every mapped name was there.
    pub(super) fn finish(self) -> Result<(), FileFault> {
        let Some(first) = self.first else { return Ok(()) };
        match self.map.mappings().iter().zip(&self.found).find(|(_, found)| !**found) {
            Some((absent, _)) => Err(FileFault::Columns(no_such_column(absent, &first))),
            None => Ok(()),
        }
    }
}

/// A key of that very name, else the dots in it lead into nested objects: `custom_fields.hostup_vmid`.
fn lookup<'v>(fields: &'v [(String, Value)], path: &str) -> Option<&'v Value> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    field(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(field(first)?, |value, key| value.get(key))
    })
}

fn set<'m>(cells: &mut Cells<'m>, column: Column, header: Cow<'m, str>, value: &Value) -> Result<(), Fault> {
    if value.is_object() || value.is_array() {
        let (name, header) = (column.as_str(), shown(&header));
        let reason = format!(
            "an object or a list, where a text is needed: a path leads into it, --column {name}={header}.KEY"
        );
        return Err(Fault { column: header, reason });
    }
    cells.set(column, header, Cow::Owned(text(value)));
    Ok(())
}

/// A scalar's text; an object or a list as compact JSON; nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The rows of a JSON Lines file. A line that is broken hides no other.
pub(super) struct Lines<'s, 'a> {
    source: &'s mut Source<'a>,
    line: u64,
    text: Vec<u8>,
}

impl<'s, 'a> Lines<'s, 'a> {
    pub(super) fn new(source: &'s mut Source<'a>) -> Self {
        Self { source, line: 0, text: Vec::new() }
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
        let text = std::str::from_utf8(&self.text).map_err(|_| Fault::of_row("not UTF-8"))?;
        serde_json::from_str(text).map_err(|error| {
            Fault::of_row(format!("not JSON: {} at column {}", message(&error), error.column()))
        })
    }
}

/// Why reading a document ended early.
pub(super) enum Halt<E> {
    File(FileFault),
    /// The caller's own error.
    Caller(E),
}

impl<E, F: Into<FileFault>> From<F> for Halt<E> {
    fn from(fault: F) -> Self {
        Self::File(fault.into())
    }
}

/// Gives every element of a document's list to `each`, with the line that it starts on.
pub(super) fn read_document<E>(
    source: &mut Source<'_>,
    each: &mut dyn FnMut(u64, Element) -> Result<(), E>,
) -> Result<(), Halt<E>> {
    let place = Place { line: Cell::new(1), element: Cell::new(1), left: Cell::new(MAX_ROW_BYTES) };
    let mut failed = None;
    let mut deserializer = serde_json::Deserializer::from_reader(Metered { source, place: &place });
    let document = Document { place: &place, each, failed: &mut failed };
    let result = document.deserialize(&mut deserializer).and_then(|()| {
        place.unbounded();
        deserializer.end()
    });
    match (result, failed) {
        (_, Some(error)) => Err(Halt::Caller(error)),
        (Ok(()), None) => Ok(()),
        (Err(error), None) => Err(Halt::File(place.fault(error))),
    }
}

/// Where in a document the parser is.
struct Place {
    /// Counted from 1.
    line: Cell<u64>,
    /// The line on which the current element starts.
    element: Cell<u64>,
    /// How many bytes may come before the next element.
    left: Cell<usize>,
}

impl Place {
    fn unbounded(&self) {
        self.left.set(usize::MAX);
    }

    fn bounded(&self) {
        self.left.set(MAX_ROW_BYTES);
    }

    fn fault(&self, error: serde_json::Error) -> FileFault {
        if self.left.get() == 0 {
            let reason = format!("an element longer than {} KiB", MAX_ROW_BYTES / 1024);
            return FileFault::Malformed { line: self.element.get(), reason };
        }
        if error.is_io() {
            return FileFault::Unreadable(error.into());
        }
        let hint = match message(&error) {
            message if message == "trailing characters" => {
                "more follows the end of the document (one object a line is JSON Lines: name it .jsonl, \
                 or add --inventory-format jsonl)"
                    .into()
            }
            message => message,
        };
        FileFault::Malformed { line: u64::try_from(error.line()).unwrap_or(u64::MAX), reason: hint }
    }
}

/// An error's text without its place, which is of the parser's own counting.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// What the parser reads: counts lines and the bytes of an element. The parser asks for one byte at a time.
struct Metered<'p, 's, 'a> {
    source: &'s mut Source<'a>,
    place: &'p Place,
}

impl Read for Metered<'_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Place { line, left, .. } = self.place;
        if left.get() == 0 {
            return Err(io::Error::other("an element is too long"));
        }
        let wanted = out.len().min(left.get());
        let unread = self.source.fill_buf()?;
        let read = wanted.min(unread.len());
        out[..read].copy_from_slice(&unread[..read]);
        self.source.consume(read);
        for &byte in &out[..read] {
            line.set(line.get() + u64::from(byte == b'\n'));
        }
        left.set(left.get() - read);
        Ok(read)
    }
}

/// The whole document: a list, or an object that holds one.
struct Document<'p, 'e, E> {
    place: &'p Place,
    each: &'e mut dyn FnMut(u64, Element) -> Result<(), E>,
    failed: &'e mut Option<E>,
}

impl<'de, E> DeserializeSeed<'de> for Document<'_, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E> Visitor<'de> for Document<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of VMs, or an object that holds one under vms, results or data")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<(), A::Error> {
        List { place: self.place, each: self.each, failed: self.failed }.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut list = None;
        while let Some(key) = map.next_key::<String>()? {
            if ENVELOPES.contains(&key.as_str()) {
                if let Some(first) = &list {
                    return Err(de::Error::custom(format!(
                        "two lists of VMs: under {first} and under {key}"
                    )));
                }
                map.next_value_seed(List { place: self.place, each: self.each, failed: self.failed })?;
                list = Some(key);
            } else {
                self.place.unbounded();
                let is_set = map.next_value::<Option<IgnoredAny>>()?.is_some();
                if is_set && key == "next" {
                    return Err(de::Error::custom(
                        "this is one page of several (\"next\" is set): fetch all of them, as one list",
                    ));
                }
            }
            self.place.bounded();
        }
        match list {
            Some(_) => Ok(()),
            None => Err(de::Error::custom(
                "an object without a list of VMs under vms, results or data (one object a line is JSON Lines: \
                 name it .jsonl, or add --inventory-format jsonl)",
            )),
        }
    }
}

/// The list of VMs.
struct List<'p, 'e, E> {
    place: &'p Place,
    each: &'e mut dyn FnMut(u64, Element) -> Result<(), E>,
    failed: &'e mut Option<E>,
}

impl<'de, E> DeserializeSeed<'de> for List<'_, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E> Visitor<'de> for List<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of VMs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        loop {
            self.place.bounded();
            let Some(element) = elements.next_element_seed(Placed(self.place))? else { return Ok(()) };
            if let Err(error) = (self.each)(self.place.element.get(), element) {
                *self.failed = Some(error);
                return Err(de::Error::custom("stopped by the caller"));
            }
        }
    }
}

/// An element that notes where it starts: the parser has read its first byte by then, and no more.
struct Placed<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for Placed<'_> {
    type Value = Element;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        self.0.element.set(self.0.line.get());
        Element::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::Trickle;
    use super::*;

    type Row = (u64, Result<super::super::Vm, Fault>);

    fn rows(text: &str, pairs: &[&str]) -> Result<Vec<Row>, FileFault> {
        let map = ColumnMap::new(pairs.iter().map(|pair| pair.parse().unwrap())).unwrap();
        let mut source = Source::new(Box::new(Trickle(text.as_bytes())));
        let (mut keys, mut rows) = (Keys::new(&map), Vec::new());
        let mut each = |line, element| {
            rows.push((line, keys.cells(element).and_then(|cells| cells.into_vm(true))));
            Ok::<(), ()>(())
        };
        match read_document(&mut source, &mut each) {
            Ok(()) => keys.finish().map(|()| rows),
            Err(Halt::File(fault)) => Err(fault),
            Err(Halt::Caller(())) => unreachable!(),
        }
    }

    fn faults(text: &str, pairs: &[&str]) -> Vec<(u64, String, String)> {
        let faults = rows(text, pairs).unwrap().into_iter();
        faults.filter_map(|(line, row)| row.err().map(|fault| (line, fault.column, fault.reason))).collect()
    }

    fn malformed(text: &str) -> (u64, String) {
        match rows(text, &[]) {
            Err(FileFault::Malformed { line, reason }) => (line, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_is_found_bare_or_under_each_of_its_names() {
        let list = "[\n{\"vmid\": 1},\n\n {\n\"vmid\": \"2\"}, {\"vmid\": 3}]";
        let mut documents = vec![(list.to_owned(), 0)];
        for key in ENVELOPES {
            documents.push((
                format!("{{\"count\": 3, \"meta\": {{\"a\": [1]}},\n\"{key}\": {list}, \"z\": 1}}"),
                1,
            ));
        }
        for (document, before) in documents {
            let rows = rows(&document, &[]).unwrap();
            let ids: Vec<_> =
                rows.iter().map(|(line, vm)| (*line, vm.as_ref().unwrap().id.to_string())).collect();
            let expected = [(2, "1"), (4, "2"), (5, "3")].map(|(line, id)| (line + before, id.to_owned()));
            assert_eq!(ids, expected, "{document}");
        }
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
    fn a_document_of_another_shape_or_broken_is_refused_by_line() {
        for (text, line, reason) in [
            ("{\"a\": 1}", 1, "an object without a list of VMs"),
            ("{\n\"vms\": {}}", 2, "invalid type: map, expected a list of VMs"),
            ("7", 1, "invalid type: integer `7`, expected a list of VMs, or an object"),
            ("[{\"vmid\": 1},\n{\"vmid\": 2},\n{\"vmid\" 3}]", 3, "expected `:`"),
            ("[{\"vmid\": 1},\n", 2, "EOF while parsing a value"),
            ("{\"vms\": [],\n\"data\": []}", 2, "two lists of VMs: under vms and under data"),
            ("[]\n{}", 2, "more follows the end of the document"),
            ("{\"next\": \"/api/?offset=50\",\n\"results\": []}", 1, "this is one page of several"),
            ("{\"results\": [],\n\"next\": 2}", 2, "this is one page of several"),
            ("", 1, "EOF"),
        ] {
            let (at, why) = malformed(text);
            assert!(why.starts_with(reason) && at == line, "{text:?}: {at}: {why}");
        }
    }

    #[test]
    fn an_element_may_not_be_endless_and_what_is_ignored_may() {
        let long = "x".repeat(MAX_ROW_BYTES + 1);
        let (line, reason) = malformed(&format!("[{{\"vmid\": 1}},\n{{\"vmid\": 2, \"a\": \"{long}\"}}]"));
        assert_eq!((line, reason.as_str()), (2, "an element longer than 1024 KiB"));
        assert_eq!(
            rows(&format!("{{\"a\": \"{long}\", \"vms\": [{{\"vmid\": 1}}]}}"), &[]).unwrap().len(),
            1
        );
        let wide: Vec<_> = (0..=MAX_COLUMNS).map(|key| format!("\"{key}\": 1")).collect();
        assert_eq!(faults(&format!("[{{{}}}]", wide.join(",")), &[])[0].2, "more than 1000 keys");
        let (_, deep) = malformed(&format!("[{{\"a\": {}", "[".repeat(100_000)));
        assert_eq!(deep, "recursion limit exceeded");
    }

    #[test]
    fn a_broken_line_of_json_lines_hides_no_other() {
        let text = b"{\"vmid\": 1}\r\n\n{\"vmid\": \n\xFF\n[]\n {\"vmid\": 2}";
        let mut source = Source::new(Box::new(Trickle(text)));
        let mut lines = Lines::new(&mut source);
        let (map, mut found) = (ColumnMap::default(), Vec::new());
        let mut keys = Keys::new(&map);
        while let Some((line, element)) = lines.next_element().unwrap() {
            let vm = element.and_then(|element| keys.cells(element)?.into_vm(true));
            found.push((line, vm.map(|vm| vm.id.to_string()).map_err(|fault| fault.reason)));
        }
        let expected = [
            (1, Ok("1".to_owned())),
            (3, Err("not JSON: EOF while parsing a value at column 9".to_owned())),
            (4, Err("not UTF-8".to_owned())),
            (5, Err("a list, where an object is needed".to_owned())),
            (6, Ok("2".to_owned())),
        ];
        assert_eq!(found, expected);
    }
}
