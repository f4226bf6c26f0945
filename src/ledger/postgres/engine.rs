//! What an open database does as a whole: it holds still for a reader, settles up for a writer, and is closed.

use std::path::Path;

use super::database::Postgres;
use super::{burial, lock, prune, schema};
use crate::ledger::engine::Engine;
use crate::ledger::error::LedgerError;

impl Engine for Postgres {
    fn path(&self) -> &Path {
        self.session.name()
    }

    fn under_way(&self, before: Option<String>) -> Result<Option<String>, LedgerError> {
        before.map_or_else(|| lock::held_for(&self.session), |run| Ok(Some(run)))
    }

    fn holder(&self) -> Result<Option<String>, LedgerError> {
        lock::holder(&self.session)
    }

    fn schema(&self) -> Result<(u32, u32), LedgerError> {
        Ok((schema::version(&self.session)?, schema::SCHEMA))
    }

    fn hold_still(&self) -> Result<(), LedgerError> {
        self.forget_ahead();
        self.session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ")
    }

    fn let_go(&self) -> Result<(), LedgerError> {
        self.forget_ahead();
        self.session.batch("COMMIT")
    }

    /// The server frees the lock with the session, and with nothing else.
    fn check(&self) -> Result<(), LedgerError> {
        self.session.check()
    }

    fn settle_up(&self, then: &mut dyn FnMut() -> Result<(), LedgerError>) -> Result<(), LedgerError> {
        self.forget_ahead();
        self.session.transaction(|| {
            burial::bury(&self.session)?;
            then()
        })
    }

    fn prune(&self, keep: u32) -> Result<usize, LedgerError> {
        prune::prune(&self.session, keep)
    }

    fn close(self: Box<Self>) -> Result<(), LedgerError> {
        self.session.check()
    }
}
