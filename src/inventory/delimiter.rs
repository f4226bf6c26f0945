//! What stands between the columns of a CSV file: typed, said in its first line, or told by its header.

use std::str::FromStr;

use super::columns::{Column, ColumnMap};

/// A `--delimiter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delimiter {
    /// Whichever of [`KNOWN`] each file has.
    #[default]
    Auto,
    Typed(u8),
}

/// Why a text is not a [`Delimiter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown delimiter (auto, a comma, a semicolon, tab, or a pipe: |)")]
pub struct InvalidDelimiter;

impl Delimiter {
    /// What they are called where no shell may take them for its own.
    pub const WORDS: [(&str, Self); 5] = [
        ("auto", Self::Auto),
        ("comma", Self::Typed(b',')),
        ("semicolon", Self::Typed(b';')),
        ("tab", Self::Typed(b'\t')),
        ("pipe", Self::Typed(b'|')),
    ];
}

impl FromStr for Delimiter {
    type Err = InvalidDelimiter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = Self::WORDS.into_iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        match (word, text) {
            (Some((_, delimiter)), _) => Ok(delimiter),
            (None, "," | ";" | "\t" | "|") => Ok(Self::Typed(text.as_bytes()[0])),
            (None, "\\t") => Ok(Self::Typed(b'\t')),
            (None, _) => Err(InvalidDelimiter),
        }
    }
}

/// The delimiters that are told by a header; where it has none, and one column, the first will do.
pub(super) const KNOWN: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The delimiter that Excel's first line `sep=;` says.
pub(super) fn said(line: &[u8]) -> Option<u8> {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', said] if is_fit(*said) => Some(*said),
        // The tab itself was trimmed.
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'='] => Some(b'\t'),
        _ => None,
    }
}

fn is_fit(delimiter: u8) -> bool {
    delimiter.is_ascii_punctuation() && delimiter != b'"'
}

/// The delimiter with which a header names the VMs' ids, else the one that makes most columns of it.
pub(super) fn of_header(header: &[u8], map: &ColumnMap) -> u8 {
    let columns = |delimiter: u8| {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(header);
        let mut record = csv::ByteRecord::new();
        // Reading from memory does not fail, and a record alone is as long as any other.
        let _ = reader.read_byte_record(&mut record);
        let is_vmid = |name: &[u8]| {
            std::str::from_utf8(name).is_ok_and(|name| map.column_of(name.trim()) == Some(Column::Vmid))
        };
        (record.iter().any(is_vmid), record.len())
    };
    // The last of the greatest is taken: of equals, the first that is known.
    KNOWN.into_iter().rev().max_by_key(|&delimiter| columns(delimiter)).unwrap_or(KNOWN[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_typed_as_itself_or_by_its_name() {
        for (text, delimiter) in [
            ("auto", Delimiter::Auto),
            (",", Delimiter::Typed(b',')),
            (";", Delimiter::Typed(b';')),
            ("tab", Delimiter::Typed(b'\t')),
            ("\t", Delimiter::Typed(b'\t')),
            ("\\t", Delimiter::Typed(b'\t')),
            ("|", Delimiter::Typed(b'|')),
            ("PIPE", Delimiter::Typed(b'|')),
            ("Semicolon", Delimiter::Typed(b';')),
        ] {
            assert_eq!(text.parse(), Ok(delimiter), "{text}");
        }
        for text in ["", ":", ",,", "\"", "space"] {
            assert_eq!(text.parse::<Delimiter>(), Err(InvalidDelimiter), "{text}");
        }
    }

    #[test]
    fn excels_first_line_says_the_delimiter() {
        for (line, delimiter) in [
            ("sep=;", Some(b';')),
            ("SEP=,\r", Some(b',')),
            ("\"sep=|\"", Some(b'|')),
            ("sep=\t\r", Some(b'\t')),
            ("sep=^", Some(b'^')),
            ("sep=\"", None),
            ("sep=ab", None),
            ("sep=a", None),
            ("sep", None),
            ("vmid;name", None),
        ] {
            assert_eq!(said(line.as_bytes()), delimiter, "{line}");
        }
    }

    #[test]
    fn a_header_tells_its_delimiter() {
        let map = |pairs: &[&str]| ColumnMap::new(pairs.iter().map(|pair| pair.parse().unwrap())).unwrap();
        for (header, pairs, delimiter) in [
            ("vmid,name", &[][..], b','),
            ("vmid;name, rack;action", &[], b';'),
            ("name, full, official;vmid", &[], b';'),
            ("VM ID\tname", &[], b'\t'),
            ("name|vmid|a;b;c;d", &[], b'|'),
            ("\"vmid\";\"name;\r\nand, more, commas\"", &[], b';'),
            ("vmid", &[], b','),
            ("id;name;rack, row", &[], b';'),
            ("a,b;hostup id", &["vmid=hostup id"], b';'),
            ("", &[], b','),
        ] {
            let found = of_header(header.as_bytes(), &map(pairs));
            assert_eq!(char::from(found), char::from(delimiter), "{header}");
        }
    }
}
