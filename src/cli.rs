//! What was typed: clap types, no I/O.
//!
//! Every option of `run` is also an environment variable and a key of the configuration file;
//! clap itself gives them their order: flag, environment, file, default. What is meant by it all is `config`'s to say.

#![expect(clippy::doc_markdown, reason = "doc comments here are help texts")]

mod arguments;
mod audit;
mod check;
mod config;
mod history;
mod inventory;
mod ledger;
mod listing;
mod manual;
mod options;
mod report;
mod run;
mod sandbox;
mod sections;
mod status;
mod values;
mod work;

pub use arguments::{Cli, Command, CommonArgs};
pub use audit::AuditArgs;
pub use check::CheckArgs;
pub use config::ConfigArgs;
pub use history::{DiffArgs, HistoryArgs, ReadingArgs, RunsArgs};
pub use inventory::{InventoryArgs, SelectionArgs};
pub use ledger::{CopyArgs, LedgerArgs, LedgerCommand};
pub use listing::ListingArgs;
pub use manual::{UnknownCommand, manual};
pub use options::{
    ENV, command, is_configurable, near_option, short_of, variable, variables, with_default, with_recorded,
};
pub use report::ReportArgs;
pub use run::{
    AccessArgs, BrakeArgs, CallArgs, CallingArgs, ConnectionArgs, EndArgs, EndpointArgs, JobArgs, OUTPUT_DIR,
    PaceArgs, PlanArgs, RehearsalArgs, ReportingArgs, ResumeArgs, RunArgs,
};
pub use sandbox::{
    SandboxArgs, TypedLimitKind, TypedRateLimitForm, TypedRateLimitHeaders, TypedRetryAfter, TypedTimestamps,
};
pub use status::StatusArgs;
pub use values::{LogFormat, RecapFormat, TypedFailOn, TypedListFormat, TypedNotifyOn, TypedProgress};
pub use work::{StopArgs, WorkArgs};
