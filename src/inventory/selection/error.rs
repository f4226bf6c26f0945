//! Why what was typed selects nothing that could be meant.

use std::io;
use std::path::PathBuf;

use crate::dialect::Dialect;
use crate::inventory::source::MAX_ROW_BYTES;
use crate::text::{escape_path, spelled_out};

/// Why a text selects nothing that could be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("is empty: name a rack, or a pattern such as dc1r*")]
    NoRack,
    #[error("not a pattern (* any text, ? one character, [ab] one of them, {{x,y}} either): {0}")]
    Glob(String),
    #[error("not LABEL=PATTERN, such as role=db* (labels are the inventory's own columns)")]
    NoLabel,
    #[error(
        "an empty pattern matches nothing: {label}=* is every VM that has a {label}, !{label}=* every one without"
    )]
    NoPattern { label: String },
    #[error(
        "\"{}\" is no VM id and no range of them, such as 10000,10010-10020 (or @FILE, with one or more a line)",
        spelled_out(.0)
    )]
    NoVmId(String),
    #[error("\"{}\" is what VMs are called with --api {other}, and this is {dialect}", spelled_out(text))]
    OtherDialect { text: String, dialect: Dialect, other: Dialect },
    #[error("the range {0} runs backwards")]
    Backwards(String),
    #[error("the line is longer than {} KiB: one id, or a list of them, a line", MAX_ROW_BYTES / 1024)]
    LongLine,
    #[error("@ needs the name of a file, such as @failed.txt")]
    NoFile,
}

/// Why a selection cannot be made: what a `--vmid` names, or its file.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    #[error("--vmid: {0}")]
    Typed(InvalidPattern),
    #[error("--vmid @{}: {source}", escape_path(.file))]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{}:{line}: {reason}", escape_path(.file))]
    Invalid { file: PathBuf, line: usize, reason: InvalidPattern },
}
