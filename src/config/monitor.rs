//! Which monitor is told of a job.

use std::path::PathBuf;

use crate::api::{BaseUrl, ProxyUrl};
use crate::cli::{ConnectionArgs, RehearsalArgs, ReportingArgs};

/// The monitor, and the way to it: that of the API.
#[derive(Debug, Clone)]
pub(crate) struct MonitorSettings {
    pub(crate) url: Option<BaseUrl>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<ProxyUrl>,
    /// A rehearsal is no news for a monitor.
    pub(crate) sandbox: bool,
}

impl MonitorSettings {
    pub(super) fn of(
        reports: &ReportingArgs,
        connection: &ConnectionArgs,
        rehearsal: &RehearsalArgs,
    ) -> Self {
        Self {
            url: reports.ping_url.clone(),
            ca_file: connection.ca_file.clone(),
            proxy: connection.proxy.clone(),
            sandbox: rehearsal.sandbox,
        }
    }
}
