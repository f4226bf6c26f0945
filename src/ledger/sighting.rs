//! What was last seen of the VMs, all of them or one.

use jiff::Timestamp;
use rusqlite::OptionalExtension;

use super::error::LedgerError;
use super::{Ledger, json, timestamp};
use crate::allocation::Allocation;
use crate::inventory::VmId;

/// The allocation that a VM had when it was last seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub allocation: Allocation,
    pub seen_at: Timestamp,
}

const SEEN: &str = "SELECT allocation, seen_at, vmid FROM known
    WHERE base = (SELECT id FROM bases WHERE url = ?1) AND allocation IS NOT NULL";

impl Ledger {
    /// What was last seen of a VM at a base URL.
    pub fn sighting(&self, base_url: &str, vm: &VmId) -> Result<Option<Sighting>, LedgerError> {
        let sqlite = self.sqlite();
        let mut seen = self.db.prepare_cached(&format!("{SEEN} AND vmid = ?2")).map_err(sqlite)?;
        let seen = seen.query_row([base_url, vm.as_str()], sighting).optional().map_err(sqlite)?;
        Ok(seen.flatten())
    }

    /// Calls `each` with every VM that was seen at a base URL, in ascending order of the ids as text.
    pub fn each_sighting(
        &self,
        base_url: &str,
        mut each: impl FnMut(&VmId, &Sighting),
    ) -> Result<(), LedgerError> {
        let sqlite = self.sqlite();
        let mut seen = self.db.prepare(&format!("{SEEN} ORDER BY vmid")).map_err(sqlite)?;
        let mut seen = seen.query([base_url]).map_err(sqlite)?;
        while let Some(row) = seen.next().map_err(sqlite)? {
            let id = json::word(row, 2).map_err(sqlite)?;
            if let Some(last) = sighting(row).map_err(sqlite)? {
                each(&id, &last);
            }
        }
        Ok(())
    }
}

fn sighting(row: &rusqlite::Row<'_>) -> Result<Option<Sighting>, rusqlite::Error> {
    let seen_at = timestamp(row.get(1)?);
    Ok(json::read(row, 0)?.map(|allocation| Sighting { allocation, seen_at }))
}
