//! Old runs, deleted in small steps. What was last seen of a VM stays, whichever run saw it.

use super::error::LedgerError;
use super::job::NEWEST_OF_ITS_JOB;
use super::resume::UNFINISHED;
use super::{Ledger, span, store};

/// VMs deleted in one transaction: it must not outgrow the disk, nor keep a reader waiting.
const STEP: i64 = 10_000;

/// That there is an older run of a run `r`'s job which stays, pinned and unfinished.
const SUPERSEDES: &str =
    "EXISTS (SELECT 1 FROM runs p JOIN listed i ON i.no >= p.no << 32 AND i.no < (p.no + 1) << 32
        LEFT JOIN events e ON e.no = i.event WHERE p.pinned AND outcome IS NULL
    AND (p.base, p.fleet, p.selection, p.piped) = (r.base, r.fleet, r.selection, r.piped) AND p.no < r.no)";

/// That a newer run read other contents from the same pipe: such runs supersede nothing, and would pile up.
const PIPED_ANEW: &str = "r.piped <> '' AND EXISTS (SELECT 1 FROM runs n
    WHERE (n.base, n.fleet, n.selection) = (r.base, r.fleet, r.selection) AND n.no > r.no)";

impl Ledger {
    /// Deletes all runs but the newest `keep`, the pinned ones, those that wait for a resume, and the one but for
    /// which a pinned one would. Returns how many.
    ///
    /// A run is gone before its first VM is: killed half-way, it is deleted to the end by the next call.
    pub fn prune(&self, keep: u32) -> Result<usize, LedgerError> {
        let sqlite = self.sqlite();
        let choose = format!(
            "UPDATE runs SET pruned = 1 WHERE no IN
                (SELECT no FROM runs r
                 WHERE NOT pinned AND no NOT IN (SELECT no FROM runs ORDER BY no DESC LIMIT ?1)
                    AND NOT ({NEWEST_OF_ITS_JOB} AND NOT ({PIPED_ANEW}) AND {UNFINISHED})
                    AND NOT ({NEWEST_OF_ITS_JOB} AND {SUPERSEDES}))"
        );
        self.db.execute(&choose, [keep]).map_err(sqlite)?;
        let mut pruned = self.db.prepare("SELECT no FROM runs WHERE pruned").map_err(sqlite)?;
        let pruned = pruned.query_map([], |row| row.get(0)).map_err(sqlite)?;
        let pruned: Vec<i64> = pruned.collect::<Result<_, _>>().map_err(sqlite)?;
        pruned.iter().try_for_each(|&run| self.delete(run)).map_err(sqlite)?;
        Ok(pruned.len())
    }

    /// The tables of a run's VMs, then the run itself.
    fn delete(&self, run: i64) -> Result<(), rusqlite::Error> {
        for (table, key) in [("items", "no"), ("latest", "item"), ("events", "no")] {
            self.delete_all(table, key, run)?;
        }
        let rest = self.db.unchecked_transaction()?;
        rest.execute("DELETE FROM skipped WHERE run = ?1", [run])?;
        rest.execute("DELETE FROM racks WHERE run = ?1", [run])?;
        rest.execute("DELETE FROM runs WHERE no = ?1", [run])?;
        rest.commit()?;
        store::fold_when_long(&self.db)
    }

