//! `v6fleet work` and `v6fleet stop`: which run, and, once that is known, how this worker carries it out.

use serde_json::{Map, Value};

use super::api::ApiSettings;
use super::calls::{CallSettings, looks};
use super::error::ConfigError;
use super::layers::Layers;
use super::ledger::LedgerSettings;
use super::reporting::ReportingSettings;
use crate::cli::{Command, CommonArgs, StopArgs, WorkArgs};
use crate::dialect::Dialect;
use crate::outcome::Kind;

/// What all workers of a run go by, as it was begun.
const OF_THE_RUN: [&str; 15] = [
    "rate",
    "max-attempts",
    "timeout",
    "connect-timeout",
    "max-wait",
    "rack-concurrency",
    "deadline",
    "lease",
    "canary",
    "max-failed",
    "max-changed",
    "max-drift",
    "fail-on",
    "detailed-exitcode",
    "keep-runs",
];

/// What is known before the run is found.
#[derive(Debug)]
pub(crate) struct WorkRequest {
    /// As typed; `None` is the latest that is under way.
    pub(crate) run: Option<String>,
    /// Wait for one where there is none.
    pub(crate) wait: bool,
    pub(crate) ledger: LedgerSettings,
    typed: WorkArgs,
}

/// How this worker carries the run out.
#[derive(Debug)]
pub(crate) struct WorkSettings {
    pub(crate) api: ApiSettings,
    pub(crate) calls: CallSettings,
    pub(crate) reports: ReportingSettings,
}

impl WorkRequest {
    pub(super) fn of(common: &CommonArgs, typed: WorkArgs) -> Result<Self, ConfigError> {
        let ledger = LedgerSettings::of(common, false)?;
        Ok(Self { run: typed.run.clone(), wait: typed.wait, ledger, typed })
    }

    /// Of a run with these options.
    pub(crate) fn of_run(
        &self,
        options: &Map<String, Value>,
        kind: Kind,
        dialect: Dialect,
    ) -> Result<WorkSettings, ConfigError> {
        let Command::Resume(mut run) = Layers::as_typed(options, &OF_THE_RUN)?.cli.command else {
            return Err(ConfigError::NotAResume);
        };
        let WorkArgs { concurrency, reports, access, .. } = &self.typed;
        run.calling.pace.concurrency = *concurrency;
        run.calling.connection.access = access.clone();
        Ok(WorkSettings {
            api: ApiSettings::of(&run.calling),
            calls: CallSettings::of(&run.calling, run.max_changed, looks(kind, dialect)),
            reports: ReportingSettings::of(reports, &run.calling.end, run.fail_on.into())?,
        })
    }
}

/// Which run is to be stopped.
#[derive(Debug)]
pub(crate) struct StopSettings {
    /// As typed; `None` is the latest that is under way.
    pub(crate) run: Option<String>,
    pub(crate) ledger: LedgerSettings,
}

impl StopSettings {
    pub(super) fn of(common: &CommonArgs, typed: StopArgs) -> Result<Self, ConfigError> {
        Ok(Self { run: typed.run, ledger: LedgerSettings::of(common, false)? })
    }
}
