//! A ledger's database as plain rows.

use std::time::SystemTime;

use super::parameter::Parameter;
use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::column::{self, kept, moment};
use super::database::Postgres;
use super::question::Value as SqlValue;
use crate::ledger::engine::{EachBatch, Plain};
use crate::ledger::error::LedgerError;
use crate::ledger::plain::{Holds, Record, Table, Value};

/// Rows that are read together.
const BATCH: usize = 2_000;

/// Turns before those of the inventory's order are kept this far below 0.
const AHEAD: i64 = 1 << 32;

/// Where the rows of a table are found, and in which order.
fn source(table: Table) -> [&'static str; 2] {
    match table {
        Table::Bases => ["bases t", "id"],
        Table::Runs => ["runs t", "no"],
        Table::Racks => ["racks t", "run, no"],
        Table::Skipped => ["skipped t", "run, no"],
        Table::Items => ["items t", "no"],
        Table::Progress => [
            "progress t WHERE outcome IS NOT NULL OR attempts > 0 OR throttled > 0 OR failure IS NOT NULL",
            "item",
        ],
        Table::Claims => [
            "progress t LEFT JOIN v6fleet.workers w ON w.no = t.worker WHERE t.claimed_at IS NOT NULL AND t.outcome IS NULL",
            "item",
        ],
        Table::Vms => ["vms t", "base, vmid"],
        Table::Rates => ["rates t", "base, key_fingerprint"],
    }
}

/// How a column is read.
fn given(table: Table, column: &str) -> String {
    match (table, column) {
        (Table::Items, "turn") => format!("CASE WHEN turn < 0 THEN turn + {AHEAD} END"),
        (Table::Runs, "exit_code") => "exit_code::bigint".to_owned(),
        (Table::Claims, "clock") => "w.clock".to_owned(),
        (_, column) => format!("t.{column}"),
    }
}

/// How a column of the values `n` is written.
fn taken(table: Table, column: &str) -> String {
    match (table, column) {
        (Table::Items, "turn") => format!("coalesce(n.turn - {AHEAD}, n.no & {})", AHEAD - 1),
        (_, column) => format!("n.{column}"),
    }
}

/// The values of a table, by column.
fn values(table: Table) -> String {
    let arrays = table.list(|nth, (_, holds)| format!("${}::{}[]", nth + 1, type_of(holds)));
    format!("unnest({arrays}) AS n ({})", table.list(|_, (column, _)| column.to_owned()))
}

fn type_of(holds: Holds) -> &'static str {
    match holds {
        Holds::Number => "bigint",
        Holds::Real => "double precision",
        Holds::Flag => "boolean",
        Holds::Moment => "timestamptz",
        Holds::Word | Holds::Text => "text",
    }
}

/// What numbers the next rows of tables, where the database does.
const NUMBERED: [[&str; 2]; 3] = [["bases", "id"], ["runs", "no"], ["skipped", "no"]];

/// A run that begins meanwhile waits, and gets a number behind those that are taken in.
const ALONE: &str = "LOCK TABLE v6fleet.bases, v6fleet.runs IN SHARE ROW EXCLUSIVE MODE";

/// Items that have their outcome need no room beside them: the table is a fifth as large.
const DENSE: &str = "ALTER TABLE v6fleet.progress SET (fillfactor = 100)";

/// As the schema has it.
const ROOMY: &str = "ALTER TABLE v6fleet.progress SET (fillfactor = 20)";

/// One worker that is gone, for each clock by which claims of a run are dated: whoever writes next finds what it has left.
const LEAVE: &str = "INSERT INTO v6fleet.workers (run, host, pid, concurrency, lease_us, lease_until, clock)
    SELECT DISTINCT n.item >> 32, 'copied', 0, 0, 0, clock_timestamp(), n.clock FROM ";

const CLAIM: &str = "INSERT INTO v6fleet.progress (item, worker, claimed_at)
    SELECT n.item, (SELECT max(w.no) FROM v6fleet.workers w
        WHERE w.lease_us = 0 AND w.run = n.item >> 32 AND w.clock IS NOT DISTINCT FROM n.clock), n.claimed_at FROM ";

/// What has become of the item before is there already.
const OVER: &str =
    " ON CONFLICT (item) DO UPDATE SET worker = excluded.worker, claimed_at = excluded.claimed_at";

impl Plain for Postgres {
    fn count(&self, table: Table) -> Result<u64, LedgerError> {
        let [rows, _] = source(table);
        let sql = format!("SELECT count(*) FROM v6fleet.{rows}");
        self.session.one(&sql, &[], |row| column::count(row, 0))
    }

    fn give_out(&self, table: Table, each: EachBatch<'_>) -> Result<(), LedgerError> {
        let [rows, order] = source(table);
        let columns = table.list(|_, (column, _)| given(table, column));
        let given = format!("given_{table}");
        self.session.batch(&format!(
            "DECLARE {given} NO SCROLL CURSOR FOR SELECT {columns} FROM v6fleet.{rows} ORDER BY {order}"
        ))?;
        let fetch = format!("FETCH {BATCH} FROM {given}");
        loop {
            let batch = self.session.all(&fetch, &[], |row| record(table, row))?;
            if batch.is_empty() {
                return self.session.batch(&format!("CLOSE {given}"));
            }
            each(batch)?;
        }
    }

    fn take_all(&self, take: &mut dyn FnMut() -> Result<(), LedgerError>) -> Result<(), LedgerError> {
        self.session.transaction(|| {
            self.session.batch(ALONE)?;
            self.session.batch(DENSE)?;
            take()?;
            NUMBERED.iter().try_for_each(|[table, column]| self.number_on(table, column))?;
            self.session.batch(ROOMY)
        })
    }

