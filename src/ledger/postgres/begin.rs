//! How a run begins, goes on and ends.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio_postgres::Row;

use super::book::Book;
use super::column::{self, moment, span_micros};
use super::database::{Enlisted, Postgres, Run};
use super::draft::{Draft, OF_THE_OTHER_KIND};
use super::job_lock::Job;
use super::parameter::Parameter;
use super::question::Question;
use super::sitting::{LASTS, STAYS};
use super::workers::live;
use super::{burial, sitting};
use crate::clock;
use crate::ledger::engine::{self, Begin};
use crate::ledger::error::LedgerError;
use crate::ledger::job::{SANDBOX, refuse_mixing};
use crate::ledger::numbers::span;
use crate::ledger::record::{Closing, Ending, NewRun, RunInfo, RunKey, Terms, WrittenFile};
use crate::ledger::stored;
use crate::stop::Stop;

impl Begin for Postgres {
    fn check_kind(&self, base_url: &str) -> Result<(), LedgerError> {
        let others: i64 =
            self.session.one(OF_THE_OTHER_KIND, &[&SANDBOX, &base_url], |row| row.try_get(0))?;
        refuse_mixing(others, base_url)
    }

    fn draft(&self, new: &NewRun) -> Result<Box<dyn engine::Draft + '_>, LedgerError> {
        Ok(Box::new(Draft::begin(self, new)?))
    }

    fn resume(&self, run: &RunKey, job: &NewRun) -> Result<(), LedgerError> {
        let run = self.run(run)?;
        self.leave();
        burial::bury_lost(&self.session, None)?;
        self.session.transaction(|| {
            Job::of(&self.session, run.no)?.hold(&self.session, self.lock_timeout, Some(run.no), &[])?;
            self.note_resume(run, job)?;
            sitting::begin_anew(&self.session, run.no);
            self.enlist(run.no, job.terms).map(drop)
        })
    }

    fn join(&self, run: &RunKey, terms: Terms) -> Result<Option<Duration>, LedgerError> {
        let run = self.run(run)?;
        self.session.transaction(|| {
            self.session.later(Question::new(STAYS, vec![Box::new(run.no)]));
            let lasts = |row: &Row| row.try_get(0).map(i64::unsigned_abs).map(Duration::from_micros);
            let lasts = self.session.first(LASTS, &[&run.no], lasts)?;
            if lasts.is_some() {
                sitting::begin(&self.session, run.no);
                self.enlist(run.no, terms)?;
            }
            Ok(lasts)
        })
    }

    fn request_stop(&self, run: &RunKey, stop: Stop) -> Result<bool, LedgerError> {
        let run = self.run(run)?;
        // They may be gone as soon as they hear of it.
        let workers = live(&self.session, "r.no = $1", vec![Box::new(run.no)])?;
        sitting::stop(&self.session, run.no, self.sitting(run.no), stop)?;
        Ok(!workers.is_empty())
    }

    fn closing(&self, run: &RunKey, stop: Option<Stop>) -> Result<Closing, LedgerError> {
        self.close_run(run, stop)
    }

    fn open_book(self: Box<Self>, run: &RunKey) -> Result<Box<dyn engine::Book>, LedgerError> {
        Ok(Box::new(Book::open(*self, run)?))
    }

    fn note_written(&self, run: &RunKey, files: &[WrittenFile]) -> Result<(), LedgerError> {
        let note = "UPDATE v6fleet.runs SET written = $2 WHERE id = $1";
        self.session.execute(note, &[&run.id, &stored::write_list(files)]).map(drop)
    }

    fn note_end(&self, run: &RunKey, ending: &Ending<'_>) -> Result<Option<RunInfo>, LedgerError> {
        self.note_closed(run, ending)
    }
}

impl Postgres {
    /// The sitting of a run in which we work on it.
    pub(super) fn sitting(&self, run: i64) -> Option<i64> {
        self.worker.get().filter(|ours| ours.run == run).map(|ours| ours.sitting)
    }

    /// Becomes a worker in place of one that was `lost`, in its sitting, in the caller's transaction.
    pub(super) fn rejoin(&self, run: i64, lost: Option<Enlisted>) -> Result<Enlisted, LedgerError> {
        // It does not end meanwhile.
        let goes_on = "SELECT ended_at IS NULL AND NOT pruned AND resumes = coalesce($2, resumes)
            FROM v6fleet.runs WHERE no = $1 FOR SHARE";
        let sitting = lost.map(|lost| lost.sitting);
        match self.session.first(goes_on, &[&run, &sitting], |row| row.try_get(0))? {
            Some(true) => self.enlist(run, lost.map_or_else(Terms::default, |lost| lost.terms)),
            Some(false) | None => Err(LedgerError::Over),
        }
    }

