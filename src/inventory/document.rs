//! A JSON document, which is a list of VMs or holds one, read as a stream: one element of the list is held at a time,
//! however long the list is. What stands beside the list is looked through for what it says of it.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::Value;

use super::encoding::Encoding;
use super::error::{FileFault, listed};
use super::json::{ENVELOPES, Element, message};
use super::lines::LineEnds;
use super::nearest::nearest;
use super::page::{Beside, Lists, Pages, Rows, Scalar};
use super::path::{Path, joined};
use super::source::{MAX_ROW_BYTES, Source};
use crate::text::spelled_out;

/// The field that holds an element's key, where the list is an object.
const KEY: &str = "@key";

/// The longest text beside the list: what is left unread may be endless, but is read a text at a time.
const MAX_TEXT_BYTES: usize = 16 * MAX_ROW_BYTES;

/// Where an element is: the line that it starts on, and which of the list it is, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: u64,
    pub(super) row: u64,
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

type Each<'e, E> = dyn FnMut(Spot, Element) -> Result<(), E> + 'e;

/// Gives every element of a document's list to `each`. The list is at `items`, else where lists usually are.
pub(super) fn read_document<E>(
    source: &mut Source<'_>,
    encoding: Encoding,
    items: Option<&Path>,
    each: &mut Each<'_, E>,
) -> Result<(), Halt<E>> {
    let place = Place::new();
    let mut document = Document {
        place: &place,
        items,
        each,
        failed: None,
        list: None,
        rows: 0,
        lists: Lists::default(),
        pages: Pages::default(),
    };
    let mut deserializer = serde_json::Deserializer::from_reader(Metered { source, place: &place });
    let whereabouts = items.map_or(Whereabouts::Unknown, |path| Whereabouts::Under(path.keys()));
    let part = Part { document: &mut document, whereabouts, path: String::new() };
    let result = part.deserialize(&mut deserializer).and_then(|()| {
        place.allow(usize::MAX);
        deserializer.end()
    });
    match (result, document.failed.take()) {
        (_, Some(error)) => Err(Halt::Caller(error)),
        (Err(error), None) => Err(Halt::File(place.fault(error, encoding))),
        (Ok(()), None) => {
            let checked = document.check();
            Ok(checked.map_err(|reason| FileFault::Malformed { line: place.ends.get().line(), reason })?)
        }
    }
}

/// Where in a document the parser is.
struct Place {
    ends: Cell<LineEnds>,
    /// The line on which the current element starts.
    element: Cell<u64>,
    /// More than white space was read.
    begun: Cell<bool>,
    /// How many bytes may come in one piece, and how many of them still may.
    most: Cell<usize>,
    room: Cell<usize>,
}

impl Place {
    fn new() -> Self {
        Self {
            ends: Cell::default(),
            element: Cell::new(1),
            begun: Cell::new(false),
            most: Cell::new(MAX_ROW_BYTES),
            room: Cell::new(MAX_ROW_BYTES),
        }
    }

    /// Allows so many bytes for what comes next.
    fn allow(&self, bytes: usize) {
        self.most.set(bytes);
        self.room.set(bytes);
    }

    fn fault(&self, error: serde_json::Error, encoding: Encoding) -> FileFault {
        if self.room.get() == 0 {
            let reason = format!("an element longer than {} KiB", self.most.get() / 1024);
            return FileFault::Malformed { line: self.element.get(), reason };
        }
        if error.is_io() {
            return FileFault::Unreadable(error.into());
        }
        let reason = match message(&error) {
            _ if error.is_eof() && !self.begun.get() => {
                "the file is empty: a list of objects is needed".into()
            }
            message if message == "trailing characters" => {
                "more follows the end of the document (one object a line is JSON Lines: name it .jsonl, \
                 or add --inventory-format jsonl)"
                    .into()
            }
            message if message == "invalid unicode code point" => encoding.refusal(),
            message => message,
        };
        FileFault::Malformed { line: self.ends.get().line(), reason }
    }
}

