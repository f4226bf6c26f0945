//! The loop: claim → pace → call → classify → settle. The one owner of a run's state.
//!
//! Every VM is in exactly one place: pending in the ledger, being claimed, ready, in flight, waiting for another
//! call, in doubt, or on its way to the disk with its outcome. Decisions are made elsewhere; this carries them out.

mod breakers;
mod lost;
mod tempo;
mod turn;
mod work;

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::api::{Admission, Api, Attempt, Credential, Fault, Meaning, ServerClock};
use crate::brake::Brake;
use crate::clock;
use crate::inventory::VmId;
use crate::ledger::{
    Claimed, Counted, Item, LastCall, LedgerError, RackNo, Reply, Setback, Settled, Settlement, Writer,
};
use crate::outcome::{Answer, Evidence, Failure, FirstCall, Offset, classify};
use crate::pace::{Pace, Ticket};
use crate::progress::Progress;
use crate::retry::{self, Decision, Policy};
use crate::stop::Stop;
use crate::text::escape;
use crate::trust::{Trust, proves_the_key};
use breakers::{Breakers, Opened, Purposes};
use lost::Lost;
use tempo::Tempo;
use turn::Turn;
use work::{Waiting, Work};

/// How long calls in flight may go on after a stop.
const DRAIN: Duration = Duration::from_secs(30);

/// How far ahead of their calls VMs are claimed. What a crash leaves claimed may have been called.
const CLAIM_AHEAD: Duration = Duration::from_millis(50);

/// The most VMs claimed ahead, however fast they leave.
const CLAIMED_CAP: u32 = 1024;

/// VMs that wait for another call, per slot; beyond it no new VM is started.
const WAITING_PER_SLOT: usize = 16;

/// Outcomes on their way to the disk; beyond it no call leaves.
const UNSETTLED_CAP: usize = 4096;

/// The most VMs whose lost answers are dated after they have failed.
const GIVEN_UP_CAP: usize = 1024;

/// So long without a VM settled is told, with what the run waits for.
const TELLING_WAIT: Duration = Duration::from_secs(10);

/// The most racks named in one line.
const RACKS_NAMED: usize = 5;

/// How often somebody who watches is told how it goes.
const TICK: Duration = Duration::from_millis(250);

/// How a run is to be carried out.
#[derive(Debug, Clone)]
pub struct Settings {
    pub concurrency: NonZeroU32,
    pub rack_concurrency: Option<NonZeroU32>,
    pub policy: Policy,
    /// Of one call: how long an attempt without an answer lasted.
    pub timeout: Duration,
    /// No new call leaves after it.
    pub deadline: Option<Duration>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every VM has its outcome.
    Complete,
    /// Stopped, and everything that was in flight is accounted for.
    Stopped(Stop),
    /// Told a second time to stop: out at once.
    Abandoned(Stop),
}

/// Everything that a run works with.
#[derive(Debug)]
pub struct Parts<'a> {
    pub api: &'a Api,
    pub pace: &'a mut Pace,
    pub brake: Brake,
    pub progress: &'a mut Progress,
    /// Pending VMs by rack.
    pub pending: Vec<u64>,
    /// The racks' names, by number.
    pub racks: Vec<Option<Arc<str>>>,
}

/// A call that came back.
struct Answered {
    work: Work,
    ticket: Ticket,
    purposes: Purposes,
    attempt: Attempt,
}

type Call = Pin<Box<dyn Future<Output = Answered>>>;

/// Calls the API for every pending VM of a run, until all are settled or `signals` or a brake says stop.
pub async fn reconcile(
    settings: &Settings,
    parts: Parts<'_>,
    writer: &mut Writer,
    signals: &mut mpsc::UnboundedReceiver<Stop>,
) -> Result<Ending, LedgerError> {
    let begun = Instant::now();
    let rack_slots = settings.rack_concurrency.map(NonZeroU32::get);
    let mut run = Run {
        turn: Turn::new(settings.concurrency.get(), rack_slots, &parts.pending),
        breakers: Breakers::new(parts.racks.len()),
        settings,
        parts,
        writer,
        clock: ServerClock::default(),
        trust: Trust::default(),
        ready: VecDeque::new(),
        claiming: None,
        tempo: Tempo::new(begun, CLAIM_AHEAD),
        enough_until: 0,
        in_flight: FuturesUnordered::new(),
        slots: settings.concurrency.get() as usize,
        waiting: Waiting::default(),
        in_doubt: VecDeque::new(),
        given_up: VecDeque::new(),
        started: 0,
        unsettled: 0,
        successes: 0,
        hindered_since: None,
        paced_since: None,
        hindered_by: None,
        is_hampered: false,
        deadline: settings.deadline.map(|deadline| begun + deadline),
        stop: None,
        drained_by: None,
        told: begun,
    };
    run.go(signals).await
}

