//! How an inventory file is written.

use std::path::Path;
use std::str::FromStr;

/// CSV with a header row (RFC 4180), a JSON document, or one JSON object a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    JsonLines,
}

/// Why a text is not a [`Format`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown inventory format (csv, json or jsonl)")]
pub struct InvalidFormat;

impl FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            _ => Err(InvalidFormat),
        }
    }
}

impl Format {
    /// What the file's extension says.
    pub(super) fn of(path: &Path) -> Option<Self> {
        path.extension()?.to_str()?.parse().ok()
    }

    /// What standard input begins with: `[` is a JSON document, `{` a JSON document or lines of them, else CSV.
    ///
    /// An object whose first line is a whole object is taken for JSON Lines.
    pub(super) fn sniff(begin: &[u8]) -> Self {
        let text = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin).trim_ascii_start();
        let first_line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match text.first() {
            Some(b'{') if is_row(first_line) => Self::JsonLines,
            Some(b'[' | b'{') => Self::Json,
            _ => Self::Csv,
        }
    }
}

/// A whole JSON object on one line that holds no list of VMs.
fn is_row(line: &[u8]) -> bool {
    let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(line);
    object.is_ok_and(|object| {
        let holds_a_list = |key: &&str| object.get(*key).is_some_and(serde_json::Value::is_array);
        !super::json::ENVELOPES.iter().any(holds_a_list)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_extension_and_standard_input_by_its_beginning() {
        for (path, format) in [
            ("fleet.csv", Some(Format::Csv)),
            ("a/FLEET.JSON", Some(Format::Json)),
            ("fleet.ndjson", Some(Format::JsonLines)),
            ("fleet.txt", None),
            ("fleet", None),
        ] {
            assert_eq!(Format::of(Path::new(path)), format, "{path}");
        }
        for (begin, format) in [
            ("vmid,name\n1,a\n", Format::Csv),
            ("\u{feff}vmid\n", Format::Csv),
            ("", Format::Csv),
            (" \n[{\"vmid\":1}]", Format::Json),
            ("{\"vmid\":1}\n{\"vmid\":2}\n", Format::JsonLines),
            ("{\"vmid\":1}", Format::JsonLines),
            ("{\"vms\":[{\"vmid\":1}]}", Format::Json),
            ("{\n \"vms\": []}", Format::Json),
        ] {
            assert_eq!(Format::sniff(begin.as_bytes()), format, "{begin}");
        }
    }
}
