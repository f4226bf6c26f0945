//! A ledger's file as plain rows. What is not folded yet is folded in them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, OptionalExtension, Row, ToSql, params, params_from_iter};

use super::Sqlite;
use super::column::count;
use super::engine_error::engine_error;
use super::fold::{InFlight, in_flight};
use super::vms::SAME;
use crate::ledger::engine::{EachBatch, Engine, Plain};
use crate::ledger::error::LedgerError;
use crate::ledger::plain::{Record, Table, Value};

/// Rows that are given out together.
const BATCH: usize = 2_000;

/// Where the rows of a table are found, and in which order.
fn source(table: Table) -> [&'static str; 2] {
    match table {
        Table::Bases => ["bases", "id"],
        Table::Runs => ["runs", "no"],
        Table::Racks => ["racks", "run, no"],
        Table::Skipped => ["skipped", "rowid"],
        Table::Items => ["items", "no"],
        Table::Progress => {
            ["listed WHERE outcome IS NOT NULL OR attempts > 0 OR throttled > 0 OR failure IS NOT NULL", "no"]
        }
        Table::Claims => ["claims", "no"],
        Table::Vms => ["known", "base, vmid"],
        Table::Rates => ["rates", "base, key_fingerprint"],
    }
}

/// The table that its rows are written to.
fn target(table: Table) -> &'static str {
    match table {
        Table::Progress => "latest",
        table => table.as_str(),
    }
}

/// How a column is read.
fn given(table: Table, column: &str) -> String {
    match (table, column) {
        (Table::Skipped, "no") => "rowid".to_owned(),
        (Table::Progress, "item") => "no".to_owned(),
        (Table::Progress, "previous_prefix") => {
            format!("iif(previous_prefix = '{SAME}', prefix, previous_prefix)")
        }
        (Table::Progress, "previous_next_hop") => {
            format!("iif(previous_next_hop = '{SAME}', next_hop, previous_next_hop)")
        }
        (_, column) => column.to_owned(),
    }
}

