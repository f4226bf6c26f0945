//! Old runs, deleted in small steps. What was last seen of a VM stays, whichever run saw it.

use super::column;
use super::question::{Question, Value};
use super::runs::{NEWEST_OF_ITS_JOB, PENDING, UNFINISHED};
use super::session::Session;
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::span;
use crate::ledger::record::WrittenFile;

/// VMs that are deleted in one transaction.
const STEP: i64 = 10_000;

/// That a newer run read other contents from the same pipe: such runs supersede nothing, and would pile up.
const PIPED_ANEW: &str = "r.piped <> '' AND EXISTS (SELECT 1 FROM v6fleet.runs n
    WHERE (n.base, n.fleet, n.selection) = (r.base, r.fleet, r.selection) AND n.no > r.no)";

/// That others than `$2` work on a run, or may still write its reports.
const IN_USE: &str = "EXISTS (SELECT 1 FROM v6fleet.workers w WHERE w.run = r.no AND w.no <> $2
    AND (NOT w.buried OR w.left_at IS NULL AND w.lease_until > clock_timestamp()))";

/// Where others delete the same steps, some of its VMs may be left to them: without the run nobody would ever find these.
const DELETE_RUN: &str = "DELETE FROM v6fleet.runs WHERE no = $1
    AND NOT EXISTS (SELECT 1 FROM v6fleet.items WHERE no BETWEEN $2 AND $3)
    AND NOT EXISTS (SELECT 1 FROM v6fleet.progress WHERE item BETWEEN $2 AND $3)";

/// Deletes all runs but those that stay, and those that others than `ours` work on. Returns how many.
pub(super) fn prune(
    session: &Session,
    keep: u32,
    ours: Option<i64>,
    gone: &mut dyn FnMut(&[WrittenFile]),
) -> Result<usize, LedgerError> {
    // That there is an older run of a run's job which stays, pinned and unfinished.
    let supersedes = format!(
        "EXISTS (SELECT 1 FROM v6fleet.runs p WHERE p.pinned AND p.no < r.no
            AND (p.base, p.fleet, p.selection, p.piped) = (r.base, r.fleet, r.selection, r.piped)
            AND {PENDING})"
    );
    let choose = format!(
        "UPDATE v6fleet.runs SET pruned = true WHERE no IN
            (SELECT no FROM v6fleet.runs r
             WHERE NOT pinned AND NOT {IN_USE} AND no NOT IN (SELECT no FROM v6fleet.runs ORDER BY no DESC LIMIT $1)
                AND NOT ({NEWEST_OF_ITS_JOB} AND NOT ({PIPED_ANEW}) AND {UNFINISHED})
                AND NOT ({NEWEST_OF_ITS_JOB} AND {supersedes}))"
    );
    let values: Vec<Value> = vec![Box::new(i64::from(keep)), Box::new(ours.unwrap_or_default())];
    session.later(Question::new(choose, values));
    let pruned = "SELECT no, written FROM v6fleet.runs WHERE pruned ORDER BY no";
    let pruned = session.all(pruned, &[], |row| Ok((row.try_get(0)?, column::list(row, 1)?)))?;
    let mut deleted = 0;
    for (run, written) in &pruned {
        gone(written);
        deleted += usize::from(delete(session, *run)?);
    }
    Ok(deleted)
}

/// The tables of a run's VMs, then the run itself. Returns whether it is deleted by us.
fn delete(session: &Session, run: i64) -> Result<bool, LedgerError> {
    for (table, key) in [("items", "no"), ("progress", "item")] {
        delete_all(session, table, key, run)?;
    }
    let [first, last] = span(run);
    session.transaction(|| {
        session.execute("DELETE FROM v6fleet.skipped WHERE run = $1", &[&run])?;
        session.execute("DELETE FROM v6fleet.racks WHERE run = $1", &[&run])?;
        Ok(session.execute(DELETE_RUN, &[&run, &first, &last])? > 0)
    })
}

fn delete_all(session: &Session, table: &str, key: &str, run: i64) -> Result<(), LedgerError> {
    let step = format!(
        "DELETE FROM v6fleet.{table} WHERE {key} BETWEEN $1 AND
            least($2, $3 + (SELECT min({key}) FROM v6fleet.{table} WHERE {key} >= $1))"
    );
    let [first, last] = span(run);
    while session.execute(&step, &[&first, &last, &(STEP - 1)])? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use support::postgres::Server;

    use crate::ledger::Ledger;
    use crate::ledger::contract::begin;
    use crate::ledger::postgres::{DatabaseUrl, Postgres};

    /// To whom it was there, another has just deleted it.
    const BUSY: &str = "CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER busy BEFORE DELETE ON v6fleet.items FOR EACH ROW EXECUTE FUNCTION busy()";

    #[test]
    fn a_run_whose_vms_another_is_about_to_delete_is_known_until_they_are_gone() {
        let Some(server) = Server::start() else { return };
        let url = DatabaseUrl::of(Path::new(&server.url())).unwrap().unwrap();
        let ended = || {
            let ledger = Ledger::of(Box::new(Postgres::open(&url, Duration::ZERO).unwrap()));
            ledger.end(&begin(&ledger, &[None]), None, |_| 0).unwrap();
            ledger
        };
        drop(ended());
        let ledger = ended();
        let known =
            || server.sql("SELECT (SELECT count(*) FROM v6fleet.runs), (SELECT count(*) FROM v6fleet.items)");
        server.sql(BUSY);
        assert_eq!((ledger.prune(1, &mut |_| ()).unwrap(), known().as_str()), (0, "2|2"));
        server.sql("DROP TRIGGER busy ON v6fleet.items");
        assert_eq!((ledger.prune(1, &mut |_| ()).unwrap(), known().as_str()), (1, "1|1"));
    }
}