    fn note_resume(&self, run: Run, job: &NewRun) -> Result<(), LedgerError> {
        let options = "SELECT options FROM v6fleet.runs WHERE no = $1";
        let options: Option<Map<String, Value>> =
            self.session.one(options, &[&run.no], |row| column::json(row, 0))?;
        let mut options = options.unwrap_or_default();
        options.extend(job.options.clone());
        let sql = "UPDATE v6fleet.runs SET resumes = resumes + 1, resumed_at = $2, ended_at = NULL, stopped_by = NULL,
                braked = NULL, exit_code = NULL, counts = NULL, options = $3, key_fingerprint = $4, timeout_us = $5,
                calls_before = (SELECT coalesce(sum(attempts + throttled), 0)::bigint FROM v6fleet.progress
                    WHERE item BETWEEN $6 AND $7)
             WHERE no = $1";
        let (at, options, timeout) = (moment(clock::now()), stored::json(&options), span_micros(job.timeout));
        let [first, last] = span(run.no);
        let values: [&dyn Parameter; 7] =
            [&run.no, &at, &options, &job.key_fingerprint, &timeout, &first, &last];
        self.session.execute(sql, &values).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;
    use std::time::Duration;

    use support::postgres::Server;
    use support::proxy::Proxy;

    use super::*;
    use crate::ledger::contract::{BASE, begin, new_run, rows, success, take};
    use crate::ledger::engine::Engine;
    use crate::ledger::postgres::DatabaseUrl;
    use crate::ledger::protocol::{Reply, Request};
    use crate::ledger::{End, Ledger, Location};
    use crate::outcome::{Basis, Outcome};

    /// Waits until somebody waits, and then for whoever is ending a run.
    const CROSS: &str =
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.02);
        END LOOP; END $$; SELECT 1 FROM v6fleet.workers FOR UPDATE";

    fn opened(server: &Server) -> Box<Postgres> {
        let url = DatabaseUrl::of(Path::new(&server.url())).unwrap().unwrap();
        Box::new(Postgres::open(&url, Duration::ZERO).unwrap())
    }

    /// Carries out a run of so many VMs. Returns its ledger, as it is given back.
    fn carry_out(ledger: Ledger, run: &RunKey, vms: u32) -> Ledger {
        let mut book = ledger.engine.open_book(run).unwrap();
        let claim = Request::Claim { again: vec![], take: take(0, vms), offset: None, allowance: None };
        let Some(Reply::Claimed(claimed)) = book.write(&mut [claim].into_iter()).unwrap().into_iter().next()
        else {
            panic!("nothing was claimed")
        };
        let settled =
            claimed.items.into_iter().map(|item| success(item, Outcome::Created, Basis::CreatedFlag));
        book.write(&mut settled.map(|settled| Request::Settle(Box::new(settled)))).unwrap();
        Ledger::of(book.shut())
    }

