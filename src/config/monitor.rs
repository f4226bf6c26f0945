//! Which monitor is told of a job.

use std::path::PathBuf;

use crate::api::{BaseUrl, ProxyUrl};
use crate::cli::Command;

/// The monitor, and the way to it: that of the API.
#[derive(Debug, Clone)]
pub(crate) struct MonitorSettings {
    pub(crate) url: BaseUrl,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<ProxyUrl>,
    /// A rehearsal is no news for a monitor.
    pub(crate) sandbox: bool,
}

impl MonitorSettings {
    /// `None` where nobody is to be told: none was named, or the command calls nothing.
    pub(super) fn of(command: &Command) -> Option<Self> {
        let calling = match command {
            Command::Run(run) if !run.dry_run => &run.job.calling,
            Command::Plan(plan) => &plan.job.calling,
            Command::Resume(resume) => &resume.calling,
            Command::Run(_)
            | Command::Inventory(_)
            | Command::Report(_)
            | Command::Runs(_)
            | Command::History(_)
            | Command::Diff(_)
            | Command::Audit(_)
            | Command::Ledger(_)
            | Command::Sandbox(_)
            | Command::Check(_)
            | Command::Config(_)
            | Command::Completions { .. }
            | Command::Man { .. } => return None,
        };
        Some(Self {
            url: calling.reports.ping_url.clone()?,
            ca_file: calling.connection.access.ca_file.clone(),
            proxy: calling.connection.access.proxy.clone(),
            sandbox: calling.rehearsal.sandbox,
        })
    }
}
