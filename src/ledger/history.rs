//! What was done before: the runs one by one, and one VM over all of them.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::comparison::COMPLETE;
use super::draft::{NewRun, RunKey};
use super::error::LedgerError;
use super::job::{EVERYTHING, fleet, selection};
use super::read::{ROW, row};
use super::row::Row;
use super::summary::{Counts, InventoryFile};
use super::{Ledger, json, timestamp};
use crate::allocation::Allocation;
use crate::inventory::{Action, VmId};
use crate::stop::Stop;

/// One run in a list of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    pub id: String,
    pub base_url: String,
    /// The typed `--action`; `None` where each row of the inventory had its own.
    pub action: Option<Action>,
    pub inventory: Vec<InventoryFile>,
    /// Valid VMs of the whole inventory, selected or not; `None` where that was not kept.
    pub inventory_vms: Option<u64>,
    /// The settings in force, by flag name.
    #[serde(skip)]
    pub options: serde_json::Map<String, serde_json::Value>,
    pub started_at: Timestamp,
    /// `None` while it runs, or where it died.
    pub ended_at: Option<Timestamp>,
    pub resumes: u32,
    #[serde(flatten)]
    pub counts: Counts,
    pub complete: bool,
    /// A process is carrying it out now.
    pub running: bool,
    pub stopped_by: Option<Stop>,
    pub exit_code: Option<u8>,
    /// Never pruned.
    pub pinned: bool,
}

/// What one run says of a VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    pub run: String,
    pub base_url: String,
    pub started_at: Timestamp,
    #[serde(flatten)]
    pub row: Row,
}

/// What was last seen of a VM at one base URL.
#[derive(Debug, Clone, Serialize)]
pub struct LastKnown {
    pub base_url: String,
    pub seen_at: Option<Timestamp>,
    pub allocation: Allocation,
}

/// An inventory at its last complete run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastInventory {
    pub run: String,
    pub vms: u64,
}

impl Ledger {
    /// The newest runs, all of them without a `limit`; the newest first.
    pub fn overviews(&self, limit: Option<u32>) -> Result<Vec<Overview>, LedgerError> {
        let sql = "SELECT no, base, id FROM runs WHERE NOT pruned ORDER BY no DESC LIMIT ?1";
        let mut runs = self.db.prepare(sql).map_err(self.sqlite())?;
        let limit = limit.map_or(-1, i64::from);
        let runs = runs.query_map([limit], RunKey::of).map_err(self.sqlite())?;
        runs.map(|run| self.overview(&run.map_err(self.sqlite())?)).collect()
    }

