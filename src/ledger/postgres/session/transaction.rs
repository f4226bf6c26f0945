//! Transactions: what is kept together, or not at all, in as few round trips as may be.

use std::future::Future;

use futures_util::future::{join, try_join, try_join_all};
use tokio_postgres::{Error, Row, Statement};
use tracing::info;

use super::{MarkedClient, Session};
use crate::ledger::error::LedgerError;
use crate::ledger::postgres::engine_error::is_of_others;
use crate::ledger::postgres::question::{Question, each_to_its_question};
use crate::ledger::postgres::settings::{self, Scope};

const BEGIN: &str = "BEGIN";

fn begins(told: &Question) -> bool {
    told.sql.starts_with(BEGIN)
}

const COMMIT: &str = "COMMIT";

impl Session {
    /// Asks all of it in one transaction and in one round trip. Each finds what those before it have written; after an
    /// error, nothing of it is kept.
    pub(in crate::ledger::postgres) fn together(
        &self,
        questions: &[Question],
    ) -> Result<Vec<Vec<Row>>, LedgerError> {
        if !self.is_pooled.get() {
            if let Some(answers) = self.together_prepared(questions)? {
                return Ok(answers);
            }
            info!("a pooler shares connections to the database among transactions: no statement is prepared");
            self.is_pooled.set(true);
        }
        self.batch_later(self.begin());
        let answers = self.ask(|client| {
            then_commit(try_join_all(questions.iter().map(|question| question.ask(client))), client)
        });
        answers.inspect_err(|_| self.roll_back())
    }

    /// The same with statements that are prepared; `None` where nothing was done, as others have the connection, too: what is
    /// prepared by a name there may be theirs.
    fn together_prepared(&self, questions: &[Question]) -> Result<Option<Vec<Vec<Row>>>, LedgerError> {
        let known = |question: &Question| self.statements.borrow().get(&question.sql).cloned();
        let known: Vec<Option<Statement>> = questions.iter().map(known).collect();
        let ours = format!("SELECT v6fleet.is_of('{}')", self.token);
        self.batch_later(self.begin());
        let answers = self.ask(|client| async move {
            let asked = questions.iter().zip(known);
            // They leave in the order in which they stand, and none waits for the answer to another.
            let asked = try_join_all(asked.map(|(question, known)| question.ask_prepared(known, client)));
            match then_commit(try_join(client.batch_execute(&ours), asked), client).await {
                Err(error) if is_of_others(&error) => Ok(None),
                answers => answers.map(|((), answers)| Some(answers)),
            }
        });
        let Some(answers) = answers.inspect_err(|_| self.roll_back())? else { return Ok(None) };
        let mut statements = self.statements.borrow_mut();
        let kept = questions.iter().zip(answers).map(|(question, (rows, statement))| {
            statements.entry(question.sql.clone()).or_insert(statement);
            rows
        });
        Ok(Some(kept.collect()))
    }

    /// Begins a transaction in which the server does not wait for longer than we do; it may be on a connection that others have
    /// set up.
    pub(in crate::ledger::postgres) fn begin(&self) -> String {
        let limits = self.patience.get().map(|patience| {
            let millis = patience.as_millis();
            format!("; SET LOCAL statement_timeout = {millis}; SET LOCAL idle_in_transaction_session_timeout = {millis}")
        });
        let settings = self.is_pooled.get().then(|| format!("; {}", settings::of_writer(Scope::Transaction)));
        [Some(BEGIN.to_owned()), limits, settings].into_iter().flatten().collect()
    }

    /// All that `write` asks for is on disk together, or nothing of it.
    pub(in crate::ledger::postgres) fn transaction<T>(
        &self,
        write: impl FnOnce() -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.batch_later(self.begin());
        let written = write().and_then(|value| self.commit().map(|()| value));
        written.inspect_err(|_| self.roll_back())
    }

    /// What `write` asks for is tried, and nothing of it is kept.
    pub(in crate::ledger::postgres) fn rehearse<T>(
        &self,
        write: impl FnOnce() -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.batch_later(self.begin());
        let written = write();
        self.roll_back();
        written
    }

    /// A transaction that has not asked for anything has nothing to commit.
    fn commit(&self) -> Result<(), LedgerError> {
        let begun = self.unsent.borrow_mut().pop_if(|last| begins(last));
        if begun.is_some() { Ok(()) } else { self.batch(COMMIT) }
    }

    /// After an error nothing is kept, also where this cannot be said any more.
    pub(in crate::ledger::postgres) fn roll_back(&self) {
        let begun = self.unsent.borrow().iter().rposition(begins);
        self.unsent.borrow_mut().truncate(begun.unwrap_or_default());
        if begun.is_none() {
            let _ = self.batch("ROLLBACK");
        }
    }

    /// Asks all of it in one transaction and in one round trip; nothing of it is prepared to be asked again.
    pub(in crate::ledger::postgres) fn at_once<const N: usize>(
        &self,
        questions: &[Question; N],
    ) -> Result<[Vec<Row>; N], LedgerError> {
        self.batch_later(self.begin());
        self.and_commit(questions).inspect_err(|_| self.roll_back())
    }

    /// Asks all of it in one round trip, and commits the transaction with it.
    pub(in crate::ledger::postgres) fn and_commit<const N: usize>(
        &self,
        questions: &[Question; N],
    ) -> Result<[Vec<Row>; N], LedgerError> {
        let answers = self.ask(|client| {
            then_commit(try_join_all(questions.iter().map(|question| question.ask(client))), client)
        })?;
        Ok(each_to_its_question(answers))
    }
}

/// What is asked, and committed in the same round trip.
async fn then_commit<T>(
    asked: impl Future<Output = Result<T, Error>>,
    client: MarkedClient<'_>,
) -> Result<T, Error> {
    let (answer, committed) = join(asked, client.batch_execute(COMMIT)).await;
    // After an error there is nothing to commit, and no error in that.
    answer.and_then(|answer| committed.map(|()| answer))
}
