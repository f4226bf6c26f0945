//! Why a report could not be written.

use std::io;
use std::path::{Path, PathBuf};

use super::counts;
use crate::ledger::Counts;
use crate::text::escape_path;

/// What kept a report from being written. What the system said is the error's source.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{}: {reason}", escape_path(path))]
    UnknownFormat { path: PathBuf, reason: String },
    #[error("{}: is a directory, not a file", escape_path(path))]
    IsDirectory { path: PathBuf },
    #[error("{}: the directory {} does not exist", escape_path(path), escape_path(directory))]
    MissingDirectory { path: PathBuf, directory: PathBuf },
    #[error(
        "{}: the skipped rows are listed here, and this file is no such list; move it away, or name the first report \
         in another directory",
        escape_path(path)
    )]
    NotOurs { path: PathBuf },
    #[error("{}: cannot be written", escape_path(path))]
    Write { path: PathBuf, source: io::Error },
    /// The rows and the summary tell of different runs: neither can be believed.
    #[error(
        "the rows ({}) do not add up to the summary ({}); no report was written",
        counts::in_words(rows),
        counts::in_words(summary)
    )]
    Miscounted { rows: Box<Counts>, summary: Box<Counts> },
}

impl ReportError {
    /// What keeps the report from being written, or its directory from being made.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}
