//! A rehearsal: the embedded API stands in for the real one, and nothing else is called.

use std::path::{Path, PathBuf};

use tracing::info;

use super::access::Access;
use super::failure::Refusal;
use crate::api::Api;
use crate::dialect::Dialect;
use crate::ledger::beside;
use crate::sandbox::{Running, Sandbox, Settings, World};

/// The API that a run calls.
pub(super) struct Callee {
    pub(super) api: Api,
    #[expect(dead_code, reason = "the server lasts as long as this")]
    rehearsal: Option<Running>,
}

impl Callee {
    pub(super) fn real(api: Api) -> Self {
        Self { api, rehearsal: None }
    }

    /// Starts the embedded API; what it remembers lies in that file, or ends with it.
    pub(super) fn embedded(
        access: &Access<'_>,
        memory: Option<PathBuf>,
        world: World,
        dialect: Dialect,
    ) -> Result<Self, Refusal> {
        let settings = Settings { state: memory, seed: fastrand::u64(..), ..Settings::default() };
        let running = Sandbox::start(settings, world).map_err(Refusal::usage)?;
        let url = running.base_url();
        info!(url, "rehearsal: the embedded API answers, and nothing else is called");
        let api = access.api(&url.parse().map_err(Refusal::usage)?, dialect)?;
        Ok(Self { api, rehearsal: Some(running) })
    }
}

/// Where what a rehearsal has brought about outlasts it: beside the ledger.
pub(super) fn memory(ledger: &Path) -> PathBuf {
    beside(ledger, ".world")
}

/// The world that a rehearsal is played in: that of a file, else the built-in one.
pub(super) fn world(file: Option<&Path>) -> Result<World, Refusal> {
    file.map_or_else(|| Ok(World::built_in()), World::read).map_err(Refusal::usage)
}
