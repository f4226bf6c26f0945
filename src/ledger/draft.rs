//! A run before its first call: every selected VM, all written or none.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::error::LedgerError;
use super::job::{fleet, selection};
use super::summary::InventoryFile;
use super::{Ledger, json, micros, number, span};
use crate::allocation::Expected;
use crate::clock;
use crate::inventory::{Action, Reading, Vm, VmId};

/// What is known of a run before its inventory is read.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub base_url: String,
    /// The typed `--action`.
    pub action: Option<Action>,
    /// The inventory files as they identify the job, in order; [`super::PIPE`] is one that can be read only once.
    pub files: Vec<String>,
    /// The files of `--vmid @FILE`, likewise.
    pub id_files: Vec<InventoryFile>,
    pub options: serde_json::Map<String, serde_json::Value>,
    pub key_fingerprint: Option<String>,
    /// Of one call: how long an attempt that a crash cut off may have lasted.
    pub timeout: Duration,
}

/// Names a run within its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunKey {
    pub(super) no: i64,
    pub(super) base: i64,
    pub id: String,
}

impl RunKey {
    /// Reads the columns `no, base, id`.
    pub(super) fn of(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self { no: row.get(0)?, base: row.get(1)?, id: row.get(2)? })
    }
}

/// Gives the VMs that the job's last run, of the span `?2` to `?3`, left without an outcome their turn before the others in
/// run `?1`, and in that run's own order: those that several runs have left come first of all.
const LEFT_OVERS_FIRST: &str = "
    UPDATE items SET turn = left_over.turn FROM (
        SELECT new.no AS no, row_number() OVER (ORDER BY old.turn IS NULL, old.turn, old.no) AS turn
        FROM listed old LEFT JOIN events e ON e.no = old.event JOIN items new ON new.run = ?1 AND new.vmid = old.vmid
        WHERE old.no BETWEEN ?2 AND ?3 AND e.outcome IS NULL
    ) AS left_over
    WHERE items.no = left_over.no";

/// A run that is being written. Dropped without [`Draft::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Draft<'a> {
    ledger: &'a Ledger,
    new: NewRun,
    key: RunKey,
    racks: HashMap<Option<Box<str>>, u32>,
    position: i64,
    committed: bool,
}

impl Ledger {
    /// Begins to write a run; one at a time.
    pub fn draft(&self, new: &NewRun) -> Result<Draft<'_>, LedgerError> {
        let sqlite = self.sqlite();
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(sqlite)?;
        let draft = Draft {
            ledger: self,
            new: new.clone(),
            key: RunKey { no: 0, base: 0, id: String::new() },
            racks: HashMap::new(),
            position: 0,
            committed: false,
        };
        draft.start()
    }

    /// The rack in which a VM was last seen at a base URL.
    pub fn last_rack(&self, base_url: &str, vm: &VmId) -> Result<Option<String>, LedgerError> {
        let sql =
            "SELECT rack_id FROM known WHERE base = (SELECT id FROM bases WHERE url = ?1) AND vmid = ?2";
        let mut rack = self.db.prepare_cached(sql).map_err(self.sqlite())?;
        let rack = rack.query_row([base_url, vm.as_str()], |row| row.get(0)).optional();
        Ok(rack.map_err(self.sqlite())?.flatten())
    }

    /// Whether a VM failed in a run, or was left without an outcome.
    pub fn failed_in(&self, run: &RunKey, vm: &VmId) -> Result<bool, LedgerError> {
        let sql =
            "SELECT coalesce(outcome, 'failed') = 'failed' FROM listed i LEFT JOIN events e ON e.no = i.event
             WHERE vmid = ?1 AND run = ?2";
        let mut failed = self.db.prepare_cached(sql).map_err(self.sqlite())?;
        let failed = failed.query_row(params![vm.as_str(), run.no], |row| row.get(0)).optional();
        Ok(failed.map_err(self.sqlite())?.unwrap_or(false))
    }
}

impl Ledger {
    /// One that sorts by time, and that no other run of this ledger has.
    fn unused_id(&self, now: Timestamp) -> Result<String, LedgerError> {
        loop {
            let id = format!("{}-{:04x}", now.strftime("%Y%m%dT%H%M%SZ"), fastrand::u16(..));
            let is_used = "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)";
            if !self.db.query_row(is_used, [&id], |row| row.get(0)).map_err(self.sqlite())? {
                return Ok(id);
            }
        }
    }
}

