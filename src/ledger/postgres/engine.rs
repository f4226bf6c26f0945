//! What an open database does as a whole: it holds still for a reader, settles up for a writer, and is closed.

use std::path::Path;
use std::time::Duration;

use super::database::Postgres;
use super::job_lock::Job;
use super::settings::{self, Scope};
use super::url::DatabaseUrl;
use super::workers::Live;
use super::{burial, finish, prune, schema, start, workers};
use crate::inventory::InventoryFile;
use crate::ledger::engine::{Board, Engine};
use crate::ledger::error::LedgerError;
use crate::ledger::record::{Bulletin, Finish, NewRun, RunKey, Start, WrittenFile};

impl Postgres {
    /// Opens a database for writing, its schema made where missing, and makes up for what lost workers did not come to. A run
    /// that is begun, or gone on with, waits up to `lock_timeout` for those who carry out the same job.
    pub(crate) fn open(url: &DatabaseUrl, lock_timeout: Duration) -> Result<Self, LedgerError> {
        let (postgres, was_there) = Self::open_to_write(url, lock_timeout)?;
        // Where nobody was before, nobody has left anything.
        if was_there {
            postgres.bury_lost()?;
        }
        Ok(postgres)
    }
}

impl Engine for Postgres {
    fn path(&self) -> &Path {
        self.session.name()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn under_way(&self, mut before: Vec<String>) -> Result<Vec<String>, LedgerError> {
        before.extend(workers::live(&self.session, "true", vec![])?.into_iter().map(|live| live.run));
        Ok(before)
    }

    fn board(&self, _: &RunKey) -> Option<Box<dyn Board>> {
        Some(Box::new(self.posted.clone()))
    }

    fn bulletin(&self) -> Result<Option<Bulletin>, LedgerError> {
        Ok(None)
    }

    fn holder(&self) -> Result<Option<String>, LedgerError> {
        Ok(workers::live(&self.session, "true", vec![])?.pop().map(Live::in_words))
    }

    fn holder_alone(&self) -> Result<Option<String>, LedgerError> {
        Ok(workers::live(&self.session, "true", vec![])?.pop().map(|live| live.named))
    }

    fn holder_of(&self, job: &NewRun, inventory: &[InventoryFile]) -> Result<Option<String>, LedgerError> {
        Job::of_new(job, job.piped(inventory)).worked_on(&self.session)
    }

    fn schema(&self) -> Result<(u32, u32), LedgerError> {
        Ok((schema::version(&self.session)?, schema::SCHEMA))
    }

    fn hold_still(&self) -> Result<(), LedgerError> {
        self.forget_ahead();
        let settings = settings::of_reader(Scope::Transaction);
        self.session.batch_later(format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings}"));
        Ok(())
    }

    fn let_go(&self) -> Result<(), LedgerError> {
        self.forget_ahead();
        self.session.batch("COMMIT")
    }

    fn start(&self, run: &RunKey) -> Result<Start, LedgerError> {
        start::start(self, run)
    }

    fn finish(&self, run: &RunKey) -> Result<Finish, LedgerError> {
        finish::finish(self, run)
    }

    fn reach(&mut self) -> Result<(), LedgerError> {
        self.reconnect()
    }

    fn check(&self) -> Result<(), LedgerError> {
        self.session.check()
    }

    fn bury_lost(&self) -> Result<(), LedgerError> {
        self.forget_ahead();
        burial::bury_lost(&self.session, self.worker.get().map(|ours| ours.no))
    }

    fn settle_up(&self, then: &mut dyn FnMut() -> Result<(), LedgerError>) -> Result<(), LedgerError> {
        self.forget_ahead();
        // Of a run of which nothing is left, we hold nothing either.
        if let Some(ours) = self.worker.get().filter(|_| !self.is_through.get()) {
            burial::bury_ours(&self.session, ours.no)?;
        }
        then()
    }

    fn prune(&self, keep: u32, gone: &mut dyn FnMut(&[WrittenFile])) -> Result<usize, LedgerError> {
        prune::prune(&self.session, keep, self.leave(), gone)
    }

    /// All that was written is on disk, whatever has become of the connection.
    fn close(self: Box<Self>) -> Result<(), LedgerError> {
        Ok(())
    }
}
