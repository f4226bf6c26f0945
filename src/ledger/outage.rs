//! A ledger that cannot be reached for a while: what is to be written is kept, and tried again until it is on disk, or has
//! waited for too long.

use std::time::{Duration, Instant};
use std::{iter, mem, thread};

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::warn;

use super::engine::Book;
use super::error::LedgerError;
use super::protocol::{Reply, Request};
use crate::text::duration;

/// How soon it is tried again at first; each time after twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How long it is left alone at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a writer is asked, also while it waits for its ledger.
pub(super) struct Inbox {
    requests: UnboundedReceiver<Vec<Request>>,
    /// Those that came meanwhile.
    early: Vec<Request>,
    is_closed: bool,
}

impl Inbox {
    pub(super) fn new(requests: UnboundedReceiver<Vec<Request>>) -> Self {
        Self { requests, early: Vec::new(), is_closed: false }
    }

    /// Waits for the next batch: all that was asked for by then, or what `book` wants by itself. `None` once nobody asks any
    /// more.
    pub(super) fn next(&mut self, book: &mut dyn Book) -> Option<Vec<Request>> {
        let mut batch = mem::take(&mut self.early);
        if batch.is_empty() {
            batch = book.await_requests(&mut self.requests)?;
        }
        batch.extend(self.asked().flatten());
        Some(batch)
    }

    fn asked(&mut self) -> impl Iterator<Item = Vec<Request>> {
        iter::from_fn(|| self.requests.try_recv().ok())
    }

    /// Waits, and keeps what is asked for meanwhile. Returns whether it has come out that nobody asks any more.
    fn wait(&mut self, pause: Duration) -> bool {
        thread::sleep(pause);
        let asked: Vec<Request> = self.asked().flatten().collect();
        self.early.extend(asked);
        let is_over = self.requests.is_closed() && self.requests.is_empty();
        is_over && !mem::replace(&mut self.is_closed, true)
    }
}

/// Writes the last batch of `book` once that can be reached again, within `patience`. What is `told` meanwhile is that it
/// cannot, and that it can.
pub(super) fn outlast(
    book: &mut dyn Book,
    error: LedgerError,
    patience: Duration,
    inbox: &mut Inbox,
    told: impl Fn(Reply),
) -> Result<Vec<Reply>, LedgerError> {
    told(Reply::Away(error.to_string()));
    let wait = |pause, error: &LedgerError| {
        if inbox.wait(pause) {
            tell_away(error, patience);
        }
    };
    let written = insist(error, patience, wait, || book.write_again());
    written.inspect(|_| told(Reply::Back))
}

/// What a ledger answers that could not be reached, once it can, within `patience`.
pub(super) fn persevere<T>(
    error: LedgerError,
    patience: Duration,
    again: impl FnMut() -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    tell_away(&error, patience);
    let answer = insist(error, patience, |pause, _| thread::sleep(pause), again)?;
    warn!("the ledger can be reached again: what is left is written");
    Ok(answer)
}

/// Asks `again` until there is an answer, or `patience` has run out.
fn insist<T>(
    mut error: LedgerError,
    patience: Duration,
    mut wait: impl FnMut(Duration, &LedgerError),
    mut again: impl FnMut() -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    while begun.elapsed() < patience {
        wait(pause, &error);
        match again() {
            Err(again) if again.is_away() => error = again,
            answer => return answer,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Err(error)
}

/// For people, where no run is there any more that would say it.
fn tell_away(error: &LedgerError, patience: Duration) {
    let patience = duration(patience.as_secs_f64());
    warn!(
        "{error}; the calls are over, what is left to be written waits until it is back; after --max-wait ({patience}) the \
         run is broken off"
    );
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::ledger::engine::Engine;
    use crate::stop::Stop;

    /// Fails so often before it is back, if it is ever.
    struct Flaky {
        failures: u32,
        is_behind: bool,
    }

    fn away() -> LedgerError {
        LedgerError::Away { path: "ledger".into(), words: "gone".into() }
    }

    impl Book for Flaky {
        fn write(&mut self, _: &mut dyn Iterator<Item = Request>) -> Result<Vec<Reply>, LedgerError> {
            Err(away())
        }

        fn write_again(&mut self) -> Result<Vec<Reply>, LedgerError> {
            match self.failures.checked_sub(1) {
                Some(failures) => {
                    self.failures = failures;
                    Err(away())
                }
                None if self.is_behind => Err(LedgerError::Behind { path: "ledger".into() }),
                None => Ok(vec![Reply::Settled(vec![])]),
            }
        }

        fn shut(self: Box<Self>) -> Box<dyn Engine> {
            unreachable!("nobody shuts it here")
        }
    }

    /// Whether it was outlasted, what was told meanwhile, and how many requests that came then are kept.
    fn outlasted(failures: u32, is_behind: bool, patience: Duration) -> (bool, String, usize) {
        let (requests, receiver) = unbounded_channel();
        requests.send(vec![Request::Brake(Stop::MaxFailed)]).unwrap();
        let (mut inbox, told) = (Inbox::new(receiver), RefCell::new(String::new()));
        let tell = |reply| {
            told.borrow_mut().push_str(if matches!(reply, Reply::Away(_)) { "away " } else { "back " });
        };
        let replies = outlast(&mut Flaky { failures, is_behind }, away(), patience, &mut inbox, tell);
        (replies.is_ok(), told.into_inner(), inbox.early.len())
    }

    #[test]
    fn a_ledger_is_waited_for_as_long_as_it_may_take_and_what_is_asked_meanwhile_is_kept() {
        let long = Duration::from_mins(10);
        for (failures, is_behind, patience, expected) in [
            (0, false, long, (true, "away back ", 1)),
            (2, false, long, (true, "away back ", 1)),
            (1, true, long, (false, "away ", 1)),
            (u32::MAX, false, Duration::from_millis(120), (false, "away ", 1)),
            (0, false, Duration::ZERO, (false, "away ", 0)),
        ] {
            let (is_ok, told, kept) = outlasted(failures, is_behind, patience);
            assert_eq!((is_ok, told.as_str(), kept), expected, "{failures} failures, {patience:?}");
        }
    }
}