    /// The racks of all runs, by name.
    pub fn rack_ids(&self) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT DISTINCT rack_id FROM racks WHERE rack_id IS NOT NULL ORDER BY rack_id";
        let mut racks = self.db.prepare(sql).map_err(self.sqlite())?;
        let racks = racks.query_map([], |row| row.get(0)).map_err(self.sqlite())?;
        racks.collect::<Result<_, _>>().map_err(self.sqlite())
    }

    pub fn overview(&self, run: &RunKey) -> Result<Overview, LedgerError> {
        let sql = format!(
            "SELECT url, action, inventory, inventory_vms, started_at, ended_at, resumes, counts, stopped_by,
                    exit_code, pinned, {COMPLETE}, options
             FROM runs JOIN bases ON bases.id = base WHERE no = ?1"
        );
        let sqlite = self.sqlite();
        let mut overview = self.db.prepare_cached(&sql).map_err(sqlite)?;
        let overview = overview.query_row([run.no], |row| {
            let counts: Option<Counts> = json::read(row, 7)?;
            let stopped_by: Option<String> = row.get(8)?;
            let overview = Overview {
                id: run.id.clone(),
                base_url: row.get(0)?,
                action: row.get::<_, Option<String>>(1)?.and_then(|word| word.parse().ok()),
                inventory: json::read(row, 2)?.unwrap_or_default(),
                inventory_vms: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
                started_at: timestamp(row.get(4)?),
                ended_at: row.get::<_, Option<i64>>(5)?.map(timestamp),
                resumes: row.get(6)?,
                counts: counts.unwrap_or_default(),
                stopped_by: stopped_by.and_then(|word| Stop::from_word(&word)),
                exit_code: row.get(9)?,
                pinned: row.get(10)?,
                complete: row.get(11)?,
                options: json::read(row, 12)?.unwrap_or_default(),
                running: false,
            };
            Ok((overview, counts.is_some()))
        });
        match overview.map_err(sqlite)? {
            (overview, true) => Ok(overview),
            // It has not ended, or ended before counts were kept.
            (overview, false) => Ok(Overview { counts: self.sums(run)?.counts(), ..overview }),
        }
    }

    /// Keeps a run from being pruned, or no longer.
    pub fn pin(&self, run: &RunKey, pinned: bool) -> Result<(), LedgerError> {
        let sql = "UPDATE runs SET pinned = ?2 WHERE no = ?1";
        self.db.execute(sql, params![run.no, pinned]).map_err(self.sqlite()).map(drop)
    }

    /// Every run's word on a VM, the newest first.
    pub fn entries(&self, vm: &VmId) -> Result<Vec<Entry>, LedgerError> {
        let sql = format!(
            "SELECT {ROW}, ru.id, url, started_at
             FROM runs ru JOIN bases ON bases.id = ru.base JOIN listed i ON i.run = ru.no AND vmid = ?1
                LEFT JOIN events e ON e.no = i.event
             WHERE NOT pruned ORDER BY ru.no DESC"
        );
        let mut entries = self.db.prepare(&sql).map_err(self.sqlite())?;
        let entries = entries.query_map([vm.as_str()], |entry| {
            Ok(Entry {
                run: entry.get("id")?,
                base_url: entry.get("url")?,
                started_at: timestamp(entry.get("started_at")?),
                row: row(entry)?,
            })
        });
        entries.map_err(self.sqlite())?.collect::<Result<_, _>>().map_err(self.sqlite())
    }

    /// What was last seen of a VM, at each base URL.
    pub fn last_known(&self, vm: &VmId) -> Result<Vec<LastKnown>, LedgerError> {
        let sql = "SELECT url, seen_at, allocation FROM bases CROSS JOIN known ON known.base = bases.id
                   WHERE vmid = ?1 AND allocation IS NOT NULL ORDER BY seen_at DESC";
        let mut known = self.db.prepare(sql).map_err(self.sqlite())?;
        let mut known = known.query([vm.as_str()]).map_err(self.sqlite())?;
        let mut all = Vec::new();
        while let Some(row) = known.next().map_err(self.sqlite())? {
            let base_url = row.get(0).map_err(self.sqlite())?;
            let seen_at: Option<i64> = row.get(1).map_err(self.sqlite())?;
            if let Some(allocation) = json::read(row, 2).map_err(self.sqlite())? {
                all.push(LastKnown { base_url, seen_at: seen_at.map(timestamp), allocation });
            }
        }
        Ok(all)
    }

    /// The inventory of a job at its last complete run, whatever the action was, and whatever was piped in: of the same
    /// selection, or of the whole inventory.
    pub fn last_inventory(&self, job: &NewRun) -> Result<Option<LastInventory>, LedgerError> {
        let [none, allocate, refresh] = [None, Some(Action::Allocate), Some(Action::RefreshNextHop)]
            .map(|action| fleet(&job.files, action));
        let sql = format!(
            "SELECT runs.id, inventory_vms FROM runs JOIN bases ON bases.id = base
             WHERE fleet IN (?1, ?2, ?3) AND url = ?4 AND selection IN (?5, ?6) AND inventory_vms IS NOT NULL AND {COMPLETE}
             ORDER BY no DESC LIMIT 1"
        );
        let selection = selection(&job.options);
        let values = params![none, allocate, refresh, job.base_url, EVERYTHING, selection];
        let last = self.db.query_row(&sql, values, |row| {
            Ok(LastInventory { run: row.get(0)?, vms: row.get::<_, i64>(1)?.unsigned_abs() })
        });
        last.optional().map_err(self.sqlite())
    }
}
