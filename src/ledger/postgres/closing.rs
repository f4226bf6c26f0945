//! How several workers come to end their run once: one of them says that it will, sums up what nobody changes any more while
//! others go on with theirs, and notes it.

use tokio_postgres::{Error, Row};

use super::column::moment;
use super::database::Postgres;
use super::question::{Question, Value};
use super::runs;
use super::sitting::{self, GOES_ON, RUN_ALONE, SITTING_ALONE};
use super::statements::CLAIM_ALONE_IN;
use super::workers::{self, alive, living};
use crate::ledger::error::LedgerError;
use crate::ledger::record::{Closing, Ending, RunInfo, RunKey};
use crate::ledger::stored;
use crate::stop::Stop;

/// Whoever waits for the end of its run is there, though it holds nothing any more and never will.
const WAIT: &str = "UPDATE v6fleet.workers SET seen_at = clock_timestamp(),
        lease_until = clock_timestamp() + lease_us * interval '1 microsecond' WHERE no = $1";

/// The same of who need not be buried any more, as there is nothing left to hold.
const WAIT_IDLE: &str = "UPDATE v6fleet.workers SET buried = true, seen_at = clock_timestamp(),
        lease_until = clock_timestamp() + lease_us * interval '1 microsecond' WHERE no = $1";

/// Whether run `$1` has ended, and which worker did that or is about to; with how to find out whether that is still there, if it
/// is another one than `$2`; and whether it is in another sitting than the `$3`th, where that is told.
const ENDER: &str =
    "SELECT r.ended_at IS NOT NULL, s.ender, w.no IS NOT NULL, w.pid, w.process, r.resumes <> $3
    FROM v6fleet.runs r LEFT JOIN v6fleet.sittings s ON s.run = r.no
        LEFT JOIN v6fleet.workers w ON w.no = s.ender AND w.no <> $2 AND w.lease_until > clock_timestamp()
    WHERE r.no = $1 AND NOT r.pruned";

/// Worker `$2` ends run `$1`, in place of `$5` if that was about to; unless somebody holds VMs of it or, where there are others,
/// `$4`, may yet; in the `$6`th sitting, where that is told. With VMs left, it is stopped for `$3`: whoever was taken for gone
/// claims none of them any more.
const TAKE: &str = "UPDATE v6fleet.sittings s
    SET ender = $2, stop = CASE WHEN pending > 0 THEN coalesce(stop, $3) ELSE stop END
    WHERE run = $1 AND held = 0 AND (pending = 0 OR stop IS NOT NULL OR NOT $4) AND (ender IS NULL OR ender IN ($2, $5))
        AND no = coalesce($6, no) AND EXISTS (SELECT 1 FROM v6fleet.runs WHERE no = $1 AND ended_at IS NULL AND NOT pruned)
    RETURNING run";

/// Notes the end of run `$1`, and that it was worker `$2` who ended it; unless it has ended, or is in another sitting than the
/// `$8`th, where that is told.
const NOTE: &str = "WITH ended AS (
        UPDATE v6fleet.sittings SET ender = $2 WHERE run = $1 AND ender IS NOT NULL
            AND no = coalesce($8, no) AND EXISTS (SELECT 1 FROM v6fleet.runs WHERE no = $1 AND ended_at IS NULL)
        RETURNING run
    )
    UPDATE v6fleet.runs SET ended_at = $3, stopped_by = $4, exit_code = $5, counts = $6, workers = $7
    FROM ended WHERE no = ended.run RETURNING no";

/// What [`ENDER`] finds.
struct Ender {
    has_ended: bool,
    no: Option<i64>,
    is_there: bool,
    is_over: bool,
}

impl Postgres {
    /// Whose it is to end a run, as it stands.
    pub(super) fn close_run(&self, run: &RunKey, stop: Option<Stop>) -> Result<Closing, LedgerError> {
        let run = self.run(run)?.no;
        // The first who comes when all is done ends it, and need not look whether it is.
        let is_taken = self.is_through.take() && self.take_when_done(run)?;
        if is_taken { Ok(Closing::Ours) } else { self.look_and_take(run, stop) }
    }

