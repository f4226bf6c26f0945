//! What a ledger is opened by: the path of a file, or the URL of a database.

use std::path::{Path, PathBuf};

use super::postgres::{DatabaseUrl, InvalidUrl};

/// Where a ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    File(PathBuf),
    Database(DatabaseUrl),
}

impl Location {
    /// What `--ledger` names.
    pub fn of(typed: &Path) -> Result<Self, InvalidUrl> {
        match DatabaseUrl::of(typed) {
            Some(url) => Ok(Self::Database(url?)),
            None => Ok(Self::File(typed.to_owned())),
        }
    }

    /// The ledger's own file; a database has none.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Database(_) => None,
        }
    }
}
