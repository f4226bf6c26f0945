//! The one thread that writes the ledger while a run goes on.
//!
//! Requests that arrive while a commit is on its way to the disk share the next one, and those that no call waits for
//! are sent together: the busier the run, the larger the batch. A reply is sent once its request is on disk. After an
//! error nothing more is written.

use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Ledger;
use super::book::Book;
use super::draft::RunKey;
use super::error::LedgerError;
use super::item::{Deferred, Item, RackNo, Settled};
use crate::inventory::VmId;
use crate::outcome::{Offset, Outcome, Unanswered};
use crate::stop::Stop;

/// The most requests that are sent together.
const BATCH: usize = 2048;

/// How long an outcome waits for others to share its commit: a crash leaves so much in doubt.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many VMs to claim from one rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    pub rack: RackNo,
    pub vms: u32,
}

#[derive(Debug)]
pub(super) enum Request {
    Claim { again: Vec<i64>, take: Vec<Take>, told: Option<Offset> },
    Release(Vec<i64>),
    Defer(Box<Deferred>),
    Settle(Box<Settled>),
    Remember(VmId, Vec<Unanswered>),
    Brake(Stop),
}

/// What is on disk now.
#[derive(Debug)]
pub enum Reply {
    /// Calls for these may leave.
    Claimed(Claimed),
    Settled(Vec<Counted>),
    /// Nothing more will be written.
    Failed(LedgerError),
}

/// The answer to one claim.
#[derive(Debug)]
pub struct Claimed {
    /// The claims' date: the earliest moment at which one of the calls can leave.
    pub at: Timestamp,
    /// Items that were claimed afresh.
    pub again: Vec<i64>,
    pub items: Vec<Item>,
}

/// A settled VM, as far as counting it goes.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub rack: RackNo,
    pub outcome: Outcome,
    pub drifted: bool,
}

/// A run's write access to its ledger.
#[derive(Debug)]
pub struct Writer {
    requests: Sender<Vec<Request>>,
    /// Nobody waits for these yet.
    held: Vec<Request>,
    /// When they are to be sent at the latest.
    due: Option<Instant>,
    replies: UnboundedReceiver<Reply>,
    thread: JoinHandle<Ledger>,
}

impl Writer {
    /// Moves `ledger` into a thread of its own, for one run.
    pub(super) fn start(ledger: Ledger, run: &RunKey) -> Result<Self, LedgerError> {
        let (requests, inbox) = std::sync::mpsc::channel();
        let (outbox, replies) = unbounded_channel();
        let book = Book::open(&ledger, run)?;
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || serve(ledger, book, &inbox, &outbox))
            .map_err(LedgerError::NoWriter)?;
        Ok(Self { requests, held: Vec::new(), due: None, replies, thread })
    }

    /// The next thing that has reached the disk; `None` after a failure.
    pub async fn reply(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }

    /// Claims pending VMs, and claims `again` those that wait for another call. `told` is the server's clock minus ours,
    /// for whoever finds the claims if we die.
    pub fn claim(&mut self, again: Vec<i64>, take: Vec<Take>, told: Option<Offset>) {
        if !again.is_empty() {
            // What a VM has been through is written before it is claimed again.
            self.flush();
        }
        self.send(vec![Request::Claim { again, take, told }]);
    }

    /// Gives back claimed items whose call never left.
    pub fn release(&mut self, positions: Vec<i64>) {
        self.hold(Request::Release(positions));
    }

    pub fn defer(&mut self, deferred: Deferred) {
        self.hold(Request::Defer(Box::new(deferred)));
    }

    pub fn settle(&mut self, settled: Settled) {
        self.hold(Request::Settle(Box::new(settled)));
    }

    /// Notes that the run has run into a brake, whatever else will stop it before it ends.
    pub fn brake(&mut self, brake: Stop) {
        self.hold(Request::Brake(brake));
        self.flush();
    }

    /// Keeps what is known by now of a settled VM's attempts whose answer was lost.
    pub fn remember(&mut self, vm: VmId, unanswered: Vec<Unanswered>) {
        self.hold(Request::Remember(vm, unanswered));
    }

    /// When [`Self::flush`] is to be called, if nothing else brings it about before.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Lets nothing wait any longer for others to share its commit.
    pub fn flush(&mut self) {
        self.due = None;
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.send(held);
        }
    }

    /// A writer that is gone has said why: its failure is the last reply.
    fn send(&self, requests: Vec<Request>) {
        let _ = self.requests.send(requests);
    }

    fn hold(&mut self, request: Request) {
        self.held.push(request);
        self.due.get_or_insert_with(|| Instant::now() + PATIENCE);
        if self.held.len() >= BATCH {
            self.flush();
        }
    }

    /// Waits until all is on disk. The remaining replies tell whether it is.
    pub fn close(mut self) -> (Option<Ledger>, Vec<Reply>) {
        self.flush();
        drop(self.requests);
        let ledger = self.thread.join().ok();
        let mut replies = self.replies;
        let rest = std::iter::from_fn(|| replies.try_recv().ok()).collect();
        (ledger, rest)
    }
}

fn serve(
    mut ledger: Ledger,
    mut book: Book,
    inbox: &Receiver<Vec<Request>>,
    outbox: &UnboundedSender<Reply>,
) -> Ledger {
    while let Ok(first) = inbox.recv() {
        let batch = std::iter::once(first).chain(inbox.try_iter()).flatten();
        let written = ledger.check_lock().and_then(|()| {
            let written = book.write(&mut ledger.db, batch);
            written.map_err(|error| error.at(&ledger.path))
        });
        match written {
            // The run may have gone already; what was written stays.
            Ok(replies) => replies.into_iter().for_each(|reply| drop(outbox.send(reply))),
            Err(error) => {
                drop(outbox.send(Reply::Failed(error)));
                break;
            }
        }
    }
    ledger
}

/// Why a batch was not written.
pub(super) enum WriteError {
    Sqlite(rusqlite::Error),
    SettledTwice(i64),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl WriteError {
    fn at(self, path: &std::path::Path) -> LedgerError {
        match self {
            Self::Sqlite(error) => LedgerError::Sqlite { path: path.to_owned(), error },
            Self::SettledTwice(position) => LedgerError::SettledTwice(position),
        }
    }
}
