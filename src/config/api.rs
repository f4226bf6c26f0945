//! How the API is reached, and what stands in for it in a rehearsal.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::key::credential;
use crate::api::ProxyUrl;
use crate::cli::{AccessArgs, CallArgs, CallingArgs, RehearsalArgs};

/// How calls get to the API.
#[derive(Debug, Clone)]
pub(crate) struct ApiSettings {
    pub(crate) key_file: Option<PathBuf>,
    /// Certificates to trust beside the system's, as PEM.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<ProxyUrl>,
    /// Of one call.
    pub(crate) timeout: Duration,
    /// Of connecting.
    pub(crate) connect_timeout: Duration,
    /// Idle connections that are kept: as many as there may be calls at once.
    pub(crate) pool: usize,
    /// World file of a rehearsal; without one the built-in world takes in every VM.
    pub(crate) world: Option<PathBuf>,
}

impl ApiSettings {
    pub(super) fn of(CallingArgs { connection, pace, rehearsal, .. }: &CallingArgs) -> Self {
        Self::with_slots(pace.concurrency, &connection.access, &pace.call, rehearsal)
    }

    /// For so many calls at once.
    pub(super) fn with_slots(
        slots: NonZeroU32,
        access: &AccessArgs,
        call: &CallArgs,
        rehearsal: &RehearsalArgs,
    ) -> Self {
        Self {
            key_file: access.api_key_file.clone(),
            ca_file: access.ca_file.clone(),
            proxy: access.proxy.clone(),
            timeout: call.timeout,
            connect_timeout: call.connect_timeout,
            pool: slots.get() as usize,
            world: rehearsal.world.clone(),
        }
    }

    /// The files that are read, there or not.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let named = [&self.key_file, &self.ca_file, &self.world].into_iter().flatten().cloned();
        named.chain(credential())
    }
}