/// What the parser reads: counts lines and the bytes of an element. The parser asks for one byte at a time.
struct Metered<'p, 's, 'a> {
    source: &'s mut Source<'a>,
    place: &'p Place,
}

impl Read for Metered<'_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Place { ends, begun, room, .. } = self.place;
        if room.get() == 0 {
            return Err(io::Error::other("an element is too long"));
        }
        let wanted = out.len().min(room.get());
        let unread = self.source.fill_buf()?;
        let read = wanted.min(unread.len());
        out[..read].copy_from_slice(&unread[..read]);
        self.source.consume(read);
        let mut fed = ends.get();
        fed.feed(&out[..read]);
        ends.set(fed);
        begun.set(begun.get() || out[..read].iter().any(|byte| !byte.is_ascii_whitespace()));
        room.set(room.get() - read);
        Ok(read)
    }
}

/// A document as far as it was read.
struct Document<'p, 'e, 'f, E> {
    place: &'p Place,
    items: Option<&'p Path>,
    each: &'e mut Each<'f, E>,
    failed: Option<E>,
    /// The path of the list that was read.
    list: Option<String>,
    rows: u64,
    lists: Lists,
    pages: Pages,
}

impl<E> Document<'_, '_, '_, E> {
    /// That there was a list, and all of it.
    fn check(&self) -> Result<(), String> {
        match &self.list {
            Some(_) => self.pages.check(self.rows),
            None => Err(self.no_list()),
        }
    }

    fn no_list(&self) -> String {
        let lists = listed(self.lists.paths());
        let lists = if lists.is_empty() { lists } else { format!("; lists are at: {lists}") };
        match self.items {
            Some(path) => {
                let near = nearest(&path.to_string(), self.lists.paths());
                let near = if near.is_empty() { near } else { format!("; the nearest: {near}") };
                format!("there is no list at {path} (--items){near}{lists}")
            }
            None if lists.is_empty() => {
                "an object without a list of VMs under vms, results or data (one object a \
                 line is JSON Lines: name it .jsonl, or add --inventory-format jsonl)"
                    .into()
            }
            None => {
                format!("an object without a list of VMs under vms, results or data: add --items PATH{lists}")
            }
        }
    }

    /// The next key beside or above the list.
    fn next_key<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Option<String>, A::Error> {
        self.place.allow(MAX_ROW_BYTES);
        let key = map.next_key();
        self.place.allow(MAX_TEXT_BYTES);
        key
    }

    /// A list of addresses that the list of VMs may be told of with: `[{"rel": "next", "href": "…"}]`.
    fn links<'de, A: SeqAccess<'de>>(&mut self, beside: &Beside, mut list: A) -> Result<(), A::Error> {
        let mut rows = Rows::None;
        loop {
            self.place.allow(MAX_TEXT_BYTES);
            let Some(element) = list.next_element::<Value>()? else { break };
            if element.is_object() {
                rows = Rows::Listed;
            }
            let text = |key: &str| element[key].as_str().filter(|text| !text.is_empty());
            if let Some((rel, _)) = text("rel").zip(text("href"))
                && let Beside { path, mark: Some(mark), .. } = beside.below(rel)
            {
                self.pages.note(mark, &path, Scalar::Set).map_err(de::Error::custom)?;
            }
        }
        self.lists.note(&beside.path, rows);
        Ok(())
    }

    /// Begins the list at a path.
    fn begin<F: de::Error>(&mut self, path: String) -> Result<(), F> {
        match self.list.replace(path) {
            None => Ok(()),
            Some(first) => {
                let second = self.list.take().unwrap_or_default();
                Err(F::custom(format!(
                    "two lists of VMs: under {first} and under {second}: say which with --items"
                )))
            }
        }
    }

    /// Hands on the next element of the list.
    fn hand_on<F: de::Error>(&mut self, element: Element) -> Result<(), F> {
        self.rows += 1;
        let spot = Spot { line: self.place.element.get(), row: self.rows };
        (self.each)(spot, element).map_err(|error| {
            self.failed = Some(error);
            F::custom("stopped by the caller")
        })
    }
}

