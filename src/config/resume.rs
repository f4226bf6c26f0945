//! `v6fleet resume`: which run, and, once that is known, how it goes on.

use std::time::Duration;

use serde_json::{Map, Value};

use super::api::ApiSettings;
use super::calls::{CallSettings, looks};
use super::error::ConfigError;
use super::layers::{Layers, Parsed};
use super::ledger::LedgerSettings;
use super::reporting::ReportingSettings;
use super::setting::recorded;
use crate::cli::{Command, CommonArgs, ResumeArgs};
use crate::dialect::Dialect;
use crate::outcome::Kind;

/// What is known before the run is found.
#[derive(Debug)]
pub(crate) struct ResumeRequest {
    /// As typed; `None` is the latest unfinished one.
    pub(crate) run: Option<String>,
    pub(crate) ledger: LedgerSettings,
    /// How long to wait for another run to end.
    pub(crate) lock_timeout: Duration,
    layers: Layers,
}

/// How a run goes on.
#[derive(Debug)]
pub(crate) struct ResumeSettings {
    pub(crate) api: ApiSettings,
    pub(crate) calls: CallSettings,
    pub(crate) reports: ReportingSettings,
    /// The options in force, by name, as the run records them.
    pub(crate) options: Map<String, Value>,
}

impl ResumeRequest {
    pub(super) fn of(common: &CommonArgs, typed: ResumeArgs, layers: Layers) -> Result<Self, ConfigError> {
        Ok(Self {
            ledger: LedgerSettings::of(common, typed.calling.rehearsal.sandbox)?,
            lock_timeout: typed.calling.connection.lock_timeout,
            run: typed.run,
            layers,
        })
    }

    /// The run's own options stand in for those that are not given anew.
    pub(crate) fn over_recorded(
        &self,
        options: &Map<String, Value>,
        kind: Kind,
        dialect: Dialect,
    ) -> Result<ResumeSettings, ConfigError> {
        let Parsed { cli, in_force } = self.layers.over_recorded(options)?;
        let Command::Resume(typed) = cli.command else {
            return Err(ConfigError::NotAResume);
        };
        Ok(ResumeSettings {
            api: ApiSettings::of(&typed.calling),
            calls: CallSettings::of(&typed.calling, typed.max_changed, looks(kind, dialect)),
            reports: ReportingSettings::of(&typed.calling.reports, &typed.calling.end, typed.fail_on.into())?,
            options: recorded(&in_force),
        })
    }
}
