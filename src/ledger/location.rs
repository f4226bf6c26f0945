//! What a ledger is opened by: the path of a file, or the URL of a database.

use std::path::{Path, PathBuf};

use super::error::LedgerError;
use super::postgres::{DatabaseUrl, InvalidUrl, Postgres};
use super::sqlite::Sqlite;

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

    /// What would keep a writer from it, as far as it can be seen without leaving anything behind.
    pub fn check_writable(&self) -> Result<(), LedgerError> {
        match self {
            Self::File(path) => Sqlite::check_writable(path),
            Self::Database(url) => Postgres::check_writable(url),
        }
    }

    /// Whether both lead to one ledger, as far as their names tell.
    pub fn is_the_very(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => same_file(one, other),
            (Self::Database(one), Self::Database(other)) => one.is_the_very(other),
            (Self::File(_), Self::Database(_)) | (Self::Database(_), Self::File(_)) => false,
        }
    }

    /// What it is called, as it was typed.
    pub fn as_path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Database(url) => url.as_path(),
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

/// By whatever link each is named.
fn same_file(one: &Path, other: &Path) -> bool {
    let [one_target, other_target] = [one, other].map(|path| path.canonicalize().ok());
    one == other || (one_target.is_some() && one_target == other_target)
}
