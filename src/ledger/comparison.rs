//! Two runs side by side, VM by VM, in memory that does not grow with them.

use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, params};

use super::draft::RunKey;
use super::error::LedgerError;
use super::job::EVERYTHING;
use super::summary::{Named, Since};
use super::{Ledger, json, span, timestamp};
use crate::difference::{Difference, Standing, difference};
use crate::inventory::Vm;
use crate::outcome::{Failure, Outcome};

/// A run that ended by itself, every VM settled.
pub(super) const COMPLETE: &str = "ended_at IS NOT NULL AND stopped_by IS NULL AND NOT pruned";

/// The exit codes of a run of which nothing failed and nothing was skipped: complete, with changes, with drift.
const SUCCESSES: &str = "0, 10, 11";

/// That a run `r` is of the same job as run `?1`, or of that job for the whole inventory: its selection is `?2`.
const SAME_JOB: &str = "EXISTS (SELECT 1 FROM runs o WHERE o.no = ?1
    AND (o.base, o.fleet, o.piped) = (r.base, r.fleet, r.piped) AND r.selection IN (?2, o.selection))";

/// How many VMs stand for a kind of difference.
const EXAMPLES: usize = 5;

/// A VM in two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// As the later of the two has it, or the only one.
    pub vm: Vm,
    /// The inventory's, else the one last seen before the run.
    pub rack: Option<String>,
    pub before: Option<Standing>,
    pub after: Option<Standing>,
}

impl Pair {
    pub fn difference(&self) -> Option<Difference> {
        difference(self.before.as_ref(), self.after.as_ref())
    }
}

impl Ledger {
    /// Calls `each` with every VM of two runs: those of `to` in inventory order, then those of `from` alone.
    pub fn each_pair<E: From<LedgerError>>(
        &self,
        from: &RunKey,
        to: &RunKey,
        mut each: impl FnMut(Pair) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_with_other(to, from, "", |vm, rack, after, before| {
            each(Pair { vm, rack, before, after: Some(after) })
        })?;
        self.each_with_other(from, to, "AND other.no IS NULL", |vm, rack, before, _| {
            each(Pair { vm, rack, before: Some(before), after: None })
        })
    }

    fn each_with_other<E: From<LedgerError>>(
        &self,
        run: &RunKey,
        other: &RunKey,
        condition: &str,
        mut each: impl FnMut(Vm, Option<String>, Standing, Option<Standing>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sqlite = self.sqlite();
        let (own, others) = (standing_columns("own"), standing_columns("other"));
        let sql = format!(
            "SELECT {own}, {others}, own.vmid, own.name, own.action, own.expected, own.labels, r.rack_id
             FROM listed own JOIN racks r ON r.run = own.run AND r.no = own.rack
             LEFT JOIN events own_event ON own_event.no = own.event
             LEFT JOIN listed other ON other.vmid = own.vmid AND other.run = ?3
             LEFT JOIN events other_event ON other_event.no = other.event
             WHERE own.no BETWEEN ?1 AND ?2 {condition} ORDER BY own.no"
        );
        let mut rows = self.db.prepare(&sql).map_err(sqlite)?;
        let [first, last] = span(run.no);
        let mut rows = rows.query([first, last, other.no]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let read = || {
                let rack = row.get(2 * STANDING + 5)?;
                Ok((vm(row, 2 * STANDING)?, rack, standing(row, 0)?, standing(row, STANDING)?))
            };
            let (vm, rack, own, other) = read().map_err(sqlite)?;
            if let Some(own) = own {
                each(vm, rack, own, other)?;
            }
        }
        Ok(())
    }

    /// The last complete run before `run` of the same job, at the same base URL, with which it can be compared:
    /// one of the same selection, or of the whole inventory.
    pub fn baseline(&self, run: &RunKey) -> Result<Option<RunKey>, LedgerError> {
        let sql = format!(
            "SELECT no, base, id FROM runs r WHERE no < ?1 AND {COMPLETE} AND {SAME_JOB}
             ORDER BY no DESC LIMIT 1"
        );
        let run = self.db.query_row(&sql, params![run.no, EVERYTHING], RunKey::of);
        run.optional().map_err(self.sqlite())
    }

    /// When the job of `run` last succeeded, by `run` itself or an earlier one: complete, no VM failed, no row skipped;
    /// of the same selection, or of the whole inventory.
    pub(super) fn last_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError> {
        let sql = format!(
            "SELECT max(ended_at) FROM runs r WHERE no <= ?1 AND {COMPLETE} AND exit_code IN ({SUCCESSES}) AND {SAME_JOB}"
        );
        let at = self.db.query_row(&sql, params![run.no, EVERYTHING], |row| row.get::<_, Option<i64>>(0));
        Ok(at.map_err(self.sqlite())?.map(timestamp))
    }

    /// When the whole inventory of `run` last succeeded, where `run` is of a part of it, and the whole was ever run.
    pub(super) fn whole_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError> {
        let sql = format!(
            "SELECT count(*), max(iif({COMPLETE} AND exit_code IN ({SUCCESSES}), ended_at, 0)) FROM runs r
             WHERE NOT pruned AND selection = ?2 AND EXISTS (SELECT 1 FROM runs o WHERE o.no = ?1
                AND o.selection <> ?2 AND (o.base, o.fleet, o.piped) = (r.base, r.fleet, r.piped))"
        );
        let whole = self.db.query_row(&sql, params![run.no, EVERYTHING], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        });
        let (runs, at) = whole.map_err(self.sqlite())?;
        Ok((runs > 0).then(|| timestamp(at.unwrap_or_default())))
    }

