//! The one thread that writes the ledger while a run goes on.
//!
//! Requests that arrive while a commit is on its way to the disk share the next one, and those that no call waits for
//! are sent together: the busier the run, the larger the batch. A reply is sent once its request is on disk. A ledger that
//! cannot be reached is waited for; after any other error nothing more is written.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::engine::{Book, Engine};
use super::error::LedgerError;
use super::outage::{Inbox, outlast};
use super::protocol::{Reply, Request, Sick, Take, Trial};
use super::record::{Deferred, RunKey, Settled};
use crate::outcome::{Offset, Unanswered};
use crate::pace::Ask;
use crate::stop::Stop;
use crate::vm::VmId;

/// The most requests that are sent together.
const BATCH: usize = 2048;

/// How long an outcome waits for others to share its commit: a crash leaves so much in doubt.
const PATIENCE: Duration = Duration::from_millis(50);

/// A run's write access to its ledger.
#[derive(Debug)]
pub struct Writer {
    requests: UnboundedSender<Vec<Request>>,
    /// Nobody waits for these yet.
    held: Vec<Request>,
    /// When they are to be sent at the latest.
    due: Option<Instant>,
    /// Somebody waits for one of them.
    is_urgent: bool,
    replies: UnboundedReceiver<Reply>,
    thread: JoinHandle<Box<dyn Engine>>,
}

impl Writer {
    /// Moves a ledger into a thread of its own, for one run. Where it cannot be reached, it is waited for so long.
    pub(super) fn start(
        engine: Box<dyn Engine>,
        run: &RunKey,
        patience: Duration,
    ) -> Result<Self, LedgerError> {
        let (requests, inbox) = unbounded_channel();
        let (outbox, replies) = unbounded_channel();
        let book = engine.open_book(run)?;
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || serve(book, Inbox::new(inbox), &outbox, patience))
            .map_err(LedgerError::NoWriter)?;
        Ok(Self { requests, held: Vec::new(), due: None, is_urgent: false, replies, thread })
    }

    /// The next thing that has reached the disk; `None` after a failure.
    pub async fn reply(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }

    /// Claims pending VMs, and claims `again` those that wait for another call. `offset` is the server's clock minus ours,
    /// for whoever finds the claims if we die; `allowance` is as in [`Request::Claim`]. What was held shares the commit, and is
    /// written before: also what a VM has been through that is claimed again.
    pub fn claim(
        &mut self,
        again: Vec<i64>,
        take: Vec<Take>,
        offset: Option<Offset>,
        allowance: Option<u64>,
    ) {
        self.urge(Request::Claim { again, take, offset, allowance });
    }

    /// Gives back claimed items whose call never left.
    pub fn release(&mut self, positions: Vec<i64>) {
        self.hold(Request::Release(positions));
    }

    /// Gives items up, which are claimed or wait, for other workers to call.
    pub fn give_back(&mut self, positions: Vec<i64>) {
        self.hold(Request::GiveBack(positions));
    }

    /// Keeps what came of a call, for a VM that waits for another one.
    pub fn defer(&mut self, deferred: impl Into<Box<Deferred>>) {
        self.hold(Request::Defer(deferred.into()));
    }

    /// Keeps a VM's outcome; it counts once [`Reply::Settled`] says that it is on disk.
    pub fn settle(&mut self, settled: impl Into<Box<Settled>>) {
        self.hold(Request::Settle(settled.into()));
    }

    /// Notes that the run has run into a brake, whatever else will stop it before it ends.
    pub fn brake(&mut self, brake: Stop) {
        self.urge(Request::Brake(brake));
    }

    /// Ends the run, for all who work on it.
    pub fn stop(&mut self, stop: Stop) {
        self.urge(Request::Stop(stop));
    }

    /// Tells all who work on the run of a breaker.
    pub fn breaker(&mut self, sick: Sick, trial: Trial) {
        self.urge(Request::Breaker(sick, trial));
    }

    /// Goes on after [`Reply::Lapsed`], with nothing claimed.
    pub fn rejoin(&mut self) {
        self.urge(Request::Rejoin);
    }

    /// Keeps what is known by now of a settled VM's attempts whose answer was lost.
    pub fn remember(&mut self, vm: VmId, unanswered: Vec<Unanswered>) {
        self.hold(Request::Remember(vm, unanswered));
    }

    /// Asks for slots of the pace that is shared, and tells what is known of it: see [`crate::pace::Pace::ask`].
    pub fn pace(&mut self, ask: Box<Ask>) {
        self.urge(Request::Pace(ask));
    }

    /// When [`Self::flush`] is to be called, if nothing else brings it about before.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is to be called now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_urgent || self.due.is_some_and(|due| now >= due)
    }

    /// Lets nothing wait any longer for others to share its commit.
    pub fn flush(&mut self) {
        (self.due, self.is_urgent) = (None, false);
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.send(held);
        }
    }

    /// A writer that is gone has said why: its failure is the last reply.
    fn send(&self, requests: Vec<Request>) {
        let _ = self.requests.send(requests);
    }

    /// What is asked with it in one go is written with it.
    fn urge(&mut self, request: Request) {
        self.is_urgent = true;
        self.held.push(request);
    }

    fn hold(&mut self, request: Request) {
        self.held.push(request);
        self.due.get_or_insert_with(|| Instant::now() + PATIENCE);
        if self.held.len() >= BATCH {
            self.flush();
        }
    }

    /// Waits until all is on disk. The remaining replies tell whether it is.
    pub(super) fn finish(mut self) -> (Option<Box<dyn Engine>>, Vec<Reply>) {
        self.flush();
        drop(self.requests);
        let engine = self.thread.join().ok();
        let mut replies = self.replies;
        let rest = std::iter::from_fn(|| replies.try_recv().ok()).collect();
        (engine, rest)
    }
}

fn serve(
    mut book: Box<dyn Book>,
    mut inbox: Inbox,
    outbox: &UnboundedSender<Reply>,
    patience: Duration,
) -> Box<dyn Engine> {
    // The run may have gone already; what was written stays.
    let told = |reply| drop(outbox.send(reply));
    while let Some(batch) = inbox.next(&mut *book) {
        let written = match book.write(&mut batch.into_iter()) {
            Err(error) if error.is_away() => outlast(&mut *book, error, patience, &mut inbox, told),
            written => written,
        };
        match written {
            Ok(replies) => replies.into_iter().for_each(told),
            Err(error) => {
                told(Reply::Failed(error));
                break;
            }
        }
    }
    book.shut()
}