struct Run<'a> {
    settings: &'a Settings,
    parts: Parts<'a>,
    writer: &'a mut Writer,
    clock: ServerClock,
    trust: Trust,
    turn: Turn,
    breakers: Breakers,
    /// Claimed, and waiting for their slot.
    ready: VecDeque<Work>,
    /// The claim on its way to the disk, with the VMs that it claims again.
    claiming: Option<HashMap<i64, Work>>,
    tempo: Tempo,
    /// Enough VMs are ready until so many calls have left.
    enough_until: u64,
    in_flight: FuturesUnordered<Call>,
    /// The most calls in flight.
    slots: usize,
    waiting: Waiting,
    /// Key or certificate refused: what that means, the next answers tell.
    in_doubt: VecDeque<Work>,
    /// The last VMs that failed with an answer lost: what comes to be known of the server's clock dates it.
    given_up: VecDeque<(VmId, Lost)>,
    /// VMs claimed for their first call.
    started: u64,
    /// Outcomes on their way to the disk.
    unsettled: usize,
    successes: u64,
    /// Since when it is the API, not our own pace, that keeps the run from settling a VM: later by what our pace took.
    hindered_since: Option<Instant>,
    /// Since when nothing but our own pace holds the next call.
    paced_since: Option<Instant>,
    /// What was seen to hinder it, once that was told.
    hindered_by: Option<String>,
    /// The last call could not be made, for want of something of our own.
    is_hampered: bool,
    deadline: Option<Instant>,
    stop: Option<Stop>,
    drained_by: Option<Instant>,
    /// When the progress last heard what hinders the run.
    told: Instant,
}

