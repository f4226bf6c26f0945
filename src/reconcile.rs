//! The loop: claim → pace → call → classify → settle. What is done is decided in `state`, and carried out here.

mod ahead;
mod breakers;
mod doubts;
mod event;
mod flights;
mod halt;
mod hindrance;
mod lost;
mod news;
mod notice;
mod racks;
mod schedule;
mod settings;
mod settling;
mod shared;
#[cfg(test)]
mod simulation;
mod state;
mod tempo;
mod trials;
mod turn;
mod waiting;
mod work;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::debug;

pub use halt::Ending;
pub use settings::{Looks, Settings};

use crate::api::{Api, Attempt};
use crate::brake::Brake;
use crate::ledger::{Board, LedgerError, Reply, Writer};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::vm::{Action, VmId};
use event::{Command, Event, Now};
use flights::FlightNo;
use news::News;
use racks::Racks;
use state::State;

/// How often somebody who watches is told what hinders the run.
const TICK: Duration = Duration::from_millis(250);

/// Everything that a run works with.
#[derive(Debug)]
pub struct Parts<'a> {
    pub api: &'a Api,
    pub pace: &'a mut Pace,
    pub brake: Brake,
    /// Whether other workers may share the run.
    pub is_shared: bool,
    pub progress: &'a mut Progress,
    /// Where the run tells how it stands.
    pub board: Option<Box<dyn Board>>,
    /// Pending VMs by rack.
    pub pending: Vec<u64>,
    /// The racks' names, by number.
    pub racks: Vec<Option<Arc<str>>>,
}

/// Calls the API for every pending VM of a run, until all are settled or `signals` or a brake says stop.
pub async fn reconcile(
    settings: &Settings,
    parts: Parts<'_>,
    writer: &mut Writer,
    signals: &mut mpsc::UnboundedReceiver<Stop>,
) -> Result<Ending, LedgerError> {
    let Parts { api, pace, brake, is_shared, progress, board, pending, racks } = parts;
    let mut now = Now::read();
    let mut state = State::new(settings, pace, brake, Racks(racks), &pending, now);
    if is_shared {
        state.share();
    }
    let mut shell = Shell {
        api,
        writer,
        progress,
        calls: FuturesUnordered::new(),
        told_at: now.at,
        news: News::new(board, now),
    };
    let mut event = Event::Woken;
    loop {
        for command in state.on(event, now, fastrand::f64()) {
            shell.carry_out(command, now.at);
        }
        shell.show(&state, now);
        if let Some(ending) = state.ending() {
            return Ok(ending);
        }
        let wake = shell.flush_by(now.at).into_iter().fold(state.wake(now.at), Instant::min);
        event = tokio::select! {
            biased;
            Some(stop) = signals.recv() => Event::Signalled(stop),
            reply = shell.writer.reply() => written(reply)?,
            Some(answered) = shell.calls.next(), if !shell.calls.is_empty() => answered,
            () = tokio::time::sleep_until(wake.into()) => Event::Woken,
        };
        now = Now::read();
    }
}

type Call = Pin<Box<dyn Future<Output = Event>>>;

/// Whatever a run reaches beyond itself.
struct Shell<'a> {
    api: &'a Api,
    writer: &'a mut Writer,
    progress: &'a mut Progress,
    calls: FuturesUnordered<Call>,
    /// When the progress last heard what hinders the run.
    told_at: Instant,
    news: News,
}

impl Shell<'_> {
    fn carry_out(&mut self, command: Command, now: Instant) {
        match command {
            Command::Call { flight, vm, action } => {
                self.calls.push(Box::pin(call(self.api.clone(), flight, vm, action)));
            }
            Command::Look { flight, vm } => {
                self.calls.push(Box::pin(look(self.api.clone(), flight, vm)));
            }
            Command::Claim { again, take, offset, allowance } => {
                self.writer.claim(again, take, offset, allowance);
            }
            Command::Pace(ask) => self.writer.pace(ask),
            Command::Release(positions) => self.writer.release(positions),
            Command::GiveBack(positions) => self.writer.give_back(positions),
            Command::Defer(deferred) => self.writer.defer(deferred),
            Command::Settle(settled) => self.writer.settle(settled),
            Command::Flush => self.writer.flush(),
            Command::Remember(vm, unanswered) => self.writer.remember(vm, unanswered),
            Command::Brake(brake) => self.writer.brake(brake),
            Command::Stop(stop) => self.writer.stop(stop),
            Command::Breaker(sick, trial) => self.writer.breaker(sick, trial),
            Command::Rejoin => self.writer.rejoin(),
            Command::Count(outcome, vms) => self.progress.settled(outcome, vms, now),
            Command::Tell(notice) => notice.log(),
        }
    }

    fn show(&mut self, state: &State<'_>, now: Now) {
        if now.at.saturating_duration_since(self.told_at) >= TICK {
            self.told_at = now.at;
            self.progress.message(state.obstacle(now.at));
        }
        self.progress.tick(now.at);
        self.news.post(state, self.progress, now, state.ending().is_some());
    }

    /// Writes what is due, and all there is while nothing is called. Returns when the rest is due.
    fn flush_by(&mut self, now: Instant) -> Option<Instant> {
        if self.calls.is_empty() || self.writer.is_due(now) {
            self.writer.flush();
        }
        self.writer.due()
    }
}

fn written(reply: Option<Reply>) -> Result<Event, LedgerError> {
    match reply {
        Some(Reply::Claimed(claimed)) => Ok(Event::Claimed(claimed)),
        Some(Reply::Settled(counted)) => Ok(Event::Settled(counted)),
        Some(Reply::Seen(seen)) => Ok(Event::Seen(seen)),
        Some(Reply::LeftAlone { all, heard }) => Ok(Event::LeftAlone { all, heard }),
        Some(Reply::Lapsed) => Ok(Event::Lapsed),
        Some(Reply::Over) => Ok(Event::Over),
        Some(Reply::Paced(exchange)) => Ok(Event::Paced(exchange)),
        Some(Reply::Away(words)) => Ok(Event::Away(words)),
        Some(Reply::Back) => Ok(Event::Back),
        Some(Reply::Failed(error)) => Err(error),
        None => Err(LedgerError::WriterGone),
    }
}

async fn call(api: Api, flight: FlightNo, vm: VmId, action: Action) -> Event {
    let attempt = api.call(&vm, action).await;
    answered(flight, &vm, attempt)
}

async fn look(api: Api, flight: FlightNo, vm: VmId) -> Event {
    let attempt = api.look(&vm).await;
    debug!(%vm, "looked");
    answered(flight, &vm, attempt)
}

fn answered(flight: FlightNo, vm: &VmId, attempt: Attempt) -> Event {
    debug!(%vm, status = attempt.status, latency_ms = attempt.latency_ms(), "answered");
    if let Err(fault) = &attempt.result {
        debug!(%vm, failure = %fault.failure, error = fault.message, "no success");
    }
    Event::Answered(flight, attempt)
}
