//! `v6fleet history`.

use super::error::ConfigError;
use super::form::Form;
use super::ledger::LedgerSettings;
use crate::cli::{CommonArgs, HistoryArgs};
use crate::vm::VmId;

#[derive(Debug)]
pub(crate) struct HistorySettings {
    pub(crate) ledger: LedgerSettings,
    pub(crate) vm: VmId,
    pub(crate) form: Form,
}

impl HistorySettings {
    pub(super) fn of(common: &CommonArgs, typed: HistoryArgs) -> Result<Self, ConfigError> {
        let ledger = LedgerSettings::of(common, typed.reading.sandbox)?;
        Ok(Self { ledger, vm: typed.vmid, form: Form::of(typed.reading.format) })
    }
}
