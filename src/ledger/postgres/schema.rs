//! The schema `v6fleet`: made, brought up to date, or refused where it is newer or somebody else's.

use tokio_postgres::{Error, Row};

use super::column;
use super::question::Question;
use super::session::Session;
use crate::ledger::error::LedgerError;

/// The schema that this program writes.
pub(super) const SCHEMA: u32 = 1;

/// Every step from an empty database to today's schema; a step that was released is never edited.
const MIGRATIONS: [&str; SCHEMA as usize] = [include_str!("schema-1.sql")];

/// Held while the schema is looked at and changed: two that begin at once make it once.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1983276652, 1)";

/// The encoding, whether there is a schema of this name, and whether it is ours: of the tables themselves, for within a
/// transaction the names that were not there once are remembered not to be.
const LOOK: &str =
    "SELECT current_setting('server_encoding'), EXISTS (SELECT FROM pg_namespace WHERE nspname = 'v6fleet'),
    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'v6fleet' AND c.relname = 'schema')";

/// Where there is a schema.
const VERSION: &str = "SELECT version FROM v6fleet.schema";

/// Takes all steps that are due, as the database itself finds: another may have taken them by now.
fn steps() -> String {
    let step = |(nth, step): (usize, &&str)| {
        format!(
            "IF (SELECT version FROM v6fleet.schema) = {nth} THEN
                EXECUTE $step${step}$step$;
                UPDATE v6fleet.schema SET version = {nth} + 1;
            END IF;"
        )
    };
    let steps: String = MIGRATIONS.iter().enumerate().map(step).collect();
    format!(
        "DO $steps$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'v6fleet') THEN
                CREATE SCHEMA v6fleet;
                CREATE TABLE v6fleet.schema (version bigint NOT NULL);
                INSERT INTO v6fleet.schema VALUES (0);
            END IF;
            {steps}
        END $steps$"
    )
}

/// Brings the schema up to date. Returns whether there was one.
pub(super) fn migrate(session: &Session) -> Result<bool, LedgerError> {
    let before = version(session)?;
    if before < SCHEMA {
        let asked = [LOCK.to_owned(), steps(), VERSION.to_owned()].map(|sql| Question::new(sql, vec![]));
        let [_, _, found] = session.at_once(&asked)?;
        known(session, session.read(&found, self::found)?.pop().unwrap_or_default())?;
    }
    Ok(before > 0)
}

/// A schema that this program knows.
fn known(session: &Session, found: u32) -> Result<u32, LedgerError> {
    match found {
        found if found > SCHEMA => {
            Err(LedgerError::Newer { path: session.name().to_owned(), found, known: SCHEMA })
        }
        found => Ok(found),
    }
}

/// Reads the column of [`VERSION`].
fn found(row: &Row) -> Result<u32, Error> {
    column::small(row, 0).map(Option::unwrap_or_default)
}

/// Refuses a database that cannot be written, as a run would find it: what a run writes first is tried, and taken back.
pub(super) fn rehearse(session: &Session) -> Result<(), LedgerError> {
    session.rehearse(|| {
        session.batch_later(LOCK);
        match version(session)? {
            0 => session.batch("CREATE SCHEMA v6fleet"),
            _ => session.batch(&format!("{VERSION} FOR UPDATE")),
        }
    })
}

/// Refuses a database in which there is no ledger, or an older one: who only reads does not change it.
pub(super) fn check(session: &Session) -> Result<(), LedgerError> {
    match version(session)? {
        SCHEMA => Ok(()),
        0 => Err(LedgerError::Missing(session.name().to_owned())),
        older => {
            let reason = format!(
                "its schema is {older}, and this program's is {SCHEMA}: the next run brings it up to date"
            );
            Err(LedgerError::Unusable { path: session.name().to_owned(), reason })
        }
    }
}

/// The schema that the database has; 0 for none.
pub(super) fn version(session: &Session) -> Result<u32, LedgerError> {
    let look = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let (encoding, there, ours): (String, bool, bool) = session.one(LOOK, &[], look)?;
    let path = session.name();
    match (encoding.as_str(), there, ours) {
        ("UTF8", false, _) => Ok(0),
        ("UTF8", true, true) => known(session, session.one(VERSION, &[], found)?),
        ("UTF8", true, false) => {
            let reason = "its schema v6fleet is no ledger: name another database with --ledger".to_owned();
            Err(LedgerError::Unusable { path: path.to_owned(), reason })
        }
        (encoding, ..) => {
            let reason =
                format!("its encoding is {encoding}, and a ledger needs UTF8: createdb -E UTF8 -T template0");
            Err(LedgerError::Unusable { path: path.to_owned(), reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use support::postgres::Server;

    use crate::ledger::postgres::{DatabaseUrl, Postgres};

    #[test]
    fn of_those_that_open_an_empty_database_at_once_one_makes_the_schema_and_the_others_find_it() {
        let Some(server) = Server::start() else { return };
        let url = DatabaseUrl::of(server.url().as_ref()).unwrap().unwrap();
        let opening = || Postgres::open(&url, Duration::ZERO).map(drop);
        let opened: Vec<_> = thread::scope(|scope| {
            let openings: Vec<_> = (0..6).map(|_| scope.spawn(opening)).collect();
            openings.into_iter().map(|opening| opening.join().unwrap()).collect()
        });
        assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    }
}
