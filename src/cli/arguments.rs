//! The command line as a whole: its commands, and the options that all of them have.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use super::audit::AuditArgs;
use super::check::CheckArgs;
use super::config::ConfigArgs;
use super::history::{DiffArgs, HistoryArgs, RunsArgs};
use super::ledger::LedgerArgs;
use super::listing::ListingArgs;
use super::report::ReportArgs;
use super::run::{PlanArgs, ResumeArgs, RunArgs};
use super::sandbox::SandboxArgs;
use super::sections::{FIRST_STEP, after_long_help};
use super::status::StatusArgs;
use super::values::LogFormat;
use super::work::{StopArgs, WorkArgs};

/// Reconcile the routed IPv6 prefixes of a whole VM fleet
///
/// One call per VM, one truthful row per VM: created, unchanged, updated or failed.
#[derive(Debug, Parser)]
#[command(name = "v6fleet", version = version(), propagate_version = true, max_term_width = 100)]
#[command(after_help = FIRST_STEP, after_long_help = after_long_help())]
pub struct Cli {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Plan(Box<PlanArgs>),
    Resume(Box<ResumeArgs>),
    Work(Box<WorkArgs>),
    Stop(StopArgs),
    Inventory(Box<ListingArgs>),
    Report(ReportArgs),
    Status(StatusArgs),
    Runs(RunsArgs),
    History(HistoryArgs),
    Diff(DiffArgs),
    Audit(Box<AuditArgs>),
    Ledger(LedgerArgs),
    Sandbox(Box<SandboxArgs>),
    Check(Box<CheckArgs>),
    Config(Box<ConfigArgs>),
    /// Print a completion script for a shell
    ///
    /// It completes commands, options and files, and from the ledger racks and run ids.
    #[command(after_help = "Examples:\n  \
        source <(v6fleet completions bash)     in ~/.bashrc\n  \
        source <(v6fleet completions zsh)      in ~/.zshrc, after compinit\n  \
        v6fleet completions fish | source      in ~/.config/fish/config.fish")]
    Completions {
        shell: Shell,
    },
    /// Print the manual page of v6fleet, or of one of its commands
    Man {
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Configuration file (TOML: option = value)
    /// [default: $XDG_CONFIG_HOME/v6fleet/config.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    pub config: Option<PathBuf>,

    /// File in which runs and last-known allocations are kept, or a PostgreSQL database: postgres://HOST/DATABASE
    /// [default: $XDG_STATE_HOME/v6fleet/ledger.db, for a rehearsal sandbox.db beside it]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Common options")]
    pub ledger: Option<PathBuf>,

    /// Form of log lines
    #[arg(long, global = true, value_name = "FORM", default_value = "text", help_heading = "Common options")]
    pub log_format: LogFormat,

    /// Log more; twice for every call
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Common options")]
    pub verbose: u8,

    /// Log warnings only; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Common options")]
    pub quiet: u8,
}

/// The version, and the commit where it is known.
fn version() -> String {
    let commit = option_env!("BUILT_FROM").map(|commit| format!(" ({commit})"));
    format!("{}{}", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default())
}