/// Where the list is, seen from a part of the document.
#[derive(Clone, Copy)]
enum Whereabouts<'k> {
    /// It is this part, or under one of the usual names.
    Unknown,
    /// This part has one of the usual names.
    Expected,
    /// Under these keys.
    Under(&'k [String]),
}

/// A part of the document that the list is, or is in.
struct Part<'d, 'k, 'p, 'e, 'f, E> {
    document: &'d mut Document<'p, 'e, 'f, E>,
    whereabouts: Whereabouts<'k>,
    path: String,
}

impl<'k, E> Part<'_, 'k, '_, '_, '_, E> {
    /// Where the list is, seen from what is under a key; `None` where it is not there.
    fn under(&self, key: &str) -> Option<Whereabouts<'k>> {
        match self.whereabouts {
            Whereabouts::Unknown => ENVELOPES.contains(&key).then_some(Whereabouts::Expected),
            Whereabouts::Expected => None,
            Whereabouts::Under(keys) => {
                let (first, rest) = keys.split_first()?;
                (first == key).then_some(Whereabouts::Under(rest))
            }
        }
    }

    fn beside(&self) -> Beside {
        Beside::above(&self.path)
    }

    fn scalar<F: de::Error>(self, scalar: Scalar, unexpected: Unexpected<'_>) -> Result<(), F> {
        match self.whereabouts {
            Whereabouts::Unknown | Whereabouts::Under([]) => Err(F::invalid_type(unexpected, &self)),
            Whereabouts::Under(_) => Ok(()),
            Whereabouts::Expected => {
                let beside = self.beside();
                Scan { document: self.document, beside }.scalar(scalar, unexpected).map(drop)
            }
        }
    }

    /// The elements of an object that is the list, each with its key.
    fn keyed<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { document, path, .. } = self;
        document.begin(path)?;
        let (hashes, mut keys) = (RandomState::new(), HashSet::new());
        loop {
            document.place.allow(MAX_ROW_BYTES);
            let Some(key) = map.next_key::<String>()? else { return Ok(()) };
            let is_new = keys.insert(hashes.hash_one(&key));
            let mut element = map.next_value_seed(Placed(document.place))?;
            if let Element::Object { fields, doubled } = &mut element {
                fields.insert(0, (KEY.to_owned(), Value::String(key)));
                if !is_new {
                    doubled.get_or_insert_with(|| KEY.to_owned());
                }
            }
            document.hand_on(element)?;
        }
    }
}

impl<'de, E> DeserializeSeed<'de> for Part<'_, '_, '_, '_, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($value:ty) => {
        fn visit_bool<F: de::Error>(self, value: bool) -> Result<$value, F> {
            self.scalar(if value { Scalar::Set } else { Scalar::Unset }, Unexpected::Bool(value))
        }

        fn visit_i64<F: de::Error>(self, value: i64) -> Result<$value, F> {
            self.scalar(Scalar::Set, Unexpected::Signed(value))
        }

        fn visit_u64<F: de::Error>(self, value: u64) -> Result<$value, F> {
            let scalar = if value == 0 { Scalar::Unset } else { Scalar::Number(value) };
            self.scalar(scalar, Unexpected::Unsigned(value))
        }

        fn visit_f64<F: de::Error>(self, value: f64) -> Result<$value, F> {
            self.scalar(Scalar::Set, Unexpected::Float(value))
        }

        fn visit_str<F: de::Error>(self, value: &str) -> Result<$value, F> {
            let scalar = if value.trim().is_empty() { Scalar::Unset } else { Scalar::Set };
            self.scalar(scalar, Unexpected::Other("a text"))
        }

        fn visit_unit<F: de::Error>(self) -> Result<$value, F> {
            self.scalar(Scalar::Unset, Unexpected::Unit)
        }
    };
}

