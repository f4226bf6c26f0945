//! The way to the API: an HTTP client with its connections, given up for a new one once it has gone silent.
//!
//! HTTP/2 carries all calls over one connection, and would go on with one that nothing comes from any longer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, ClientBuilder};

/// A connection is asked for a sign of life after so long a silence, and has as long to give it.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// A client that calls are made with.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) client: Client,
    /// When the latest answer began to come.
    heard: Mutex<Option<Instant>>,
}

impl Line {
    pub(super) fn heard(&self) -> Option<Instant> {
        *lock(&self.heard)
    }

    pub(super) fn hears(&self, now: Instant) {
        *lock(&self.heard) = Some(now);
    }

    /// Waits until nothing was heard for so long, from `begun` on.
    pub(super) async fn falls_silent(&self, begun: Instant, lasting: Duration) {
        let mut since = begun;
        loop {
            tokio::time::sleep_until((since + lasting).into()).await;
            match self.heard() {
                Some(heard) if heard > since => since = heard,
                Some(_) | None => return,
            }
        }
    }
}

type Dial = Box<dyn Fn() -> Option<Client> + Send + Sync>;

/// The line in use.
pub(super) struct Lines {
    line: Mutex<Arc<Line>>,
    /// Makes another client like the first.
    dial: Dial,
}

impl Lines {
    pub(super) fn new(client: Client, dial: impl Fn() -> Option<Client> + Send + Sync + 'static) -> Self {
        Self { line: Mutex::new(open(client)), dial: Box::new(dial) }
    }

    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&lock(&self.line))
    }

    /// The next calls take another line, if this one is still in use and has said nothing since `left_at`.
    pub(super) fn give_up(&self, silent: &Arc<Line>, left_at: Instant) {
        let mut line = lock(&self.line);
        let in_use = Arc::ptr_eq(&line, silent);
        if in_use
            && silent.heard().is_none_or(|heard| heard <= left_at)
            && let Some(client) = (self.dial)()
        {
            *line = open(client);
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("line", &self.line).finish_non_exhaustive()
    }
}

fn open(client: Client) -> Arc<Line> {
    Arc::new(Line { client, heard: Mutex::new(None) })
}

/// A panic under the lock leaves what it holds as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that nothing comes from is found out by itself, in use or idle, before calls on it time out.
pub(super) fn watched(builder: ClientBuilder, timeout: Duration) -> ClientBuilder {
    let silence = (timeout / 3).clamp(SHORTEST_SILENCE, LONGEST_SILENCE);
    builder
        .http2_keep_alive_interval(silence)
        .http2_keep_alive_timeout(silence)
        .http2_keep_alive_while_idle(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        Lines::new(Client::new(), || Some(Client::new()))
    }

    #[test]
    fn a_line_is_given_up_once_and_only_if_nothing_was_heard_since_the_call_left() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let lines = lines();
        let first = lines.line();
        first.hears(begun + second);
        lines.give_up(&first, begun);
        assert!(Arc::ptr_eq(&first, &lines.line()), "another call was answered meanwhile");
        lines.give_up(&first, begun + second);
        let next = lines.line();
        assert!(!Arc::ptr_eq(&first, &next));
        lines.give_up(&first, begun + second * 2);
        assert!(Arc::ptr_eq(&next, &lines.line()), "the first is in use no longer");
    }
}