    /// Whether it is ours to end a run of which no VM is left: nobody claims anything of it any more.
    fn take_when_done(&self, run: i64) -> Result<bool, LedgerError> {
        let wait = Question::new(WAIT_IDLE, vec![Box::new(self.worker_no())]);
        let take = self.taking(run, None, true, None);
        let [_, _, taken] = self.session.at_once(&[wait, of_run(run, SITTING_ALONE), take])?;
        Ok(!taken.is_empty())
    }

    /// Only where it looks as if it were ours, others are held up for a moment.
    fn look_and_take(&self, run: i64, stop: Option<Stop>) -> Result<Closing, LedgerError> {
        let ours = self.worker_no();
        self.session.later(Question::new(WAIT, vec![Box::new(ours)]));
        let ender: Vec<Value> = vec![Box::new(run), Box::new(ours), Box::new(self.sitting(run))];
        let living = living("r.no = $1", vec![Box::new(run)]);
        let asked = [Question::new(ENDER, ender), living, of_run(run, GOES_ON)];
        let [ender, others, goes_on] = self.session.side_by_side(&asked)?;
        let are_others = !alive(&self.session, &others)?.is_empty();
        let goes_on = self.session.read(&goes_on, |row| sitting::goes_on(row, are_others))?;
        match self.session.read(&ender, self::ender)?.pop() {
            Some(Ender { has_ended: true, no, .. }) if no == Some(ours) => Ok(Closing::Noted),
            Some(Ender { has_ended: true, .. }) => Ok(Closing::Before),
            Some(Ender { is_over: true, .. }) => Err(LedgerError::Over),
            None => Err(LedgerError::Deleted),
            Some(Ender { no, is_there: false, .. }) if !goes_on.contains(&true) => {
                let [claims, sums] = [CLAIM_ALONE_IN, SITTING_ALONE].map(|sql| of_run(run, sql));
                let asked = [claims, sums, self.taking(run, stop, are_others, no)];
                let [_, _, taken] = self.session.at_once(&asked)?;
                Ok(if taken.is_empty() { Closing::Held } else { Closing::Ours })
            }
            Some(_) => Ok(Closing::Held),
        }
    }

    /// Asks for [`TAKE`].
    fn taking(&self, run: i64, stop: Option<Stop>, are_others: bool, gone: Option<i64>) -> Question {
        let values: Vec<Value> = vec![
            Box::new(run),
            Box::new(self.worker_no()),
            Box::new(stop.map(Stop::as_str)),
            Box::new(are_others),
            Box::new(gone),
            Box::new(self.sitting(run)),
        ];
        Question::new(TAKE, values)
    }

    /// Returns the run as it is then, if it was for us to note.
    pub(super) fn note_closed(
        &self,
        run: &RunKey,
        ending: &Ending<'_>,
    ) -> Result<Option<RunInfo>, LedgerError> {
        let Ending { at, stopped_by, exit_code, counts, workers } = ending;
        let run = self.run(run)?.no;
        let values: Vec<Value> = vec![
            Box::new(run),
            Box::new(self.worker_no()),
            Box::new(moment(*at)),
            Box::new(stopped_by.map(Stop::as_str)),
            Box::new(i16::from(*exit_code)),
            Box::new(stored::write(counts)),
            Box::new(stored::write_list(workers)),
            Box::new(self.sitting(run)),
        ];
        let [alone, sums] = [RUN_ALONE, SITTING_ALONE].map(|sql| of_run(run, sql));
        let [info, last, whole] = runs::asking_info(run);
        let asked = [alone, sums, Question::new(NOTE, values), info, last, whole];
        let [_, _, noted, info, last, whole] = self.session.at_once(&asked)?;
        let info = runs::info(&self.session, [&info, &last, &whole])?;
        Ok(info.filter(|_| !noted.is_empty()))
    }

