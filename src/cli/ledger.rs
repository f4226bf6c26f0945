//! What is typed after `v6fleet ledger`: what is done to a ledger as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Move a whole ledger to another place
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub struct LedgerArgs {
    #[command(subcommand)]
    pub command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    Copy(CopyArgs),
}

/// Copy a whole ledger: from a file to a PostgreSQL database, back, or to another of the same kind
///
/// Every run with its id, reports, pin and labels, what was last seen of every VM, lost answers and learned rates: every
/// command says the same of the copy, to the letter, and the next run on it finds what it would have found. FROM is only
/// read, and stays as it is; no run may be under way in it. TO must hold no ledger yet.
///
/// All of it is written at once: whatever kills the copy on its way leaves TO without a run, and it is typed again. Before
/// it is kept it is read again and compared with FROM, and its last line says what is on both sides; typed once more, it only
/// compares. From then on name TO with --ledger. What a rehearsal's world remembers, and reports that runs have written,
/// stay where they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet ledger copy ~/.local/state/v6fleet/ledger.db postgres://db.example/fleet\n  \
    v6fleet ledger copy postgres://db.example/fleet back.db     and back\n  \
    v6fleet runs --ledger postgres://db.example/fleet           the same runs\n\n\
    Exit codes: 0 copied, and the same on both sides, 1 not copied, or not the same: nothing was kept,\n\
    2 no ledger in FROM, or one in TO already, 6 a run is under way in FROM or TO.")]
pub struct CopyArgs {
    /// The ledger that is copied: its file, or postgres://HOST/DATABASE
    #[arg(value_name = "FROM")]
    pub from: PathBuf,

    /// Where the copy is made: a file that is not there yet, or postgres://HOST/DATABASE without a ledger
    #[arg(value_name = "TO")]
    pub to: PathBuf,
}
