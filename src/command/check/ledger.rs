//! The ledger: whether a run could write it. Pure.

use std::time::Duration;

use crate::check::{Check, Finding};
use crate::command::exit;
use crate::command::failure::{Failure, Refusal};
use crate::ledger::LedgerError;
use crate::text::duration;

/// What is found of a ledger that is there, or is not yet.
pub(super) enum Kept {
    /// The first run makes it.
    NotYet,
    There {
        schema: (u32, u32),
        held: Held,
    },
}

/// Whether a run could write it now.
pub(super) enum Held {
    Free,
    By(String),
    /// There is none that holds all of it, and which job it is about is not known.
    Unknown,
}

impl Held {
    pub(super) fn of(holder: Option<String>) -> Self {
        holder.map_or(Self::Free, Self::By)
    }
}

/// What is said of the ledger of that name, and of its lock.
pub(super) fn told(name: &str, kept: Result<Kept, LedgerError>, lock_timeout: Duration) -> [Finding; 2] {
    match kept {
        Ok(Kept::NotYet) => [
            Finding::ok(Check::Ledger, format!("{name}: not there yet, the first run makes it")),
            Finding::ok(Check::Lock, "free"),
        ],
        Ok(Kept::There { schema, held }) => [opens(name, schema), lock(&held, lock_timeout)],
        Err(error) => {
            let failure = Failure::from(Refusal::from(error));
            [
                Finding::error(Check::Ledger, failure.in_words(), failure.exit_code()),
                Finding::unchecked(Check::Lock, "the ledger cannot be opened"),
            ]
        }
    }
}

fn opens(name: &str, (found, known): (u32, u32)) -> Finding {
    let says = match found == known {
        true => format!("{name}: opens, schema {found}"),
        false => format!("{name}: opens, schema {found}, which the next run brings to {known}"),
    };
    Finding::ok(Check::Ledger, says)
}

/// A run waits for another one so long.
fn lock(held: &Held, timeout: Duration) -> Finding {
    match held {
        Held::Free => Finding::ok(Check::Lock, "free"),
        Held::Unknown => {
            Finding::unchecked(Check::Lock, "a run waits for those of its own job, which the inventory tells")
        }
        Held::By(holder) if timeout.is_zero() => {
            Finding::error(Check::Lock, format!("in use by another run ({holder})"), exit::LOCKED)
                .with_remedy("wait for it, or give --lock-timeout")
        }
        Held::By(holder) => {
            let timeout = duration(timeout.as_secs_f64());
            let says = format!("in use by another run ({holder}), which a run waits for, for {timeout}");
            Finding::warning(Check::Lock, says)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn a_ledger_is_told_with_its_schema_and_who_holds_its_lock() {
        let there = |held, schema| Ok(Kept::There { schema, held });
        let held = || Held::By("pid 7".to_owned());
        let newer = LedgerError::Newer { path: "l.db".into(), found: 9, known: 5 };
        let wait = Duration::from_mins(1);
        for (kept, timeout, levels, code) in [
            (Ok(Kept::NotYet), Duration::ZERO, [Level::Ok, Level::Ok], 0),
            (there(Held::Free, (5, 5)), Duration::ZERO, [Level::Ok, Level::Ok], 0),
            (there(Held::Free, (3, 5)), Duration::ZERO, [Level::Ok, Level::Ok], 0),
            (there(Held::Unknown, (5, 5)), Duration::ZERO, [Level::Ok, Level::Unchecked], 0),
            (there(held(), (5, 5)), Duration::ZERO, [Level::Ok, Level::Error], 6),
            (there(held(), (5, 5)), wait, [Level::Ok, Level::Warning], 0),
            (Err(newer), wait, [Level::Error, Level::Unchecked], 2),
        ] {
            let findings = told("l.db", kept, timeout);
            assert_eq!(findings.each_ref().map(|finding| finding.level), levels, "{findings:?}");
            assert_eq!(crate::check::exit_code(&findings), code, "{findings:?}");
        }
    }
}
