//! The account's VMs as the API lists them: page after page, each VM once, or not at all.
//!
//! When a call leaves and whether it is made again is decided as for any other call (`pace`, `retry`); what is done with
//! the VMs is the caller's, who is given none of a page that does not fit the others.

mod error;
mod fetch;
mod trail;

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{debug, info};

pub use error::{GivenUp, ListError};

use crate::api::{Api, Attempt, Page};
use crate::dialect::Dialect;
use crate::pace::{Pace, Ticket};
use crate::retry::Policy;
use crate::stop::Stop;
use crate::vm::Listed;
use fetch::Fetch;
use trail::Trail;

/// How often it is told how far the list has got; and a wait that is as long is told too.
const TELLING: Duration = Duration::from_secs(10);

/// What a whole list came to.
#[derive(Debug)]
pub struct Whole {
    pub pages: u64,
    pub vms: u64,
    /// What is odd, and does not matter.
    pub warnings: Vec<String>,
}

/// How the list is asked for.
#[derive(Debug)]
pub struct Asking<'a> {
    pub api: &'a Api,
    pub dialect: Dialect,
    pub policy: Policy,
    pub pace: &'a mut Pace,
}

/// Hands every VM of the account to `take`, in the order of the list. Whoever takes them has no whole list before this
/// has ended without an error; the first of `signals` ends it at once.
pub async fn list(
    asking: Asking<'_>,
    signals: &mut UnboundedReceiver<Stop>,
    take: &mut impl FnMut(&Listed),
) -> Result<Whole, ListError> {
    let Asking { api, dialect, policy, pace } = asking;
    let mut reader = Reader { api, fetch: Fetch::new(policy, pace), signals };
    let mut trail = Trail::new(dialect);
    let (mut cursor, mut told) = (None, Instant::now());
    loop {
        let page = reader.page(trail.pages() + 1, cursor.as_deref()).await?;
        let (new, next) = trail.follow(page)?;
        new.iter().for_each(&mut *take);
        if next.is_none() {
            return Ok(Whole { pages: trail.pages(), vms: trail.vms(), warnings: trail.warnings() });
        }
        cursor = next;
        if told.elapsed() >= TELLING {
            told = Instant::now();
            info!(pages = trail.pages(), vms = trail.vms(), "listing");
        }
    }
}

/// Whatever the list is read with beyond what decides.
struct Reader<'a> {
    api: &'a Api,
    fetch: Fetch<'a>,
    signals: &'a mut UnboundedReceiver<Stop>,
}

impl Reader<'_> {
    /// The page of this number, after as many calls as it takes.
    async fn page(&mut self, page: u64, cursor: Option<&str>) -> Result<Page, ListError> {
        let given_up = |source| ListError::Page { page, source };
        loop {
            match self.fetch.next(Instant::now()).map_err(given_up)? {
                Err(at) => self.wait(page, at).await?,
                Ok(ticket) => {
                    let attempt = self.unless_stopped(self.api.list(cursor)).await?;
                    log(page, &attempt);
                    let answer = self.answered(ticket, attempt).map_err(given_up)?;
                    if let Some(page) = answer {
                        return Ok(page);
                    }
                }
            }
        }
    }

    fn answered(&mut self, ticket: Ticket, attempt: Attempt<Page>) -> Result<Option<Page>, GivenUp> {
        self.fetch.answered(ticket, attempt, Instant::now(), fastrand::f64())
    }

    async fn wait(&mut self, page: u64, until: Instant) -> Result<(), ListError> {
        let wait = until.saturating_duration_since(Instant::now());
        if wait >= TELLING {
            info!(page, seconds = wait.as_secs(), "waiting until the page may be asked for");
        }
        self.unless_stopped(tokio::time::sleep_until(until.into())).await
    }

    /// A list that is broken off has done nothing: nobody waits for its last answer.
    async fn unless_stopped<T>(&mut self, ending: impl Future<Output = T>) -> Result<T, ListError> {
        tokio::select! {
            biased;
            Some(stop) = self.signals.recv() => Err(ListError::Stopped(stop)),
            ended = ending => Ok(ended),
        }
    }
}

fn log(page: u64, attempt: &Attempt<Page>) {
    debug!(page, status = attempt.status, latency_ms = attempt.latency_ms(), "answered");
    if let Err(fault) = &attempt.result {
        debug!(page, failure = %fault.failure, error = fault.message, "no success");
    }
}