impl<'de, E> Visitor<'de> for Part<'_, '_, '_, '_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.whereabouts {
            Whereabouts::Unknown => {
                f.write_str("a list of VMs, or an object that holds one under vms, results or data")
            }
            Whereabouts::Expected | Whereabouts::Under(_) => {
                write!(f, "a list of VMs at {}", spelled_out(&self.path))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if let Whereabouts::Under([_, ..]) = self.whereabouts {
            let beside = self.beside();
            return Scan { document: self.document, beside }.visit_seq(elements).map(drop);
        }
        let Self { document, path, .. } = self;
        document.begin(path)?;
        loop {
            document.place.allow(MAX_ROW_BYTES);
            let Some(element) = elements.next_element_seed(Placed(document.place))? else { return Ok(()) };
            document.hand_on(element)?;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.whereabouts {
            Whereabouts::Under([]) => return self.keyed(map),
            Whereabouts::Expected => {
                let beside = self.beside();
                return Scan { document: self.document, beside }.visit_map(map).map(drop);
            }
            Whereabouts::Unknown | Whereabouts::Under(_) => {}
        }
        let mut entered = HashSet::new();
        let mut keyed = Keyed::default();
        while let Some(key) = self.document.next_key(&mut map)? {
            let Some(whereabouts) = self.under(&key) else {
                let beside = Beside::the_list(&self.path, &key);
                keyed.note(map.next_value_seed(Scan { document: self.document, beside })?);
                continue;
            };
            let path = joined(&self.path, &key);
            if !entered.insert(key) {
                return Err(de::Error::custom(format!("the key {} is there twice", spelled_out(&path))));
            }
            map.next_value_seed(Part { document: self.document, whereabouts, path })?;
        }
        let is_whole = self.path.is_empty();
        if is_whole && entered.is_empty() && keyed.is_list() {
            self.document.lists.note(".", Rows::Keyed(keyed.objects));
        }
        match &self.document.list {
            None if is_whole => Err(de::Error::custom(self.document.no_list())),
            _ => Ok(()),
        }
    }

    scalars!(());
}

/// What kind of value was scanned.
#[derive(Clone, Copy)]
enum Kind {
    Object,
    List,
    Scalar,
}

/// Whether an object may be a list itself: all its values are objects.
#[derive(Default)]
struct Keyed {
    objects: u64,
    others: u64,
}

impl Keyed {
    fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Object => self.objects += 1,
            Kind::List | Kind::Scalar => self.others += 1,
        }
    }

    fn is_list(&self) -> bool {
        self.objects > 0 && self.others == 0
    }
}

/// Looks through what is not the list: for lists that are there, and for what says that there are more pages.
struct Scan<'d, 'p, 'e, 'f, E> {
    document: &'d mut Document<'p, 'e, 'f, E>,
    beside: Beside,
}

impl<E> Scan<'_, '_, '_, '_, E> {
    fn scalar<F: de::Error>(self, scalar: Scalar, _: Unexpected<'_>) -> Result<Kind, F> {
        let Beside { path, mark, .. } = &self.beside;
        mark.map_or(Ok(()), |mark| self.document.pages.note(mark, path, scalar)).map_err(F::custom)?;
        Ok(Kind::Scalar)
    }
}

impl<'de, E> DeserializeSeed<'de> for Scan<'_, '_, '_, '_, E> {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E> Visitor<'de> for Scan<'_, '_, '_, '_, E> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let Self { document, beside } = self;
        let mut keyed = Keyed::default();
        while let Some(key) = document.next_key(&mut map)? {
            keyed.note(map.next_value_seed(Scan { document, beside: beside.below(&key) })?);
        }
        if keyed.is_list() {
            document.lists.note(&beside.path, Rows::Keyed(keyed.objects));
        }
        Ok(Kind::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Kind, A::Error> {
        let Self { document, beside } = self;
        if beside.is_about_pages {
            document.links(&beside, elements)?;
            return Ok(Kind::List);
        }
        document.place.allow(usize::MAX);
        let rows = elements.next_element::<Rows>()?.unwrap_or(Rows::None);
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        document.lists.note(&beside.path, rows);
        Ok(Kind::List)
    }

    scalars!(Kind);
}

/// What a list holds is told by its first element.
impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowsVisitor)
    }
}

