//! What is typed after `v6fleet runs`, `history` and `diff`: the commands that look back.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::inventory::SelectionArgs;
use super::values::{RecapFormat, duration};
use crate::dialect::{Dialect, InvalidVmId};
use crate::vm::VmId;

/// List the runs in the ledger, the newest first
///
/// `run --keep-runs` deletes old runs, but never a pinned one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet runs --limit 10             the last ten\n  \
    v6fleet runs --pin 20261123T02      keep the baseline of a change ticket\n  \
    v6fleet runs --format json | jq -r '.runs[] | select(.failed > 0).id'")]
pub struct RunsArgs {
    /// The newest N runs only
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,

    /// Keep a run for good (a run id, the start of one, or latest)
    #[arg(long, value_name = "RUN", conflicts_with_all = ["unpin", "limit"])]
    pub pin: Option<String>,

    /// Let a run be deleted when it is old
    #[arg(long, value_name = "RUN", conflicts_with = "limit")]
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
    v6fleet history 10031 --format json | jq -r '.runs[] | [.run, .outcome, .next_hop] | @tsv'")]
pub struct HistoryArgs {
    /// HostUp's id of the VM
    #[arg(value_name = "VMID", value_parser = vm_id)]
    pub vmid: VmId,

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

/// The id that a person means, in whichever dialect.
fn vm_id(text: &str) -> Result<VmId, InvalidVmId> {
    Dialect::of(text).map_or_else(|| Dialect::default().vm_id(text), |(dialect, _)| dialect.vm_id(text))
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
