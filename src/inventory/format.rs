//! Which format a file is in: said, told by its name, or by its first bytes.

use std::io;
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;

use super::columns::ColumnMap;
use super::json::{ENVELOPES, Element, has_vmid};
use super::source::{MAX_ROW_BYTES, Source};

/// A format that inventories come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    /// An array of objects, or an object that holds one under `vms`, `results` or `data`.
    Json,
    /// One object a line.
    Jsonl,
}

/// Why a text is not a [`Format`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format (csv, json or jsonl)")]
pub struct InvalidFormat;

/// Whether a file's name says that it is gzip's.
pub(super) fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

impl Format {
    /// By the file's extension, upper case or lower, before a `.gz`.
    pub(super) fn of_name(path: &Path) -> Option<Self> {
        let unpacked = if is_packed(path) { path.file_stem().map(Path::new)? } else { path };
        match unpacked.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }

    /// By the first byte that is no white space: `[` is JSON, `{` is JSON Lines if the first line is an object of
    /// its own that is no document (a VM, for `map`, where there are no more lines), else JSON; all else is CSV.
    pub(super) fn of_content(source: &mut Source<'_>, map: &ColumnMap) -> io::Result<Self> {
        let mut wanted = 1;
        loop {
            let head = source.peek(wanted)?;
            let whole = head.len() < wanted || head.len() > MAX_ROW_BYTES;
            let text = head.trim_ascii_start();
            let line_end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let line = &text[..line_end.unwrap_or(text.len())];
            let is_more = !text[line.len()..].trim_ascii().is_empty();
            match text.first() {
                Some(b'[') => return Ok(Self::Json),
                Some(b'{') if is_more || whole => return Ok(Self::of_object(line, is_more, map)),
                None if whole => return Ok(Self::Csv),
                Some(b'{') | None => wanted = head.len() + 1,
                Some(_) => return Ok(Self::Csv),
            }
        }
    }

    fn of_object(line: &[u8], is_more: bool, map: &ColumnMap) -> Self {
        let holds_list = |fields: &[(String, Value)]| {
            fields.iter().any(|(key, value)| value.is_array() && ENVELOPES.contains(&key.as_str()))
        };
        match serde_json::from_slice(line) {
            Ok(Element::Object { fields, .. })
                if !holds_list(&fields) && (is_more || has_vmid(&fields, map)) =>
            {
                Self::Jsonl
            }
            Ok(Element::Object { .. } | Element::TooWide | Element::Other(_)) | Err(_) => Self::Json,
        }
    }
}

impl FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(InvalidFormat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::Trickle;
    use super::*;

    #[test]
    fn a_name_or_a_word_says_the_format() {
        for (name, format) in [
            ("a/fleet.csv", Some(Format::Csv)),
            ("FLEET.CSV", Some(Format::Csv)),
            ("fleet.csv.json", Some(Format::Json)),
            ("fleet.jsonl", Some(Format::Jsonl)),
            ("fleet.ndjson", Some(Format::Jsonl)),
            ("fleet.tsv", Some(Format::Csv)),
            ("fleet.TXT", Some(Format::Csv)),
            ("fleet.csv.gz", Some(Format::Csv)),
            ("a.b/fleet.json.GZ", Some(Format::Json)),
            ("fleet.ndjson.gz", Some(Format::Jsonl)),
            ("fleet.gz", None),
            ("fleet.csv.gz.gz", None),
            (".gz", None),
            ("fleet.xlsx", None),
            ("csv", None),
        ] {
            assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
        }
        assert_eq!("jsonl".parse(), Ok(Format::Jsonl));
        assert_eq!("xml".parse::<Format>(), Err(InvalidFormat));
    }

    #[test]
    fn the_first_bytes_say_the_format() {
        for (text, format) in [
            ("vmid,name\n1,a", Format::Csv),
            ("", Format::Csv),
            (" \n [\n{}", Format::Json),
            ("{\n\"vms\": []}", Format::Json),
            ("{\"vms\": [{\"vmid\": 1}]}\n", Format::Json),
            ("{\"vms\": 3, \"vmid\": 1}\n{}", Format::Jsonl),
            ("\n{\"vmid\": 1}", Format::Jsonl),
            ("{\"vmid\": 1}\nrubbish", Format::Jsonl),
            ("{\"vms\": [", Format::Json),
            ("{\"vmid\": 1}", Format::Jsonl),
            ("{\"id\": {\"hostup\": 1}}\n", Format::Jsonl),
            ("{\"data\": {\"servers\": [{\"vmid\": 1}]}}\n", Format::Json),
            ("{\"data\": {\"servers\": [{\"vmid\": 1}]}}\r\n{}", Format::Jsonl),
        ] {
            let mapping = text.contains("hostup").then(|| "vmid=id.hostup".parse().unwrap());
            let map = ColumnMap::new(mapping).unwrap();
            let mut source = Source::new(Trickle(text.as_bytes()));
            assert_eq!(Format::of_content(&mut source, &map).unwrap(), format, "{text}");
            assert!(text.as_bytes().starts_with(source.peek(1).unwrap()), "peeking read nothing away");
        }
    }
}
