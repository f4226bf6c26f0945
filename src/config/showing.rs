//! `v6fleet config`: every setting in force.

use std::path::Path;

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
        settings.extend(places(common, &ledger));
        if !sandbox {
            settings.push(key(ApiKey::find(calling.connection.access.api_key_file.as_deref())));
        }
        Ok(Self { settings, form: Form::of(calling.reports.format) })
    }
}

/// The files that nobody named.
pub(super) fn places(common: &CommonArgs, ledger: &LedgerSettings) -> Vec<Setting> {
    let by_default = |name: &str, file: &Path| Setting::by_default(name, escape_path(file));
    let own = ledger.location.file().filter(|_| common.ledger.is_none());
    let config = ledger.config_file.as_deref().filter(|file| common.config.is_none() && file.exists());
    let own = own.map(|file| by_default("ledger", file));
    own.into_iter().chain(config.map(|file| by_default("config", file))).collect()
}

/// Where the key was found, or why none was.
fn key(found: Result<ApiKey, ConfigError>) -> Setting {
    let (value, source) = match found {
        Ok(key) => (format!("fingerprint {}", key.fingerprint()), Source::Elsewhere(key.source)),
        Err(error) => (error.to_string(), Source::Nowhere),
    };
    Setting { name: "api-key".into(), values: vec![value], source, is_switch: false }
}
