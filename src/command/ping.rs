//! A job of which a monitor is told, where one was named.

use tracing::{info, warn};

use super::target::extra_roots;
use super::{CommandError, in_words};
use crate::cli::{ConnectionArgs, RehearsalArgs, ReportingArgs};
use crate::ping::{Ping, Route};

/// A job that came to its end.
pub(super) struct Ended {
    pub(super) exit_code: u8,
    /// `None` where it had to be out at once.
    pub(super) recap: Option<String>,
}

/// Does the job, and tells the monitor when it begins and how it ended. Returns the exit code.
pub(super) fn pinged(
    reports: &ReportingArgs,
    connection: &ConnectionArgs,
    rehearsal: &RehearsalArgs,
    job: impl FnOnce() -> Result<Ended, CommandError>,
) -> Result<u8, CommandError> {
    let ping = begin(reports, connection, rehearsal);
    let ended = job();
    let told = match &ended {
        Ok(Ended { exit_code, recap }) => recap.clone().map(|recap| (*exit_code, recap)),
        Err(error) => Some((error.exit_code, format!("error: {}\n", in_words(&error.error)))),
    };
    if let (Some(ping), Some((exit_code, recap))) = (ping, told) {
        ping.end(exit_code, recap);
    }
    ended.map(|ended| ended.exit_code)
}

fn begin(reports: &ReportingArgs, connection: &ConnectionArgs, rehearsal: &RehearsalArgs) -> Option<Ping> {
    let url = reports.ping_url.as_ref()?;
    if rehearsal.sandbox {
        info!("rehearsal: the monitor is not told");
        return None;
    }
    let begun = extra_roots(connection).and_then(|roots| {
        let proxy = connection.proxy.as_ref();
        Ok(Ping::begin(Route { url, proxy, extra_roots: roots.as_deref() })?)
    });
    begun
        .inspect_err(|error| warn!(error = in_words(&error.error), "the monitor is not told of this job"))
        .ok()
}
