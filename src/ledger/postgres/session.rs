//! A connection to the database, behind calls that wait for their answers.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, TryFutureExt, join_all};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Row, Statement};

use super::connect::Settings;
use super::engine_error::engine_error;
use crate::ledger::error::LedgerError;
use crate::text::duration;

/// The values of a statement.
pub(super) type Values<'v> = &'v [&'v (dyn ToSql + Sync)];

/// A value that a statement keeps.
pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// A statement with its values, which any connection can be asked.
pub(super) struct Question {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

impl Question {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }

    async fn ask(&self, statement: Statement, client: &Client) -> Result<Vec<Row>, Error> {
        let values: Vec<&(dyn ToSql + Sync)> = self.values.iter().map(|value| &**value as _).collect();
        client.query(&statement, &values).await
    }
}

/// What was heard.
pub(super) enum Heard<T> {
    It(T),
    Alert,
    Nothing,
}

/// Drives a connection until it ends; why it does is told to whoever asks next.
async fn drive<S, T>(mut connection: Connection<S, T>, alerts: Arc<Notify>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(_) = message {
            alerts.notify_one();
        }
    }
}

/// How long a connection that is closed is waited for: the server frees what it held then.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// How long the longest statement may take: what has not been answered by then never will be.
const LONGEST: Duration = Duration::from_mins(10);

/// An open connection.
#[derive(Debug)]
pub(super) struct Session {
    /// As it is named to people.
    name: PathBuf,
    settings: Settings,
    /// How long an answer is waited for.
    patience: Cell<Duration>,
    runtime: Runtime,
    /// `None` once it is closed.
    client: Option<Client>,
    connection: Option<JoinHandle<()>>,
    /// Of others, where this session listens to them.
    alerts: Arc<Notify>,
    /// Those that were prepared, by their text.
    statements: RefCell<HashMap<String, Statement>>,
}

