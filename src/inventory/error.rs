//! What can be wrong with a row, and what can be wrong with a whole file.
//!
//! Rows and headers come from outside: whatever of them gets into a message is cut short and escaped here.

use std::fmt;
use std::io;

use super::source::MAX_ROW_BYTES;
use crate::dialect::InvalidVmId;
use crate::text::{escape, spelled_out};

/// The column of an [`InvalidRow`] that is wrong as a whole.
pub(super) const WHOLE_ROW: &str = "row";

/// One row that names no VM a run could call for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRow {
    /// As it was named on the command line; `-` is standard input.
    pub file: String,
    /// Where the row starts, counted from 1.
    pub line: u64,
    /// The file's own header for it, escaped; `row` where the row is wrong as a whole.
    pub column: String,
    /// For people. What it quotes of the row is escaped.
    pub reason: String,
}

impl fmt::Display for InvalidRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, reason } = self;
        write!(f, "{}:{line}: {column}: {reason}", escape(file))
    }
}

/// What is wrong with a row, before it is known which row it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) column: String,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn in_column(header: &str, reason: impl Into<String>) -> Self {
        Self { column: spelled_out(header), reason: reason.into() }
    }

    pub(super) fn of_row(reason: impl Into<String>) -> Self {
        Self { column: WHOLE_ROW.into(), reason: reason.into() }
    }

    pub(super) fn oversized() -> Self {
        Self::of_row(format!("longer than {} KiB", MAX_ROW_BYTES / 1024))
    }
}

/// A row, or what is wrong with it, and the line it starts on.
pub(super) type Numbered<T> = (u64, Result<T, Fault>);

/// Why an inventory cannot be read as one at all. `--skip-invalid` does not help here.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error(
        "{}: its name does not say which format it is in: add --inventory-format csv, json or jsonl",
        escape(file)
    )]
    UnknownFormat { file: String },
    #[error("{}: {source}", escape(file))]
    Unreadable { file: String, source: io::Error },
    #[error("{}:{line}: {reason}", escape(file))]
    Malformed { file: String, line: u64, reason: String },
    /// The columns are not what is needed.
    #[error("{}: {reason}", escape(file))]
    Columns { file: String, reason: String },
    #[error(
        "no row of the inventory has an action: add --action allocate or --action refresh_next_hop (or \
         --column action=NAME, where another column says it)"
    )]
    NoAction,
    #[error("standard input (-) can be read only once, and it is named twice")]
    StdinTwice,
    #[error("the list of the VMs seen so far, a temporary file, failed: {0}")]
    Seen(#[from] SeenError),
}

/// Why a VM could not be noted as seen.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum SeenError {
    File(#[from] io::Error),
    Vmid(#[from] InvalidVmId),
}

/// What is wrong with a file, before it is known which file it is.
#[derive(Debug)]
pub(super) enum FileFault {
    Unreadable(io::Error),
    Malformed { line: u64, reason: String },
    Columns(String),
}

impl FileFault {
    pub(super) fn of(self, file: &str) -> InventoryError {
        let file = file.to_owned();
        match self {
            Self::Unreadable(source) => InventoryError::Unreadable { file, source },
            Self::Malformed { line, reason } => InventoryError::Malformed { file, line, reason },
            Self::Columns(reason) => InventoryError::Columns { file, reason },
        }
    }
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The first few names of a list from outside, for a message.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const LISTED: usize = 30;
    let mut names = names.into_iter();
    let list = names.by_ref().take(LISTED).map(spelled_out).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 => list,
        more => list + &format!(" and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_row_is_one_harmless_line() {
        let fault =
            Fault::in_column("rack\u{1b}[31m", format!("\"{}\" is odd", spelled_out("a\nb\u{202e}\"")));
        let row =
            InvalidRow { file: "fleet\r.csv".into(), line: 7, column: fault.column, reason: fault.reason };
        assert_eq!(row.to_string(), r#"fleet\r.csv:7: rack\u{1b}[31m: "a\nb\u{202e}\"" is odd"#);
    }

    #[test]
    fn what_a_message_quotes_is_cut_short() {
        let header = format!("{}…", "å".repeat(60));
        assert_eq!(Fault::in_column(&"å".repeat(1000), "").column, header);
        let names = vec!["n"; 1000];
        assert!(listed(names).ends_with("n and 970 more"));
    }
}
