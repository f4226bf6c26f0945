//! `v6fleet audit`.

use std::num::NonZeroU32;

use super::error::ConfigError;
use super::form::Form;
use super::inventory::InventorySettings;
use super::layers::Layers;
use super::ledger::LedgerSettings;
use super::run::{Particulars, RunSettings};
use super::setting::Setting;
use crate::api::BaseUrl;
use crate::audit::Severity;
use crate::cli::{
    AuditArgs, CallingArgs, CommonArgs, EndArgs, EndpointArgs, JobArgs, ReportingArgs, TypedNotifyOn,
    TypedProgress,
};
use crate::dialect::Dialect;
use crate::outcome::Kind;
use crate::report::ReportFile;
use crate::report::audit::Format;
use crate::vm::Action;

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
    /// The looks that come first.
    pub(crate) live: Option<Box<RunSettings>>,
}

/// The audit's own options, which are none of its looks'.
const OWN: [&str; 6] = ["output", "format", "live", "max-age", "min-severity", "whole-fleet"];

/// The option that has a run write no reports.
const NO_REPORTS: (&str, &str) = ("output-dir", "none");

impl AuditSettings {
    pub(super) fn of(
        common: &CommonArgs,
        typed: AuditArgs,
        in_force: &[Setting],
        layers: Layers,
    ) -> Result<Self, ConfigError> {
        let live = typed.live.then(|| looks(common, &typed, in_force, layers)).transpose()?;
        let (options, selection) = (&typed.inventory_options, &typed.selection);
        let EndpointArgs { base_url, api: dialect } = typed.endpoint;
        Ok(Self {
            ledger: LedgerSettings::of(common, typed.rehearsal.sandbox)?,
            // An audit changes nothing: rows need no action.
            inventory: InventorySettings::of(&typed.inventory, dialect, options, selection, true)?,
            base_url,
            dialect,
            max_age_days: typed.max_age,
            min_severity: typed.min_severity,
            whole_fleet: typed.whole_fleet,
            files: typed.output.into_iter().map(ReportFile::named).collect::<Result<_, _>>()?,
            form: Form::of(typed.format),
            live: live.map(Box::new),
        })
    }
}

/// A plan for each row's own action, else for `allocate`, of which no report is written.
fn looks(
    common: &CommonArgs,
    typed: &AuditArgs,
    in_force: &[Setting],
    layers: Layers,
) -> Result<RunSettings, ConfigError> {
    let particulars = Particulars { spare_action: Some(Action::Allocate), ..Particulars::default() };
    let mut settings = RunSettings::of(common, Kind::Plan, plan(typed), particulars, in_force, layers)?;
    settings.options.retain(|name, _| !OWN.contains(&name.as_str()));
    let (name, none) = NO_REPORTS;
    settings.options.insert(name.to_owned(), none.into());
    Ok(settings)
}

fn plan(typed: &AuditArgs) -> JobArgs {
    JobArgs {
        inventory: typed.inventory.clone(),
        action: None,
        resume: false,
        endpoint: typed.endpoint.clone(),
        inventory_options: typed.inventory_options.clone(),
        max_shrink: None,
        selection: typed.selection.clone(),
        only_failed: None,
        calling: CallingArgs {
            pace: typed.pace.clone(),
            brakes: typed.brakes.clone(),
            reports: ReportingArgs {
                output: vec![],
                output_dir: NO_REPORTS.1.into(),
                format: typed.format,
                progress: TypedProgress::Auto,
                ping_url: None,
                notify_url: vec![],
                notify_on: TypedNotifyOn::Trouble,
            },
            end: EndArgs { detailed_exitcode: false, keep_runs: NonZeroU32::MAX },
            connection: typed.connection.clone(),
            rehearsal: typed.rehearsal.clone(),
        },
    }
}
