//! `v6fleet diff`.

use super::error::ConfigError;
use super::form::Form;
use super::inventory::SelectionSettings;
use super::ledger::LedgerSettings;
use crate::cli::{CommonArgs, DiffArgs};
use crate::report::ReportFile;
use crate::report::diff::Format;

#[derive(Debug)]
pub(crate) struct DiffSettings {
    pub(crate) ledger: LedgerSettings,
    /// As typed.
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) selection: SelectionSettings,
    pub(crate) files: Vec<ReportFile<Format>>,
    pub(crate) form: Form,
}

impl DiffSettings {
    pub(super) fn of(common: &CommonArgs, typed: DiffArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            ledger: LedgerSettings::of(common, typed.reading.sandbox)?,
            from: typed.from,
            to: typed.to,
            selection: SelectionSettings::of(&typed.selection, None),
            files: typed.output.into_iter().map(ReportFile::named).collect::<Result<_, _>>()?,
            form: Form::of(typed.reading.format),
        })
    }
}
