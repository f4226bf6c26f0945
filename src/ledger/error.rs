//! What can be wrong with a ledger, in words that say what to do about it.

use std::io;
use std::path::PathBuf;

use crate::outcome::Kind;
use crate::text::escape_path;

/// Why a ledger cannot be used, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("{}: there is no ledger yet: nothing has been run", escape_path(.0))]
    Missing(PathBuf),
    #[error("{}: there is no ledger yet: nothing has been run but rehearsals, which --sandbox shows", escape_path(.0))]
    OnlyRehearsed(PathBuf),
    #[error("{}: not a v6fleet ledger; name another file with --ledger", escape_path(.0))]
    NotALedger(PathBuf),
    #[error(
        "{}: written by a newer v6fleet (schema {found}, this one knows {known}); upgrade, or name another file with --ledger",
        escape_path(path)
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{}: in use by another run ({holder}); wait for it, or give --lock-timeout", escape_path(path))]
    Locked { path: PathBuf, holder: String },
    #[error(
        "{}: {kind} can neither lock nor share memory reliably; keep the ledger on a local disk (--ledger)",
        escape_path(path)
    )]
    UnfitFileSystem { path: PathBuf, kind: &'static str },
    #[error("{}: {reason}", escape_path(path))]
    Unusable { path: PathBuf, reason: String },
    #[error(
        "{}: was removed, renamed or replaced while the run went on: another run may have begun, and nobody would have \
         seen what this one still wrote",
        escape_path(path)
    )]
    Replaced { path: PathBuf },
    #[error(
        "{}: {error}; the ledger and its directory must be there to be written, with room on the disk",
        escape_path(path)
    )]
    Io { path: PathBuf, error: io::Error },
    /// `words` is the engine's words for it, and what to do where that is known.
    #[error("{}: {words}", escape_path(path))]
    Engine { path: PathBuf, words: String },
    /// It cannot be reached, or cannot write, for now: the same may succeed later.
    #[error("{}: {words}", escape_path(path))]
    Away { path: PathBuf, words: String },
    #[error(
        "{}: the database has lost what it had said was on disk: it was restored, or a standby that was behind took its \
         place; what this run wrote last is nowhere",
        escape_path(path)
    )]
    Behind { path: PathBuf },
    #[error("{}: a run is under way ({holder}); copy it once that has ended", escape_path(path))]
    UnderWay { path: PathBuf, holder: String },
    #[error("{}: holds a ledger already ({held}); name a place where none is", escape_path(path))]
    Occupied { path: PathBuf, held: String },
    #[error("{}: was written to while it was copied: nothing was kept; copy it again once nothing is under way", escape_path(.0))]
    Changed(PathBuf),
    #[error(
        "{}: what was written reads otherwise than what was copied ({difference}): nothing was kept",
        escape_path(path)
    )]
    Differs { path: PathBuf, difference: String },
    #[error(
        "{}: calls of run {run} that several workers had in flight when they died cannot be kept in a file: nothing was \
         kept; where they are, type v6fleet resume {run}, which takes note of them, and copy the ledger then",
        escape_path(path)
    )]
    SeveralClocks { path: PathBuf, run: String },
    #[error("no run {0:?} in the ledger: v6fleet runs lists those that are")]
    UnknownRun(String),
    #[error("no {kind} in the ledger", kind = .0)]
    NoneOfKind(Kind),
    #[error("{run} is a {found}, and a {wanted} is wanted")]
    OfOtherKind { run: String, found: Kind, wanted: Kind },
    #[error("{0:?} is the start of more than one run id; write more of it")]
    AmbiguousRun(String),
    #[error("this ledger holds {held}; give {wanted} one of its own with --ledger")]
    Mixed { held: &'static str, wanted: &'static str },
    #[error("the ledger has {found} rows for {expected} selected VMs")]
    Miscounted { expected: u64, found: u64 },
    #[error("the thread that writes the ledger cannot be started: {0}")]
    NoWriter(#[source] io::Error),
    #[error("the thread that writes the ledger is gone")]
    WriterGone,
    #[error("the VM at position {0} was settled twice, or never claimed")]
    SettledTwice(i64),
    #[error(
        "this process was held up for longer than its lease (--lease), and others have taken over what it had claimed"
    )]
    Lapsed,
    #[error(
        "this process was held up; meanwhile the run has ended, and others have resumed it: it is theirs (v6fleet status tells \
         how it stands)"
    )]
    Over,
    #[error(
        "this process was held up; meanwhile the run has ended and was deleted (--keep-runs), or the database has lost it"
    )]
    Deleted,
    #[error(
        "{}: a ledger in a file is one process's; several can share one in PostgreSQL (--ledger postgres://HOST/DATABASE)",
        escape_path(.0)
    )]
    Unshared(PathBuf),
}

impl LedgerError {
    /// Whether the same may succeed a while later, with nothing changed here.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}
