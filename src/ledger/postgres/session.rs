//! A connection to the database, behind calls that wait for their answers.

use std::array;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{Either, join, join_all, select, try_join, try_join_all};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Row, Statement};
use tracing::info;

use super::connect::Settings;
use super::engine_error::{engine_error, is_of_others};
use super::parameter::Parameter;
use super::settings::{self, Scope};
use crate::ledger::error::LedgerError;
use crate::text::duration;

/// The values of a statement.
pub(super) type Values<'v> = &'v [&'v dyn Parameter];

/// A value that a statement keeps.
pub(super) type Value = Box<dyn Parameter + Send>;

/// A statement with its values, which any connection can be asked.
pub(super) struct Question {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

impl Question {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }

    /// The answer, of a question that is asked once.
    async fn ask(&self, client: &Client) -> Result<Vec<Row>, Error> {
        client.query_typed(&self.sql, &self.typed()).await
    }

    /// The answer, with the statement as it is prepared from now on; the first answer does not wait for that.
    async fn ask_prepared(
        &self,
        prepared: Option<Statement>,
        client: &Client,
    ) -> Result<(Vec<Row>, Statement), Error> {
        let typed = self.typed();
        let (values, kinds): (Vec<_>, Vec<_>) = typed.iter().cloned().unzip();
        match prepared {
            Some(statement) => Ok((client.query(&statement, &values).await?, statement)),
            None => {
                let answer = client.query_typed(&self.sql, &typed);
                try_join(answer, client.prepare_typed(&self.sql, &kinds)).await
            }
        }
    }

    /// Has it carried out, whatever it answers.
    async fn tell(&self, client: &Client) -> Result<(), Error> {
        if self.values.is_empty() {
            return client.batch_execute(&self.sql).await;
        }
        client.execute_typed(&self.sql, &self.typed()).await.map(drop)
    }

    fn typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values.iter().map(|value| (&**value as _, value.kind())).collect()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Question").field(&self.sql).finish_non_exhaustive()
    }
}

/// Values with the database's types of them.
fn typed(values: Values<'_>) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|value| (*value as _, value.kind())).collect()
}

/// The most rows that are taken at once of those that have come in.
const PAGE: usize = 1_000;

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

