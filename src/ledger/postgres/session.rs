//! A connection to the database, behind calls that wait for their answers.

mod marked_client;
mod silence;
mod transaction;

pub(super) use marked_client::MarkedClient;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, join3, try_join, try_join_all};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Row, Statement};
use tracing::debug;

use super::connect::Settings;
use super::engine_error::engine_error;
use super::question::{Question, Values, each_to_its_question, typed};
use crate::ledger::error::LedgerError;
use crate::text::duration;

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
    /// What nobody heeds, and is sent ahead of that.
    unheeded: RefCell<Vec<Question>>,
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
            unheeded: RefCell::default(),
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
        self.unheeded.take();
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

    fn part(&mut self) {
        drop(self.client.take());
        if let Some(connection) = self.connection.take() {
            let farewell = async { timeout(FAREWELL, connection).await };
            let _ = self.runtime.block_on(farewell);
        }
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

    /// Waits for what `question` asks; statements that it asks for at once share a round trip, also with what was to be sent
    /// [`Self::later`].
    fn ask<'s, T, F: Future<Output = Result<T, Error>>>(
        &'s self,
        question: impl FnOnce(MarkedClient<'s>) -> F,
    ) -> Result<T, LedgerError> {
        let client = self.client()?;
        let (unheeded, unsent) = (self.unheeded.take(), self.unsent.take());
        let answer = self.runtime.block_on(async {
            let unheeded = join_all(unheeded.iter().map(|told| told.tell(client)));
            let ahead = join_all(unsent.iter().map(|told| told.tell(client)));
            let answer = pin!(join3(unheeded, ahead, question(client)));
            match self.patience.get() {
                Some(patience) => timeout(patience, answer).await.map_err(|_| patience),
                None => self.watched(answer).await,
            }
        });
        let (unheeded, ahead, answer) = answer.map_err(|silence| self.give_up(silence))?;
        unheeded.into_iter().filter_map(Result::err).for_each(|error| debug!(%error, "of no consequence"));
        let ahead = ahead.into_iter().collect::<Result<(), Error>>();
        ahead.and(answer).map_err(engine_error(&self.name))
    }

    /// Has something carried out that nobody waits for: with the next question, ahead of it. If it goes wrong, so does that.
    pub(super) fn later(&self, told: Question) {
        self.unsent.borrow_mut().push(told);
    }

    /// Has something carried out that may as well fail: with the next question, ahead of all that waits for that, lest its
    /// error abort a transaction. So it is not for what is in the midst of one.
    pub(super) fn unheeded(&self, told: Question) {
        self.unheeded.borrow_mut().push(told);
    }

    /// The same as [`Self::later`], of statements without values.
    pub(super) fn batch_later(&self, sql: impl Into<Cow<'static, str>>) {
        self.later(Question::new(sql, vec![]));
    }

    /// What was asked may still be done, but nothing more is asked on this connection.
    fn give_up(&self, silence: Duration) -> LedgerError {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
        self.silence.set(Some(silence));
        self.unanswered(silence)
    }

    fn client(&self) -> Result<MarkedClient<'_>, LedgerError> {
        match (self.silence.get(), &self.client) {
            (Some(silence), _) => Err(self.unanswered(silence)),
            (None, None) => Err(self.cut_off()),
            (None, Some(client)) => Ok(MarkedClient { client, token: &self.token }),
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
        match self.client()?.client.is_closed() {
            false => Ok(()),
            // The server's own words for it.
            true => self.batch("SELECT 1"),
        }
    }

    /// Carries out statements without values.
    pub(super) fn batch(&self, sql: &str) -> Result<(), LedgerError> {
        self.ask(|client| client.batch_execute(sql))
    }

    /// Returns how many rows were changed.
    pub(super) fn execute(&self, sql: &str, values: Values<'_>) -> Result<u64, LedgerError> {
        let values = typed(values);
        self.ask(|client| client.execute_typed(sql, &values))
    }

    /// All rows.
    pub(super) fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, LedgerError> {
        let values = typed(values);
        self.ask(|client| client.query_typed(sql, &values))
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
        let row = self.ask(|client| client.query_typed_one(sql, &values))?;
        read(&row).map_err(engine_error(&self.name))
    }

    /// Shows all rows as they come in, however many there are, until `each` has had enough; it asks nothing meanwhile.
    pub(super) fn each(
        &self,
        sql: &str,
        values: Values<'_>,
        each: &mut dyn FnMut(&Row) -> Result<ControlFlow<()>, Error>,
    ) -> Result<ControlFlow<()>, LedgerError> {
        self.each_beside(&[], sql, values, each).map(|([], shown)| shown)
    }

    /// The same after the answers to some questions, in the same round trip.
    pub(super) fn each_beside<const N: usize>(
        &self,
        questions: &[Question; N],
        sql: &str,
        values: Values<'_>,
        each: &mut dyn FnMut(&Row) -> Result<ControlFlow<()>, Error>,
    ) -> Result<([Vec<Row>; N], ControlFlow<()>), LedgerError> {
        let (answers, rows) = self.ask(|client| {
            let answers = try_join_all(questions.iter().map(|question| question.ask(client)));
            try_join(answers, client.stream_typed(sql, typed(values)))
        })?;
        let answers = each_to_its_question(answers);
        let mut pages = Box::pin(rows).ready_chunks(PAGE);
        while let Some(page) = self.ask(|_| async { Ok(pages.next().await) })? {
            for row in page {
                let shown = row.and_then(|row| each(&row));
                if shown.map_err(engine_error(&self.name))?.is_break() {
                    return Ok((answers, ControlFlow::Break(())));
                }
            }
        }
        Ok((answers, ControlFlow::Continue(())))
    }

    /// Asks all of it in one round trip.
    pub(super) fn side_by_side<const N: usize>(
        &self,
        questions: &[Question; N],
    ) -> Result<[Vec<Row>; N], LedgerError> {
        self.all_of(questions).map(each_to_its_question)
    }

    /// The same of as many as there are.
    pub(super) fn all_of<'q>(
        &self,
        questions: impl IntoIterator<Item = &'q Question>,
    ) -> Result<Vec<Vec<Row>>, LedgerError> {
        self.ask(|client| try_join_all(questions.into_iter().map(|question| question.ask(client))))
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
        self.ask(|_| async { Ok(()) })
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

    use super::*;
    use crate::ledger::postgres::DatabaseUrl;

    #[test]
    fn an_error_is_the_next_questions_unless_nobody_heeds_it() {
        let Some(server) = Server::start() else { return };
        let url = DatabaseUrl::of(Path::new(&server.url())).unwrap().unwrap();
        let session = Session::open(&url.as_path(), &Settings::of(&url).unwrap()).unwrap();
        let wrong = || Question::new("SELECT 1 / 0", vec![]);
        session.later(wrong());
        session.batch("SELECT 1").unwrap_err();
        session.unheeded(wrong());
        session.batch("SELECT 1").unwrap();
        session
            .transaction(|| {
                session.unheeded(wrong());
                session.batch_later("CREATE TABLE made ()");
                session.batch("INSERT INTO made DEFAULT VALUES")
            })
            .unwrap();
        assert_eq!(server.sql("SELECT count(*) FROM made"), "1", "nor is a transaction aborted by it");
    }
}