    fn delete_all(&self, table: &str, key: &str, run: i64) -> Result<(), rusqlite::Error> {
        let step = format!(
            "DELETE FROM {table} WHERE {key} BETWEEN ?1 AND min(?2, ?3 + (SELECT min({key}) FROM {table} WHERE {key} >= ?1))"
        );
        let [first, last] = span(run);
        while self.db.execute(&step, [first, last, STEP - 1])? > 0 {
            store::fold_when_long(&self.db)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Action, Reading};
    use crate::ledger::tests::{BASE, Fixture, begin, claim, new_run, success, take, vm};
    use crate::ledger::{InventoryFile, NewRun, PIPE, RunKey};
    use crate::outcome::{Basis, Outcome};
    use crate::stop::Stop;

    fn left(ledger: &Ledger) -> Vec<String> {
        ledger.overviews(None).unwrap().into_iter().map(|run| run.id).collect()
    }

    fn ids(runs: &[&RunKey]) -> Vec<String> {
        runs.iter().map(|run| run.id.clone()).collect()
    }

    fn number(ledger: &Ledger, sql: &str) -> i64 {
        ledger.db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// A run of VM 1, which is called and settled.
    fn complete(fixture: &Fixture) -> RunKey {
        let ledger = fixture.ledger();
        let run = begin(&ledger, &[Some("a")]);
        let mut writer = ledger.write(&run).unwrap();
        let item = claim(&mut writer, take(0, 1)).remove(0);
        writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
        writer.close().0.unwrap().end(&run, None, |_| 0).unwrap();
        run
    }

    #[test]
    fn the_newest_the_pinned_and_the_resumable_runs_stay_and_so_does_what_was_last_seen() {
        let fixture = Fixture::new();
        let [_, pinned, _] = [(); 3].map(|()| complete(&fixture));
        let mut ledger = fixture.ledger();
        let other = NewRun { files: vec!["other.csv".into()], ..new_run(BASE) };
        let mut stopped = || {
            let mut draft = ledger.draft(&other).unwrap();
            draft.add(&vm("2", None), Action::Allocate, None).unwrap();
            draft.skip("other.csv", 3, "vmid", "is missing").unwrap();
            let run = draft.commit(&Reading::default(), &[]).unwrap();
            ledger.end(&run, Some(Stop::Deadline), |_| 5).unwrap();
            run
        };
        let [_superseded, resumable] = [(); 2].map(|()| stopped());
        ledger.pin(&pinned, true).unwrap();
        drop(ledger);
        let newest = complete(&fixture);
        let ledger = fixture.ledger();
        assert_eq!(ledger.prune(6).unwrap(), 0);
        assert_eq!(ledger.prune(1).unwrap(), 3);
        assert_eq!(left(&ledger), ids(&[&newest, &resumable, &pinned]));
        assert_eq!(ledger.latest_unfinished().unwrap(), Some(resumable));
        assert_eq!(ledger.last_rack(BASE, &"1".parse().unwrap()).unwrap().as_deref(), Some("dc1r28"));
        let tables = ["items", "racks", "skipped"].map(|table| format!("SELECT count(*) FROM {table}"));
        assert_eq!(tables.map(|sql| number(&ledger, &sql)), [3, 3, 1]);
        ledger.pin(&pinned, false).unwrap();
        assert_eq!(ledger.prune(1).unwrap(), 1);
    }

    #[test]
    fn a_pinned_run_that_was_superseded_is_not_gone_on_with_when_its_successor_is_old() {
        let fixture = Fixture::new();
        let mut ledger = fixture.ledger();
        let stopped = begin(&ledger, &[None]);
        ledger.end(&stopped, Some(Stop::Deadline), |_| 5).unwrap();
        ledger.pin(&stopped, true).unwrap();
        drop(ledger);
        let successor = complete(&fixture);
        let ledger = fixture.ledger();
        let other = NewRun { files: vec!["other.csv".into()], ..new_run(BASE) };
        let other = ledger.draft(&other).unwrap().commit(&Reading::default(), &[]).unwrap();
        assert_eq!(ledger.prune(1).unwrap(), 0);
        assert_eq!(ledger.unfinished(&new_run(BASE), &[]).unwrap(), None);
        ledger.pin(&stopped, false).unwrap();
        assert_eq!(ledger.prune(1).unwrap(), 2);
        assert_eq!(left(&ledger), ids(&[&other]));
        assert!(ledger.find_run(&successor.id).is_err());
    }

    #[test]
    fn unfinished_runs_of_what_came_through_a_pipe_do_not_pile_up_and_others_stay() {
        let fixture = Fixture::new();
        let mut ledger = fixture.ledger();
        let limited = [("limit".to_owned(), "1".into())].into_iter().collect();
        let by_hand = NewRun { options: limited, ..new_run(BASE) };
        let piped = NewRun { files: vec![PIPE.into()], ..new_run(BASE) };
        let mut stopped = |job: &NewRun, sha256: &str| {
            let mut draft = ledger.draft(job).unwrap();
            draft.add(&vm("1", None), Action::Allocate, None).unwrap();
            let files = vec![InventoryFile { path: PIPE.into(), sha256: sha256.into() }];
            let run = draft.commit(&Reading { files, ..Reading::default() }, &[]).unwrap();
            ledger.end(&run, Some(Stop::Deadline), |_| 5).unwrap();
            run
        };
        let (fleet, part) = (stopped(&new_run(BASE), ""), stopped(&by_hand, ""));
        let [_, _, third] = ["1", "2", "3"].map(|sha256| stopped(&piped, sha256));
        assert_eq!(ledger.prune(1).unwrap(), 2);
        assert_eq!(left(&ledger), ids(&[&third, &part, &fleet]), "neither supersedes the other");
        assert!(ledger.superseded().unwrap().is_empty());
    }

    #[test]
    fn a_run_that_was_deleted_half_way_is_as_good_as_gone_and_then_gone() {
        let fixture = Fixture::new();
        let ledger = fixture.ledger();
        let vms = usize::try_from(STEP).unwrap() + 1;
        let half = begin(&ledger, &vec![None; vms]);
        let next = begin(&ledger, &[None]);
        ledger.db.execute("UPDATE runs SET pruned = 1 WHERE no = ?1", [half.no]).unwrap();
        ledger.db.execute("DELETE FROM items WHERE no < ?1", [super::super::number(half.no, 7)]).unwrap();
        assert_eq!(left(&ledger), ids(&[&next]));
        assert!(matches!(ledger.find_run(&half.id), Err(LedgerError::UnknownRun(_))));
        assert!(ledger.entries(&"9".parse().unwrap()).unwrap().is_empty());
        assert_eq!(ledger.prune(100).unwrap(), 1);
        assert_eq!(number(&ledger, "SELECT count(*) FROM items"), 1);
        assert_eq!(number(&ledger, "SELECT count(*) FROM runs"), 1);
    }
}
