//! `v6fleet audit`.

use super::error::ConfigError;
use super::form::Form;
use super::inventory::InventorySettings;
use super::ledger::LedgerSettings;
use crate::api::BaseUrl;
use crate::audit::Severity;
use crate::cli::{AuditArgs, CommonArgs, EndpointArgs};
use crate::dialect::Dialect;
use crate::report::ReportFile;
use crate::report::audit::Format;

#[derive(Debug)]
pub(crate) struct AuditSettings {
    pub(crate) ledger: LedgerSettings,
    pub(crate) inventory: InventorySettings,
    /// Where the VMs were seen, but for a rehearsal's.
    pub(crate) base_url: BaseUrl,
    pub(crate) dialect: Dialect,
    pub(crate) max_age_days: u32,
    /// Findings that are less bad are left out.
    pub(crate) min_severity: Severity,
    pub(crate) whole_fleet: bool,
    pub(crate) files: Vec<ReportFile<Format>>,
    pub(crate) form: Form,
}

impl AuditSettings {
    pub(super) fn of(common: &CommonArgs, typed: AuditArgs) -> Result<Self, ConfigError> {
        let (options, selection) = (&typed.inventory_options, &typed.selection);
        let EndpointArgs { base_url, api: dialect } = typed.endpoint;
        Ok(Self {
            ledger: LedgerSettings::of(common, typed.reading.sandbox)?,
            // An audit calls nothing: rows need no action.
            inventory: InventorySettings::of(&typed.inventory, dialect, options, selection, true)?,
            base_url,
            dialect,
            max_age_days: typed.max_age,
            min_severity: typed.min_severity,
            whole_fleet: typed.whole_fleet,
            files: typed.output.into_iter().map(ReportFile::named).collect::<Result<_, _>>()?,
            form: Form::of(typed.reading.format),
        })
    }
}
