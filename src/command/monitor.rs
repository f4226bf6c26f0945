//! A job of which others are told, where any were named: a monitor, and webhooks.

use tracing::{info, warn};

use super::access::extra_roots;
use super::ended::{Ended, News, log_end};
use super::exit;
use super::failure::{Failure, Refusal};
use super::log;
use crate::config::{MonitorSettings, NotifyOn};
use crate::ledger::host;
use crate::ping::{Notice, Ping, Route};
use crate::report::RunEnded;

/// Does the job, tells the monitor when it begins and how it ended, and webhooks the latter. Returns the exit code.
/// `complain` is for what belongs before the last line of a run's log.
pub(super) fn monitored(
    monitor: Option<&MonitorSettings>,
    job: impl FnOnce() -> Result<Ended, Failure>,
    complain: impl FnOnce(&Failure),
) -> Result<u8, Failure> {
    let told = monitor.and_then(Told::begin);
    let ended = job();
    if let Err(failure) = &ended {
        complain(failure);
    }
    if let Some(news) = news(&ended) {
        if let Some(told) = told {
            told.end(news.recap, &news.event);
        }
        if log::run().is_some() {
            log_end(&news.event);
        }
    }
    ended.map(|ended| ended.exit_code)
}

fn news(ended: &Result<Ended, Failure>) -> Option<News> {
    match ended {
        Ok(Ended { news, .. }) => news.clone(),
        Err(failure) => {
            let error = failure.in_words();
            let without_end = || RunEnded::without_end(log::run(), failure.exit_code(), &host(), &error);
            let event = failure.ended().cloned().unwrap_or_else(without_end);
            Some(News { recap: format!("error: {error}\n"), event })
        }
    }
}

/// Those who are told of a job that has begun.
struct Told<'a> {
    settings: &'a MonitorSettings,
    extra_roots: Option<Vec<u8>>,
    ping: Option<Ping>,
}

impl<'a> Told<'a> {
    fn begin(settings: &'a MonitorSettings) -> Option<Self> {
        if settings.sandbox {
            info!("rehearsal: the monitor is not told");
            return None;
        }
        let extra_roots = extra_roots(settings.ca_file.as_deref()).map_err(untold).ok()?;
        let told = Self { settings, extra_roots, ping: None };
        let ping = settings.ping.as_ref().map(|url| Ping::begin(url, told.route()).map_err(Refusal::from));
        let ping = ping.and_then(|begun| begun.map_err(untold).ok());
        Some(Self { ping, ..told })
    }

    fn route(&self) -> Route<'_> {
        Route { proxy: self.settings.proxy.as_ref(), extra_roots: self.extra_roots.as_deref() }
    }

    fn end(mut self, recap: String, event: &RunEnded) {
        let ping = self.ping.take();
        let notice = self.notice(event);
        if let Some(ping) = ping {
            ping.end(event.exit_code, recap);
        }
        if let Some(notice) = notice {
            notice.wait();
        }
    }

    fn notice(&self, event: &RunEnded) -> Option<Notice> {
        let MonitorSettings { webhooks, notify_on, .. } = self.settings;
        let is_due = match notify_on {
            NotifyOn::Trouble => event.exit_code != exit::COMPLETE,
            NotifyOn::Always => true,
        };
        let json = event.json().ok().filter(|_| is_due && !webhooks.is_empty());
        json.map(|json| Notice::post(webhooks, self.route(), &json))
    }
}

fn untold(refusal: Refusal) {
    warn!(error = Failure::from(refusal).in_words(), "the monitor is not told of this job");
}
