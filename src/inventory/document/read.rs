//! A document from its first byte to its last.

use serde::de::DeserializeSeed;

use super::part::{Part, Whereabouts};
use super::place::{Metered, Place};
use super::{Document, Each};
use crate::inventory::encoding::Encoding;
use crate::inventory::error::FileFault;
use crate::inventory::page::{Lists, Pages};
use crate::inventory::path::Path;
use crate::inventory::source::Source;

/// Why reading a document ended early.
pub(in crate::inventory) enum Halt<E> {
    File(FileFault),
    /// The caller's own error.
    Caller(E),
}

impl<E, F: Into<FileFault>> From<F> for Halt<E> {
    fn from(fault: F) -> Self {
        Self::File(fault.into())
    }
}

/// Gives every element of a document's list to `each`. The list is at `items`, else where lists usually are.
pub(in crate::inventory) fn read_document<E>(
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

#[cfg(test)]
mod tests {
    use super::super::{KEY, Spot};
    use super::*;
    use crate::inventory::columns::MAX_COLUMNS;
    use crate::inventory::json::{ENVELOPES, Element};
    use crate::inventory::source::MAX_ROW_BYTES;
    use crate::inventory::source::tests::Trickle;

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
