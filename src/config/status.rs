//! `v6fleet status`.

use super::error::ConfigError;
use super::form::Form;
use super::ledger::LedgerSettings;
use crate::cli::{CommonArgs, StatusArgs};

#[derive(Debug)]
pub(crate) struct StatusSettings {
    pub(crate) ledger: LedgerSettings,
    /// `None`: the one that is under way, else the last one.
    pub(crate) run: Option<String>,
    /// Again and again, until it has ended.
    pub(crate) watch: bool,
    pub(crate) form: Form,
}

impl StatusSettings {
    pub(super) fn of(common: &CommonArgs, typed: StatusArgs) -> Result<Self, ConfigError> {
        let ledger = LedgerSettings::of(common, typed.reading.sandbox)?;
        Ok(Self { ledger, run: typed.run, watch: typed.watch, form: Form::of(typed.reading.format) })
    }
}
