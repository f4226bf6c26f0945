//! What was last seen of the VMs.

use rusqlite::{Error, OptionalExtension, Row};

use super::Sqlite;
use super::column::{self, time, timestamp};
use crate::dialect::Dialect;
use crate::ledger::engine::Known;
use crate::ledger::error::LedgerError;
use crate::ledger::record::{LastKnown, Sighting};
use crate::vm::VmId;

const SEEN: &str = "SELECT allocation, seen_at, vmid FROM known
    WHERE base = (SELECT id FROM bases WHERE (url, dialect) = (?1, ?2)) AND allocation IS NOT NULL";

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
        let sql = "SELECT url, seen_at, allocation FROM bases CROSS JOIN known ON known.base = bases.id
                   WHERE vmid = ?1 AND allocation IS NOT NULL ORDER BY seen_at DESC";
        self.ask(|db| {
            let mut known = db.prepare(sql)?;
            let known = known.query_map([vm.as_str()], last_known)?;
            known.filter_map(Result::transpose).collect()
        })
    }

    fn sighting(&self, base_url: &str, dialect: Dialect, vm: &VmId) -> Result<Option<Sighting>, LedgerError> {
        let seen = self.ask(|db| {
            let mut seen = db.prepare_cached(&format!("{SEEN} AND vmid = ?3"))?;
            seen.query_row([base_url, dialect.as_str(), vm.as_str()], sighting).optional()
        });
        Ok(seen?.flatten())
    }

    fn each_sighting(
        &self,
        base_url: &str,
        dialect: Dialect,
        each: &mut dyn FnMut(&VmId, &Sighting),
    ) -> Result<(), LedgerError> {
        self.ask(|db| {
            let mut seen = db.prepare(&format!("{SEEN} ORDER BY vmid"))?;
            let mut seen = seen.query([base_url, dialect.as_str()])?;
            while let Some(row) = seen.next()? {
                if let Some(last) = sighting(row)? {
                    each(&column::word(row, 2)?, &last);
                }
            }
            Ok(())
        })
    }
}

fn last_known(row: &Row<'_>) -> Result<Option<LastKnown>, Error> {
    let (base_url, seen_at) = (row.get(0)?, time(row, 1)?);
    Ok(column::shaped(row, 2)?.map(|allocation| LastKnown { base_url, seen_at, allocation }))
}

fn sighting(row: &Row<'_>) -> Result<Option<Sighting>, Error> {
    let seen_at = timestamp(row.get(1)?);
    Ok(column::shaped(row, 0)?.map(|allocation| Sighting { allocation, seen_at }))
}
