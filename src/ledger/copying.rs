//! A whole ledger is copied from one place to another, whichever engines keep the two.
//!
//! All of it is written in one transaction, and read again before that is committed: a process that dies on the way leaves
//! behind what it found there, and a copy that can be seen is the same as what it was made of.

use super::engine::Engine;
use super::error::LedgerError;
use super::plain::{Heap, Record, Table};
use crate::text::counted;

/// How many rows of each table were copied, and are on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied(Vec<(Table, u64)>);

impl Copied {
    /// `1 API, 3 runs, 2 racks of runs, …`
    pub fn in_words(&self) -> String {
        let counts = self.0.iter().map(|(table, rows)| {
            let [one, several] = table.rows_in_words();
            counted(*rows, one, several)
        });
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// How far a copy has come, in rows: each is copied, and then read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headway {
    pub rows: u64,
    pub of: u64,
}

/// An error where a run is under way.
pub(super) fn refuse_under_way(from: &dyn Engine) -> Result<(), LedgerError> {
    match from.holder()? {
        None => Ok(()),
        Some(holder) => Err(LedgerError::UnderWay { path: from.path().to_owned(), holder }),
    }
}

/// What is in the place of a copy already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// The whole copy: whoever made it may not have come to say so.
    Copy(Copied),
}

/// What there is in `to`; anything else than a copy of `from` is an error.
pub(super) fn find(from: &dyn Engine, to: &dyn Engine) -> Result<Found, LedgerError> {
    let there = counts(to)?;
    if there.iter().all(|(_, rows)| *rows == 0) {
        return Ok(Found::Nothing);
    }
    let copied = Copied(there);
    let heaps = |engine| heaps(engine, &mut |_, _| Ok(()));
    match counts(from)? == copied.0 && heaps(from)? == heaps(to)? {
        true => Ok(Found::Copy(copied)),
        false => Err(LedgerError::Occupied { path: to.path().to_owned(), held: copied.in_words() }),
    }
}

/// How many rows each table has.
fn counts(engine: &dyn Engine) -> Result<Vec<(Table, u64)>, LedgerError> {
    Table::ALL.iter().map(|table| Ok((*table, engine.count(*table)?))).collect()
}

/// The rows of each table, of which each batch is handed on.
fn heaps(
    engine: &dyn Engine,
    hand_on: &mut dyn FnMut(Table, Vec<Record>) -> Result<(), LedgerError>,
) -> Result<Vec<(Table, Heap)>, LedgerError> {
    Table::ALL.iter().map(|table| Ok((*table, heap(engine, *table, hand_on)?))).collect()
}

fn heap(
    engine: &dyn Engine,
    table: Table,
    hand_on: &mut dyn FnMut(Table, Vec<Record>) -> Result<(), LedgerError>,
) -> Result<Heap, LedgerError> {
    let mut heap = Heap::default();
    engine.give_out(table, &mut |records| {
        heap.add(&records);
        hand_on(table, records)
    })?;
    Ok(heap)
}

/// Copies all of `from`, in which no run is under way, into `to`, which is empty. `told` hears now and then how far it has
/// come.
pub(super) fn copy(
    from: &dyn Engine,
    to: &dyn Engine,
    told: &mut dyn FnMut(Headway),
) -> Result<Copied, LedgerError> {
    let mut heaps = Vec::new();
    to.take_all(&mut || {
        heaps = as_of_now(from, || {
            // Another may have written there since it was looked at.
            match find(from, to)? {
                Found::Nothing => copy_all(from, to, told),
                Found::Copy(_) => Err(LedgerError::Changed(to.path().to_owned())),
            }
        })?;
        refuse_changed(from, &heaps)
    })?;
    Ok(Copied(heaps.into_iter().map(|(table, heap)| (table, heap.rows)).collect()))
}

/// Lets `read` see one state of an engine.
fn as_of_now<T>(
    engine: &dyn Engine,
    read: impl FnOnce() -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    engine.hold_still()?;
    let result = read();
    let let_go = engine.let_go();
    let value = result?;
    let_go?;
    Ok(value)
}

fn copy_all(
    from: &dyn Engine,
    to: &dyn Engine,
    told: &mut dyn FnMut(Headway),
) -> Result<Vec<(Table, Heap)>, LedgerError> {
    let rows: u64 = counts(from)?.iter().map(|(_, rows)| rows).sum();
    let mut headway = Headway { rows: 0, of: 2 * rows };
    let mut tell = |rows: usize| {
        headway.rows += rows as u64;
        told(headway);
    };
    let given = heaps(from, &mut |table, records| {
        let rows = records.len();
        to.take_in(table, records)?;
        tell(rows);
        Ok(())
    })?;
    let found = heaps(to, &mut |_, records| {
        tell(records.len());
        Ok(())
    })?;
    let differing = given.iter().zip(found).find(|(given, found)| *given != found);
    match differing {
        None => Ok(given),
        Some(((table, given), (_, found))) => Err(differs(to, *table, *given, found)),
    }
}

fn differs(to: &dyn Engine, table: Table, given: Heap, found: Heap) -> LedgerError {
    let [_, several] = table.rows_in_words();
    let difference = match (given.rows, found.rows) {
        (given, found) if given == found => format!("{several}: as many, and not the same"),
        (given, found) => format!("{several}: {given} were given, and {found} are there"),
    };
    LedgerError::Differs { path: to.path().to_owned(), difference }
}

/// An error where a run has begun, gone on or ended since, or does now.
fn refuse_changed(from: &dyn Engine, heaps: &[(Table, Heap)]) -> Result<(), LedgerError> {
    refuse_under_way(from)?;
    let now = as_of_now(from, || heap(from, Table::Runs, &mut |_, _| Ok(())))?;
    match heaps.contains(&(Table::Runs, now)) {
        true => Ok(()),
        false => Err(LedgerError::Changed(from.path().to_owned())),
    }
}
