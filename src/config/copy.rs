//! `v6fleet ledger copy`.

use super::error::ConfigError;
use super::setting::{Setting, Source};
use crate::cli::CopyArgs;
use crate::ledger::Location;

/// From where a ledger is copied, and to where.
#[derive(Debug)]
pub(crate) struct CopySettings {
    pub(crate) from: Location,
    pub(crate) to: Location,
}

impl CopySettings {
    pub(super) fn of(typed: &CopyArgs, in_force: &[Setting]) -> Result<Self, ConfigError> {
        // The environment and the file speak of other commands too.
        if in_force.iter().any(|setting| setting.name == "ledger" && setting.source == Source::Flag) {
            return Err(ConfigError::LedgerBesideCopy);
        }
        let CopyArgs { from, to } = typed;
        Ok(Self { from: Location::of(from)?, to: Location::of(to)? })
    }
}
