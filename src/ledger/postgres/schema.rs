//! The schema `v6fleet`: made, brought up to date, or refused where it is newer or somebody else's.

use tokio_postgres::Row;

use super::column;
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

/// Brings the schema up to date.
pub(super) fn migrate(session: &Session) -> Result<(), LedgerError> {
    let version = version(session)?;
    if version == SCHEMA {
        return Ok(());
    }
    session.transaction(|| {
        session.batch_later(LOCK);
        // Another may have done it by now.
        let version = self::version(session)?;
        if version == 0 {
            session
                .batch_later("CREATE SCHEMA v6fleet; CREATE TABLE v6fleet.schema (version bigint NOT NULL)");
            session.batch_later("INSERT INTO v6fleet.schema VALUES (0)");
        }
        MIGRATIONS[version as usize..].iter().for_each(|step| session.batch_later(*step));
        session.batch_later(format!("UPDATE v6fleet.schema SET version = {SCHEMA}"));
        Ok(())
    })
}

/// Refuses a database that cannot be written, as a run would find it: what a run writes first is tried, and taken back.
pub(super) fn rehearse(session: &Session) -> Result<(), LedgerError> {
    session.rehearse(|| {
        session.batch_later(LOCK);
        match version(session)? {
            0 => session.batch("CREATE SCHEMA v6fleet"),
            _ => session.batch("SELECT version FROM v6fleet.schema FOR UPDATE"),
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
        ("UTF8", true, true) => {
            let version = |row: &Row| column::small(row, 0).map(Option::unwrap_or_default);
            match session.one("SELECT version FROM v6fleet.schema", &[], version)? {
                found if found > SCHEMA => {
                    Err(LedgerError::Newer { path: path.to_owned(), found, known: SCHEMA })
                }
                found => Ok(found),
            }
        }
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
