//! The database's errors, for people: in its words, with its code, and what to do where that is known.

use std::error::Error as _;
use std::io;
use std::iter;
use std::path::Path;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::ledger::error::LedgerError;
use crate::ledger::numbers::position;

/// Raised where an item is not this worker's, or has its outcome.
const NOT_THERE: &str = "V6001";

/// Raised where a worker was buried.
const LAPSED: &str = "V6002";

/// Raised where a run has ended, or was resumed since.
const OVER: &str = "V6005";

/// An error of the database, for people.
pub(super) fn engine_error(name: &Path) -> impl Fn(Error) -> LedgerError + Copy {
    move |error| match not_there(&error) {
        Some(position) => LedgerError::SettledTwice(position),
        None if is_raised(&error, LAPSED) => LedgerError::Lapsed,
        None if is_raised(&error, OVER) => LedgerError::Over,
        None if is_away(&error) => LedgerError::Away { path: name.to_owned(), words: in_words(&error) },
        None => {
            let words = in_words(&error);
            // They have all causes in them: whoever tells an error's causes would tell each twice.
            LedgerError::Engine { path: name.to_owned(), words }
        }
    }
}

/// The position of an item that could not be changed.
fn not_there(error: &Error) -> Option<i64> {
    let error = error.as_db_error().filter(|error| error.code().code() == NOT_THERE)?;
    error.detail()?.parse().ok().map(position)
}

/// Raised where a batch is on disk already, or those before it are not.
const OUT_OF_TURN: &str = "V6003";

/// Raised where a connection is not ours alone.
const NOT_OURS: &str = "V6004";

/// Whether others have the connection, too, or have prepared something there by a name that is ours.
pub(super) fn is_of_others(error: &Error) -> bool {
    let names = [SqlState::DUPLICATE_PSTATEMENT, SqlState::INVALID_SQL_STATEMENT_NAME];
    error.code().is_some_and(|code| code.code() == NOT_OURS || names.contains(code))
}

fn is_raised(error: &Error, raised: &str) -> bool {
    error.code().is_some_and(|code| code.code() == raised)
}

fn in_words(error: &Error) -> String {
    match error.as_db_error() {
        Some(answer) => told(answer),
        None => {
            let causes = iter::successors(error.source(), |cause| (*cause).source());
            // Some tell their cause themselves.
            let words = causes.map(ToString::to_string).fold(error.to_string(), |words, cause| {
                if words.ends_with(&cause) { words } else { format!("{words}: {cause}") }
            });
            match is_cut_off(error) {
                true => format!("the database cannot be reached, or not any longer: {words}"),
                false => words,
            }
        }
    }
}

/// Whether there is no connection, or none any longer.
fn is_cut_off(error: &Error) -> bool {
    error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>)
}

/// Whether the same may succeed a while later, with nothing changed here.
fn is_away(error: &Error) -> bool {
    is_cut_off(error) || error.as_db_error().is_some_and(|answer| may_pass(answer.code()))
}

/// Whole classes: of connections, of resources, of whoever runs the server.
const PASSING: [&str; 3] = ["08", "53", "57"];

fn may_pass(code: &SqlState) -> bool {
    let is_of_passing_class = PASSING.iter().any(|class| code.code().starts_with(class));
    is_of_passing_class
        || [
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(code)
        || code.code() == OUT_OF_TURN
}

fn told(error: &DbError) -> String {
    let (words, code) = (error.message(), error.code());
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let advice = advice(code).map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("{words}{detail} (PostgreSQL {}){advice}", code.code())
}

fn advice(code: &SqlState) -> Option<&'static str> {
    Some(match *code {
        SqlState::DISK_FULL => "make room on the database's disk",
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the user is the URL's or PGUSER, the password that of PGPASSFILE (~/.pgpass) or PGPASSWORD"
        }
        SqlState::INVALID_CATALOG_NAME => "make it with `createdb`, or name another one",
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "who runs has to own the schema v6fleet, or to have the right CREATE on the database before its first run; \
             who only reads needs USAGE on the schema, and SELECT on its tables"
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            "a standby is read-only: name the primary, or all hosts with target_session_attrs=read-write; of any other \
             server turn default_transaction_read_only off for the user"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_waited_for_and_what_does_not_is_told_at_once() {
        let passing = [
            ("08006", "connection failure"),
            ("53100", "disk full"),
            ("53300", "too many connections"),
            ("57014", "statement timeout"),
            ("57P01", "shut down"),
            ("57P02", "crash"),
            ("57P03", "starting up"),
            ("25006", "a standby"),
            ("25P03", "idle in transaction"),
            ("40001", "serialization"),
            ("40P01", "deadlock"),
            (OUT_OF_TURN, "written already"),
        ];
        let lasting = [
            (NOT_THERE, "settled twice"),
            ("28P01", "password"),
            ("3D000", "no such database"),
            ("42P01", "no such table"),
            ("42501", "no right"),
            ("22021", "not in the encoding"),
        ];
        for (code, what) in passing {
            assert!(may_pass(&SqlState::from_code(code)), "{what}");
        }
        for (code, what) in lasting {
            assert!(!may_pass(&SqlState::from_code(code)), "{what}");
        }
    }
}
