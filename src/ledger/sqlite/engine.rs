//! What an open file does as a whole: it holds still for a reader, settles up for a writer, and is closed.

use std::path::Path;

use rusqlite::Connection;

use super::engine_error::engine_error;
use super::lock::Lock;
use super::steps::Steps;
use super::{Sqlite, burial, fold, prune, schema, store};
use crate::inventory::InventoryFile;
use crate::ledger::engine::{Board, Engine};
use crate::ledger::error::LedgerError;
use crate::ledger::record::{Bulletin, NewRun, RunKey, WrittenFile};

impl Sqlite {
    /// What is not folded yet counts for a reader all the same.
    fn fold_aside(&self, db: &Connection) -> rusqlite::Result<()> {
        match self.lock.is_none() && !schema::is_old(db)? {
            true => fold::fold_aside(db),
            false => Ok(()),
        }
    }
}

impl Engine for Sqlite {
    fn path(&self) -> &Path {
        &self.path
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn under_way(&self, before: Vec<String>) -> Result<Vec<String>, LedgerError> {
        match before.is_empty() {
            true => Ok(Lock::held_for(&self.path)?.into_iter().collect()),
            false => Ok(before),
        }
    }

    fn board(&self, run: &RunKey) -> Option<Box<dyn Board>> {
        let board = self.lock.as_ref().and_then(|lock| lock.board(&run.id))?;
        Some(Box::new(board))
    }

    fn bulletin(&self) -> Result<Option<Bulletin>, LedgerError> {
        Lock::posted(&self.path)
    }

    fn holder(&self) -> Result<Option<String>, LedgerError> {
        Lock::holder_and_run(&self.path)
    }

    fn holder_alone(&self) -> Result<Option<String>, LedgerError> {
        Lock::holder(&self.path)
    }

    fn holder_of(&self, _: &NewRun, _: &[InventoryFile]) -> Result<Option<String>, LedgerError> {
        self.holder()
    }

    fn schema(&self) -> Result<(u32, u32), LedgerError> {
        Ok((schema::version(&self.db, &self.path)?, schema::SCHEMA))
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

    /// A file is where it is.
    fn reach(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    fn check(&self) -> Result<(), LedgerError> {
        self.lock.as_ref().map_or(Ok(()), Lock::check)
    }

    /// Of all who wrote this file, the last one may have been this process.
    fn bury_lost(&self) -> Result<(), LedgerError> {
        self.settle_up(&mut || Ok(()))
    }

    fn settle_up(&self, then: &mut dyn FnMut() -> Result<(), LedgerError>) -> Result<(), LedgerError> {
        let mut steps = Steps::begin(&self.db).map_err(engine_error(&self.path))?;
        self.ask(|db| {
            fold::fold(db, |vms| steps.took(vms))?;
            burial::bury(db)?;
            fold::fold(db, |vms| steps.took(vms))?;
            fold::drop_events(db)
        })?;
        then()?;
        self.ask(|_| steps.end())
    }

    fn prune(&self, keep: u32, gone: &mut dyn FnMut(&[WrittenFile])) -> Result<usize, LedgerError> {
        self.ask(|db| prune::prune(db, keep, gone))
    }

    fn close(self: Box<Self>) -> Result<(), LedgerError> {
        store::close(self.db, &self.path)
    }
}