struct RowsVisitor;

macro_rules! no_rows {
    ($($visit:ident: $kind:ty),*) => {$(
        fn $visit<F>(self, _: $kind) -> Result<Rows, F> {
            Ok(Rows::None)
        }
    )*};
}

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Rows::Listed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Rows, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Rows::None)
    }

    fn visit_unit<F>(self) -> Result<Rows, F> {
        Ok(Rows::None)
    }

    no_rows!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

/// An element that notes where it starts: the parser has read its first byte by then, and no more.
struct Placed<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for Placed<'_> {
    type Value = Element;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        self.0.element.set(self.0.ends.get().line());
        Element::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::MAX_COLUMNS;
    use super::super::source::tests::Trickle;
    use super::*;

    /// Each element as `line: row N vmid`, or what it is.
    fn read(text: &str, items: Option<&str>) -> Result<Vec<String>, FileFault> {
        let mut source = Source::new(Trickle(text.as_bytes()));
        let items = items.map(|path| path.parse().unwrap());
        let mut rows = Vec::new();
        let mut each = |Spot { line, row }, element| {
            let told = match element {
                Element::Object { fields, doubled: None } => {
                    let told =
                        |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, value)| value);
                    let key = told(KEY).map(|key| format!(" {key}")).unwrap_or_default();
                    format!(
                        "{}{key}",
                        told("vmid").map(ToString::to_string).unwrap_or_default().replace('"', "")
                    )
                }
                other => format!("{other:?}"),
            };
            rows.push(format!("{line}: row {row} {told}"));
            Ok::<(), ()>(())
        };
        match read_document(&mut source, Encoding::UTF_8, items.as_ref(), &mut each) {
            Ok(()) => Ok(rows),
            Err(Halt::File(fault)) => Err(fault),
            Err(Halt::Caller(())) => unreachable!(),
        }
    }

    #[track_caller]
    fn refused(text: &str, items: Option<&str>) -> (u64, String) {
        match read(text, items) {
            Err(FileFault::Malformed { line, reason }) => (line, reason),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn malformed(text: &str) -> (u64, String) {
        refused(text, None)
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
            let expected = [(2, "1"), (4, "2"), (5, "3")].map(|(line, id)| (line + before, id));
            let expected = expected.map(|(line, id)| format!("{line}: {id}"));
            let rows: Vec<_> = read(&document, None).unwrap();
            let without_numbers = rows.iter().zip(1..).map(|(row, n)| row.replace(&format!(" row {n}"), ""));
            assert_eq!(without_numbers.collect::<Vec<_>>(), expected, "{document}");
        }
    }

    #[test]
    fn a_document_of_another_shape_or_broken_is_refused_by_line() {
        for (text, line, reason) in [
            ("{\"a\": 1}", 1, "an object without a list of VMs"),
            ("{\n\"vms\": {}}", 2, "an object without a list of VMs"),
            ("{\"vms\": null}", 1, "an object without a list of VMs"),
            ("7", 1, "invalid type: integer `7`, expected a list of VMs, or an object"),
            ("[{\"vmid\": 1},\n{\"vmid\": 2},\n{\"vmid\" 3}]", 3, "expected `:`"),
            ("[{\"vmid\": 1},\n", 2, "EOF while parsing a value"),
            ("{\"vms\": [],\n\"data\": []}", 2, "two lists of VMs: under vms and under data"),
            ("[{\"vmid\": 1},\r7 8]", 2, "expected `,` or `]`"),
            ("[]\n{}", 2, "more follows the end of the document"),
            ("{\"next\": \"/api/?offset=50\",\n\"results\": []}", 1, "this is one page of several"),
            ("{\"results\": [],\n\"next\": 2}", 2, "this is one page of several"),
            ("", 1, "the file is empty"),
            (" \n\n", 3, "the file is empty"),
            ("[\"\u{e5}", 1, "EOF"),
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
        let ignored = format!("{{\"a\": \"{long}\", \"vms\": [{{\"vmid\": 1}}]}}");
        assert_eq!(read(&ignored, None).unwrap(), ["1: row 1 1"]);
        let wide: Vec<_> = (0..=MAX_COLUMNS).map(|key| format!("\"{key}\": 1")).collect();
        assert_eq!(read(&format!("[{{{}}}]", wide.join(",")), None).unwrap(), ["1: row 1 TooWide"]);
        let (_, deep) = malformed(&format!("[{{\"a\": {}", "[".repeat(100_000)));
        assert_eq!(deep, "recursion limit exceeded");
    }

    #[test]
    fn a_path_says_where_the_list_is() {
        for (text, path, expected) in [
            (
                r#"{"data": {"vms": [{"vmid": 1}], "virtual_machines": [{"vmid": 2}]}}"#,
                "data.virtual_machines",
                &["1: row 1 2"][..],
            ),
            (r#"{"data": [{"vmid": 1}], "other": [{"vmid": 2}]}"#, "other", &["1: row 1 2"]),
            (r#"{"a.b": {"c": [{"vmid": 1}]}}"#, "\"a.b\".c", &["1: row 1 1"]),
            (r#"[{"vmid": 1}]"#, ".", &["1: row 1 1"]),
            (
                "{\"_meta\": {\"hostvars\": {\"web1\": {\"vmid\": 1},\n\"web2\": {\"vmid\": 2},\n\"web3\": 3}}}",
                "_meta.hostvars",
                &["1: row 1 1 \"web1\"", "2: row 2 2 \"web2\"", "3: row 3 Other(\"a number\")"],
            ),
            (r#"{"web1": {"vmid": 1}}"#, ".", &["1: row 1 1 \"web1\""]),
            (r#"{"vms": {}}"#, "vms", &[]),
        ] {
            assert_eq!(read(text, Some(path)).unwrap(), expected, "{text}");
        }
        let twice = read(r#"{"a": {"vmid": 1}, "b": {"vmid": 2}, "a": {"vmid": 3}}"#, Some(".")).unwrap();
        assert!(twice[2].contains("doubled: Some(\"@key\")"), "{twice:?}");
    }

    #[test]
    fn a_path_without_a_list_is_answered_with_those_that_have_one() {
        let text = r#"{"data": {"virtual_machines": [{"vmid": 1}], "tags": ["a"]}, "meta": {"hosts": {"a": {}, "b": {}}}}"#;
        let lists = "lists are at: data.virtual_machines, meta.hosts, meta, data.tags";
        for (path, expected) in [
            ("data.vms", format!("there is no list at data.vms (--items); {lists}")),
            (
                "data.tags.x",
                format!("there is no list at data.tags.x (--items); the nearest: data.tags; {lists}"),
            ),
            (
                "data.virtual-machine",
                format!(
                    "there is no list at data.virtual-machine (--items); the nearest: data.virtual_machines; {lists}"
                ),
            ),
        ] {
            assert_eq!(refused(text, Some(path)), (1, expected));
        }
        assert_eq!(
            malformed(text),
            (
                1,
                format!(
                    "an object without a list of VMs under vms, results or data: add --items PATH; {lists}"
                )
            )
        );
        assert_eq!(
            malformed(r#"{"web1": {"vmid": 1}, "web2": {"vmid": 2}}"#).1.rsplit_once("; ").unwrap().1,
            "lists are at: ."
        );
        let (_, reason) = refused(r#"{"data": {"vms": 7}}"#, Some("data.vms"));
        assert!(
            reason.starts_with("invalid type: integer `7`, expected a list of VMs at data.vms"),
            "{reason}"
        );
        let (_, reason) = refused(r#"{"data": {"vms": []}, "data": {"vms": []}}"#, Some("data.vms"));
        assert!(reason.starts_with("the key data is there twice"), "{reason}");
    }

    #[test]
    fn one_page_of_several_is_refused_however_it_says_so() {
        for beside in [
            r#""next": "https://api/?page=2""#,
            r#""previous": "https://api/?page=1""#,
            r#""links": {"pages": {"next": "https://api/?page=2"}}"#,
            r#""links": {"next": {"href": "https://api/?page=2"}}"#,
            r#""_links": {"next": {"href": "/?page=2", "templated": false}}"#,
            r#""links": [{"rel": "self", "href": "/"}, {"rel": "next", "href": "/?page=2"}]"#,
            r#""meta": {"links": [7, {"href": "/?page=1", "rel": "prev"}]}"#,
            r#""offset": 50, "limit": 50"#,
            r#""meta": {"startAt": 50, "maxResults": 50}"#,
            r#""meta": {"pagination": {"page": 1, "next_page": 2, "last_page": 2}}"#,
            r#""meta": {"pagination": {"page": 2, "previous_page": 1, "next_page": null, "total_entries": 1}}"#,
            r#""meta": {"pagination": {"page": 1, "per_page": 1, "total_entries": 3}}"#,
            r#""meta": {"total": 2}"#,
            r#""count": 2"#,
            r#""total_count": 75"#,
            r#""results": 2"#,
            r#""pages": 2"#,
            r#""has_more": true"#,
            r#""hasMore": true"#,
            r#""nextPageToken": "CAU""#,
            r#""nextCursor": "eyJ""#,
            r#""response_metadata": {"next_cursor": "dXNlcjp"}"#,
            r#""pageInfo": {"hasNextPage": true, "endCursor": "x"}"#,
            r#""@odata.nextLink": "https://api/?$skip=50""#,
            r#""metadata": {"continue": "abc"}"#,
        ] {
            let row = r#""data": [{"vmid": 1}]"#;
            for text in [format!("{{{beside}, {row}}}"), format!("{{{row}, {beside}}}")] {
                let (_, reason) = malformed(&text);
                assert!(reason.starts_with("this is one page of several ("), "{text}: {reason}");
            }
            let nested = format!("{{\"answer\": {{{row}, {beside}}}}}");
            assert!(refused(&nested, Some("answer.data")).1.starts_with("this is one page"), "{nested}");
        }
    }

    #[test]
    fn the_only_page_is_taken_whatever_it_says_of_pages() {
        for beside in [
            r#""next": null, "previous": null, "count": 1"#,
            r#""next": "", "nextPageToken": "", "nextCursor": null"#,
            r#""has_more": false, "hasMore": false"#,
            r#""links": {"self": "https://api/", "first": "https://api/", "last": "https://api/", "next": null}"#,
            r#""links": {}, "meta": {"total": 1}"#,
            r#""links": [{"url": null, "label": "Next"}]"#,
            r#""_links": {"next": {"href": null}, "self": {"href": "/"}}"#,
            r#""meta": {"pagination": {"page": 1, "per_page": 25, "previous_page": null, "next_page": null, "last_page": 1, "total_entries": 1}}"#,
            r#""page": 1, "pages": 1, "results": 1"#,
            r#""pageInfo": {"hasNextPage": false, "endCursor": "x"}"#,
            r#""count": "many", "total": -1"#,
            r#""racks": {"next": "dc1r29", "count": 44}"#,
            r#""version": 7, "generated": "2026-11-26", "filters": ["next"]"#,
        ] {
            for text in [
                format!("{{{beside}, \"vms\": [{{\"vmid\": 1}}]}}"),
                format!("{{\"vms\": [{{\"vmid\": 1}}], {beside}}}"),
            ] {
                assert_eq!(read(&text, None).unwrap(), ["1: row 1 1"], "{text}");
            }
        }
    }
}
