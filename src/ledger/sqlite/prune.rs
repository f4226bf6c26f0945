//! Old runs, deleted in small steps. What was last seen of a VM stays, whichever run saw it.

use crate::ledger::numbers::span;
use crate::ledger::record::WrittenFile;
use rusqlite::{Connection, Error};

use super::runs::{NEWEST_OF_ITS_JOB, UNFINISHED};
use super::steps::STEP;
use super::{column, log};

/// That there is an older run of a run `r`'s job which stays, pinned and unfinished.
const SUPERSEDES: &str = "EXISTS (SELECT 1 FROM runs p WHERE p.pinned AND p.no < r.no
    AND (p.base, p.fleet, p.selection, p.piped) = (r.base, r.fleet, r.selection, r.piped)
    AND EXISTS (SELECT 1 FROM listed i WHERE i.no >= p.no << 32 AND i.no < (p.no + 1) << 32 AND outcome IS NULL))";

/// That a newer run read other contents from the same pipe: such runs supersede nothing, and would pile up.
const PIPED_ANEW: &str = "r.piped <> '' AND EXISTS (SELECT 1 FROM runs n
    WHERE (n.base, n.fleet, n.selection) = (r.base, r.fleet, r.selection) AND n.no > r.no)";

/// Deletes all runs but those that stay. Returns how many.
pub(super) fn prune(
    db: &Connection,
    keep: u32,
    gone: &mut dyn FnMut(&[WrittenFile]),
) -> Result<usize, Error> {
    let choose = format!(
        "UPDATE runs SET pruned = 1 WHERE no IN
            (SELECT no FROM runs r
             WHERE NOT pinned AND no NOT IN (SELECT no FROM runs ORDER BY no DESC LIMIT ?1)
                AND NOT ({NEWEST_OF_ITS_JOB} AND NOT ({PIPED_ANEW}) AND {UNFINISHED})
                AND NOT ({NEWEST_OF_ITS_JOB} AND {SUPERSEDES}))"
    );
    db.execute(&choose, [keep])?;
    let pruned: Vec<(i64, Vec<WrittenFile>)> = db
        .prepare("SELECT no, written FROM runs WHERE pruned")?
        .query_map([], |row| Ok((row.get(0)?, column::list(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    for (run, written) in &pruned {
        gone(written);
        delete(db, *run)?;
    }
    Ok(pruned.len())
}

/// The tables of a run's VMs, then the run itself.
fn delete(db: &Connection, run: i64) -> Result<(), Error> {
    for (table, key) in [("items", "no"), ("latest", "item")] {
        delete_all(db, table, key, run)?;
    }
    let rest = db.unchecked_transaction()?;
    rest.execute("DELETE FROM skipped WHERE run = ?1", [run])?;
    rest.execute("DELETE FROM racks WHERE run = ?1", [run])?;
    rest.execute("DELETE FROM runs WHERE no = ?1", [run])?;
    rest.commit()?;
    log::checkpoint_when_long(db)
}

fn delete_all(db: &Connection, table: &str, key: &str, run: i64) -> Result<(), Error> {
    let step = format!(
        "DELETE FROM {table} WHERE {key} BETWEEN ?1 AND min(?2, ?3 + (SELECT min({key}) FROM {table} WHERE {key} >= ?1))"
    );
    let vms = i64::try_from(STEP).unwrap_or(i64::MAX);
    let [first, last] = span(run);
    while db.execute(&step, [first, last, vms - 1])? > 0 {
        log::checkpoint_when_long(db)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerError;
    use crate::ledger::contract::{Disk, Place, begin};

    #[test]
    fn a_run_that_was_deleted_half_way_is_as_good_as_gone_and_then_gone() {
        let disk = Disk::new();
        let ledger = disk.open();
        let vms = STEP + 1;
        let half = begin(&ledger, &vec![None; vms]);
        let next = begin(&ledger, &[None]);
        drop(ledger);
        let db = Connection::open(disk.path()).unwrap();
        db.execute("UPDATE runs SET pruned = 1 WHERE id = ?1", [&half.id]).unwrap();
        db.execute("DELETE FROM items WHERE no < ?1", [crate::ledger::numbers::number(1, 7)]).unwrap();
        let ledger = disk.open();
        let runs = ledger.overviews(None).unwrap();
        assert_eq!(runs.iter().map(|run| &run.id).collect::<Vec<_>>(), [&next.id]);
        assert!(matches!(ledger.find_run(&half.id), Err(LedgerError::UnknownRun(_))));
        assert!(ledger.entries(&"9".parse().unwrap()).unwrap().is_empty());
        assert_eq!(ledger.prune(100, &mut |_| ()).unwrap(), 1);
        let number = |sql: &str| db.query_row::<i64, _, _>(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(number("SELECT count(*) FROM items"), 1);
        assert_eq!(number("SELECT count(*) FROM runs"), 1);
    }
}