    /// Our number; none has 0.
    fn worker_no(&self) -> i64 {
        self.worker.get().map_or(0, |ours| ours.no)
    }
}

/// A statement of which the run is the only value.
fn of_run(run: i64, sql: &'static str) -> Question {
    Question::new(sql, vec![Box::new(run)])
}

/// Reads the columns of [`ENDER`].
fn ender(row: &Row) -> Result<Ender, Error> {
    let is_there = row.try_get(2)? && !workers::is_gone(row, [3, 4])?;
    // None is over for who is no worker of it.
    let is_over: Option<bool> = row.try_get(5)?;
    Ok(Ender {
        has_ended: row.try_get(0)?,
        no: row.try_get(1)?,
        is_there,
        is_over: is_over.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use support::postgres::Server;

    use super::*;
    use crate::clock;
    use crate::ledger::contract::{BASE, begin, new_run};
    use crate::ledger::engine::{Begin, Engine};
    use crate::ledger::postgres::DatabaseUrl;
    use crate::ledger::record::{Counts, Terms};
    use crate::ledger::{End, Ledger};

    fn opened(server: &Server) -> Postgres {
        let url = DatabaseUrl::of(Path::new(&server.url())).unwrap().unwrap();
        Postgres::open(&url, Duration::ZERO).unwrap()
    }

    /// One who works on a run.
    fn worker(server: &Server, run: &RunKey) -> Postgres {
        let worker = opened(server);
        assert!(worker.join(run, Terms::default()).unwrap().is_some());
        worker
    }

    fn begun(server: &Server) -> RunKey {
        begin(&Ledger::of(Box::new(opened(server))), &[None])
    }

    /// Whose it is to end a run that a worker is to stop.
    fn closing(worker: &Postgres, run: &RunKey) -> Closing {
        let mut closing = Closing::Held;
        let close = &mut || {
            closing = worker.close_run(run, Some(Stop::Interrupted))?;
            Ok(())
        };
        worker.settle_up(close).unwrap();
        closing
    }

    #[test]
    fn whoever_was_held_up_at_the_end_does_not_end_the_next_sitting_by_what_it_knows() {
        let Some(server) = Server::start() else { return };
        let run = begun(&server);
        let slow = worker(&server, &run);
        assert_eq!(closing(&slow, &run), Closing::Ours);
        server.sql("UPDATE v6fleet.workers SET lease_until = clock_timestamp()");
        let next = opened(&server);
        next.resume(&run, &new_run(BASE)).unwrap();
        assert_eq!(closing(&next, &run), Closing::Ours);
        let ending = |exit_code| Ending {
            at: clock::now(),
            stopped_by: Some(Stop::Interrupted),
            exit_code,
            counts: Counts::default(),
            workers: &[],
        };
        assert!(slow.note_closed(&run, &ending(130)).unwrap().is_none());
        assert!(next.note_closed(&run, &ending(5)).unwrap().is_some());
        assert_eq!(server.sql("SELECT exit_code FROM v6fleet.runs"), "5");
    }

    #[test]
    fn a_worker_whose_run_was_deleted_meanwhile_waits_for_its_end_no_longer() {
        let Some(server) = Server::start() else { return };
        let run = begun(&server);
        let [one, other] = [(); 2].map(|()| Ledger::of(Box::new(worker(&server, &run))));
        let end = |ledger: &Ledger| ledger.end(&run, None, |_| 0);
        assert!(matches!(end(&one), Ok(End::Held)));
        server.sql("UPDATE v6fleet.runs SET pruned = true");
        assert!(matches!(end(&one), Err(LedgerError::Deleted)));
        server.sql("TRUNCATE v6fleet.runs CASCADE");
        assert!(matches!(end(&other), Err(LedgerError::Deleted)));
    }
}
