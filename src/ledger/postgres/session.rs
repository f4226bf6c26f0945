//! A connection to the database, behind calls that wait for their answers.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::iter;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, FutureExt, TryFutureExt, join_all, select};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
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

/// Whether the database is at work on what starts like `$1` (it keeps the start of long ones), and not waiting for who asked.
const IS_AT_WORK: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database() AND state IN ('active', 'disabled')
        AND wait_event_type IS DISTINCT FROM 'Client' AND starts_with($1, query))";

/// An open connection.
#[derive(Debug)]
pub(super) struct Session {
    /// As it is named to people.
    name: PathBuf,
    settings: Settings,
    /// How long an answer is waited for; `None` for as long as the database is at work on it.
    patience: Cell<Option<Duration>>,
    runtime: Runtime,
    /// `None` once it is closed.
    client: Option<Client>,
    connection: Option<JoinHandle<()>>,
    /// Of others, where this session listens to them.
    alerts: Arc<Notify>,
    /// How long it had said nothing when it was given up.
    silence: Cell<Option<Duration>>,
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
            patience: Cell::new(None),
            runtime,
            client: None,
            connection: None,
            alerts: Arc::default(),
            silence: Cell::new(None),
            statements: RefCell::default(),
        };
        session.connect()?;
        Ok(session)
    }

    /// Opens a connection in place of the one before, whatever has become of that.
    pub(super) fn connect(&mut self) -> Result<(), LedgerError> {
        self.part();
        self.statements.take();
        self.silence.take();
        let limit = self.settings.connect_limit();
        let connecting = async {
            let connecting = self.settings.config.connect(self.settings.tls.clone());
            let connected = timeout(limit, connecting).await;
            let (client, connection) =
                connected.map_err(|_| self.unanswered(limit))?.map_err(engine_error(&self.name))?;
            Ok((client, tokio::spawn(drive(connection, self.alerts.clone()))))
        };
        let (client, connection) = self.runtime.block_on(connecting)?;
        (self.client, self.connection) = (Some(client), Some(connection));
        Ok(())
    }

    /// Waits for any answer no longer than this from now on; `None` for as long as the database is at work on it.
    pub(super) fn wait_for(&self, patience: Option<Duration>) {
        self.patience.set(patience);
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

    /// Waits for what `question` asks, which is `sql`; statements that it asks for at once share a round trip.
    fn ask<'s, T, F: Future<Output = Result<T, Error>>>(
        &'s self,
        sql: &str,
        question: impl FnOnce(&'s Client) -> F,
    ) -> Result<T, LedgerError> {
        let client = self.client()?;
        let answer = self.runtime.block_on(async {
            let answer = pin!(question(client));
            match self.patience.get() {
                Some(patience) => timeout(patience, answer).await.map_err(|_| patience),
                None => self.watched(sql, answer).await,
            }
        });
        answer.map_err(|silence| self.give_up(silence))?.map_err(engine_error(&self.name))
    }

    /// Waits for an answer. Whenever nothing has come for a while, another connection asks whether the database is at work on
    /// it. Where it cannot be reached, or twice was not, the error is how long nothing has come.
    async fn watched<A: Future + Unpin>(&self, sql: &str, mut answer: A) -> Result<A::Output, Duration> {
        let begun = Instant::now();
        let mut was_at_work = true;
        loop {
            if let Ok(answer) = timeout(self.settings.quiet, &mut answer).await {
                return Ok(answer);
            }
            let is_at_work = match select(answer, pin!(self.is_at_work(sql))).await {
                Either::Left((answer, _)) => return Ok(answer),
                Either::Right((is_at_work, waiting)) => {
                    answer = waiting;
                    is_at_work
                }
            };
            // Its answer may have been on its way when it was looked at first.
            if !is_at_work.is_some_and(|is_at_work| is_at_work || was_at_work) {
                return Err(begun.elapsed());
            }
            was_at_work = is_at_work.unwrap_or_default();
        }
    }

    /// Whether the database is at work on `sql`; `None` where it does not say anything.
    async fn is_at_work(&self, sql: &str) -> Option<bool> {
        let Settings { config, tls, .. } = &self.settings;
        let look = async {
            let (client, connection) = config.connect(tls.clone()).await?;
            let values: [(&(dyn ToSql + Sync), Type); 1] = [(&sql, Type::TEXT)];
            let looked = pin!(client.query_typed(IS_AT_WORK, &values));
            let rows = match select(looked, pin!(connection)).await {
                Either::Left((rows, _)) => rows?,
                Either::Right((ended, looked)) => ended.and(looked.await)?,
            };
            rows.first().map_or(Ok(true), |row| row.try_get(0))
        };
        match timeout(self.settings.connect_limit(), look).await {
            Ok(Ok(is_at_work)) => Some(is_at_work),
            // It answers, and has no room for another connection, say.
            Ok(Err(error)) if error.as_db_error().is_some() => Some(true),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// What was asked may still be done, but nothing more is asked on this connection.
    fn give_up(&self, silence: Duration) -> LedgerError {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
        self.silence.set(Some(silence));
        self.unanswered(silence)
    }

    fn client(&self) -> Result<&Client, LedgerError> {
        match self.silence.get() {
            Some(silence) => Err(self.unanswered(silence)),
            None => self.client.as_ref().ok_or_else(|| self.cut_off()),
        }
    }

    fn unanswered(&self, silence: Duration) -> LedgerError {
        let words = format!("the database has not answered for {}", duration(silence.as_secs_f64()));
        LedgerError::Away { path: self.name.clone(), words }
    }

    fn cut_off(&self) -> LedgerError {
        LedgerError::Away { path: self.name.clone(), words: "the database cannot be reached".into() }
    }

    /// An error where the connection has ended.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        match self.client()?.is_closed() {
            false => Ok(()),
            // The server's own words for it.
            true => self.batch("SELECT 1"),
        }
    }

    /// Carries out statements without values.
    pub(super) fn batch(&self, sql: &str) -> Result<(), LedgerError> {
        self.ask(sql, |client| client.batch_execute(sql))
    }

    /// The statement, prepared once.
    pub(super) fn prepared(&self, sql: &str) -> Result<Statement, LedgerError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.ask(sql, |client| client.prepare(sql))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Returns how many rows were changed.
    pub(super) fn execute(&self, sql: &str, values: Values<'_>) -> Result<u64, LedgerError> {
        let statement = self.prepared(sql)?;
        self.ask(sql, |client| client.execute(&statement, values))
    }

    /// All rows.
    pub(super) fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, LedgerError> {
        let statement = self.prepared(sql)?;
        self.ask(sql, |client| client.query(&statement, values))
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
        let row = self.ask(sql, |client| client.query_one(&statement, values))?;
        read(&row).map_err(engine_error(&self.name))
    }

    /// Asks all of it in one transaction and in one round trip. Each finds what those before it have written; after an
    /// error, nothing of it is kept.
    pub(super) fn together(&self, questions: &[Question]) -> Result<Vec<Vec<Row>>, LedgerError> {
        let prepared = questions.iter().map(|question| self.prepared(&question.sql));
        let statements = prepared.collect::<Result<Vec<_>, _>>()?;
        let answers = self.ask("COMMIT", |client| async move {
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
            let farewell = async { timeout(FAREWELL, connection).await };
            let _ = self.runtime.block_on(farewell);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.part();
    }
}

#[cfg(test)]
mod tests {
    use support::postgres::Server;
    use support::proxy::{Proxy, Way};

    use super::*;
    use crate::ledger::postgres::DatabaseUrl;

    const SHORT: Duration = Duration::from_millis(20);

    /// One that soon wonders why nothing comes.
    fn impatient(url: &str) -> Session {
        let url = DatabaseUrl::of(Path::new(url)).unwrap().unwrap();
        let mut session = Session::open(&url.as_path(), &Settings::of(&url).unwrap()).unwrap();
        session.settings.quiet = SHORT;
        session
    }

    #[test]
    fn a_statement_is_waited_for_as_long_as_the_database_is_at_work_on_it_or_waits_for_others() {
        let Some(server) = Server::start() else { return };
        let session = impatient(&server.url());
        session.batch("SELECT pg_sleep(0.2)").unwrap();
        session.execute("SELECT pg_sleep(0.2)", &[]).unwrap();
        session.batch("CREATE TABLE locked ()").unwrap();
        let _lock = server.lock_until("LOCK TABLE locked", "SELECT pg_sleep(0.2)");
        session.transaction(|| session.batch("LOCK TABLE locked")).unwrap();
    }

    #[test]
    fn a_database_that_falls_silent_in_a_long_statement_is_given_up() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        let mut session = impatient(&proxy.url());
        session.settings.config.connect_timeout(SHORT);
        proxy.fall_silent();
        let silent = session.batch("SELECT pg_sleep(600)").unwrap_err();
        assert!(silent.is_away(), "{silent}");
        assert!(silent.to_string().contains("the database has not answered for "), "{silent}");
        for later in [session.check(), session.batch("SELECT 1")] {
            assert_eq!(later.unwrap_err().to_string(), silent.to_string(), "nothing more is asked there");
        }
    }

    #[test]
    fn an_answer_that_was_lost_is_not_waited_for_where_others_are_answered() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        for way in [Way::There, Way::Back] {
            let session = impatient(&proxy.url());
            proxy.hold(way);
            let lost = session.batch("SELECT 1").unwrap_err();
            assert!(lost.is_away(), "{lost}");
        }
    }
}