    /// Which VMs fail, and which have recovered, since a run's [`Self::baseline`].
    pub fn since(&self, run: &RunKey) -> Result<Option<Since>, LedgerError> {
        let Some(baseline) = self.baseline(run)? else { return Ok(None) };
        let mut since = Since { run: baseline.id.clone(), ..Since::default() };
        self.each_pair(&baseline, run, |pair| {
            match pair.difference() {
                Some(Difference::NewlyFailing) => name(&mut since.newly_failing, &pair),
                Some(Difference::Recovered) => name(&mut since.recovered, &pair),
                Some(
                    Difference::Changed | Difference::Appeared | Difference::Gone | Difference::NotAttempted,
                )
                | None => {}
            }
            Ok::<_, LedgerError>(())
        })?;
        Ok(Some(since))
    }
}

fn name(named: &mut Named, pair: &Pair) {
    named.vms += 1;
    if named.examples.len() < EXAMPLES {
        named.examples.push(pair.vm.id.to_string());
    }
}

/// The columns that [`standing`] reads, of `items` and their events.
fn standing_columns(items: &str) -> String {
    let of_event = ["outcome", "failure", "error", "rack_id", "prefix", "next_hop", "status", "ids"]
        .map(|column| format!("{items}_event.{column}"));
    format!("{items}.no, {}", of_event.join(", "))
}

/// How many they are.
const STANDING: usize = 9;

/// What has no outcome yet has failed, as in a report; `None` where there is no such item.
fn standing(row: &rusqlite::Row<'_>, at: usize) -> Result<Option<Standing>, rusqlite::Error> {
    if row.get_ref(at)? == ValueRef::Null {
        return Ok(None);
    }
    let word = |column| row.get::<_, Option<String>>(at + column).map(Option::unwrap_or_default);
    let outcome = Outcome::from_word(&word(1)?).unwrap_or(Outcome::Failed);
    let failure = Failure::from_word(&word(2)?).unwrap_or(Failure::NotAttempted);
    Ok(Some(Standing {
        outcome,
        failure: (outcome == Outcome::Failed).then_some(failure),
        error: row.get(at + 3)?,
        rack_id: row.get(at + 4)?,
        prefix: row.get(at + 5)?,
        next_hop: row.get(at + 6)?,
        status: row.get(at + 7)?,
        ids: json::read(row, at + 8)?,
    }))
}

