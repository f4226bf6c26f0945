//! `v6fleet run`, `run --dry-run` and `plan`.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::{Map, Value};

use super::api::ApiSettings;
use super::calls::{CallSettings, looks};
use super::error::ConfigError;
use super::inventory::InventorySettings;
use super::layers::Layers;
use super::ledger::LedgerSettings;
use super::reporting::{FailOn, ReportingSettings};
use super::setting::{Setting, recorded};
use crate::api::BaseUrl;
use crate::brake::Threshold;
use crate::cli::{CommonArgs, JobArgs, RunArgs};
use crate::dialect::Dialect;
use crate::outcome::Kind;
use crate::shrink::Share;
use crate::vm::Action;

#[derive(Debug)]
pub(crate) struct RunSettings {
    pub(crate) kind: Kind,
    pub(crate) ledger: LedgerSettings,
    /// How long to wait for another run to end.
    pub(crate) lock_timeout: Duration,
    pub(crate) base_url: BaseUrl,
    pub(crate) dialect: Dialect,
    pub(crate) api: ApiSettings,
    pub(crate) inventory: InventorySettings,
    /// For every VM; `None` is each row's own.
    pub(crate) action: Option<Action>,
    /// For VMs whose row has none, where they may have none.
    pub(crate) spare_action: Option<Action>,
    /// Go on with the job's unfinished run, if there is one.
    pub(crate) resume: bool,
    pub(crate) max_shrink: Option<Share>,
    /// The run whose failed VMs are meant.
    pub(crate) only_failed: Option<String>,
    pub(crate) only_planned: Option<OnlyPlanned>,
    pub(crate) calls: CallSettings,
    pub(crate) reports: ReportingSettings,
    /// The options in force, by name, as the run records them.
    pub(crate) options: Map<String, Value>,
    /// The command line, word by word.
    pub(crate) typed: Vec<OsString>,
}

/// The plan whose changes are meant.
#[derive(Debug)]
pub(crate) struct OnlyPlanned {
    pub(crate) run: String,
    /// Since it began.
    pub(crate) max_age: Duration,
}

/// What runs, plans and the looks of an audit do not have in common.
#[derive(Debug, Default)]
pub(super) struct Particulars {
    pub(super) max_changed: Option<Threshold>,
    pub(super) fail_on: FailOn,
    pub(super) only_planned: Option<OnlyPlanned>,
    pub(super) spare_action: Option<Action>,
}

impl RunSettings {
    /// Of `run`, dry or not.
    pub(super) fn of_run(
        common: &CommonArgs,
        typed: RunArgs,
        in_force: &[Setting],
        layers: Layers,
    ) -> Result<Self, ConfigError> {
        let RunArgs { job, dry_run: _, max_changed, fail_on, only_planned, max_plan_age } = typed;
        let only_planned = only_planned.map(|run| OnlyPlanned { run, max_age: max_plan_age });
        let fail_on = fail_on.into();
        let particulars = Particulars { max_changed, fail_on, only_planned, ..Particulars::default() };
        Self::of(common, Kind::Run, job, particulars, in_force, layers)
    }

    pub(super) fn of(
        common: &CommonArgs,
        kind: Kind,
        typed: JobArgs,
        particulars: Particulars,
        in_force: &[Setting],
        layers: Layers,
    ) -> Result<Self, ConfigError> {
        let JobArgs { inventory, action, inventory_options, selection, calling, .. } = &typed;
        let Particulars { max_changed, fail_on, only_planned, spare_action } = particulars;
        let dialect = typed.endpoint.api;
        if (kind == Kind::Plan || only_planned.is_some()) && !dialect.can_look() {
            return Err(ConfigError::NothingToSee(dialect));
        }
        Ok(Self {
            kind,
            ledger: LedgerSettings::of(common, calling.rehearsal.sandbox)?,
            lock_timeout: calling.connection.lock_timeout,
            api: ApiSettings::of(calling),
            inventory: InventorySettings::of(
                inventory,
                dialect,
                inventory_options,
                selection,
                action.or(spare_action).is_some(),
            )?,
            action: *action,
            spare_action,
            resume: typed.resume,
            max_shrink: typed.max_shrink,
            calls: CallSettings::of(calling, max_changed, looks(kind, dialect)),
            reports: ReportingSettings::of(&calling.reports, &calling.end, fail_on)?,
            options: recorded(in_force),
            typed: layers.args,
            base_url: typed.endpoint.base_url,
            dialect,
            only_failed: typed.only_failed,
            only_planned,
        })
    }
}