impl Draft<'_> {
    fn start(mut self) -> Result<Self, LedgerError> {
        let (db, new) = (&self.ledger.db, &self.new);
        let sqlite = self.ledger.sqlite();
        let now = clock::now();
        let id = self.ledger.unused_id(now)?;
        db.execute("INSERT INTO bases (url) VALUES (?1) ON CONFLICT DO NOTHING", [&new.base_url])
            .map_err(sqlite)?;
        let base = self.ledger.base(&new.base_url)?.unwrap_or_default();
        db.execute(
            "INSERT INTO runs (id, base, tool_version, action, fleet, inventory, label_columns, options,
                key_fingerprint, timeout_us, warnings, started_at, selection, id_files)
             VALUES (?1, ?2, ?3, ?4, ?5, '[]', '[]', ?6, ?7, ?8, '[]', ?9, ?10, ?11)",
            params![
                id,
                base,
                env!("CARGO_PKG_VERSION"),
                new.action.map(Action::as_str),
                fleet(&new.files, new.action),
                json::write(&new.options),
                new.key_fingerprint,
                i64::try_from(new.timeout.as_micros()).unwrap_or(i64::MAX),
                micros(now),
                selection(&new.options),
                json::write(&new.id_files),
            ],
        )
        .map_err(sqlite)?;
        self.key = RunKey { no: db.last_insert_rowid(), base, id };
        Ok(self)
    }

    /// Adds the next selected VM; `rack` is the inventory's, else the one last seen.
    pub fn add(&mut self, vm: &Vm, action: Action, rack: Option<&str>) -> Result<(), LedgerError> {
        let rack_no = self.rack(rack)?;
        let rack_expected = vm.expected.rack_id.is_some();
        let expected = Expected { rack_id: None, ..vm.expected.clone() };
        let expected = (expected != Expected::default()).then(|| json::write(&expected)).flatten();
        let sqlite = self.ledger.sqlite();
        let sql = "INSERT INTO items (no, run, vmid, rack, rack_expected, name, action, expected, labels)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let mut insert = self.ledger.db.prepare_cached(sql).map_err(sqlite)?;
        insert
            .execute(params![
                number(self.key.no, self.position),
                self.key.no,
                vm.id.as_str(),
                rack_no,
                rack_expected,
                vm.name,
                action.as_str(),
                expected,
                json::write_list(&vm.labels),
            ])
            .map_err(sqlite)?;
        self.position += 1;
        Ok(())
    }

    fn rack(&mut self, rack: Option<&str>) -> Result<u32, LedgerError> {
        let rack: Option<Box<str>> = rack.map(Into::into);
        if let Some(&no) = self.racks.get(&rack) {
            return Ok(no);
        }
        let no = u32::try_from(self.racks.len()).unwrap_or(u32::MAX);
        let sql = "INSERT INTO racks (run, no, rack_id) VALUES (?1, ?2, ?3)";
        self.ledger.db.execute(sql, params![self.key.no, no, rack]).map_err(self.ledger.sqlite())?;
        self.racks.insert(rack, no);
        Ok(no)
    }

    /// Notes an invalid row that the run goes on without.
    pub fn skip(&mut self, file: &str, line: u64, field: &str, reason: &str) -> Result<(), LedgerError> {
        let sql = "INSERT INTO skipped (run, file, line, field, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        let values = params![self.key.no, file, line, field, reason];
        self.ledger.db.execute(sql, values).map_err(self.ledger.sqlite()).map(drop)
    }

    pub fn selected(&self) -> u64 {
        self.position.unsigned_abs()
    }

    /// Makes the run real. Of the inventory that `reading` tells of, the selected VMs were added.
    pub fn commit(mut self, reading: &Reading, warnings: &[String]) -> Result<RunKey, LedgerError> {
        let sqlite = self.ledger.sqlite();
        let sql = "UPDATE runs SET inventory = ?2, label_columns = ?3, inventory_vms = ?4, warnings = ?5, piped = ?6
                   WHERE no = ?1";
        let values = params![
            self.key.no,
            json::write(&reading.files),
            json::write(&reading.label_columns),
            i64::try_from(reading.vms).unwrap_or(i64::MAX),
            json::write(warnings),
            self.new.piped(&reading.files),
        ];
        self.ledger.db.execute(sql, values).map_err(sqlite)?;
        if let Some(last) = self.ledger.unfinished_before(&self.key)? {
            let [first, end] = span(last.no);
            self.ledger.db.execute(LEFT_OVERS_FIRST, [self.key.no, first, end]).map_err(sqlite)?;
        }
        self.ledger.db.execute_batch("COMMIT").map_err(sqlite)?;
        self.committed = true;
        Ok(self.key.clone())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // SQLite itself rolls back what it could not write; nothing can be done about a failure here.
            let _ = self.ledger.db.execute_batch("ROLLBACK");
        }
    }
}
