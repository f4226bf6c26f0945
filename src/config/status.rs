//! `v6fleet status`.

use super::error::ConfigError;
use super::form::Form;
use super::ledger::LedgerSettings;
use super::setting::{Setting, Source};
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
    pub(super) fn of(
        common: &CommonArgs,
        typed: StatusArgs,
        in_force: &[Setting],
    ) -> Result<Self, ConfigError> {
        let StatusArgs { run, watch, reading } = typed;
        if watch && in_force.iter().any(|setting| setting.name == "format" && setting.source == Source::Flag)
        {
            return Err(ConfigError::FormatBesideWatch);
        }
        let ledger = LedgerSettings::of(common, reading.sandbox)?;
        // A form that was set for runs is nobody's who watches.
        let form = if watch { Form::Text } else { Form::of(reading.format) };
        Ok(Self { ledger, run, watch, form })
    }
}
