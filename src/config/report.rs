//! `v6fleet report`.

use super::error::ConfigError;
use super::form::Form;
use super::ledger::LedgerSettings;
use crate::cli::{CommonArgs, ReportArgs};
use crate::report::{Format, ReportFile};

#[derive(Debug)]
pub(crate) struct ReportSettings {
    pub(crate) ledger: LedgerSettings,
    /// As typed.
    pub(crate) run: String,
    pub(crate) files: Vec<ReportFile<Format>>,
    pub(crate) recap: Form,
}

impl ReportSettings {
    pub(super) fn of(common: &CommonArgs, typed: ReportArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            ledger: LedgerSettings::of(common, typed.sandbox)?,
            run: typed.run,
            files: typed.output.into_iter().map(ReportFile::named).collect::<Result<_, _>>()?,
            recap: Form::of(typed.format),
        })
    }
}
