//! Who is told of a job: a monitor, and webhooks.

use std::path::PathBuf;

use crate::api::{BaseUrl, ProxyUrl, WebhookUrl};
use crate::cli::{AccessArgs, CallingArgs, Command, ReportingArgs, TypedNotifyOn};

/// The monitor and the webhooks, and the way to them: that of the API.
#[derive(Debug, Clone)]
pub(crate) struct MonitorSettings {
    pub(crate) ping: Option<BaseUrl>,
    /// They are told how the job ended.
    pub(crate) webhooks: Vec<WebhookUrl>,
    pub(crate) notify_on: NotifyOn,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<ProxyUrl>,
    /// A rehearsal is no news for a monitor.
    pub(crate) sandbox: bool,
}

/// After which jobs the webhooks are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotifyOn {
    /// Those that did not end with 0.
    Trouble,
    Always,
}

impl MonitorSettings {
    /// `None` where nobody is to be told: none was named, or the command calls nothing.
    pub(super) fn of(command: &Command) -> Option<Self> {
        let (reports, access, sandbox) = match command {
            Command::Run(run) if !run.dry_run => parts(&run.job.calling),
            Command::Plan(plan) => parts(&plan.job.calling),
            Command::Resume(resume) => parts(&resume.calling),
            Command::Work(work) => (&work.reports, &work.access, false),
            Command::Run(_)
            | Command::Inventory(_)
            | Command::Stop(_)
            | Command::Report(_)
            | Command::Status(_)
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
        let ReportingArgs { ping_url, notify_url, notify_on, .. } = reports;
        let is_anybody_told = ping_url.is_some() || !notify_url.is_empty();
        is_anybody_told.then(|| Self {
            ping: ping_url.clone(),
            webhooks: notify_url.clone(),
            notify_on: match notify_on {
                TypedNotifyOn::Trouble => NotifyOn::Trouble,
                TypedNotifyOn::Always => NotifyOn::Always,
            },
            ca_file: access.ca_file.clone(),
            proxy: access.proxy.clone(),
            sandbox,
        })
    }
}

fn parts(calling: &CallingArgs) -> (&ReportingArgs, &AccessArgs, bool) {
    (&calling.reports, &calling.connection.access, calling.rehearsal.sandbox)
}