    fn take_in(&self, table: Table, records: Vec<Record>) -> Result<(), LedgerError> {
        let columns = in_columns(table, records);
        let columns: Vec<&dyn Parameter> = columns.iter().map(|column| &**column as _).collect();
        let values = values(table);
        if table == Table::Claims {
            self.session.execute(&[LEAVE, &values].concat(), &columns)?;
            return self.session.execute(&[CLAIM, &values, OVER].concat(), &columns).map(drop);
        }
        let [names, taken] = [
            table.list(|_, (column, _)| column.to_owned()),
            table.list(|_, (column, _)| taken(table, column)),
        ];
        let insert = format!("INSERT INTO v6fleet.{table} ({names}) SELECT {taken} FROM {values}");
        self.session.execute(&insert, &columns).map(drop)
    }
}

impl Postgres {
    /// The next row of a table gets a number behind those that are there.
    fn number_on(&self, table: &str, column: &str) -> Result<(), LedgerError> {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('v6fleet.{table}', '{column}'), max({column})) FROM v6fleet.{table}"
        );
        self.session.execute(&sql, &[]).map(drop)
    }
}

fn record(table: Table, row: &Row) -> Result<Record, Error> {
    table.columns().iter().enumerate().map(|(nth, (_, holds))| value(*holds, row, nth)).collect()
}

fn value(holds: Holds, row: &Row, nth: usize) -> Result<Value, Error> {
    let value = match holds {
        Holds::Number => row.try_get::<_, Option<i64>>(nth)?.map(Value::Number),
        Holds::Real => row.try_get::<_, Option<f64>>(nth)?.map(Value::Real),
        Holds::Flag => row.try_get::<_, Option<bool>>(nth)?.map(|flag| Value::Number(flag.into())),
        Holds::Moment => column::time(row, nth)?.map(|at| Value::Number(at.as_microsecond())),
        Holds::Word => row.try_get::<_, Option<String>>(nth)?.map(Value::Text),
        Holds::Text => column::text(row, nth)?.map(Value::Text),
    };
    Ok(value.unwrap_or(Value::Null))
}

/// The values of records by column, as the database has them.
fn in_columns(table: Table, records: Vec<Record>) -> Vec<SqlValue> {
    let mut columns: Vec<Vec<Value>> =
        table.columns().iter().map(|_| Vec::with_capacity(records.len())).collect();
    for record in records {
        columns.iter_mut().zip(record).for_each(|(column, value)| column.push(value));
    }
    table.columns().iter().zip(columns).map(|((_, holds), values)| in_column(*holds, values)).collect()
}

fn in_column(holds: Holds, values: Vec<Value>) -> SqlValue {
    match holds {
        Holds::Number => Box::new(values.iter().map(number_of).collect::<Vec<_>>()),
        Holds::Real => Box::new(values.iter().map(real_of).collect::<Vec<_>>()),
        Holds::Flag => {
            Box::new(values.iter().map(|value| number_of(value).map(|flag| flag != 0)).collect::<Vec<_>>())
        }
        Holds::Moment => Box::new(values.iter().map(moment_of).collect::<Vec<_>>()),
        Holds::Word => Box::new(values.into_iter().map(text_of).collect::<Vec<_>>()),
        Holds::Text => Box::new(values.into_iter().map(kept_text).collect::<Vec<_>>()),
    }
}

fn number_of(value: &Value) -> Option<i64> {
    if let Value::Number(number) = value { Some(*number) } else { None }
}

fn real_of(value: &Value) -> Option<f64> {
    if let Value::Real(real) = value { Some(*real) } else { None }
}

fn text_of(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn kept_text(value: Value) -> Option<String> {
    text_of(value).map(|text| kept(&text).into_owned())
}

fn moment_of(value: &Value) -> Option<SystemTime> {
    number_of(value).and_then(|micros| Timestamp::from_microsecond(micros).ok()).map(moment)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ledger::contract::{Database, Place};
    use support::postgres::is_installed;

    /// What is no column of a plain table.
    const OTHERWISE: [&str; 9] = [
        "breakers: of a run under way, and none is copied",
        "pacers: of processes",
        "paces: of a moment; what is kept of it is in rates",
        "progress.claimed_at: a claim of its own",
        "progress.worker: of those that are alive, or of a claim",
        "returned: of a run under way, and none is copied",
        "schema: each ledger's own",
        "sittings: of a run under way, and none is copied",
        "workers: of processes; the clocks of their claims go with these",
    ];

    #[test]
    fn every_column_of_the_database_is_copied_or_said_to_stand_in_a_copy_otherwise() {
        if !is_installed() {
            return;
        }
        let database = Database::new();
        drop(database.open());
        let columns = database.server.sql(
            "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'v6fleet'",
        );
        let is_said = |place: &str| OTHERWISE.iter().any(|said| said.split(':').next() == Some(place));
        let is_plain = |place: &&str| !is_said(place) && !is_said(place.split('.').next().unwrap());
        let there: BTreeSet<String> = columns.lines().filter(is_plain).map(str::to_owned).collect();
        let plain = Table::ALL.iter().filter(|table| **table != Table::Claims);
        let copied = plain
            .flat_map(|table| table.columns().iter().map(move |(column, _)| format!("{table}.{column}")));
        assert_eq!(copied.collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn what_is_taken_in_leaves_the_tables_as_the_schema_has_them() {
        if !is_installed() {
            return;
        }
        let database = Database::new();
        let ledger = database.open();
        let options = || {
            database
                .server
                .sql("SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL ORDER BY 1")
        };
        let before = options();
        ledger.take_all(&mut || Ok(())).unwrap();
        assert_eq!(options(), before);
        assert!(before.contains("progress|{fillfactor=20}"), "{before}");
    }
}
