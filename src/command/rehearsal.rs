//! A rehearsal: the embedded API stands in for the real one, and nothing else is called.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tracing::info;

use super::access::Access;
use super::failure::Refusal;
use crate::api::{Api, BaseUrl};
use crate::dialect::Dialect;
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

    /// Starts the embedded API; what it remembers stays in `state`.
    pub(super) fn embedded(
        access: &Access<'_>,
        state: Option<&Path>,
        world: World,
        dialect: Dialect,
    ) -> Result<Self, Refusal> {
        if let Some(directory) = state.and_then(Path::parent).filter(|directory| *directory != "") {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Refusal::usage)?;
        }
        let (running, url) = serve(state, world)?;
        let api = access.api(&url, dialect)?;
        Ok(Self { api, rehearsal: Some(running) })
    }
}

/// Starts the embedded API, which serves as long as what is returned lasts.
pub(super) fn serve(state: Option<&Path>, world: World) -> Result<(Running, BaseUrl), Refusal> {
    let settings =
        Settings { state: state.map(Path::to_owned), seed: fastrand::u64(..), ..Settings::default() };
    let running = Sandbox::start(settings, world).map_err(Refusal::usage)?;
    let url = running.base_url();
    info!(url, "rehearsal: the embedded API answers, and nothing else is called");
    let url = url.parse().map_err(Refusal::usage)?;
    Ok((running, url))
}

/// The world that a run which is gone on with is rehearsed in.
#[derive(Clone, Copy)]
pub(super) struct Played<'a> {
    /// Without one, the built-in world takes in the run's VMs.
    pub(super) file: Option<&'a Path>,
    /// Where it is remembered.
    pub(super) state: Option<&'a Path>,
}

/// The world that a rehearsal is played in: that of a file, else the built-in one.
pub(super) fn world(file: Option<&Path>) -> Result<World, Refusal> {
    file.map_or_else(|| Ok(World::built_in()), World::read).map_err(Refusal::usage)
}
