//! What is typed after `v6fleet status`.

use clap::Args;

use super::history::ReadingArgs;

/// Show how the run stands that is under way, or how the last one ended
///
/// Whether a run is under way is told by the ledger's lock. Of such a run it shows how far it has come, how fast calls leave
/// and whose limit that is, how long the rest will take, and what is left alone because it fails. Looking costs the run
/// nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet status                      what runs now, or how the last run ended\n  \
    v6fleet status --watch              the same each second, until it has ended\n  \
    v6fleet status --format json | jq .left_s\n\n\
    Exit codes: 0, 2 no such run.")]
pub struct StatusArgs {
    /// Run id, or the start of one [default: the run under way, else the last one]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,

    /// Show it anew each second, until the run has ended; on a terminal, as text
    #[arg(long)]
    pub watch: bool,

    #[command(flatten)]
    pub reading: ReadingArgs,
}
