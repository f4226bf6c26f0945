//! What was last seen of the VMs.

use std::ops::ControlFlow;

use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::column;
use super::database::Postgres;
use crate::allocation::Allocation;
use crate::dialect::Dialect;
use crate::ledger::engine::Known;
use crate::ledger::error::LedgerError;
use crate::ledger::record::{LastKnown, Sighting};
use crate::vm::VmId;

/// That a VM is known to an API: its base URL and dialect.
const AT: &str = "base = (SELECT id FROM v6fleet.bases WHERE (url, dialect) = ($1, $2))";

impl Postgres {
    /// The racks of so many VMs, from one on.
    fn racks_from(
        &self,
        (url, dialect): (&str, Dialect),
        vm: &VmId,
        vms: i64,
    ) -> Result<Vec<(String, Option<String>)>, LedgerError> {
        let sql =
            format!("SELECT vmid, rack_id FROM v6fleet.vms WHERE {AT} AND vmid >= $3 ORDER BY vmid LIMIT $4");
        let values = [&url as _, &dialect.as_str() as _, &vm.as_str() as _, &vms as _];
        self.session.all(&sql, &values, |row| Ok((row.try_get(0)?, column::text(row, 1)?)))
    }
}

impl Known for Postgres {
    fn last_rack(&self, base_url: &str, dialect: Dialect, vm: &VmId) -> Result<Option<String>, LedgerError> {
        let api = format!("{dialect} {base_url}");
        let read = |vms| self.racks_from((base_url, dialect), vm, vms);
        Ok(self.racks_ahead.borrow_mut().ask(&api, vm.as_str(), read)?.flatten())
    }

    fn last_known(&self, vm: &VmId) -> Result<Vec<LastKnown>, LedgerError> {
        let sql =
            "SELECT url, dialect, seen_at, allocation FROM v6fleet.bases JOIN v6fleet.vms ON base = id AND vmid = $1
            WHERE seen_at IS NOT NULL ORDER BY seen_at DESC";
        self.session.all(sql, &[&vm.as_str()], last_known)
    }

    fn sighting(&self, base_url: &str, dialect: Dialect, vm: &VmId) -> Result<Option<Sighting>, LedgerError> {
        let sql = format!(
            "SELECT seen_at, allocation FROM v6fleet.vms WHERE {AT} AND vmid = $3 AND seen_at IS NOT NULL"
        );
        let values = [&base_url as _, &dialect.as_str() as _, &vm.as_str() as _];
        self.session.first(&sql, &values, |row| {
            Ok(Sighting { seen_at: column::at(row, 0)?, allocation: column::shaped(row, 1)? })
        })
    }

    fn each_sighting(
        &self,
        base_url: &str,
        dialect: Dialect,
        each: &mut dyn FnMut(&VmId, &Allocation, Timestamp),
    ) -> Result<(), LedgerError> {
        let sql = format!(
            "SELECT vmid, seen_at, allocation FROM v6fleet.vms
             WHERE {AT} AND seen_at IS NOT NULL AND allocation IS NOT NULL ORDER BY vmid"
        );
        let mut show = |row: &Row| {
            if let (vm, seen_at, Some(allocation)) = seen(row)? {
                each(&vm, &allocation, seen_at);
            }
            Ok(ControlFlow::Continue(()))
        };
        self.session.each(&sql, &[&base_url, &dialect.as_str()], &mut show).map(drop)
    }
}

fn last_known(row: &Row) -> Result<LastKnown, Error> {
    Ok(LastKnown {
        base_url: row.try_get(0)?,
        dialect: column::word(row, 1)?,
        seen_at: column::time(row, 2)?,
        allocation: column::shaped(row, 3)?,
    })
}

fn seen(row: &Row) -> Result<(VmId, Timestamp, Option<Allocation>), Error> {
    Ok((column::word(row, 0)?, column::at(row, 1)?, column::shaped(row, 2)?))
}
