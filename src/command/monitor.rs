//! A job of which a monitor is told, where one was named.

use tracing::{info, warn};

use super::access::extra_roots;
use super::execution::Ended;
use super::failure::{Failure, Refusal};
use crate::config::MonitorSettings;
use crate::ping::{Ping, Route};

/// Does the job, and tells the monitor, if there is one, when it begins and how it ended. Returns the exit code.
pub(super) fn monitored(
    monitor: Option<&MonitorSettings>,
    job: impl FnOnce() -> Result<Ended, Failure>,
) -> Result<u8, Failure> {
    let ping = monitor.and_then(begin);
    let ended = job();
    let end = match &ended {
        Ok(Ended { exit_code, recap }) => recap.clone().map(|recap| (*exit_code, recap)),
        Err(failure) => Some((failure.exit_code(), format!("error: {}\n", failure.in_words()))),
    };
    if let (Some(ping), Some((exit_code, recap))) = (ping, end) {
        ping.end(exit_code, recap);
    }
    ended.map(|ended| ended.exit_code)
}

fn begin(monitor: &MonitorSettings) -> Option<Ping> {
    let MonitorSettings { url, ca_file, proxy, sandbox } = monitor;
    if *sandbox {
        info!("rehearsal: the monitor is not told");
        return None;
    }
    let begun = extra_roots(ca_file.as_deref()).and_then(|roots| {
        let route = Route { url, proxy: proxy.as_ref(), extra_roots: roots.as_deref() };
        Ping::begin(route).map_err(Refusal::from)
    });
    let untold =
        |refusal| warn!(error = Failure::from(refusal).in_words(), "the monitor is not told of this job");
    begun.map_err(untold).ok()
}
