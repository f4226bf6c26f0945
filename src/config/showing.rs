//! `v6fleet config`: every setting in force.

use super::error::ConfigError;
use super::form::Form;
use super::key::ApiKey;
use super::ledger::LedgerSettings;
use super::setting::{Setting, Source};
use crate::cli::{CommonArgs, ConfigArgs};
use crate::text::escape_path;

/// Settings to be shown, none of them a secret.
#[derive(Debug)]
pub(crate) struct Showing {
    pub(crate) settings: Vec<Setting>,
    pub(crate) form: Form,
}

impl Showing {
    pub(super) fn of(
        common: &CommonArgs,
        typed: &ConfigArgs,
        mut settings: Vec<Setting>,
    ) -> Result<Self, ConfigError> {
        let calling = &typed.run.job.calling;
        let sandbox = calling.rehearsal.sandbox;
        let ledger = LedgerSettings::of(common, sandbox)?;
        if let (None, Some(file)) = (&common.ledger, ledger.location.file()) {
            settings.push(Setting::by_default("ledger", escape_path(file)));
        }
        if let Some(file) = ledger.config_file.filter(|file| common.config.is_none() && file.exists()) {
            settings.push(Setting::by_default("config", escape_path(&file)));
        }
        if !sandbox {
            settings.push(key(ApiKey::find(calling.connection.access.api_key_file.as_deref())));
        }
        Ok(Self { settings, form: Form::of(calling.reports.format) })
    }
}

/// Where the key was found, or why none was.
fn key(found: Result<ApiKey, ConfigError>) -> Setting {
    let (value, source) = match found {
        Ok(key) => (format!("fingerprint {}", key.fingerprint()), Source::Elsewhere(key.source)),
        Err(error) => (error.to_string(), Source::Nowhere),
    };
    Setting { name: "api-key".into(), values: vec![value], source, is_switch: false }
}
