//! An open file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};

use super::column::kind;
use super::engine_error::engine_error;
use super::lock::Lock;
use super::path::{self, create, log};
use super::{Run, store};
use crate::ledger::engine::Engine;
use crate::ledger::error::LedgerError;
use crate::ledger::record::RunKey;

/// An open file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// `None` where it is only read.
    pub(super) lock: Option<Lock>,
}

impl Sqlite {
    /// Opens `path` for writing, made where missing, waiting up to `lock_timeout` for another run to end; what a process that died
    /// did not come to is made up for.
    pub(crate) fn open(path: &Path, lock_timeout: Duration) -> Result<Self, LedgerError> {
        create(path)?;
        let mut lock = Lock::take(path, lock_timeout)?;
        let db = store::open(path)?;
        lock.watch(log(path)?)?;
        let sqlite = Self { db, path: path.to_owned(), lock: Some(lock) };
        sqlite.bury_lost()?;
        Ok(sqlite)
    }

    /// What would keep a writer from it but another one, as far as it can be seen without touching anything.
    pub(crate) fn check_writable(path: &Path) -> Result<(), LedgerError> {
        path::check_writable(path)?;
        Lock::check_takable(path)
    }

    /// Opens `path` for reading only.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { db: store::open_read_only(path)?, path: path.to_owned(), lock: None })
    }

    /// What `ask` asks of the database.
    pub(super) fn ask<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        ask(&self.db).map_err(engine_error(&self.path))
    }

    pub(super) fn run(&self, run: &RunKey) -> Result<Run, LedgerError> {
        let sql = "SELECT no, base, kind FROM runs WHERE id = ?1";
        let numbers = self.ask(|db| {
            let mut run_of = db.prepare_cached(sql)?;
            let numbers = |row: &Row<'_>| Ok(Run { no: row.get(0)?, base: row.get(1)?, kind: kind(row, 2)? });
            run_of.query_row([&run.id], numbers).optional()
        });
        numbers?.ok_or_else(|| LedgerError::UnknownRun(run.id.clone()))
    }
}
