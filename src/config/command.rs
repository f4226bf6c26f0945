//! What is to be done: one command, with its settings.

use super::audit::AuditSettings;
use super::check::CheckSettings;
use super::copy::CopySettings;
use super::diff::DiffSettings;
use super::error::ConfigError;
use super::history::HistorySettings;
use super::layers::{Layers, Parsed};
use super::listing::ListingSettings;
use super::report::ReportSettings;
use super::resume::ResumeRequest;
use super::run::{Particulars, RunSettings};
use super::runs::RunsSettings;
use super::sandbox::SandboxSettings;
use super::showing::Showing;
use super::status::StatusSettings;
use super::work::{StopSettings, WorkRequest};
use crate::cli::{self, Cli};
use crate::outcome::Kind;

#[derive(Debug)]
pub(crate) enum Command {
    Run(Box<RunSettings>),
    DryRun(Box<RunSettings>),
    Resume(Box<ResumeRequest>),
    Work(Box<WorkRequest>),
    Stop(StopSettings),
    Inventory(Box<ListingSettings>),
    Report(ReportSettings),
    Status(StatusSettings),
    Runs(RunsSettings),
    History(HistorySettings),
    Diff(Box<DiffSettings>),
    Audit(Box<AuditSettings>),
    Copy(CopySettings),
    Sandbox(Box<SandboxSettings>),
    Check(Box<CheckSettings>),
    Config(Showing),
    /// For the shell of this name.
    Completions(String),
    /// Of one command, or of the whole program.
    Man(Option<String>),
}

impl Command {
    pub(super) fn of(parsed: Parsed, layers: Layers) -> Result<Self, ConfigError> {
        let Parsed { cli: Cli { common, command }, in_force } = parsed;
        Ok(match command {
            cli::Command::Run(typed) => {
                let is_dry = typed.dry_run;
                let settings = RunSettings::of_run(&common, *typed, &in_force, layers)?.into();
                if is_dry { Self::DryRun(settings) } else { Self::Run(settings) }
            }
            cli::Command::Plan(typed) => Self::Run(
                RunSettings::of(&common, Kind::Plan, typed.job, Particulars::default(), &in_force, layers)?
                    .into(),
            ),
            cli::Command::Resume(typed) => Self::Resume(ResumeRequest::of(&common, *typed, layers)?.into()),
            cli::Command::Work(typed) => Self::Work(WorkRequest::of(&common, *typed)?.into()),
            cli::Command::Stop(typed) => Self::Stop(StopSettings::of(&common, typed)?),
            cli::Command::Inventory(typed) => Self::Inventory(ListingSettings::of(&common, *typed)?.into()),
            cli::Command::Report(typed) => Self::Report(ReportSettings::of(&common, typed)?),
            cli::Command::Status(typed) => Self::Status(StatusSettings::of(&common, typed, &in_force)?),
            cli::Command::Runs(typed) => Self::Runs(RunsSettings::of(&common, typed)?),
            cli::Command::History(typed) => Self::History(HistorySettings::of(&common, typed)?),
            cli::Command::Diff(typed) => Self::Diff(DiffSettings::of(&common, typed)?.into()),
            cli::Command::Audit(typed) => {
                Self::Audit(AuditSettings::of(&common, *typed, &in_force, layers)?.into())
            }
            cli::Command::Ledger(typed) => {
                let cli::LedgerCommand::Copy(typed) = typed.command;
                Self::Copy(CopySettings::of(&typed, &in_force)?)
            }
            cli::Command::Sandbox(typed) => Self::Sandbox(SandboxSettings::of(*typed)?.into()),
            cli::Command::Check(typed) => {
                Self::Check(CheckSettings::of(&common, *typed, in_force, layers)?.into())
            }
            cli::Command::Config(typed) => Self::Config(Showing::of(&common, &typed, in_force)?),
            cli::Command::Completions { shell } => Self::Completions(shell.to_string()),
            cli::Command::Man { command } => Self::Man(command),
        })
    }
}
