//! `v6fleet ledger copy`.

use super::error::ConfigError;
use crate::cli::CopyArgs;
use crate::ledger::Location;

/// From where a ledger is copied, and to where.
#[derive(Debug)]
pub(crate) struct CopySettings {
    pub(crate) from: Location,
    pub(crate) to: Location,
}

impl CopySettings {
    pub(super) fn of(typed: &CopyArgs) -> Result<Self, ConfigError> {
        let CopyArgs { from, to } = typed;
        Ok(Self { from: Location::of(from)?, to: Location::of(to)? })
    }
}