    #[test]
    fn a_run_begins_and_ends_in_a_few_round_trips_however_many_vms_it_has() {
        const VMS: u32 = 4_500;
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::from_millis(2));
        let location = Location::of(proxy.url().as_ref()).unwrap();
        let ledger = Ledger::open(&location, Duration::ZERO).unwrap();
        let run = begin(&ledger, &vec![Some("r1"); VMS as usize]);
        let begun = proxy.round_trips();
        let ledger = carry_out(ledger, &run, VMS);
        let carried_out = proxy.round_trips();
        ledger.remember_rate(&run, None).unwrap();
        assert!(matches!(ledger.end(&run, None, |_| 0).unwrap(), End::Noted { .. }));
        assert_eq!(rows(&ledger, &run).len(), VMS as usize);
        ledger.prune(1, &mut |_| {}).unwrap();
        ledger.close().unwrap();
        let ended = proxy.round_trips() - carried_out;
        // One of them looks into why all VMs were answered with one prefix.
        assert!(begun <= 5 && ended <= 6, "{begun} to begin, {ended} to end");
    }

    #[test]
    fn an_end_that_a_deadlock_has_broken_off_is_noted_at_the_next_try() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(opened(&server)), &[None]);
        let mut book = opened(&server).open_book(&run).unwrap();
        let claim = Request::Claim { again: vec![], take: take(0, 1), offset: None, allowance: None };
        book.write(&mut [claim].into_iter()).unwrap();
        let mut ledger = Ledger::of(book.shut());
        // Whoever looks first is broken off: that is the end, unless this machine takes a second for the other one's next step.
        let known = "SET deadlock_timeout = '5s';
            INSERT INTO v6fleet.vms (base, vmid) SELECT r.base, i.vmid FROM v6fleet.items i JOIN v6fleet.runs r ON r.no = i.run";
        let _other = server.lock_until(known, CROSS);
        let end = ledger.outlast(Duration::from_mins(1), |ledger| ledger.end(&run, None, |_| 0));
        assert!(matches!(end, Ok(End::Noted { .. })), "{end:?}");
    }

    #[test]
    fn whoever_has_stopped_a_run_is_told_so_though_all_who_worked_on_it_are_gone_by_then() {
        let Some(server) = Server::start() else { return };
        let ledger = Ledger::of(opened(&server));
        let (run, sums) =
            (&begin(&ledger, &[None]), server.lock("SELECT 1 FROM v6fleet.sittings FOR UPDATE"));
        let other = opened(&server);
        thread::scope(|scope| {
            let stopped = scope.spawn(move || other.request_stop(run, Stop::Terminated));
            server.await_waiting("%SET stop%");
            drop(ledger);
            server.unlock(sums);
            assert!(stopped.join().unwrap().unwrap());
        });
    }

    #[test]
    fn nobody_is_held_up_while_a_run_that_ends_is_summed_up() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(opened(&server)), &[None]);
        let ledger = carry_out(Ledger::of(opened(&server)), &run, 1);
        let (run, sums) = (&run, server.lock("LOCK TABLE v6fleet.skipped"));
        thread::scope(|scope| {
            let ended = scope.spawn(move || ledger.end(run, None, |_| 0));
            server.await_waiting("%v6fleet.skipped%");
            let locks = server.sql(
                "SELECT count(*) FROM pg_locks WHERE granted AND (locktype = 'advisory' OR mode LIKE 'Row%Exclusive%')
                    AND pid <> (SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep')",
            );
            server.unlock(sums);
            assert!(matches!(ended.join().unwrap(), Ok(End::Noted { .. })));
            assert_eq!(locks, "0");
        });
    }

    #[test]
    fn an_end_and_a_claim_never_wait_for_each_other() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(opened(&server)), &[None]);
        let ledger = carry_out(Ledger::of(opened(&server)), &run, 1);
        let claim = "SET deadlock_timeout = '5s'; SELECT pg_advisory_xact_lock(1983276653, base::integer) FROM v6fleet.runs";
        let _other =
            server.lock_until(claim, &CROSS.replace("1 FROM v6fleet.workers", "1 FROM v6fleet.sittings"));
        let end = ledger.end(&run, None, |_| 0);
        assert!(matches!(end, Ok(End::Noted { .. })), "{end:?}");
    }

    /// What happens to a run while one goes on with it, from the moment at which all of that is written but the end of its
    /// transaction; `waits_for` is what it waits for then.
    fn meanwhile<T: Send>(
        server: &Server,
        run: &RunKey,
        waits_for: &str,
        happens: impl FnOnce(&Postgres) -> T + Send,
    ) -> T {
        let (resuming, other) = (opened(server), opened(server));
        let no = resuming.run(run).unwrap();
        thread::scope(|scope| {
            let mut happening = None;
            let resumed = resuming.session.transaction(|| {
                resuming.note_resume(no, &new_run(BASE))?;
                sitting::begin_anew(&resuming.session, no.no);
                resuming.session.send()?;
                happening = Some(scope.spawn(move || happens(&other)));
                server.await_waiting(waits_for);
                Ok(())
            });
            resumed.unwrap();
            happening.unwrap().join().unwrap()
        })
    }

    #[test]
    fn what_is_given_back_while_a_run_is_gone_on_with_is_held_by_nobody() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(opened(&server)), &[None; 3]);
        let mut book = opened(&server).open_book(&run).unwrap();
        let claim = Request::Claim { again: vec![], take: take(0, 2), offset: None, allowance: None };
        book.write(&mut [claim].into_iter()).unwrap();
        meanwhile(&server, &run, "%UPDATE v6fleet.sittings%", |other| {
            server.sql("UPDATE v6fleet.workers SET lease_until = clock_timestamp()");
            other.bury_lost().unwrap();
        });
        let sums = "SELECT pending, held, no FROM v6fleet.sittings";
        assert_eq!(server.sql(sums), "3|0|1");
    }

    #[test]
    fn whoever_joins_a_run_while_it_is_gone_on_with_finds_it_just_begun() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(opened(&server)), &[None]);
        server.sql("UPDATE v6fleet.sittings SET begun_at = now() - interval '1 day'");
        let lasts = meanwhile(&server, &run, "%FOR SHARE%", |other| other.join(&run, Terms::default()));
        let lasts = lasts.unwrap().unwrap();
        assert!(lasts < Duration::from_hours(1), "{lasts:?}");
    }

    #[test]
    fn nobody_goes_on_with_a_run_that_somebody_is_about_to_join() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(opened(&server)), &[None]);
        let [joining, resuming] = [(); 2].map(|()| {
            let ledger = opened(&server);
            ledger.bury_lost().unwrap();
            ledger
        });
        let (run, lock) = (&run, server.lock("LOCK TABLE v6fleet.workers IN SHARE MODE"));
        thread::scope(|scope| {
            let joined = scope.spawn(move || joining.join(run, Terms::default()).map(|_| joining));
            server.await_waiting("%INTO v6fleet.workers%");
            let resumed = scope.spawn(move || resuming.resume(run, &new_run(BASE)));
            server.await_waiting("%FOR NO KEY UPDATE%");
            server.unlock(lock);
            let _live = joined.join().unwrap().unwrap();
            let resumed = resumed.join().unwrap();
            assert!(matches!(resumed, Err(LedgerError::Locked { .. })), "{resumed:?}");
        });
    }
}