/// The name of the column that is written.
fn taken(table: Table, column: &'static str) -> &'static str {
    match (table, column) {
        (Table::Skipped, "no") => "rowid",
        (_, column) => column,
    }
}

impl Plain for Sqlite {
    fn count(&self, table: Table) -> Result<u64, LedgerError> {
        if table == Table::Claims {
            return Ok(self.ask(in_flight)?.len() as u64);
        }
        let [rows, _] = source(table);
        let sql = format!("SELECT count(*) FROM {rows}");
        self.ask(|db| db.query_row(&sql, [], |row| count(row, 0)))
    }

    fn give_out(&self, table: Table, each: EachBatch<'_>) -> Result<(), LedgerError> {
        if table == Table::Claims {
            return each(self.ask(claims)?);
        }
        let [rows, order] = source(table);
        let columns = table.list(|_, (column, _)| given(table, column));
        let sql = format!("SELECT {columns} FROM {rows} ORDER BY {order}");
        let error = engine_error(&self.path);
        let mut statement = self.db.prepare(&sql).map_err(error)?;
        let mut records = statement.query([]).map_err(error)?.mapped(record);
        loop {
            let batch = records.by_ref().take(BATCH).collect::<Result<Vec<_>, _>>().map_err(error)?;
            if batch.is_empty() {
                return Ok(());
            }
            each(batch)?;
        }
    }

    fn take_all(&self, take: &mut dyn FnMut() -> Result<(), LedgerError>) -> Result<(), LedgerError> {
        self.settle_up(take)
    }

    fn take_in(&self, table: Table, records: Vec<Record>) -> Result<(), LedgerError> {
        if table == Table::Claims {
            return records.iter().try_for_each(|record| self.claim(record));
        }
        let columns = table.list(|_, (column, _)| taken(table, column).to_owned());
        let values = table.list(|nth, _| format!("?{}", nth + 1));
        let sql = format!("INSERT INTO {} ({columns}) VALUES ({values})", target(table));
        self.ask(|db| {
            let mut insert = db.prepare_cached(&sql)?;
            records.iter().try_for_each(|record| insert.execute(params_from_iter(record)).map(drop))
        })
    }
}

impl Sqlite {
    /// A file has one clock for all claims of a run: those of several workers would be dated wrong.
    fn claim(&self, record: &Record) -> Result<(), LedgerError> {
        match self.ask(|db| dated_otherwise(db, record))? {
            Some(run) => Err(LedgerError::SeveralClocks { path: self.path.clone(), run }),
            None => self.ask(|db| claim(db, record)),
        }
    }
}

/// The id of the call's run, where that has claims which are dated by another clock.
fn dated_otherwise(db: &Connection, record: &Record) -> Result<Option<String>, Error> {
    let [item, _, clock] = &record[..] else { return Err(Error::InvalidQuery) };
    let sql = "SELECT id FROM runs WHERE no = ?1 >> 32 AND clock IS NOT ?2
        AND EXISTS (SELECT 1 FROM claims WHERE run = ?1 >> 32)";
    db.prepare_cached(sql)?.query_row(params![item, clock], |row| row.get(0)).optional()
}

fn record(row: &Row<'_>) -> Result<Record, Error> {
    (0..row.as_ref().column_count()).map(|nth| row.get(nth)).collect()
}

/// Calls that are in flight, each with the clock of its run.
fn claims(db: &Connection) -> Result<Vec<Record>, Error> {
    let mut clock = db.prepare("SELECT clock FROM runs WHERE no = ?1")?;
    let mut of_item = |(item, InFlight { run, claimed_at }): (i64, InFlight)| {
        let clock = clock.query_row([run], |row| row.get(0))?;
        Ok(vec![Value::Number(item), Value::Number(claimed_at), clock])
    };
    in_flight(db)?.into_iter().map(&mut of_item).collect()
}

/// One row of claims for each call, and its clock with its run.
fn claim(db: &Connection, record: &Record) -> Result<(), Error> {
    let [item, claimed_at, clock] = &record[..] else { return Err(Error::InvalidQuery) };
    let claim = "INSERT INTO claims (run, since, claimed_at, positions) SELECT ?1 >> 32, 0, ?2, json_array(?1 & 4294967295)";
    db.prepare_cached(claim)?.execute(params![item, claimed_at])?;
    let date = "UPDATE runs SET clock = ?2 WHERE no = ?1 >> 32";
    db.prepare_cached(date)?.execute(params![item, clock]).map(drop)
}

impl FromSql for Value {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self::Null),
            ValueRef::Integer(number) => Ok(Self::Number(number)),
            ValueRef::Real(real) => Ok(Self::Real(real)),
            ValueRef::Text(_) => Ok(Self::Text(value.as_str()?.to_owned())),
            ValueRef::Blob(_) => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, Error> {
        match self {
            Self::Null => Null.to_sql(),
            Self::Number(number) => number.to_sql(),
            Self::Real(real) => real.to_sql(),
            Self::Text(text) => text.to_sql(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ledger::contract::{Disk, Place};

    /// What is no column of a plain table.
    const OTHERWISE: [&str; 5] = [
        "claims: each call for itself, with the clock of its run",
        "events: folded",
        "runs.clock: of those that have claims, with these",
        "runs.folded: there are no events",
        "seen: with vms",
    ];

    #[test]
    fn every_column_of_the_file_is_copied_or_said_to_stand_in_a_copy_otherwise() {
        let disk = Disk::new();
        drop(disk.open());
        let db = Connection::open(disk.path()).unwrap();
        let columns = "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";
        let mut columns = db.prepare(columns).unwrap();
        let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let there: BTreeSet<(String, String)> = columns.collect::<Result<_, _>>().unwrap();
        let is_said = |place: &str| OTHERWISE.iter().any(|said| said.split(':').next() == Some(place));
        let is_plain =
            |(table, column): &(String, String)| !is_said(table) && !is_said(&format!("{table}.{column}"));
        let of_table = |table: &Table| {
            let columns = table.columns().iter().map(|(column, _)| (*table, taken(*table, column)));
            columns.map(|(table, column)| (target(table).to_owned(), column.to_owned())).collect::<Vec<_>>()
        };
        let copied: BTreeSet<(String, String)> = Table::ALL.iter().flat_map(of_table).collect();
        let copied = copied.into_iter().filter(|(table, column)| !is_said(table) && column != "rowid");
        assert_eq!(copied.collect::<BTreeSet<_>>(), there.into_iter().filter(is_plain).collect());
    }
}