fn vm(row: &rusqlite::Row<'_>, at: usize) -> Result<Vm, rusqlite::Error> {
    Ok(Vm {
        id: json::word(row, at)?,
        name: row.get(at + 1)?,
        action: Some(json::word(row, at + 2)?),
        expected: json::read(row, at + 3)?.unwrap_or_default(),
        labels: json::read(row, at + 4)?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::{Action, Reading};
    use crate::ledger::NewRun;
    use crate::ledger::tests::{BASE, Fixture, new_run, vm};
    use crate::stop::Stop;

    /// A run of these VMs, none of them called, that ended.
    fn ended(ledger: &mut Ledger, job: &NewRun, vms: &[&str], stopped_by: Option<Stop>) -> RunKey {
        ended_with(ledger, job, vms, stopped_by, 0)
    }

    fn ended_with(
        ledger: &mut Ledger,
        job: &NewRun,
        vms: &[&str],
        stopped_by: Option<Stop>,
        exit_code: u8,
    ) -> RunKey {
        let mut draft = ledger.draft(job).unwrap();
        for id in vms {
            draft.add(&vm(id, Some("a")), Action::Allocate, Some("a")).unwrap();
        }
        let run = draft.commit(&Reading::default(), &[]).unwrap();
        ledger.end(&run, stopped_by, |_| exit_code).unwrap();
        run
    }

    #[test]
    fn a_job_last_succeeded_with_its_last_run_in_which_nothing_failed() {
        let fixture = Fixture::new();
        let mut ledger = fixture.ledger();
        let job = new_run(BASE);
        let success = |ledger: &Ledger, run: &RunKey| ledger.run_info(run).unwrap().last_success_at;
        let end = |ledger: &Ledger, run: &RunKey| ledger.run_info(run).unwrap().ended_at;
        let failed = ended_with(&mut ledger, &job, &["1"], None, 3);
        assert_eq!(success(&ledger, &failed), None);
        for exit_code in [0, 10, 11] {
            let run = ended_with(&mut ledger, &job, &["1"], None, exit_code);
            assert_eq!(success(&ledger, &run), end(&ledger, &run), "{exit_code}");
        }
        let good = ended(&mut ledger, &job, &["1"], None);
        let of_rack =
            NewRun { options: [("rack".to_owned(), json!("a"))].into_iter().collect(), ..job.clone() };
        ended(&mut ledger, &of_rack, &["1"], None);
        ended(&mut ledger, &NewRun { files: vec!["other.csv".into()], ..job.clone() }, &["1"], None);
        let stopped = ended_with(&mut ledger, &job, &["1"], Some(Stop::Canary), 4);
        assert_eq!(success(&ledger, &stopped), end(&ledger, &good));
        assert_eq!(success(&ledger, &failed), None, "a later success is none of its own");

        let whole = |ledger: &Ledger, run: &RunKey| ledger.run_info(run).unwrap().whole_success_at;
        let part = ended(&mut ledger, &of_rack, &["1"], None);
        assert_eq!(success(&ledger, &part), end(&ledger, &part));
        assert_eq!(whole(&ledger, &part), end(&ledger, &good), "a part of the fleet is not the fleet");
        assert_eq!(whole(&ledger, &good), None);
        let alone = NewRun { files: vec!["alone.csv".into()], ..of_rack.clone() };
        let alone = ended(&mut ledger, &alone, &["1"], None);
        assert_eq!(whole(&ledger, &alone), None, "the whole was never run");
    }

    #[test]
    fn vms_are_paired_by_id_those_of_the_second_run_first_and_in_its_order() {
        let fixture = Fixture::new();
        let mut ledger = fixture.ledger();
        let from = ended(&mut ledger, &new_run(BASE), &["1", "2", "3"], None);
        let to = ended(&mut ledger, &new_run(BASE), &["3", "2", "4"], None);
        let mut pairs = Vec::new();
        let each = |pair: Pair| {
            assert_eq!((pair.rack.as_deref(), pair.vm.labels.len()), (Some("a"), 1));
            pairs.push((pair.vm.id.to_string(), pair.before.is_some(), pair.after.is_some()));
            Ok::<_, LedgerError>(())
        };
        ledger.each_pair(&from, &to, each).unwrap();
        let expected = [("3", true, true), ("2", true, true), ("4", false, true), ("1", true, false)];
        assert_eq!(pairs, expected.map(|(id, before, after)| (id.to_owned(), before, after)));
    }

    #[test]
    fn a_run_is_compared_with_the_last_complete_one_of_its_job_that_had_its_vms() {
        let fixture = Fixture::new();
        let mut ledger = fixture.ledger();
        let whole = new_run(BASE);
        let narrowed = |name: &str, value: &str| NewRun {
            options: [(name.to_owned(), json!(value))].into_iter().collect(),
            ..whole.clone()
        };
        let of_rack = narrowed("rack", "a");
        let first = ended(&mut ledger, &whole, &["1"], None);
        let rack = ended(&mut ledger, &of_rack, &["1"], None);
        ended(&mut ledger, &narrowed("only-failed", "latest"), &["1"], None);
        ended(&mut ledger, &NewRun { action: None, ..whole.clone() }, &["1"], None);
        ended(&mut ledger, &NewRun { files: vec!["other.csv".into()], ..whole.clone() }, &["1"], None);
        ended(
            &mut ledger,
            &NewRun { base_url: "https://other.example".into(), ..whole.clone() },
            &["1"],
            None,
        );
        ended(&mut ledger, &whole, &["1"], Some(Stop::Canary));
        for (job, baseline) in
            [(&narrowed("rate", "20/s"), &first), (&narrowed("rack", "b"), &first), (&of_rack, &rack)]
        {
            let run = ledger.draft(job).unwrap().commit(&Reading::default(), &[]).unwrap();
            assert_eq!(ledger.baseline(&run).unwrap().as_ref(), Some(baseline), "{:?}", job.options);
        }
        assert_eq!(ledger.baseline(&first).unwrap(), None);

        let run = ledger.draft(&of_rack).unwrap().commit(&Reading::default(), &[]).unwrap();
        ledger.resume(&run, &narrowed("rate", "5/s")).unwrap();
        let options = ledger.run_info(&run).unwrap().options;
        assert_eq!((&options["rack"], &options["rate"]), (&json!("a"), &json!("5/s")));
        assert_eq!(ledger.baseline(&run).unwrap(), Some(rack), "gone on with, it is of the same selection");
    }
}