impl Run<'_> {
    async fn go(&mut self, signals: &mut mpsc::UnboundedReceiver<Stop>) -> Result<Ending, LedgerError> {
        loop {
            let now = Instant::now();
            self.check_time(now);
            let next_slot = self.send_ready(now);
            self.claim(now);
            if self.is_idle() && !self.resolve_doubts() {
                break;
            }
            if self.drained_by.is_some_and(|by| now >= by) {
                warn!(calls = self.in_flight.len(), "stopped without waiting any longer for calls in flight");
                break;
            }
            if self.in_flight.is_empty() || self.writer.due().is_some_and(|due| now >= due) {
                self.writer.flush();
            }
            let wake = tokio::time::Instant::from_std(self.wake(now, next_slot));
            tokio::select! {
                biased;
                Some(stop) = signals.recv() => {
                    if self.drained_by.is_some() {
                        return Ok(Ending::Abandoned(stop));
                    }
                    info!("no new calls; waiting up to {} s for those in flight, stop again to leave at once", DRAIN.as_secs());
                    self.stop(stop);
                }
                reply = self.writer.reply() => self.written(reply)?,
                Some(answered) = self.in_flight.next(), if !self.in_flight.is_empty() => self.answered(answered),
                () = tokio::time::sleep_until(wake) => {}
            }
            self.tell_progress(Instant::now());
        }
        Ok(self.stop.map_or(Ending::Complete, Ending::Stopped))
    }

    fn tell_progress(&mut self, now: Instant) {
        if now.saturating_duration_since(self.told) >= TICK {
            self.told = now;
            let hindrance = self.hindrance(now);
            self.parts.progress.message(hindrance);
        }
        self.parts.progress.tick(now);
    }

    /// What keeps the run from its pace, for whoever watches.
    fn hindrance(&self, now: Instant) -> Option<String> {
        if let Some(until) = self.parts.pace.paused_until(now) {
            let seconds = until.saturating_duration_since(now).as_secs_f64().ceil();
            return Some(format!("paused {seconds} s: the API asked for it"));
        }
        if self.is_hampered {
            return Some("no file descriptor is left for a call (ulimit -n)".into());
        }
        if !self.breakers.api_is_closed() {
            return Some("the API fails: probing".into());
        }
        (!self.breakers.all_are_closed()).then(|| format!("{}: probing", self.sick_racks()))
    }

    /// Which racks are left alone, the first of them by name.
    fn sick_racks(&self) -> String {
        let mut racks = self.breakers.open_racks().map(|no| self.rack(no));
        let first: Vec<String> = racks.by_ref().take(RACKS_NAMED).collect();
        let names = first.join(", ");
        match (first.len(), racks.count()) {
            (1, 0) => format!("rack {names} fails"),
            (_, 0) => format!("racks {names} fail"),
            (_, more) => format!("racks {names} and {more} more fail"),
        }
    }

    /// Nothing is under way, and nothing will be by itself.
    fn is_idle(&self) -> bool {
        let under_way = self.claiming.is_some() || !self.ready.is_empty() || !self.in_flight.is_empty();
        let to_come = self.turn.pending() || !self.waiting.is_empty();
        !under_way && self.unsettled == 0 && (self.stop.is_some() || !to_come)
    }

    /// The next moment at which something is to be done without anything having happened.
    fn wake(&self, now: Instant, next_slot: Option<Instant>) -> Instant {
        let retry = self.waiting.next_due().filter(|_| self.stop.is_none() && self.claiming.is_none());
        // A VM that is due but finds no room waits for whatever makes room.
        let retry = retry.filter(|&due| due > now);
        // Nothing is claimed before a probe may leave.
        let probe = self.breakers.api_allows(now).err().flatten();
        [
            next_slot,
            retry,
            probe,
            self.writer.due(),
            self.deadline.filter(|_| self.stop.is_none()),
            self.drained_by,
        ]
        .into_iter()
        .flatten()
        .fold(now + TICK, Instant::min)
    }

    fn check_time(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.stop(Stop::Deadline);
        }
        if let (Some(paced), Some(hindered)) = (self.paced_since.take(), &mut self.hindered_since) {
            *hindered += now.saturating_duration_since(paced);
        }
        if self.parts.pace.paused_until(now).is_some() {
            self.hindered_since.get_or_insert(now);
        }
        if let (None, Some(since)) = (self.stop, self.hindered_since) {
            self.check_hindrance(now, now.saturating_duration_since(since));
        }
    }

    /// No VM was settled for a time: says why, and stops the run where that is too long.
    fn check_hindrance(&mut self, now: Instant, lasts: Duration) {
        let max_wait = self.settings.policy.max_wait;
        if lasts < TELLING_WAIT.min(max_wait / 2) {
            return;
        }
        let is_news = self.hindered_by.is_none();
        self.hindered_by = self.hindrance(now).or_else(|| self.hindered_by.take());
        let hindrance = self.hindered_by.as_deref();
        if lasts > max_wait {
            warn!(hindrance, "no VM could be settled for longer than --max-wait");
            self.stop(Stop::MaxWait);
        } else if is_news && hindrance.is_some() {
            let seconds = lasts.as_secs();
            warn!(
                hindrance,
                "waiting: no VM could be settled for {seconds} s; after --max-wait the run stops"
            );
        }
    }

    /// No new calls from here on; the gravest reason is kept.
    fn stop(&mut self, stop: Stop) {
        if self.stop.is_none() {
            self.drained_by = Some(Instant::now() + DRAIN);
            let ready = self.ready.iter().map(|work| work.item.position);
            self.writer.release(ready.chain(self.waiting.positions()).collect());
            self.ready.drain(..).for_each(|work| self.turn.given_back(work.item.rack));
        }
        self.stop = self.stop.max(Some(stop));
    }

    /// Claims as many VMs as may leave soon: first those whose wait is over, then new ones.
    fn claim(&mut self, now: Instant) {
        if self.stop.is_some() || self.claiming.is_some() || self.tempo.left() < self.enough_until {
            return;
        }
        let ahead = match self.breakers.api_allows(now) {
            Ok(()) if self.breakers.api_is_closed() => self.ahead(),
            Ok(()) => 1,
            Err(_) => return,
        };
        let retries = self.retries(now);
        let may_leave = |work: &&Work| self.may_leave(work, &retries, now).is_ok();
        let leaving = u32::try_from(self.ready.iter().filter(may_leave).count()).unwrap_or(u32::MAX);
        if leaving > ahead / 2 {
            self.enough_until = self.tempo.left() + u64::from(leaving - ahead / 2);
            return;
        }
        let mut room = ahead - leaving;
        let again = self.claim_again(&mut room, now);
        let vms = self.startable(room);
        let soon = self.tempo.of_late().min(CLAIMED_CAP);
        let take = self.turn.take(vms, soon, |no| if self.breakers.rack_is_closed(no) { ahead } else { 1 });
        self.started += take.iter().map(|take| u64::from(take.vms)).sum::<u64>();
        if !again.is_empty() || !take.is_empty() {
            self.writer.claim(again.keys().copied().collect(), take, self.clock.agreed());
            self.claiming = Some(again);
        }
    }

    /// Those of the waiting VMs that may be called again, and take up `room`.
    fn claim_again(&mut self, room: &mut u32, now: Instant) -> HashMap<i64, Work> {
        let tried = self.ready.iter().filter(|work| !work.is_new()).map(|work| work.item.rack);
        let mut tried: HashSet<RackNo> = tried.collect();
        let mut again = HashMap::new();
        while *room > 0 {
            // One VM at a time tries a sick rack again.
            let may = |no: RackNo| self.breakers.rack_is_closed(no) || !tried.contains(&no);
            let Some(mut work) = self.waiting.pop_due(now, may) else { break };
            if work.is_struck_out(self.successes) {
                self.fail(work);
                continue;
            }
            tried.insert(work.item.rack);
            self.turn.renewed(work.item.rack);
            again.insert(work.item.position, work);
            *room -= 1;
        }
        again
    }

    /// How many of `room` may be VMs that were not called yet.
    fn startable(&self, room: u32) -> u32 {
        let most_waiting = WAITING_PER_SLOT * self.settings.concurrency.get() as usize;
        // What waits for a sick rack holds nobody else back, and single probes alone add to it.
        let closed = |no: &RackNo| self.breakers.rack_is_closed(*no);
        if self.waiting.len() >= most_waiting && self.waiting.racks().filter(closed).count() >= most_waiting {
            return 0;
        }
        let allowance = self.parts.brake.allowance().map(|vms| vms.saturating_sub(self.started));
        allowance.map_or(room, |vms| room.min(u32::try_from(vms).unwrap_or(u32::MAX)))
    }

    /// How many VMs to have claimed ahead of their calls.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
    fn ahead(&self) -> u32 {
        let of_late = self.tempo.of_late().min(CLAIMED_CAP);
        let most = self.settings.concurrency.get().saturating_mul(2).max(of_late);
        let soon = self.parts.pace.per_second().map(|rate| (rate * CLAIM_AHEAD.as_secs_f64()).ceil() as u32);
        soon.unwrap_or(most).clamp(1, most)
    }

    /// Sends what may leave now. Returns when the next call may, if it is the time that holds it.
    fn send_ready(&mut self, now: Instant) -> Option<Instant> {
        let date = clock::now();
        while self.in_flight.len() < self.slots && self.unsettled < UNSETTLED_CAP && self.trust.allows() {
            let next = match self.next_ready(now) {
                Ok(next) => next,
                Err(at) => {
                    // What is ready cannot leave: others may.
                    self.enough_until = 0;
                    return at;
                }
            };
            if self.ready[next].is_stale(date) {
                self.renew(next);
                continue;
            }
            let ticket = match self.parts.pace.next(now) {
                Ok(ticket) => ticket,
                Err(at) => {
                    let waits = !self.in_flight.is_empty() || self.is_hampered;
                    let is_paced = !waits && self.parts.pace.paused_until(now).is_none();
                    self.paced_since = is_paced.then_some(now);
                    return Some(at);
                }
            };
            let Some(work) = self.ready.remove(next) else { break };
            self.turn.left(work.item.rack);
            self.tempo.call_left(now);
            self.trust.left(now);
            self.hindered_since.get_or_insert(now);
            let purposes = self.breakers.left(work.item.rack, now);
            self.in_flight.push(call(self.parts.api.clone(), work, ticket, purposes));
        }
        None
    }

    /// The first ready VM whose rack has room and may be called, or the earliest moment at which one may.
    fn next_ready(&self, now: Instant) -> Result<usize, Option<Instant>> {
        let mut earliest: Option<Instant> = None;
        let retries = self.retries(now);
        let next = self.ready.iter().position(|work| match self.may_leave(work, &retries, now) {
            Ok(()) => true,
            Err(at) => {
                earliest = [earliest, at].into_iter().flatten().min();
                false
            }
        });
        next.ok_or(earliest)
    }

    /// Whether a ready VM has a slot and is allowed to use it, or the earliest moment at which it may be.
    fn may_leave(&self, work: &Work, retries: &HashSet<RackNo>, now: Instant) -> Result<(), Option<Instant>> {
        match self.turn.has_room(work.item.rack) && !self.gives_way(work, retries) {
            true => self.breakers.allows(work.item.rack, now),
            false => Err(None),
        }
    }

    /// Where a breaker lets single calls through, VMs that wait for another one come before those never called.
    fn gives_way(&self, work: &Work, retries: &HashSet<RackNo>) -> bool {
        let rack = work.item.rack;
        work.is_new()
            && match self.breakers.api_is_closed() {
                true => !self.breakers.rack_is_closed(rack) && retries.contains(&rack),
                false => !retries.is_empty(),
            }
    }

    /// While a breaker is open, the racks with VMs that have waited long enough and may be called again.
    fn retries(&self, now: Instant) -> HashSet<RackNo> {
        if self.breakers.all_are_closed() {
            return HashSet::new();
        }
        let claimed = self.claiming.iter().flat_map(HashMap::values).chain(&self.ready);
        let retries = claimed.chain(self.waiting.due(now)).filter(|work| !work.is_new());
        let may_leave = |no: &RackNo| self.turn.has_room(*no) && self.breakers.allows(*no, now).is_ok();
        retries.map(|work| work.item.rack).filter(may_leave).collect()
    }

    /// A claim that is too old is made again: the next claim takes this VM first.
    fn renew(&mut self, index: usize) {
        if let Some(work) = self.ready.remove(index) {
            self.turn.given_back(work.item.rack);
            self.waiting.push(work, Instant::now());
        }
    }

    fn written(&mut self, reply: Option<Reply>) -> Result<(), LedgerError> {
        match reply {
            Some(Reply::Claimed(claimed)) => self.claimed(claimed),
            Some(Reply::Settled(counted)) => counted.into_iter().for_each(|vm| self.count(vm)),
            Some(Reply::Failed(error)) => return Err(error),
            None => return Err(LedgerError::WriterGone),
        }
        Ok(())
    }

    fn claimed(&mut self, claimed: Claimed) {
        let mut again = self.claiming.take().unwrap_or_default();
        let renewed = claimed.again.into_iter().filter_map(|position| again.remove(&position));
        let renewed = renewed.map(|work| work.claimed(claimed.at));
        let fresh = claimed.items.into_iter().map(|item| Work::new(item, claimed.at));
        let works: Vec<Work> = renewed.chain(fresh).collect();
        if self.stop.is_none() {
            self.ready.extend(works);
            return;
        }
        for work in &works {
            self.turn.given_back(work.item.rack);
        }
        self.writer.release(works.iter().map(|work| work.item.position).collect());
    }

    /// Counts a VM whose outcome is on disk.
    fn count(&mut self, vm: Counted) {
        let now = Instant::now();
        self.unsettled -= 1;
        self.parts.progress.settled(vm.outcome, now);
        let waits = !self.in_flight.is_empty() || !self.waiting.is_empty() || !self.breakers.all_are_closed();
        self.hindered_since = waits.then_some(now);
        self.hindered_by = None;
        if let Some(brake) = self.parts.brake.settled(vm.outcome, vm.drifted) {
            self.writer.brake(brake);
            self.stop(brake);
        }
    }

    fn answered(&mut self, Answered { mut work, ticket, purposes, attempt }: Answered) {
        let rack = work.item.rack;
        self.turn.came_back(rack, attempt.is_answered());
        self.is_hampered = attempt.meaning() == Some(Meaning::Hampered);
        if self.clock.observe(&attempt) {
            // Also those whose VMs were given up before this was known.
            for (vm, lost) in &self.given_up {
                self.writer.remember(vm.clone(), lost.dated(&self.clock));
            }
        }
        let now = Instant::now();
        let opened = self.breakers.came_back(rack, purposes, work.is_new(), &attempt, now);
        self.tell_opened(rack, opened);
        match attempt.admission() {
            Admission::Refused => {}
            Admission::Accepted => self.parts.pace.accepted(ticket, attempt.announced, now),
            Admission::Unknown => self.parts.pace.failed(ticket, attempt.announced, now),
        }
        self.note(&mut work, &attempt);
        let offset = self.clock.offset(&attempt);
        match attempt.result {
            Ok(answer) => self.succeed(work, answer, offset, ticket),
            Err(fault) => self.suffer(work, &fault, ticket),
        }
    }

    fn tell_opened(&self, no: RackNo, opened: Opened) {
        if opened.rack {
            warn!(
                rack = self.rack(no),
                "most first calls to this rack fail: leaving it alone, but for single probes"
            );
        }
        if opened.api {
            warn!("most calls fail: leaving the API alone, but for single probes");
        }
    }

    fn rack(&self, no: RackNo) -> String {
        let name = self.parts.racks.get(no.0 as usize).and_then(Option::as_deref);
        name.map_or_else(|| "unknown".to_owned(), |name| escape(name).into_owned())
    }

    /// What every attempt leaves behind, whatever came of it.
    fn note(&self, work: &mut Work, attempt: &Attempt) {
        work.last = LastCall {
            http_status: attempt.status,
            request_id: attempt.request_id.clone(),
            latency: attempt.latency,
        };
        work.item.first_call.get_or_insert(FirstCall { at: attempt.sent_at, told: None });
        let meaning = attempt.meaning();
        if meaning == Some(Meaning::Hampered) {
            return;
        }
        let throttled = meaning == Some(Meaning::Throttled);
        work.attempts += u32::from(!throttled);
        let tally = work.tally();
        tally.first_sent.get_or_insert(attempt.sent_at);
        match throttled {
            true => tally.throttled += 1,
            false => tally.attempts += 1,
        }
        if attempt.may_have_applied() {
            work.lost.record(attempt, self.settings.timeout);
        }
        work.item.unanswered = work.lost.dated(&self.clock);
        debug!(vm = %work.item.vm, status = attempt.status, latency = ?attempt.latency, "answered");
    }

    fn succeed(&mut self, work: Work, answer: Answer, offset: Option<Offset>, ticket: Ticket) {
        self.successes += 1;
        self.key_is_good(ticket);
        let Item { before, unanswered, expected, first_call, .. } = &work.item;
        let first_call = first_call.unwrap_or(FirstCall { at: clock::now(), told: None });
        let evidence = Evidence {
            before: before.as_ref(),
            unanswered,
            first_call,
            offset,
            heard: &self.clock.heard(),
            now: clock::now(),
        };
        let mut verdict = classify(&answer, &evidence);
        let drift = expected.drift(&answer.allocation);
        let unknown = expected.unknown(&answer.allocation);
        verdict
            .warnings
            .extend(unknown.map(|field| format!("the inventory expects {field}, and the answer has none")));
        let allocation = Box::new(answer.allocation);
        self.settle(work, Settlement::Success { verdict, allocation, drift });
    }

    fn suffer(&mut self, mut work: Work, fault: &Fault, ticket: Ticket) {
        let now = Instant::now();
        debug!(vm = %work.item.vm, failure = %fault.failure, error = fault.message, "no success");
        let setback = Setback { failure: fault.failure, error: fault.message.clone() };
        let decision = retry::decide(self.settings.policy, work.attempts, fault, fastrand::f64());
        work.setback = Some(setback.clone());
        match decision {
            Decision::InDoubt(credential) => return self.doubt(work, setback, credential, ticket, now),
            Decision::Fail => self.fail(work),
            Decision::Again(wait) => self.wait(work, setback, now + wait),
            Decision::Hampered(wait) => {
                self.keep_to_fewer();
                self.wait(work, setback, now + wait);
            }
            Decision::Throttled(wait) => self.throttled(work, setback, ticket, wait),
        }
        match proves_the_key(fault.meaning) {
            true => self.key_is_good(ticket),
            false => self.trust.neutral(ticket.left),
        }
    }

    /// More calls at once than are in flight now are more than this machine lets us make.
    fn keep_to_fewer(&mut self) {
        let slots = self.in_flight.len().max(1);
        if slots < self.slots {
            self.slots = slots;
            warn!(
                slots,
                "no file descriptor was left for one more call (ulimit -n): keeping to fewer at once"
            );
        }
    }

    fn fail(&mut self, work: Work) {
        let unknown = || Setback { failure: Failure::NotAttempted, error: String::new() };
        let setback = work.setback.clone().unwrap_or_else(unknown);
        self.settle(work, Settlement::Failed(setback));
    }

    fn settle(&mut self, work: Work, settlement: Settlement) {
        self.unsettled += 1;
        let is_watched = self.parts.brake.watches(settlement.outcome(), settlement.has_drift());
        let Work { item, last, lost, .. } = work;
        if matches!(settlement, Settlement::Failed(_)) && !lost.is_empty() {
            self.given_up.push_back((item.vm.clone(), lost));
            if self.given_up.len() > GIVEN_UP_CAP {
                self.given_up.pop_front();
            }
        }
        self.writer.settle(Settled { item, last, at: clock::now(), settlement });
        if is_watched {
            self.writer.flush();
        }
    }

    /// The VM waits, in the ledger too: if we go, what it has been through stays.
    fn wait(&mut self, work: Work, setback: Setback, until: Instant) {
        self.writer.defer(work.deferred(setback));
        self.waiting.push(work, until);
    }

    fn throttled(&mut self, mut work: Work, setback: Setback, ticket: Ticket, wait: Option<Duration>) {
        let now = Instant::now();
        work.struck(self.successes);
        let until = self.parts.pace.throttled(ticket, wait, now);
        let pause = until.saturating_duration_since(now);
        debug!(seconds = pause.as_secs_f64(), "the API asks everybody to wait");
        if pause > self.settings.policy.max_wait {
            warn!(seconds = pause.as_secs(), "the API asks for a longer wait than --max-wait allows");
            self.stop(Stop::MaxWait);
        }
        self.wait(work, setback, until);
    }

    fn doubt(&mut self, work: Work, setback: Setback, credential: Credential, ticket: Ticket, now: Instant) {
        let stop = self.trust.refused(credential, ticket.left, now);
        self.writer.defer(work.deferred(setback));
        self.in_doubt.push_back(work);
        if let Some(stop) = stop {
            self.stop(stop);
        }
    }

    /// The key works: who was refused before that was refused for good.
    fn key_is_good(&mut self, ticket: Ticket) {
        let refused = self.trust.proved(ticket.left);
        for work in self.in_doubt.drain(..refused).collect::<Vec<_>>() {
            self.fail(work);
        }
    }

    /// At the end, what is still in doubt is settled, unless the key may be what was refused. Returns whether it was.
    fn resolve_doubts(&mut self) -> bool {
        if self.stop.is_some() || self.in_doubt.is_empty() {
            return false;
        }
        if let Some(stop) = self.trust.verdict() {
            self.stop(stop);
            return false;
        }
        for work in std::mem::take(&mut self.in_doubt) {
            self.fail(work);
        }
        true
    }
}

fn call(api: Api, work: Work, ticket: Ticket, purposes: Purposes) -> Call {
    Box::pin(async move {
        let vm: &VmId = &work.item.vm;
        let attempt = api.call(vm, work.item.action).await;
        Answered { work, ticket, purposes, attempt }
    })
}
