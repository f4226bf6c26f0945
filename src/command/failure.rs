//! Why a command did not get to its end: refused while it was prepared, or broken while it was carried out.
//!
//! Which of the two it is, and with it the exit code, is said by the type, where the trouble is.

use std::fmt::Display;
use std::path::Path;

use super::exit;
use crate::api::ClientError;
use crate::config::ConfigError;
use crate::inventory::{InventoryError, SelectionError};
use crate::ledger::LedgerError;
use crate::report::{ReportError, RunEnded};
use crate::shrink::Shrunk;
use crate::stop::Stop;
use crate::text::{escape_lines, escape_path};

/// Found while a command was prepared: nothing was called, and nothing is written in its place.
#[derive(Debug)]
pub(super) struct Refusal {
    exit_code: u8,
    error: anyhow::Error,
}

impl Refusal {
    /// What was asked for cannot be done.
    pub(super) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit_code: exit::USAGE, error: error.into() }
    }

    /// What an option names cannot be used: which option, what it names, and why.
    pub(super) fn unusable(option: &str, path: &Path, error: impl Into<anyhow::Error>) -> Self {
        let named = format!("{option} {}", escape_path(path));
        Self::usage(error.into().context(named))
    }

    /// There is nothing to be done.
    pub(super) fn nothing(message: impl Display) -> Self {
        Self { exit_code: exit::NOTHING, error: anyhow::anyhow!("{message}") }
    }

    /// A brake is on before anything is called.
    pub(super) fn braked(error: impl Into<anyhow::Error>) -> Self {
        Self { exit_code: exit::BRAKED, error: error.into() }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        let is_locked = matches!(error, LedgerError::Locked { .. } | LedgerError::UnderWay { .. });
        Self { exit_code: if is_locked { exit::LOCKED } else { exit::USAGE }, error: error.into() }
    }
}

impl From<Shrunk> for Refusal {
    fn from(error: Shrunk) -> Self {
        Self::braked(error)
    }
}

/// Errors that say what is wrong with what was asked for.
macro_rules! usage {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::usage(error)
            }
        })*
    };
}

usage! { ClientError, ConfigError, InventoryError, ReportError, SelectionError }

/// Met while a command was carried out: exit code 1, that of what stopped it, or 6.
#[derive(Debug)]
pub(super) struct Broken {
    exit_code: u8,
    error: anyhow::Error,
    /// How the run ended that was over before.
    ended: Option<Box<RunEnded>>,
}

impl Broken {
    pub(super) fn new(error: impl Into<anyhow::Error>) -> Self {
        Self { exit_code: exit::INTERNAL, error: error.into(), ended: None }
    }

    /// What it was to do is another one's by now.
    pub(super) fn held(error: impl Into<anyhow::Error>) -> Self {
        Self { exit_code: exit::LOCKED, ..Self::new(error) }
    }

    /// Something stopped it that has an exit code of its own.
    pub(super) fn stopped(stop: Stop, error: impl Into<anyhow::Error>) -> Self {
        Self { exit_code: stop.exit_code(), ..Self::new(error) }
    }

    /// It was met once a run was over, which had ended so.
    pub(super) fn once_over(self, ended: RunEnded) -> Self {
        let ended = ended.failing(self.exit_code, &in_words(&self.error));
        Self { ended: Some(Box::new(ended)), ..self }
    }
}

impl From<LedgerError> for Broken {
    fn from(error: LedgerError) -> Self {
        Self::new(error)
    }
}

impl From<ReportError> for Broken {
    fn from(error: ReportError) -> Self {
        Self::new(error)
    }
}

/// Either of the two.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    Broken(Broken),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Inventories are read while a command is prepared.
impl From<InventoryError> for Failure {
    fn from(error: InventoryError) -> Self {
        Self::Refused(error.into())
    }
}

/// Of a command that only reads: a ledger that is none, or has not what was asked for, is the user's to name otherwise; one
/// that cannot be read is broken.
impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Locked { .. }
            | LedgerError::UnderWay { .. }
            | LedgerError::Occupied { .. }
            | LedgerError::Missing(_)
            | LedgerError::OnlyRehearsed(_)
            | LedgerError::NotALedger(_)
            | LedgerError::Newer { .. }
            | LedgerError::UnfitFileSystem { .. }
            | LedgerError::Unusable { .. }
            | LedgerError::UnknownRun(_)
            | LedgerError::NoneOfKind(_)
            | LedgerError::OfOtherKind { .. }
            | LedgerError::AmbiguousRun(_)
            | LedgerError::Mixed { .. }
            | LedgerError::Unshared(_) => Self::Refused(error.into()),
            LedgerError::Io { .. }
            | LedgerError::Replaced { .. }
            | LedgerError::Changed(_)
            | LedgerError::Differs { .. }
            | LedgerError::Engine { .. }
            | LedgerError::Away { .. }
            | LedgerError::Behind { .. }
            | LedgerError::Miscounted { .. }
            | LedgerError::NoWriter(_)
            | LedgerError::WriterGone
            | LedgerError::Lapsed
            | LedgerError::Over
            | LedgerError::Deleted
            | LedgerError::SeveralClocks { .. }
            | LedgerError::SettledTwice(_) => Self::Broken(error.into()),
        }
    }
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(refusal) => refusal.exit_code,
            Self::Broken(broken) => broken.exit_code,
        }
    }

    /// How the run ended that was over before; `None` where there is none.
    pub(super) fn ended(&self) -> Option<&RunEnded> {
        match self {
            Self::Refused(_) => None,
            Self::Broken(broken) => broken.ended.as_deref(),
        }
    }

    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Refused(Refusal { error, .. }) | Self::Broken(Broken { error, .. }) => in_words(error),
        }
    }
}

/// An error and its causes, each once: some errors tell their cause themselves. What they quote is escaped.
pub(super) fn in_words(error: &anyhow::Error) -> String {
    let words =
        error.chain().map(ToString::to_string).fold(String::new(), |words, cause| match words.as_str() {
            "" => cause,
            _ if words.ends_with(&cause) => words,
            _ => format!("{words}: {cause}"),
        });
    escape_lines(&words)
}
