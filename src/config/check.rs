//! `v6fleet check`: the run that is checked, and all of its settings.

use super::environment;
use super::error::ConfigError;
use super::layers::Layers;
use super::run::RunSettings;
use super::setting::Setting;
use super::showing::places;
use crate::cli::{CheckArgs, CommonArgs};

#[derive(Debug)]
pub(crate) struct CheckSettings {
    pub(crate) run: RunSettings,
    /// None of them a secret.
    pub(crate) in_force: Vec<Setting>,
    /// What looks like a setting and is none.
    pub(crate) strangers: Vec<String>,
}

impl CheckSettings {
    pub(super) fn of(
        common: &CommonArgs,
        typed: CheckArgs,
        in_force: Vec<Setting>,
        layers: Layers,
    ) -> Result<Self, ConfigError> {
        let run = RunSettings::of_run(common, typed.run, &in_force, layers)?;
        let places = places(common, &run.ledger);
        let in_force = in_force.into_iter().chain(places).collect();
        Ok(Self { in_force, strangers: environment::warnings(), run })
    }
}
