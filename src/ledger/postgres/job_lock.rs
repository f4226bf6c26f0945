//! The same job is carried out once at a time: whoever begins or goes on with a run holds the job meanwhile, and finds nobody
//! who works on it.

use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tracing::info;

use super::question::{Question, Value, each_to_its_question};
use super::session::Session;
use super::sitting::RUN_ALONE;
use super::workers::{self, Live};
use crate::ledger::error::LedgerError;
use crate::ledger::job::{fleet, selection};
use crate::ledger::record::NewRun;

/// How often whoever waits looks whether the job is free.
const POLL: Duration = Duration::from_millis(100);

/// The job of a base URL, `$1`, a dialect, a fleet and a selection is the caller's until its transaction ends, unless it is another's.
macro_rules! take_job {
    () => {
        "pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', $1::text, $2::text, $3::text, $4::text), 1983276652))"
    };
}
pub(super) use take_job;

const TAKE: &str = concat!("SELECT ", take_job!());

/// That a run is of the job.
const OF_JOB: &str = "(r.fleet, r.selection, r.piped) = ($3, $4, $5)
    AND r.base = (SELECT id FROM v6fleet.bases WHERE (url, dialect) = ($1, $2))";

/// What makes two runs the same job.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) base_url: String,
    pub(super) dialect: String,
    pub(super) fleet: String,
    pub(super) selection: String,
    pub(super) piped: String,
}

impl Job {
    /// That of a run.
    pub(super) fn of(session: &Session, run: i64) -> Result<Self, LedgerError> {
        let sql = "SELECT url, dialect, fleet, selection, piped
            FROM v6fleet.runs r JOIN v6fleet.bases b ON b.id = r.base WHERE r.no = $1";
        session.one(sql, &[&run], |row| {
            Ok(Self {
                base_url: row.try_get(0)?,
                dialect: row.try_get(1)?,
                fleet: row.try_get(2)?,
                selection: row.try_get(3)?,
                piped: row.try_get(4)?,
            })
        })
    }

    /// That of a run that is to begin, with the hash of what it is piped.
    pub(super) fn of_new(new: &NewRun, piped: String) -> Self {
        Self {
            base_url: new.base_url.clone(),
            dialect: new.dialect.to_string(),
            fleet: fleet(new.kind, &new.files, new.action),
            selection: selection(&new.options).unwrap_or_default(),
            piped,
        }
    }

    /// Holds the job until the caller's transaction ends, and the `run` of it that is to go on, waiting up to `timeout` for
    /// those who work on it. Returns the answers to `then`, which is asked in the same round trip.
    pub(super) fn hold(
        &self,
        session: &Session,
        timeout: Duration,
        run: Option<i64>,
        then: &[Question],
    ) -> Result<Vec<Vec<Row>>, LedgerError> {
        let begun = Instant::now();
        let mut holder = match self.take(session, run, then)? {
            Ok(answers) => return Ok(answers),
            Err(holder) => holder,
        };
        if !timeout.is_zero() {
            info!(holder, "waiting for another run to end");
        }
        while begun.elapsed() < timeout {
            std::thread::sleep(POLL);
            match self.take(session, run, &[])? {
                Ok(_) => return session.all_of(then),
                Err(other) => holder = other,
            }
        }
        Err(LedgerError::Locked { path: session.name().to_owned(), holder })
    }

    /// Takes the job, and asks `then`; or says who has it: then nothing is held, and nothing kept of what was asked.
    fn take(
        &self,
        session: &Session,
        run: Option<i64>,
        then: &[Question],
    ) -> Result<Result<Vec<Vec<Row>>, String>, LedgerError> {
        session.batch_later("SAVEPOINT job");
        // Or somebody joins between the look and what it is for.
        if let Some(run) = run {
            session.later(Question::new(RUN_ALONE, vec![Box::new(run)]));
        }
        let own = [Question::new(TAKE, self.key()), self.working()];
        let mut answers = session.all_of(own.iter().chain(then))?;
        let answers_to_then = answers.split_off(own.len());
        let [taken, live] = each_to_its_question(answers);
        let holder = match session.read(&taken, |row| row.try_get(0))?[..] {
            [true] => last(workers::alive(session, &live)?),
            _ => Some("it has only just begun".to_owned()),
        };
        if holder.is_some() {
            session.batch("ROLLBACK TO SAVEPOINT job")?;
        }
        session.batch_later("RELEASE SAVEPOINT job");
        Ok(holder.map_or(Ok(answers_to_then), Err))
    }

    /// What its lock is called by; what is piped is no part of it.
    pub(super) fn key(&self) -> Vec<Value> {
        let Self { base_url, dialect, fleet, selection, .. } = self;
        [base_url, dialect, fleet, selection].map(|part| -> Value { Box::new(part.clone()) }).into()
    }

    /// Who works on a run of the job; of several the last.
    pub(super) fn worked_on(&self, session: &Session) -> Result<Option<String>, LedgerError> {
        let [live] = session.side_by_side(&[self.working()])?;
        Ok(last(workers::alive(session, &live)?))
    }

    /// Asks for those.
    fn working(&self) -> Question {
        let Self { base_url, dialect, fleet, selection, piped } = self;
        let job = [base_url, dialect, fleet, selection, piped];
        workers::living(OF_JOB, job.map(|part| -> Value { Box::new(part.clone()) }).into())
    }
}

fn last(mut live: Vec<Live>) -> Option<String> {
    live.pop().map(Live::in_words)
}
