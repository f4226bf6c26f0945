//! An open ledger in a database.

use std::cell::RefCell;
use std::time::Duration;

use tokio_postgres::Row;

use super::ahead::Ahead;
use super::column;
use super::connect::Settings;
use super::session::Session;
use super::url::DatabaseUrl;
use super::{lock, schema};
use crate::ledger::error::LedgerError;
use crate::ledger::record::RunKey;
use crate::outcome::{Kind, Outcome};

/// A commit that has answered is on disk, whatever the server's own default is; a standby that has to have it, too, is
/// still waited for.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Every statement finds its rows by their numbers and in their order, however many there are by now: what is planned while
/// a run is young would go through all of them, or sort them, later. Compiling such plans would take longer than they do.
const PLANS: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET enable_memoize = off; SET enable_sort = off; SET jit = off;
    SET plan_cache_mode = force_generic_plan";

/// An open ledger.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(super) session: Session,
    /// Ours, by number; `None` where the ledger is only read.
    pub(super) worker: Option<i64>,
    pub(super) racks_ahead: RefCell<Ahead<Option<String>>>,
    pub(super) outcomes_ahead: RefCell<Ahead<Outcome>>,
}

/// A run by the numbers that its rows have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) no: i64,
    pub(super) base: i64,
    pub(super) kind: Kind,
}

impl Postgres {
    /// Opens a database for writing, its schema made where missing, waiting up to `lock_timeout` for another run to end.
    pub(crate) fn open(url: &DatabaseUrl, lock_timeout: Duration) -> Result<Self, LedgerError> {
        let session = Session::open(&url.as_path(), &Settings::of(url)?)?;
        write_durably(&session)?;
        schema::migrate(&session)?;
        let worker = Some(lock::take(&session, lock_timeout)?);
        Ok(Self::of(session, worker))
    }

    /// Opens a database for reading only.
    pub(crate) fn open_read_only(url: &DatabaseUrl) -> Result<Self, LedgerError> {
        let session = Session::open(&url.as_path(), &Settings::of(url)?)?;
        session.batch("SET default_transaction_read_only = on")?;
        session.batch(PLANS)?;
        schema::check(&session)?;
        Ok(Self::of(session, None))
    }

    fn of(session: Session, worker: Option<i64>) -> Self {
        Self { session, worker, racks_ahead: RefCell::default(), outcomes_ahead: RefCell::default() }
    }

    /// Opens another connection in place of one that is of no use any more.
    pub(super) fn reconnect(&mut self) -> Result<(), LedgerError> {
        self.session.connect()?;
        write_durably(&self.session)?;
        self.worker.map_or(Ok(()), |worker| lock::take_again(&self.session, worker))
    }

    /// What was read ahead may be no longer so.
    pub(super) fn forget_ahead(&self) {
        self.racks_ahead.take();
        self.outcomes_ahead.take();
    }

    pub(super) fn run(&self, run: &RunKey) -> Result<Run, LedgerError> {
        let sql = "SELECT no, base, kind FROM v6fleet.runs WHERE id = $1";
        let numbers =
            |row: &Row| Ok(Run { no: row.try_get(0)?, base: row.try_get(1)?, kind: column::kind(row, 2)? });
        let numbers = self.session.first(sql, &[&run.id], numbers);
        numbers?.ok_or_else(|| LedgerError::UnknownRun(run.id.clone()))
    }
}

fn write_durably(session: &Session) -> Result<(), LedgerError> {
    session.batch(DURABLE)?;
    session.batch(PLANS)
}
