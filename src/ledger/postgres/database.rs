//! An open ledger in a database.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::ahead::Ahead;
use super::board::Posted;
use super::column;
use super::connect::Settings;
use super::leases;
use super::schema;
use super::session::Session;
use super::settings::{self, Scope};
use super::url::DatabaseUrl;
use crate::ledger::error::LedgerError;
use crate::ledger::record::{RunKey, Terms};
use crate::outcome::{Kind, Outcome};

/// A run's racks, by number; `None` stands for VMs whose rack nobody knows.
type Racks = Vec<Option<Arc<str>>>;

/// An open ledger.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(super) session: Session,
    /// Ours, while we carry a run out.
    pub(super) worker: Cell<Option<Enlisted>>,
    pub(super) posted: Posted,
    /// How long others who carry out the same job are waited for.
    pub(super) lock_timeout: Duration,
    /// The run that was asked for last, by its numbers, which never change.
    last_run: RefCell<Option<(RunKey, Run)>>,
    /// The same of a run's racks, by its number.
    pub(super) last_racks: RefCell<Option<(i64, Racks)>>,
    /// By rack, behind which turn those of its VMs are that nobody had claimed when we looked, as that worker.
    pub(super) last_taken: RefCell<Option<(Enlisted, Vec<i64>)>>,
    pub(super) racks_ahead: RefCell<Ahead<Option<String>>>,
    pub(super) outcomes_ahead: RefCell<Ahead<Outcome>>,
    /// Our last batch has seen that no VM of the run that we work on is left.
    pub(super) is_through: Cell<bool>,
}

/// A worker, by number, and its run and sitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Enlisted {
    pub(super) no: i64,
    pub(super) run: i64,
    /// How often the run had been resumed.
    pub(super) sitting: i64,
    pub(super) terms: Terms,
}

/// A run by the numbers that its rows have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) no: i64,
    pub(super) base: i64,
    pub(super) kind: Kind,
}

impl Postgres {
    /// Opens a database for writing, its schema made where missing. Returns whether it was there.
    pub(super) fn open_to_write(
        url: &DatabaseUrl,
        lock_timeout: Duration,
    ) -> Result<(Self, bool), LedgerError> {
        let session = Session::open(&url.as_path(), &Settings::of(url)?)?;
        write_durably(&session);
        let was_there = schema::migrate(&session)?;
        leases::spare(&session, false);
        Ok((Self::of(session, lock_timeout), was_there))
    }

    /// What would keep a writer from it: nothing that is tried is kept.
    pub(crate) fn check_writable(url: &DatabaseUrl) -> Result<(), LedgerError> {
        schema::rehearse(&Session::open(&url.as_path(), &Settings::of(url)?)?)
    }

    /// Opens a database for reading only.
    pub(crate) fn open_read_only(url: &DatabaseUrl) -> Result<Self, LedgerError> {
        let session = Session::open(&url.as_path(), &Settings::of(url)?)?;
        session.batch_later(settings::of_reader(Scope::Session));
        schema::check(&session)?;
        Ok(Self::of(session, Duration::ZERO))
    }

    fn of(session: Session, lock_timeout: Duration) -> Self {
        Self {
            session,
            worker: Cell::default(),
            posted: Posted::default(),
            lock_timeout,
            last_run: RefCell::default(),
            last_racks: RefCell::default(),
            last_taken: RefCell::default(),
            racks_ahead: RefCell::default(),
            outcomes_ahead: RefCell::default(),
            is_through: Cell::default(),
        }
    }

    /// Opens another connection in place of one that is of no use any more.
    pub(super) fn reconnect(&mut self) -> Result<(), LedgerError> {
        self.session.connect()?;
        write_durably(&self.session);
        leases::spare(&self.session, true);
        Ok(())
    }

    /// What was read ahead may be no longer so.
    pub(super) fn forget_ahead(&self) {
        self.racks_ahead.take();
        self.outcomes_ahead.take();
    }

    pub(super) fn run(&self, run: &RunKey) -> Result<Run, LedgerError> {
        if let Some((_, known)) = self.last_run.borrow().as_ref().filter(|(last, _)| last == run) {
            return Ok(*known);
        }
        let found = self.look_up(run)?;
        self.know(run, found);
        Ok(found)
    }

    /// The numbers of a run need not be asked for.
    pub(super) fn know(&self, run: &RunKey, numbers: Run) {
        self.last_run.replace(Some((run.clone(), numbers)));
    }

    fn look_up(&self, run: &RunKey) -> Result<Run, LedgerError> {
        let sql = "SELECT no, base, kind FROM v6fleet.runs WHERE id = $1";
        let numbers =
            |row: &Row| Ok(Run { no: row.try_get(0)?, base: row.try_get(1)?, kind: column::kind(row, 2)? });
        let numbers = self.session.first(sql, &[&run.id], numbers);
        numbers?.ok_or_else(|| LedgerError::UnknownRun(run.id.clone()))
    }
}

/// With the first question.
fn write_durably(session: &Session) {
    session.batch_later(settings::of_writer(Scope::Session));
}
