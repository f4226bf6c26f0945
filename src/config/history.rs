//! `v6fleet history`.

use super::error::ConfigError;
use super::form::Form;
use super::ledger::LedgerSettings;
use crate::cli::{CommonArgs, HistoryArgs};

#[derive(Debug)]
pub(crate) struct HistorySettings {
    pub(crate) ledger: LedgerSettings,
    /// An id or a name.
    pub(crate) vm: String,
    pub(crate) form: Form,
}

impl HistorySettings {
    pub(super) fn of(common: &CommonArgs, typed: HistoryArgs) -> Result<Self, ConfigError> {
        let ledger = LedgerSettings::of(common, typed.reading.sandbox)?;
        Ok(Self { ledger, vm: typed.vm, form: Form::of(typed.reading.format) })
    }
}