/// Whether the database is at work on what starts like one of `$1` (it keeps the start of long ones), and not waiting for who
/// asked.
const IS_AT_WORK: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database() AND state IN ('active', 'disabled')
        AND wait_event_type IS DISTINCT FROM 'Client'
        AND EXISTS (SELECT FROM unnest($1) AS asked WHERE starts_with(asked, query)))";

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
    /// What this connection alone is called by.
    token: String,
    /// A pooler gives each transaction a connection of the server's that others have as well.
    is_pooled: Cell<bool>,
    /// Those that were prepared, by their text.
    statements: RefCell<HashMap<Cow<'static, str>, Statement>>,
    /// What nobody waits for, and is sent ahead of the next question.
    unsent: RefCell<Vec<Question>>,
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
            token: String::new(),
            is_pooled: Cell::new(false),
            statements: RefCell::default(),
            unsent: RefCell::default(),
        };
        session.connect()?;
        Ok(session)
    }

    /// Opens a connection in place of the one before, whatever has become of that.
    pub(super) fn connect(&mut self) -> Result<(), LedgerError> {
        self.part();
        self.statements.take();
        self.silence.take();
        self.unsent.take();
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
        self.token = format!("{:032x}", fastrand::u128(..));
        self.batch_later(format!("SELECT set_config('v6fleet.session', '{}', false)", self.token));
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

    /// Waits for what `question` asks, which is `sql`; statements that it asks for at once share a round trip, also with what
    /// was to be sent [`Self::later`].
    fn ask<'s, T, F: Future<Output = Result<T, Error>>>(
        &'s self,
        sql: &[&str],
        question: impl FnOnce(&'s Client) -> F,
    ) -> Result<T, LedgerError> {
        let client = self.client()?;
        let unsent = self.unsent.take();
        let asked: Vec<&str> = unsent.iter().map(|told| &*told.sql).chain(sql.iter().copied()).collect();
        let answer = self.runtime.block_on(async {
            let ahead = join_all(unsent.iter().map(|told| told.tell(client)));
            let answer = pin!(join(ahead, question(client)));
            match self.patience.get() {
                Some(patience) => timeout(patience, answer).await.map_err(|_| patience),
                None => self.watched(&asked, answer).await,
            }
        });
        let (ahead, answer) = answer.map_err(|silence| self.give_up(silence))?;
        let ahead = ahead.into_iter().collect::<Result<(), Error>>();
        ahead.and(answer).map_err(engine_error(&self.name))
    }

    /// Has something carried out that nobody waits for: with the next question, ahead of it. If it goes wrong, so does that.
    pub(super) fn later(&self, told: Question) {
        self.unsent.borrow_mut().push(told);
    }

    /// The same of statements without values.
    pub(super) fn batch_later(&self, sql: impl Into<Cow<'static, str>>) {
        self.later(Question::new(sql, vec![]));
    }

    /// Waits for an answer. Whenever nothing has come for a while, another connection asks whether the database is at work on
    /// it. Where it cannot be reached, or twice was not, the error is how long nothing has come.
    async fn watched<A: Future + Unpin>(&self, sql: &[&str], mut answer: A) -> Result<A::Output, Duration> {
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
    async fn is_at_work(&self, sql: &[&str]) -> Option<bool> {
        let Settings { config, tls, .. } = &self.settings;
        let look = async {
            let (client, connection) = config.connect(tls.clone()).await?;
            let values: [(&(dyn ToSql + Sync), Type); 1] = [(&sql, Type::TEXT_ARRAY)];
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
        self.ask(&[sql], |client| client.batch_execute(sql))
    }

    /// Returns how many rows were changed.
    pub(super) fn execute(&self, sql: &str, values: Values<'_>) -> Result<u64, LedgerError> {
        let values = typed(values);
        self.ask(&[sql], |client| client.execute_typed(sql, &values))
    }

    /// All rows.
    pub(super) fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, LedgerError> {
        let values = typed(values);
        self.ask(&[sql], |client| client.query_typed(sql, &values))
    }

    /// All rows, as `read` reads them.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: Values<'_>,
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, LedgerError> {
        self.read(&self.rows(sql, values)?, read)
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
        let values = typed(values);
        let row = self.ask(&[sql], |client| client.query_typed_one(sql, &values))?;
        read(&row).map_err(engine_error(&self.name))
    }

    /// Shows all rows as they come in, however many there are, until `each` has had enough; it asks nothing meanwhile.
    pub(super) fn each(
        &self,
        sql: &str,
        values: Values<'_>,
        each: &mut dyn FnMut(&Row) -> Result<ControlFlow<()>, Error>,
    ) -> Result<ControlFlow<()>, LedgerError> {
        let rows = self.ask(&[sql], |client| client.query_typed_raw(sql, typed(values)))?;
        let mut pages = Box::pin(rows).ready_chunks(PAGE);
        while let Some(page) = self.ask(&[sql], |_| async { Ok(pages.next().await) })? {
            for row in page {
                let shown = row.and_then(|row| each(&row));
                if shown.map_err(engine_error(&self.name))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Asks all of it in one round trip.
    pub(super) fn side_by_side<const N: usize>(
        &self,
        questions: &[Question; N],
    ) -> Result<[Vec<Row>; N], LedgerError> {
        let answers = self.ask(&texts(questions), |client| {
            try_join_all(questions.iter().map(|question| question.ask(client)))
        })?;
        Ok(each_to_its_question(answers))
    }

    /// The same, and commits the transaction with it.
    pub(super) fn and_commit<const N: usize>(
        &self,
        questions: &[Question; N],
    ) -> Result<[Vec<Row>; N], LedgerError> {
        let answers = self.ask(&[&texts(questions)[..], &[COMMIT]].concat(), |client| {
            then_commit(try_join_all(questions.iter().map(|question| question.ask(client))), client)
        })?;
        Ok(each_to_its_question(answers))
    }

    /// Rows, as `read` reads each.
    pub(super) fn read<T>(
        &self,
        rows: &[Row],
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, LedgerError> {
        rows.iter().map(read).collect::<Result<_, _>>().map_err(engine_error(&self.name))
    }

    /// Sends what was to be sent later, and waits until it is carried out.
    pub(super) fn send(&self) -> Result<(), LedgerError> {
        self.ask(&[], |_| async { Ok(()) })
    }

    /// Asks all of it in one transaction and in one round trip. Each finds what those before it have written; after an
    /// error, nothing of it is kept.
    pub(super) fn together(&self, questions: &[Question]) -> Result<Vec<Vec<Row>>, LedgerError> {
        if !self.is_pooled.get() {
            if let Some(answers) = self.together_prepared(questions)? {
                return Ok(answers);
            }
            info!("a pooler shares connections to the database among transactions: no statement is prepared");
            self.is_pooled.set(true);
        }
        self.batch_later(self.begin());
        let answers = self.ask(&[&texts(questions)[..], &[COMMIT]].concat(), |client| {
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
        let answers = self.ask(&[&texts(questions)[..], &[COMMIT]].concat(), |client| async {
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
    pub(super) fn begin(&self) -> String {
        let limits = self.patience.get().map(|patience| {
            let millis = patience.as_millis();
            format!("; SET LOCAL statement_timeout = {millis}; SET LOCAL idle_in_transaction_session_timeout = {millis}")
        });
        let settings = self.is_pooled.get().then(|| format!("; {}", settings::of_writer(Scope::Transaction)));
        [Some(BEGIN.to_owned()), limits, settings].into_iter().flatten().collect()
    }

    /// All that `write` asks for is on disk together, or nothing of it.
    pub(super) fn transaction<T>(
        &self,
        write: impl FnOnce() -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.batch_later(self.begin());
        let written = write().and_then(|value| self.commit().map(|()| value));
        written.inspect_err(|_| self.roll_back())
    }

    /// A transaction that has not asked for anything has nothing to commit.
    fn commit(&self) -> Result<(), LedgerError> {
        let begun = self.unsent.borrow_mut().pop_if(|last| begins(last));
        if begun.is_some() { Ok(()) } else { self.batch(COMMIT) }
    }

    /// After an error nothing is kept, also where this cannot be said any more.
    pub(super) fn roll_back(&self) {
        let begun = self.unsent.borrow().iter().rposition(begins);
        self.unsent.borrow_mut().truncate(begun.unwrap_or_default());
        if begun.is_none() {
            let _ = self.batch("ROLLBACK");
        }
    }
}

const BEGIN: &str = "BEGIN";

fn begins(told: &Question) -> bool {
    told.sql.starts_with(BEGIN)
}

const COMMIT: &str = "COMMIT";

fn texts(questions: &[Question]) -> Vec<&str> {
    questions.iter().map(|question| &*question.sql).collect()
}

/// There are as many answers as questions.
fn each_to_its_question<const N: usize>(answers: Vec<Vec<Row>>) -> [Vec<Row>; N] {
    let mut answers = answers.into_iter();
    array::from_fn(|_| answers.next().unwrap_or_default())
}

/// What is asked, and committed in the same round trip.
async fn then_commit<T>(asked: impl Future<Output = Result<T, Error>>, client: &Client) -> Result<T, Error> {
    let (answer, committed) = join(asked, client.batch_execute(COMMIT)).await;
    // After an error there is nothing to commit, and no error in that.
    answer.and_then(|answer| committed.map(|()| answer))
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