impl Session {
    pub(super) fn open(name: &Path, settings: &Settings) -> Result<Self, LedgerError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(LedgerError::NoWriter)?;
        let mut session = Self {
            name: name.to_owned(),
            settings: settings.clone(),
            patience: Cell::new(LONGEST),
            runtime,
            client: None,
            connection: None,
            alerts: Arc::default(),
            statements: RefCell::default(),
        };
        session.connect()?;
        Ok(session)
    }

    /// Opens a connection in place of the one before, whatever has become of that.
    pub(super) fn connect(&mut self) -> Result<(), LedgerError> {
        self.part();
        self.statements.take();
        let limit = self.settings.connect_limit();
        let connecting = async {
            let connecting = self.settings.config.connect(self.settings.tls.clone());
            let connected = tokio::time::timeout(limit, connecting).await;
            let (client, connection) =
                connected.map_err(|_| self.unanswered(limit))?.map_err(engine_error(&self.name))?;
            Ok((client, tokio::spawn(drive(connection, self.alerts.clone()))))
        };
        let (client, connection) = self.runtime.block_on(connecting)?;
        (self.client, self.connection) = (Some(client), Some(connection));
        Ok(())
    }

    /// Waits for any answer no longer than this from now on; `None` for as long as the longest statement may take.
    pub(super) fn wait_for(&self, patience: Option<Duration>) {
        self.patience.set(patience.unwrap_or(LONGEST));
    }

    /// Waits for what `comes`, but no longer than `limit`, nor than until somebody alerts all that listen.
    pub(super) fn listen<T>(&self, comes: impl Future<Output = T>, limit: Duration) -> Heard<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.alerts.notified() => Heard::Alert,
                it = comes => Heard::It(it),
                () = tokio::time::sleep(limit) => Heard::Nothing,
            }
        })
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Waits for what `question` asks; statements that it asks for at once share a round trip.
    pub(super) fn ask<'s, T, F: Future<Output = Result<T, Error>>>(
        &'s self,
        question: impl FnOnce(&'s Client) -> F,
    ) -> Result<T, LedgerError> {
        let client = self.client.as_ref().ok_or_else(|| self.cut_off())?;
        let patience = self.patience.get();
        let answer = self.runtime.block_on(async { tokio::time::timeout(patience, question(client)).await });
        answer.map_err(|_| self.give_up(patience))?.map_err(engine_error(&self.name))
    }

    /// What was asked may still be done, but nothing more is asked on this connection.
    fn give_up(&self, patience: Duration) -> LedgerError {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
        self.unanswered(patience)
    }

    fn unanswered(&self, patience: Duration) -> LedgerError {
        let words = format!("the database has not answered for {}", duration(patience.as_secs_f64()));
        LedgerError::Away { path: self.name.clone(), words }
    }

    fn cut_off(&self) -> LedgerError {
        LedgerError::Away { path: self.name.clone(), words: "the database cannot be reached".into() }
    }

    /// An error where the connection has ended.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        match self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            true => Ok(()),
            // The server's own words for it.
            false => self.batch("SELECT 1"),
        }
    }

    /// Carries out statements without values.
    pub(super) fn batch(&self, sql: &str) -> Result<(), LedgerError> {
        self.ask(|client| client.batch_execute(sql))
    }

    /// The statement, prepared once.
    pub(super) fn prepared(&self, sql: &str) -> Result<Statement, LedgerError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.ask(|client| client.prepare(sql))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Returns how many rows were changed.
    pub(super) fn execute(&self, sql: &str, values: Values<'_>) -> Result<u64, LedgerError> {
        let statement = self.prepared(sql)?;
        self.ask(|client| client.execute(&statement, values))
    }

    /// All rows.
    pub(super) fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, LedgerError> {
        let statement = self.prepared(sql)?;
        self.ask(|client| client.query(&statement, values))
    }

    /// All rows, as `read` reads them.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: Values<'_>,
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, LedgerError> {
        self.rows(sql, values)?.iter().map(read).collect::<Result<_, _>>().map_err(engine_error(&self.name))
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        values: Values<'_>,
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, LedgerError> {
        Ok(self.all(sql, values, read)?.into_iter().next())
    }

    /// The one row that there is.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        values: Values<'_>,
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<T, LedgerError> {
        let statement = self.prepared(sql)?;
        let row = self.ask(|client| client.query_one(&statement, values))?;
        read(&row).map_err(engine_error(&self.name))
    }

    /// Asks all of it in one transaction and in one round trip. Each finds what those before it have written; after an
    /// error, nothing of it is kept.
    pub(super) fn together(&self, questions: &[Question]) -> Result<Vec<Vec<Row>>, LedgerError> {
        let prepared = questions.iter().map(|question| self.prepared(&question.sql));
        let statements = prepared.collect::<Result<Vec<_>, _>>()?;
        let answers = self.ask(|client| async move {
            let simple = |sql| client.batch_execute(sql).map_ok(|()| Vec::new()).boxed_local();
            let asked = questions.iter().zip(statements);
            let asked = asked.map(|(question, statement)| question.ask(statement, client).boxed_local());
            // They leave in the order in which they stand, and none waits for the answer to another.
            let all: Vec<_> =
                iter::once(simple("BEGIN")).chain(asked).chain(iter::once(simple("COMMIT"))).collect();
            join_all(all).await.into_iter().collect::<Result<Vec<_>, Error>>()
        });
        let mut answers = answers.inspect_err(|_| drop(self.batch("ROLLBACK")))?.into_iter();
        answers.next();
        Ok(answers.take(questions.len()).collect())
    }

    /// All that `write` asks for is on disk together, or nothing of it.
    pub(super) fn transaction<T>(
        &self,
        write: impl FnOnce() -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.batch("BEGIN")?;
        let written = write().and_then(|value| self.batch("COMMIT").map(|()| value));
        // After an error nothing is kept, also where this cannot be said any more.
        written.inspect_err(|_| drop(self.batch("ROLLBACK")))
    }
}

impl Session {
    fn part(&mut self) {
        drop(self.client.take());
        if let Some(connection) = self.connection.take() {
            let farewell = async { tokio::time::timeout(FAREWELL, connection).await };
            let _ = self.runtime.block_on(farewell);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.part();
    }
}
