//! A run before its first call: every selected VM, all written or none.

use crate::ledger::numbers::{number, span};
use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, Error, params};

use super::column::{micros, span_micros};
use super::{Run, Sqlite, runs};
use crate::clock;
use crate::inventory::{Reading, Vm};
use crate::ledger::engine::{self, Begin, Engine};
use crate::ledger::error::LedgerError;
use crate::ledger::job::{fleet, selection};
use crate::ledger::record::{Begun, NewRun, RunKey};
use crate::ledger::stored;
use crate::vm::Action;

/// Gives the VMs that the job's last run, of the span `?2` to `?3`, left without an outcome their turn before the others in
/// run `?1`, and in that run's own order: those that several runs have left come first of all.
const LEFT_OVERS_FIRST: &str = "
    UPDATE items SET turn = left_over.turn FROM (
        SELECT new.no AS no, row_number() OVER (ORDER BY old.turn IS NULL, old.turn, old.no) AS turn
        FROM listed old JOIN items new ON new.run = ?1 AND new.vmid = old.vmid
        WHERE old.no BETWEEN ?2 AND ?3 AND old.outcome IS NULL
    ) AS left_over
    WHERE items.no = left_over.no";

/// In one transaction.
#[derive(Debug)]
pub(super) struct Draft<'s> {
    sqlite: &'s Sqlite,
    new: NewRun,
    key: RunKey,
    run: Run,
    racks: HashMap<Option<Box<str>>, u32>,
    position: i64,
    committed: bool,
}

impl<'s> Draft<'s> {
    pub(super) fn begin(sqlite: &'s Sqlite, new: &NewRun) -> Result<Self, LedgerError> {
        sqlite.check_kind(&new.base_url)?;
        sqlite.ask(|db| db.execute_batch("BEGIN IMMEDIATE"))?;
        let mut draft = Self {
            sqlite,
            new: new.clone(),
            key: RunKey { id: String::new() },
            run: Run { no: 0, base: 0, kind: new.kind },
            racks: HashMap::new(),
            position: 0,
            committed: false,
        };
        let now = clock::now();
        (draft.key.id, draft.run) = sqlite.ask(|db| {
            let id = unused_id(db, now)?;
            let run = insert(db, &id, new, now)?;
            Ok((id, run))
        })?;
        Ok(draft)
    }

    fn rack(&mut self, rack: Option<&str>) -> Result<u32, LedgerError> {
        let rack: Option<Box<str>> = rack.map(Into::into);
        if let Some(&no) = self.racks.get(&rack) {
            return Ok(no);
        }
        let no = u32::try_from(self.racks.len()).unwrap_or(u32::MAX);
        let sql = "INSERT INTO racks (run, no, rack_id) VALUES (?1, ?2, ?3)";
        self.sqlite.ask(|db| db.execute(sql, params![self.run.no, no, rack]))?;
        self.racks.insert(rack, no);
        Ok(no)
    }
}

/// One that sorts by time, and that no other run of this ledger has.
fn unused_id(db: &Connection, now: Timestamp) -> Result<String, Error> {
    loop {
        let RunKey { id } = RunKey::new(now);
        let is_used = "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)";
        if !db.query_row(is_used, [&id], |row| row.get(0))? {
            return Ok(id);
        }
    }
}

fn insert(db: &Connection, id: &str, new: &NewRun, now: Timestamp) -> Result<Run, Error> {
    let api = [&new.base_url, new.dialect.as_str()];
    db.execute("INSERT INTO bases (url, dialect) VALUES (?1, ?2) ON CONFLICT DO NOTHING", api)?;
    let of_api = "SELECT id FROM bases WHERE (url, dialect) = (?1, ?2)";
    let base = db.query_row(of_api, api, |row| row.get(0))?;
    db.execute(
        "INSERT INTO runs (id, base, tool_version, action, fleet, inventory, label_columns, options,
            key_fingerprint, timeout_us, warnings, started_at, selection, id_files, kind)
         VALUES (?1, ?2, ?3, ?4, ?5, '[]', '[]', ?6, ?7, ?8, '[]', ?9, ?10, ?11, ?12)",
        params![
            id,
            base,
            env!("CARGO_PKG_VERSION"),
            new.action.map(Action::as_str),
            fleet(new.kind, &new.files, new.action),
            stored::json(&new.options),
            new.key_fingerprint,
            span_micros(new.timeout),
            micros(now),
            selection(&new.options),
            stored::write_list(&new.id_files).unwrap_or_else(|| "[]".into()),
            new.kind.as_str(),
        ],
    )?;
    Ok(Run { no: db.last_insert_rowid(), base, kind: new.kind })
}

impl engine::Draft for Draft<'_> {
    fn add(&mut self, vm: &Vm, action: Action, rack: Option<&str>) -> Result<(), LedgerError> {
        let rack_no = self.rack(rack)?;
        let rack_expected = vm.expected.rack_id.is_some();
        let sql = "INSERT INTO items (no, run, vmid, rack, rack_expected, name, action, expected, labels)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let values = params![
            number(self.run.no, self.position),
            self.run.no,
            vm.id.as_str(),
            rack_no,
            rack_expected,
            vm.name,
            action.as_str(),
            stored::beside_the_rack(&vm.expected),
            stored::json_list(&vm.labels),
        ];
        self.sqlite.ask(|db| db.prepare_cached(sql)?.execute(values))?;
        self.position += 1;
        Ok(())
    }

    fn skip(&mut self, file: &str, line: u64, field: &str, reason: &str) -> Result<(), LedgerError> {
        let sql = "INSERT INTO skipped (run, file, line, field, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        let values = params![self.run.no, file, line, field, reason];
        self.sqlite.ask(|db| db.prepare_cached(sql)?.execute(values)).map(drop)
    }

    fn selected(&self) -> u64 {
        self.position.unsigned_abs()
    }

    fn commit(mut self: Box<Self>, reading: &Reading, warnings: &[String]) -> Result<Begun, LedgerError> {
        let sql = "UPDATE runs SET inventory = ?2, label_columns = ?3, inventory_vms = ?4, warnings = ?5, piped = ?6
                   WHERE no = ?1";
        let values = params![
            self.run.no,
            stored::write_list(&reading.files).unwrap_or_else(|| "[]".into()),
            stored::json(&reading.label_columns),
            i64::try_from(reading.vms).unwrap_or(i64::MAX),
            stored::json(warnings),
            self.new.piped(&reading.files),
        ];
        self.sqlite.ask(|db| db.execute(sql, values))?;
        let last = self.sqlite.ask(|db| runs::unfinished_before(db, self.run.no))?;
        if let Some(last) = last {
            let [first, end] = span(self.sqlite.run(&last)?.no);
            self.sqlite.ask(|db| db.execute(LEFT_OVERS_FIRST, [self.run.no, first, end]))?;
        }
        self.sqlite.ask(|db| db.execute_batch("COMMIT"))?;
        self.committed = true;
        Ok(Begun { run: self.key.clone(), start: self.sqlite.start(&self.key)? })
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // SQLite itself rolls back what it could not write; nothing can be done about a failure here.
            let _ = self.sqlite.db.execute_batch("ROLLBACK");
        }
    }
}
