//! The way to the API: its key, the certificates to trust, and a client of it.

use std::fs;
use std::path::Path;

use tracing::{info, warn};

use super::failure::Refusal;
use crate::api::{Api, BaseUrl, Endpoint};
use crate::config::{ApiKey, ApiSettings};
use crate::dialect::Dialect;

/// What it takes to call the API.
pub(super) struct Access<'a> {
    settings: &'a ApiSettings,
    key: ApiKey,
    fingerprint: Option<String>,
}

impl<'a> Access<'a> {
    /// Finds the key; a rehearsal has one of its own.
    pub(super) fn find(settings: &'a ApiSettings, sandbox: bool) -> Result<Self, Refusal> {
        let key = match sandbox {
            true => ApiKey::of_sandbox(),
            false => ApiKey::find(settings.key_file.as_deref())?,
        };
        if key.is_exposed() {
            warn!(file = key.source, "everybody on this machine may read the API key file");
        }
        let access = Self::with(settings, key, sandbox);
        if let Some(fingerprint) = &access.fingerprint {
            info!(source = access.key.source, fingerprint, "API key");
        }
        Ok(access)
    }

    /// With this key, of which nothing is said.
    pub(super) fn with(settings: &'a ApiSettings, key: ApiKey, sandbox: bool) -> Self {
        let fingerprint = (!sandbox).then(|| key.fingerprint());
        Self { settings, key, fingerprint }
    }

    /// Of the key; a rehearsal's has none.
    pub(super) fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    pub(super) fn api(&self, base_url: &BaseUrl, dialect: Dialect) -> Result<Api, Refusal> {
        let ApiSettings { ca_file, proxy, timeout, connect_timeout, pool, .. } = self.settings;
        let endpoint = Endpoint {
            base_url: base_url.clone(),
            dialect,
            key: self.key.secret.clone(),
            timeout: *timeout,
            connect_timeout: *connect_timeout,
            pool: *pool,
            extra_roots: extra_roots(ca_file.as_deref())?,
            proxy: proxy.clone(),
        };
        Ok(Api::new(&endpoint)?)
    }
}

/// The certificates to trust beside the system's.
pub(super) fn extra_roots(ca_file: Option<&Path>) -> Result<Option<Vec<u8>>, Refusal> {
    let read = |path: &Path| fs::read(path).map_err(|error| Refusal::unusable("--ca-file", path, error));
    ca_file.map(read).transpose()
}
