//! What is typed after `v6fleet work` and `v6fleet stop`: several machines on one run.

use std::num::NonZeroU32;

use clap::Args;

use super::run::{AccessArgs, ReportingArgs};
use super::values::slots;

/// Help to carry out a run that another machine has begun
///
/// Takes VMs of the run, calls them and settles them, as every other worker of it does: no VM is called by two of them.
/// Pace, attempts, brakes and deadline are those that the run was begun with. It ends with the run, and with its exit code;
/// whichever worker ends the run writes the reports that it was asked for itself. Ctrl-C stops this worker alone, and
/// what it had taken goes to the others.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet run fleet.csv --action allocate --ledger postgres://db.example/fleet     on one machine\n  \
    v6fleet work --ledger postgres://db.example/fleet                                on others\n  \
    v6fleet work --wait --ledger postgres://db.example/fleet                         on one that is there first\n\n\
    The ledger has to be a PostgreSQL database: one in a file is one process's.\n\n\
    Exit codes: the run's, and 7 where no run is under way.")]
pub struct WorkArgs {
    /// Run id, or the start of one [default: the latest that is under way]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,

    /// Where no run is under way, wait for one
    #[arg(long)]
    pub wait: bool,

    /// Most calls in flight of this worker
    #[arg(long, value_name = "N", default_value = "16", value_parser = slots)]
    pub concurrency: NonZeroU32,

    #[command(flatten)]
    pub reports: ReportingArgs,
    #[command(flatten)]
    pub access: AccessArgs,
}

/// Stop a run, whichever machines work on it
///
/// Each of its workers makes no new call, waits for those in flight, and ends as by SIGTERM; the run can be resumed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet stop --ledger postgres://db.example/fleet     the latest run that is under way\n\n\
    Exit codes: 0 once all who work on it are asked to stop, 7 where nobody does.")]
pub struct StopArgs {
    /// Run id, or the start of one [default: the latest that is under way]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
}
