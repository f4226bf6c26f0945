//! Work on many VMs in transactions that neither outgrow the disk nor keep a reader waiting.

use rusqlite::{Connection, Error, Transaction};

use super::log;

/// VMs in one transaction.
pub(super) const STEP: usize = 10_000;

/// Transactions, one after the other. What the last one has not written when this is dropped is not written at all.
pub(super) struct Steps<'c> {
    db: &'c Connection,
    step: Option<Transaction<'c>>,
    vms: usize,
}

impl<'c> Steps<'c> {
    pub(super) fn begin(db: &'c Connection) -> Result<Self, Error> {
        Ok(Self { db, step: Some(db.unchecked_transaction()?), vms: 0 })
    }

    /// So many VMs were written.
    pub(super) fn took(&mut self, vms: usize) -> Result<(), Error> {
        self.vms += vms;
        if self.vms >= STEP {
            self.commit()?;
            self.step = Some(self.db.unchecked_transaction()?);
            self.vms = 0;
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<(), Error> {
        self.commit()
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.step.take().map_or(Ok(()), Transaction::commit)?;
        log::checkpoint_when_long(self.db)
    }
}
