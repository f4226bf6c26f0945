//! A database that says nothing: is it at work, or gone? There is no time that every statement takes, and none at which one knows.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};

use super::Session;
use super::marked_client::mark;
use crate::ledger::postgres::connect::Settings;

/// Whether the database is at work on a statement of the connection with the mark `$1`, and not waiting for who asked.
const IS_AT_WORK: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database() AND wait_event_type IS DISTINCT FROM 'Client'
        AND (state = 'active' AND starts_with(query, $1) OR state = 'disabled'))";

impl Session {
    /// Waits for an answer. Whenever nothing has come for a while, another connection asks whether the database is at work on
    /// it. Where it cannot be reached, or twice was not, the error is how long nothing has come.
    pub(super) async fn watched<A: Future + Unpin>(&self, mut answer: A) -> Result<A::Output, Duration> {
        let begun = Instant::now();
        let mut was_at_work = true;
        loop {
            if let Ok(answer) = timeout(self.settings.quiet, &mut answer).await {
                return Ok(answer);
            }
            let is_at_work = match select(answer, pin!(self.is_at_work())).await {
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

    /// Whether the database is at work for this connection; `None` where it does not say anything.
    async fn is_at_work(&self) -> Option<bool> {
        let (Settings { config, tls, .. }, mark) = (&self.settings, mark(&self.token));
        let look = async {
            let (client, connection) = config.connect(tls.clone()).await?;
            let values: [(&(dyn ToSql + Sync), Type); 1] = [(&mark, Type::TEXT)];
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
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use support::pooler::Pooler;
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
    fn a_statement_is_waited_for_also_where_a_pooler_chooses_the_connection() {
        let Some(server) = Server::start() else { return };
        let Some(pooler) = Pooler::to(&server, 2) else { return };
        let session = impatient(&pooler.url());
        for sql in ["SELECT pg_sleep(0.2)", "SELECT pg_sleep(0.2) WHERE true"] {
            session.batch(sql).unwrap();
            session.execute(sql, &[]).unwrap();
        }
    }

    #[test]
    fn what_others_ask_in_the_same_words_is_not_taken_for_what_was_lost() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        let session = impatient(&proxy.url());
        let _others = server.lock_until("SELECT 1", "SELECT pg_sleep(60)");
        proxy.hold(Way::There);
        let lost = session.batch("BEGIN; SELECT 1; SELECT pg_sleep(60); COMMIT").unwrap_err();
        assert!(lost.is_away(), "{lost}");
        let theirs = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        assert_eq!(server.sql(theirs), "1", "while the database was at work on theirs");
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
