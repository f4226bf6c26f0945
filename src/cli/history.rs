//! What is typed after `v6fleet runs`, `history` and `diff`: the commands that look back.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::inventory::SelectionArgs;
use super::values::{RecapFormat, duration};
use crate::api::BaseUrl;
use crate::vm::Action;

/// List the runs in the ledger, the newest first
///
/// `run --keep-runs` deletes old runs, but never a pinned one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet runs --limit 10             the last ten\n  \
    v6fleet runs --failed --job latest  when the last run's job had failed VMs\n  \
    v6fleet runs --pin 20261123T02      keep the baseline of a change ticket\n  \
    v6fleet runs --format json | jq -r '.runs[] | select(.failed > 0).id'")]
pub struct RunsArgs {
    /// The newest N runs only
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,

    /// Runs with a VM that failed
    #[arg(long)]
    pub failed: bool,

    /// Runs of this --action
    #[arg(long, value_name = "ACTION")]
    pub action: Option<Action>,

    /// Runs that called the API there
    #[arg(long, value_name = "URL")]
    pub base_url: Option<BaseUrl>,

    /// Runs of the same job: inventory, API, action and selection (a run id, the start of one, or latest)
    #[arg(long, value_name = "RUN")]
    pub job: Option<String>,

    /// Keep a run for good (a run id, the start of one, or latest)
    #[arg(long, value_name = "RUN", conflicts_with_all = ["unpin", "limit", "failed", "action", "base_url", "job"])]
    pub pin: Option<String>,

    /// Let a run be deleted when it is old
    #[arg(long, value_name = "RUN", conflicts_with_all = ["limit", "failed", "action", "base_url", "job"])]
    pub unpin: Option<String>,

    /// Longest for --pin and --unpin to wait for a run to end
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub lock_timeout: Duration,

    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// Show all that was ever done to one VM, the newest first
///
/// Its last-known allocation, and of every run that is in the ledger the outcome, the allocation, and what changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet history 10031\n  \
    v6fleet history web-1               where one VM alone is called so\n  \
    v6fleet history 10031 --format json | jq -r '.runs[] | [.run, .outcome, .next_hop] | @tsv'")]
pub struct HistoryArgs {
    /// HostUp's id of the VM, or its name in the inventories
    #[arg(value_name = "VM", value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,

    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// Compare two runs, VM by VM
///
/// Which VMs are newly failing, recovered, changed, appeared or gone from RUN_A to RUN_B. A VM that one of the two runs
/// never called, because it was stopped before, is not attempted: nothing is concluded of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet diff 20261123T02 latest                     since that run\n  \
    v6fleet diff 20261123T02 latest --rack dc1r28 -o moved.csv\n\n\
    Exit codes: 0 no difference, 10 differences, 2 no such run, 7 no VM selected.")]
pub struct DiffArgs {
    /// Run id, the start of one, or latest
    #[arg(value_name = "RUN_A")]
    pub from: String,

    /// Run id, the start of one, or latest
    #[arg(value_name = "RUN_B")]
    pub to: String,

    /// Write every difference to this file: .csv, .json or .jsonl by its name, or FORMAT:FILE (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    #[command(flatten)]
    pub reading: ReadingArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
}

#[derive(Debug, Args)]
pub struct ReadingArgs {
    /// Form of standard output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: RecapFormat,

    /// Look in the rehearsals' ledger
    #[arg(long)]
    pub sandbox: bool,
}
