//! What was last seen of the VMs.

use jiff::Timestamp;
use rusqlite::{Error, OptionalExtension, Row};

use super::Sqlite;
use super::column::{self, time, timestamp};
use crate::allocation::Allocation;
use crate::dialect::Dialect;
use crate::ledger::engine::Known;
use crate::ledger::error::LedgerError;
use crate::ledger::record::{LastKnown, Sighting};
use crate::vm::VmId;

/// Of a VM that was only called and never answered for, there is no moment.
const SEEN: &str = "SELECT allocation, seen_at, vmid FROM known
    WHERE base = (SELECT id FROM bases WHERE (url, dialect) = (?1, ?2)) AND seen_at IS NOT NULL";

impl Known for Sqlite {
    fn last_rack(&self, base_url: &str, dialect: Dialect, vm: &VmId) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT rack_id FROM known WHERE base = (SELECT id FROM bases WHERE (url, dialect) = (?1, ?2)) AND vmid = ?3";
        let rack = self.ask(|db| {
            db.prepare_cached(sql)?
                .query_row([base_url, dialect.as_str(), vm.as_str()], |row| row.get(0))
                .optional()
        });
        Ok(rack?.flatten())
    }

    fn last_known(&self, vm: &VmId) -> Result<Vec<LastKnown>, LedgerError> {
        let sql =
            "SELECT url, dialect, seen_at, allocation FROM bases CROSS JOIN known ON known.base = bases.id
                   WHERE vmid = ?1 AND seen_at IS NOT NULL ORDER BY seen_at DESC";
        self.ask(|db| {
            let mut known = db.prepare(sql)?;
            known.query_map([vm.as_str()], last_known)?.collect()
        })
    }

    fn sighting(&self, base_url: &str, dialect: Dialect, vm: &VmId) -> Result<Option<Sighting>, LedgerError> {
        self.ask(|db| {
            let mut seen = db.prepare_cached(&format!("{SEEN} AND vmid = ?3"))?;
            seen.query_row([base_url, dialect.as_str(), vm.as_str()], sighting).optional()
        })
    }

    fn each_sighting(
        &self,
        base_url: &str,
        dialect: Dialect,
        each: &mut dyn FnMut(&VmId, &Allocation, Timestamp),
    ) -> Result<(), LedgerError> {
        self.ask(|db| {
            let mut seen = db.prepare(&format!("{SEEN} ORDER BY vmid"))?;
            let mut seen = seen.query([base_url, dialect.as_str()])?;
            while let Some(row) = seen.next()? {
                if let Sighting { allocation: Some(allocation), seen_at } = sighting(row)? {
                    each(&column::word(row, 2)?, &allocation, seen_at);
                }
            }
            Ok(())
        })
    }
}

fn last_known(row: &Row<'_>) -> Result<LastKnown, Error> {
    Ok(LastKnown {
        base_url: row.get(0)?,
        dialect: column::word(row, 1)?,
        seen_at: time(row, 2)?,
        allocation: column::shaped(row, 3)?,
    })
}

fn sighting(row: &Row<'_>) -> Result<Sighting, Error> {
    Ok(Sighting { allocation: column::shaped(row, 0)?, seen_at: timestamp(row.get(1)?) })
}
