//! An open file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::lock::Lock;
use super::steps::Steps;
use super::{Run, burial, fold, prune, store};
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
    /// Opens `path` for writing, made where missing, waiting up to `lock_timeout` for another run to end.
    pub(crate) fn open(path: &Path, lock_timeout: Duration) -> Result<Self, LedgerError> {
        store::create(path)?;
        let mut lock = Lock::take(path, lock_timeout)?;
        let db = store::open(path)?;
        lock.watch(store::log(path)?)?;
        Ok(Self { db, path: path.to_owned(), lock: Some(lock) })
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
        ask(&self.db).map_err(store::told(&self.path))
    }

    pub(super) fn run(&self, run: &RunKey) -> Result<Run, LedgerError> {
        let sql = "SELECT no, base FROM runs WHERE id = ?1";
        let numbers = self.ask(|db| {
            let mut run_of = db.prepare_cached(sql)?;
            run_of.query_row([&run.id], |row| Ok(Run { no: row.get(0)?, base: row.get(1)? })).optional()
        });
        numbers?.ok_or_else(|| LedgerError::UnknownRun(run.id.clone()))
    }
}

impl Sqlite {
    /// What is not folded yet counts for a reader all the same.
    fn fold_aside(&self, db: &Connection) -> rusqlite::Result<()> {
        match self.lock.is_none() && !store::is_old(db)? {
            true => fold::fold_aside(db),
            false => Ok(()),
        }
    }
}

impl Engine for Sqlite {
    fn path(&self) -> &Path {
        &self.path
    }

    fn under_way(&self, before: Option<String>) -> Result<Option<String>, LedgerError> {
        before.map_or_else(|| Lock::held_for(&self.path), |run| Ok(Some(run)))
    }

    fn hold_still(&self) -> Result<(), LedgerError> {
        self.ask(|db| {
            db.execute_batch("BEGIN")?;
            let held = self.fold_aside(db);
            held.inspect_err(|_| drop(db.execute_batch("ROLLBACK")))
        })
    }

    fn let_go(&self) -> Result<(), LedgerError> {
        self.ask(|db| db.execute_batch("COMMIT"))
    }

    fn check(&self) -> Result<(), LedgerError> {
        self.lock.as_ref().map_or(Ok(()), Lock::check)
    }

    fn settle_up(&self) -> Result<(), LedgerError> {
        self.ask(|db| {
            let mut steps = Steps::begin(db)?;
            fold::fold(db, &mut steps)?;
            burial::bury(db)?;
            fold::fold(db, &mut steps)?;
            fold::drop_events(db)?;
            steps.end()
        })
    }

    fn prune(&self, keep: u32) -> Result<usize, LedgerError> {
        self.ask(|db| prune::prune(db, keep))
    }

    fn close(self: Box<Self>) -> Result<(), LedgerError> {
        store::close(self.db, &self.path)
    }
}
