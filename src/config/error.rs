//! What is wrong with a configuration.

use std::io;
use std::path::PathBuf;

use super::refusal::Refused;
use super::setting::Source;
use crate::cli;
use crate::dialect::Dialect;
use crate::inventory::InvalidColumnMap;
use crate::ledger::InvalidUrl;
use crate::report::ReportError;
use crate::text::escape_path;

/// Why a command line, with what stands behind it, is no command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Clap's own words; asking for help is one of them.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error("{}{}: {source}", option.map(|option| format!("{option} ")).unwrap_or_default(), escape_path(path))]
    File { option: Option<&'static str>, path: PathBuf, source: io::Error },
    #[error("{}: {reason}", escape_path(path))]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: there is no option {key:?}{}", escape_path(path), did_you_mean(cli::near_option(key).as_deref()))]
    UnknownKey { path: PathBuf, key: String },
    #[error("{}: {key} must be a text, a number, true or false, or a list of such", escape_path(path))]
    UnfitValue { path: PathBuf, key: String },
    #[error("{origin}: {refused}")]
    Refused { origin: Source, refused: Refused },
    #[error("{0} is not UTF-8 text")]
    UnreadableVariable(String),
    #[error(
        "no API key: name a file with --api-key-file, or set HOSTUP_API_KEY (or rehearse with --sandbox)"
    )]
    NoKey,
    #[error("the API key from {0} is empty")]
    EmptyKey(String),
    #[error("the API key from {0} is not UTF-8 text")]
    UnreadableKey(String),
    #[error(
        "the API key from {0} has a character that no HTTP header can carry: the end of a line within it, say"
    )]
    UnfitKey(String),
    #[error("what {0} holds is no API key: it is longer than {1} bytes")]
    LongKey(String, u64),
    #[error("neither XDG_STATE_HOME nor HOME is set: name a ledger with --ledger")]
    NoHome,
    #[error("--ledger: {0}")]
    Ledger(#[from] InvalidUrl),
    #[error(
        "--ledger says nothing to ledger copy: both ledgers are named behind it, v6fleet ledger copy FROM TO"
    )]
    LedgerBesideCopy,
    #[error(transparent)]
    Columns(#[from] InvalidColumnMap),
    #[error(transparent)]
    Output(#[from] ReportError),
    /// What was typed after it made another command of it.
    #[error("not a resume")]
    NotAResume,
    #[error(
        "the API's {0} cannot be looked at: plan, --only-planned and audit --live need --api v2, and the ids of v2"
    )]
    NothingToSee(Dialect),
    #[error("--watch shows text, and --format cannot be used with it")]
    FormatBesideWatch,
    #[error("--limit-burst is for --limit-kind token-bucket only")]
    BurstWithoutBucket,
}

/// A hint behind a word that is not known.
pub(super) fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}
