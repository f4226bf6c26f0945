//! A run as it stands: what happens to it → what is to be done. Pure: time and chance are told.
//!
//! Every VM is in exactly one place: pending in the ledger, being claimed, ready, in flight, waiting for another
//! call, in doubt, or on its way to the disk with its outcome.

mod told;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use std::vec::Drain;

use super::breakers::Opened;
use super::doubts::Doubts;
use super::event::{Command, Event, Now};
use super::flights::{Flight, FlightNo, Flights};
use super::halt::{DRAIN, Ending, Halt};
use super::hindrance::Hindrance;
use super::lost::GivenUp;
use super::notice::Notice;
use super::racks::Racks;
use super::schedule::{Bounds, Claim, Schedule};
use super::settings::{Looks, Settings};
use super::shared::Shared;
use super::work::Work;
use crate::api::{Admission, Attempt, Credential, Fault, Meaning, ServerClock, Success};
use crate::brake::Brake;
use crate::ledger::{Claimed, Counted, LeftAlone, RackNo, Seen, Setback, Settled, Settlement};
use crate::outcome::{Answer, Look, Offset};
use crate::pace::{Pace, Ticket};
use crate::retry::{self, Decision};
use crate::stop::Stop;
use crate::trust::proves_the_key;

/// Outcomes on their way to the disk; beyond it no call leaves.
const UNSETTLED_CAP: usize = 4096;

/// So often a run looks around, whatever happens.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct State<'a> {
    settings: &'a Settings,
    pace: &'a mut Pace,
    brake: Brake,
    /// The same once all outcomes that are on their way to the disk are there, in their order.
    foreseen: Brake,
    /// Those will stop the run: no call leaves any more.
    is_doomed: bool,
    racks: Racks,
    clock: ServerClock,
    schedule: Schedule,
    flights: Flights,
    doubts: Doubts,
    given_up: GivenUp,
    hindrance: Hindrance,
    halt: Halt,
    /// `None` where nobody else can work on the run.
    shared: Option<Shared>,
    /// Outcomes on their way to the disk.
    unsettled: usize,
    /// Of those, the ones that may bring the run nearer to a stop.
    unsettled_watched: usize,
    /// The same of those that are there, until it is seen what others had settled by then.
    unseen_watched: usize,
    /// Since when the disk cannot be reached.
    ledger_away_since: Option<Instant>,
    successes: u64,
    /// When the next call may leave, if it is the time that holds it.
    next_slot: Option<Instant>,
    /// The brake that it ran into.
    braked: Option<Stop>,
    /// It is this worker that stops, and not the run.
    is_leaving: bool,
    ending: Option<Ending>,
    commands: Vec<Command>,
}

impl<'a> State<'a> {
    /// `pending` is the number of VMs by rack.
    pub(super) fn new(
        settings: &'a Settings,
        pace: &'a mut Pace,
        brake: Brake,
        racks: Racks,
        pending: &[u64],
        now: Now,
    ) -> Self {
        let slots = settings.concurrency.get();
        let rack_slots = settings.rack_concurrency.map(NonZeroU32::get);
        Self {
            settings,
            pace,
            foreseen: brake.clone(),
            brake,
            is_doomed: false,
            racks,
            clock: ServerClock::default(),
            schedule: Schedule::new(slots, rack_slots, pending, now.at),
            flights: Flights::new(slots as usize),
            doubts: Doubts::default(),
            given_up: GivenUp::default(),
            hindrance: Hindrance::default(),
            halt: Halt::new(settings.deadline.map(|deadline| now.at + deadline)),
            shared: None,
            unsettled: 0,
            ledger_away_since: None,
            unsettled_watched: 0,
            unseen_watched: 0,
            successes: 0,
            next_slot: None,
            braked: None,
            is_leaving: false,
            ending: None,
            commands: Vec::new(),
        }
    }

    /// Others may work on the run too.
    pub(super) fn share(&mut self) {
        self.shared = Some(Shared::default());
        self.schedule.breakers.share();
    }

    /// What is to be done now that this has happened. `chance` is from 0 to 1.
    pub(super) fn on(&mut self, event: Event, now: Now, chance: f64) -> Drain<'_, Command> {
        match event {
            Event::Woken => {}
            Event::Signalled(stop) => self.signalled(stop, now.at),
            Event::Claimed(claimed) => self.claimed(claimed, now.at),
            Event::Settled(counted) => counted.into_iter().for_each(|vm| self.count(vm, now.at)),
            Event::Away(words) => self.ledger_is_away(words, now.at),
            Event::Back => self.ledger_is_back(now.at),
            Event::Seen(seen) => self.saw(seen, now.at),
            Event::LeftAlone { all, heard } => self.saw_left_alone(&all, heard, now.at),
            Event::Lapsed => self.lapsed(now.at),
            Event::Paced(exchange) => self.pace.granted(*exchange, now.at),
            Event::Answered(flight, attempt) => self.answered(flight, attempt, now, chance),
        }
        if self.ending.is_none() {
            self.go_on(now);
        }
        self.commands.drain(..)
    }

    /// How the run has ended, once it has.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The next moment at which something is to be done without anything having happened.
    pub(super) fn wake(&self, now: Instant) -> Instant {
        let schedule = self.schedule.wake(now, self.halt.is_on());
        [self.next_slot, schedule, self.halt.wake(), self.pace.asks_at()]
            .into_iter()
            .flatten()
            .fold(now + LOOK, Instant::min)
    }

    /// What keeps the run from its pace, for whoever watches.
    pub(super) fn obstacle(&self, now: Instant) -> Option<String> {
        if self.ledger_away_since.is_some() {
            return Some("the ledger cannot be reached".into());
        }
        if let Some(until) = self.pace.paused_until(now) {
            let seconds = until.saturating_duration_since(now).as_secs_f64().ceil();
            return Some(format!("paused {seconds} s: the API asked for it"));
        }
        if self.flights.is_hampered {
            return Some("no file descriptor is left for a call (ulimit -n)".into());
        }
        let breakers = &self.schedule.breakers;
        if !breakers.api_is_closed() {
            return Some("the API fails: probing".into());
        }
        (!breakers.all_are_closed()).then(|| format!("{}: probing", self.racks.fail(breakers.open_racks())))
    }

    fn go_on(&mut self, now: Now) {
        self.check_time(now.at);
        self.look_for_more(now.at);
        self.next_slot = self.send(now);
        if self.ledger_away_since.is_some() {
            // The API is not what the run waits for.
            self.hindrance.paced(true, now.at);
        }
        self.claim(now);
        self.ask_for_slots(now.at);
        let trials = self.schedule.breakers.told();
        self.commands.extend(trials.map(|(sick, trial)| Command::Breaker(sick, trial)));
        self.ending = self.over(now);
    }

    /// Whether nothing is under way and nothing will be by itself, or what is under way is waited for no longer.
    fn over(&mut self, now: Now) -> Option<Ending> {
        if self.is_idle() && !self.resolve_doubts(now) {
            return Some(self.how_it_ends());
        }
        if self.awaits_its_first() || self.awaits_others() && self.is_sure_of_its_doubts(now.at) {
            self.resolve_doubts(now);
        }
        let is_overdue = self.halt.is_overdue(now.at);
        if is_overdue {
            self.tell(Notice::LeftBehind(self.flights.len()));
        }
        is_overdue.then(|| self.how_it_ends())
    }

    fn how_it_ends(&self) -> Ending {
        match self.halt.ending() {
            Ending::Stopped(stop) if self.is_leaving => Ending::Left(stop),
            ending => ending,
        }
    }

    fn is_idle(&self) -> bool {
        !self.is_under_way() && (self.halt.is_on() || !self.has_more())
    }

    /// Whether any VM is yet to be called, or in the hands of others.
    fn has_more(&self) -> bool {
        let others = self.shared.as_ref().map(|shared| shared.has_more(self.doubts.len()));
        others.unwrap_or_else(|| self.schedule.has_more())
    }

    fn is_under_way(&self) -> bool {
        !self.schedule.is_idle() || !self.flights.is_empty() || self.unsettled > 0
    }

    /// Whether no other VM may be called before those that were are settled, and none of them is called again.
    fn awaits_its_first(&self) -> bool {
        !self.is_under_way() && !self.schedule.waits() && self.startable() == Some(0)
    }

    /// Whether there is nothing to be done until others give something back.
    fn awaits_others(&self) -> bool {
        let none_is_free = self.shared.as_ref().is_some_and(|shared| shared.knows() && shared.free() == 0);
        none_is_free && !self.is_under_way() && !self.schedule.waits()
    }

    /// Whether nothing is to come that tells more of the key.
    fn is_sure_of_its_doubts(&self, now: Instant) -> bool {
        self.others_prove_the_key() || self.doubts.are_older_than(self.settings.timeout, now)
    }

    fn others_prove_the_key(&self) -> bool {
        self.shared.as_ref().is_some_and(Shared::proves_the_key)
    }

    /// How many VMs may be started now; `None` is all of them.
    fn startable(&self) -> Option<u64> {
        let allowance = self.brake.allowance()?;
        Some(match &self.shared {
            Some(shared) => shared.startable(allowance),
            None => allowance.saturating_sub(self.schedule.started()),
        })
    }

    fn tell(&mut self, notice: Notice) {
        self.commands.push(Command::Tell(notice));
    }

    fn signalled(&mut self, stop: Stop, now: Instant) {
        if self.halt.is_on() {
            self.ending = Some(Ending::Abandoned(stop));
            return;
        }
        self.tell(Notice::Draining(DRAIN));
        self.is_leaving = self.shared.is_some();
        self.stop(stop, now);
    }

    /// Stops the run, for all who work on it.
    fn stop_all(&mut self, stop: Stop, now: Instant) {
        if self.shared.as_mut().is_some_and(|shared| shared.is_news(stop)) {
            self.commands.push(Command::Stop(stop));
        }
        self.stop(stop, now);
    }

    fn ledger_is_away(&mut self, words: String, now: Instant) {
        self.ledger_away_since = Some(now);
        self.tell(Notice::LedgerAway { words, max_wait: self.settings.policy.max_wait });
    }

    fn ledger_is_back(&mut self, now: Instant) {
        let since = self.ledger_away_since.take().unwrap_or(now);
        self.tell(Notice::LedgerBack(now.saturating_duration_since(since)));
    }

    fn stop(&mut self, stop: Stop, now: Instant) {
        if self.halt.stop(stop, now) {
            let mut released = self.schedule.withdraw();
            released.extend(self.schedule.waiting());
            self.commands.push(Command::Release(released));
        }
    }

    fn check_time(&mut self, now: Instant) {
        if self.halt.is_past_deadline(now) {
            self.stop_all(Stop::Deadline, now);
        }
        let is_paused = self.pace.paused_until(now).is_some();
        let lasts = self.hindrance.lasts(is_paused, now);
        // What others have settled is known under a lease.
        if let Some(lasts) = lasts.filter(|_| !self.halt.is_on() && self.is_leased(now)) {
            self.check_hindrance(lasts, now);
        }
    }

    /// No VM was settled for a time: says why, and stops the run where that is too long.
    fn check_hindrance(&mut self, lasts: Duration, now: Instant) {
        let max_wait = self.settings.policy.max_wait;
        if !Hindrance::is_worth_telling(lasts, max_wait) {
            return;
        }
        let notice = self.hindrance.notice(lasts, max_wait, self.obstacle(now));
        self.commands.extend(notice.map(Command::Tell));
        if lasts > max_wait {
            self.stop_all(Stop::MaxWait, now);
        }
    }

    fn claim(&mut self, now: Now) {
        let startable = self.startable();
        let may_ask = self.shared.as_ref().is_none_or(|shared| shared.may_claim(startable.is_some(), now.at));
        if self.halt.is_on() || self.is_doomed || !may_ask || !self.schedule.may_claim() {
            return;
        }
        let bounds = Bounds { per_second: self.pace.per_second(), startable, successes: self.successes };
        let Some(claim) = self.schedule.claim(bounds, now.at) else { return };
        let is_empty = claim.is_empty();
        let Claim { again, take, struck_out } = claim;
        for work in struck_out {
            self.fail(work, now);
        }
        if !is_empty {
            let (offset, allowance) = (self.clock.agreed(), self.brake.allowance());
            self.commands.push(Command::Claim { again, take, offset, allowance });
        }
    }

    fn claimed(&mut self, claimed: Claimed, now: Instant) {
        let came = claimed.items.len();
        let asked = self.schedule.claimed(claimed, now);
        if let Some(shared) = &mut self.shared {
            shared.claimed(asked, came, now);
        }
        if self.halt.is_on() {
            let released = self.schedule.withdraw();
            self.commands.push(Command::Release(released));
        }
    }

    /// Sends what may leave now. Returns when the next call may, if it is the time that holds it.
    fn send(&mut self, now: Now) -> Option<Instant> {
        while self.may_send(now.at) {
            let place = match self.schedule.next(now) {
                Ok(place) => place,
                Err(at) => return at,
            };
            match self.pace.next(now.at) {
                Ok(ticket) => self.call(place, ticket, now.at),
                Err(at) => {
                    self.held_by_pace(now.at);
                    return Some(at);
                }
            }
        }
        None
    }

    /// For as many calls as would leave now, were it not for the pace.
    fn ask_for_slots(&mut self, now: Instant) {
        let may_send = self.may_send(now);
        let (schedule, room) = (&self.schedule, u32::try_from(self.flights.room()).unwrap_or(u32::MAX));
        let wanted = || if may_send { schedule.leaving(now).min(room) } else { 0 };
        let asked = self.pace.ask(wanted, now);
        self.commands.extend(asked.map(|ask| Command::Pace(Box::new(ask))));
    }

    fn may_send(&self, now: Instant) -> bool {
        let is_written_in_time =
            self.unsettled < UNSETTLED_CAP && !self.is_doomed && self.ledger_away_since.is_none();
        let has_room = self.flights.have_room_beside(self.unheard());
        has_room && self.is_leased(now) && is_written_in_time && self.doubts.allow()
    }

    /// Outcomes of ours that others would stop for, had they heard of them: of each worker as many as it has slots.
    fn unheard(&self) -> usize {
        if self.shared.is_some() { self.unsettled_watched + self.unseen_watched } else { 0 }
    }

    /// Whether what is claimed is certainly ours.
    fn is_leased(&self, now: Instant) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.is_leased(now))
    }

    fn held_by_pace(&mut self, now: Instant) {
        let waits = !self.flights.is_empty() || self.flights.is_hampered;
        self.hindrance.paced(!waits && self.pace.paused_until(now).is_none(), now);
    }

    fn call(&mut self, place: usize, ticket: Ticket, now: Instant) {
        let Some((mut work, purposes)) = self.schedule.leaves(place, now) else { return };
        self.doubts.left(now);
        self.hindrance.begin(now);
        let (vm, action) = (work.item.vm.clone(), work.item.action);
        let looks = match self.settings.looks {
            Looks::Never => false,
            Looks::AfterLoss => work.is_in_the_dark(),
            Looks::Only => true,
        };
        work.was_called |= !looks;
        let flight = self.flights.begin(Flight { work, ticket, purposes, is_ours: true });
        self.commands.push(match looks {
            true => Command::Look { flight, vm },
            false => Command::Call { flight, vm, action },
        });
    }

    /// Counts a VM whose outcome is on disk.
    fn count(&mut self, vm: Counted, now: Instant) {
        self.unsettled -= 1;
        let watched = usize::from(self.brake.watches(vm.outcome, vm.drifted));
        self.unsettled_watched -= watched;
        self.unseen_watched += watched;
        // Where others work on the run, ours are told with theirs.
        if self.shared.is_none() {
            self.commands.push(Command::Count(vm.outcome, 1));
        }
        self.goes_on(now);
        let brake = self.brake.settled(vm.outcome, vm.drifted);
        self.heed(brake, now);
    }

    /// Some VM of the run was settled.
    fn goes_on(&mut self, now: Instant) {
        let is_well = self.flights.is_empty() && self.schedule.is_at_ease();
        self.hindrance.end(!is_well, now);
    }

    fn heed(&mut self, brake: Option<Stop>, now: Instant) {
        let Some(brake) = brake.filter(|&brake| self.braked < Some(brake)) else { return };
        self.braked = Some(brake);
        self.commands.push(Command::Brake(brake));
        self.stop_all(brake, now);
    }

    /// Takes note of what others do.
    fn saw(&mut self, seen: Seen, now: Instant) {
        let Some(shared) = &mut self.shared else { return };
        self.unseen_watched = 0;
        let (before, news) = (shared.settled(), shared.saw(seen));
        let all = shared.settled();
        self.commands
            .extend(news.into_iter().filter(|(_, vms)| *vms > 0).map(|(o, vms)| Command::Count(o, vms)));
        if all.settled > before.settled || self.awaits_others() {
            self.goes_on(now);
        }
        let others = all.without(self.brake.ours());
        let brake = self.brake.others(others);
        self.is_doomed |= self.foreseen.others(others).is_some();
        self.heed(brake, now);
        if seen.is_alerted {
            self.pace.alerted();
        }
        if let Some(stop) = seen.stop {
            self.stopped_by_another(stop, now);
        }
        self.share_trials();
    }

    /// Takes note of what all leave alone.
    fn saw_left_alone(&mut self, all: &[LeftAlone], heard: usize, now: Instant) {
        for sick in self.schedule.breakers.saw(all, heard, now) {
            let opened = Opened { api: sick.is_none(), rack: sick.is_some() };
            self.tell_opened(sick.unwrap_or(RackNo(0)), opened);
        }
        self.share_trials();
    }

    /// What nobody tries is tried by whoever has a VM for that, and no longer by whoever has none.
    fn share_trials(&mut self) {
        let free = self.shared.as_ref().map_or(0, Shared::free);
        let goes_on = !self.halt.is_on();
        self.schedule.share_trials(goes_on, goes_on && free > 0 && self.startable() != Some(0));
    }

    fn stopped_by_another(&mut self, stop: Stop, now: Instant) {
        if self.shared.as_mut().is_some_and(|shared| shared.is_news(stop)) {
            self.tell(Notice::StoppedForAll(stop));
        }
        self.stop(stop, now);
    }

    /// Nothing that was claimed is ours any more, nor what came of it and is not on disk.
    fn lapsed(&mut self, now: Instant) {
        let Some(shared) = &mut self.shared else { return };
        shared.lapsed();
        let asked = shared.asked();
        self.schedule.lapse();
        self.flights.disown();
        self.pace.unheard();
        self.doubts = Doubts::default();
        (self.unsettled, self.unsettled_watched, self.unseen_watched) = (0, 0, 0);
        self.foreseen = self.brake.clone();
        self.is_doomed = false;
        self.goes_on(now);
        self.tell(Notice::Lapsed);
        self.commands.push(Command::Rejoin);
        self.commands.extend(self.braked.map(Command::Brake));
        self.commands.extend(asked.map(Command::Stop));
    }

    /// Of the VMs that others have given back, some may be ours.
    fn look_for_more(&mut self, now: Instant) {
        let Some(shared) = &mut self.shared else { return };
        if self.schedule.is_exhausted()
            && let Some(free) = shared.given_back(now)
        {
            self.schedule.refill(free);
        }
    }

    fn answered(&mut self, flight: FlightNo, attempt: Attempt, now: Now, chance: f64) {
        let Some(ended) = self.flights.end(flight, &attempt) else { return };
        let Flight { mut work, ticket, purposes, is_ours } = ended;
        self.hear_clock(&attempt);
        let opened = self.schedule.came_back(&work, purposes, &attempt, now.at);
        self.tell_opened(work.item.rack, opened);
        match attempt.admission() {
            Admission::Refused => {}
            Admission::Accepted => self.pace.accepted(ticket, attempt.announced, now.at),
            Admission::Unknown => self.pace.failed(ticket, attempt.announced, now.at),
        }
        if !is_ours {
            return self.heard_too_late(&attempt, ticket, now);
        }
        work.note(&attempt, self.settings.timeout, &self.clock);
        let offset = self.clock.offset(&attempt);
        match attempt.result {
            Ok(Success::Called(answer)) => self.succeed(work, answer, offset, ticket, now),
            Ok(Success::Looked(look)) => self.looked(work, look, offset, ticket, now),
            Err(fault) => self.suffer(work, &fault, ticket, now, chance),
        }
    }

    /// The VM is another worker's: of its answer only what it says of the API is heard.
    fn heard_too_late(&mut self, attempt: &Attempt, ticket: Ticket, now: Now) {
        match &attempt.result {
            Err(Fault { meaning: Meaning::Throttled, retry_after, .. }) => {
                self.pace.throttled(ticket, *retry_after, now.at);
            }
            Err(fault) if proves_the_key(fault.meaning) => self.key_is_good(ticket, now),
            Err(_) => self.doubts.neutral(ticket.left_at),
            Ok(_) => self.key_is_good(ticket, now),
        }
    }

    /// What comes to be known of the server's clock dates also those whose VMs were given up before.
    fn hear_clock(&mut self, attempt: &Attempt) {
        if self.clock.observe(attempt) {
            let dated = self.given_up.dated(&self.clock);
            self.commands.extend(dated.map(|(vm, lost)| Command::Remember(vm, lost)));
        }
    }

    fn succeed(&mut self, work: Work, answer: Answer, offset: Option<Offset>, ticket: Ticket, now: Now) {
        self.successes += 1;
        self.key_is_good(ticket, now);
        let success = work.success(answer, offset, &self.clock, now.date);
        self.settle(work, success, now);
    }

    fn looked(&mut self, work: Work, look: Look, offset: Option<Offset>, ticket: Ticket, now: Now) {
        if self.settings.looks == Looks::Only {
            return self.foresee(work, look, ticket, now);
        }
        match look.done(work.item.action) {
            Some(answer) => self.succeed(work, answer, offset, ticket, now),
            None => self.ask_again(work, ticket, now),
        }
    }

    fn foresee(&mut self, work: Work, look: Look, ticket: Ticket, now: Now) {
        self.successes += 1;
        self.key_is_good(ticket, now);
        let forecast = work.forecast(look);
        self.settle(work, forecast, now);
    }

    /// A look has found that no lost call has done anything. It may yet, and whoever finds that later is to know: what was
    /// lost is not forgotten. A VM that was lost by an earlier run is called at least once.
    fn ask_again(&mut self, mut work: Work, ticket: Ticket, now: Now) {
        self.key_is_good(ticket, now);
        work.is_undone = true;
        if work.was_called && work.attempts >= self.settings.policy.max_attempts.get() {
            return self.fail(work, now);
        }
        let setback = work.setback();
        self.wait(work, setback, now.at);
    }

    fn tell_opened(&mut self, no: RackNo, opened: Opened) {
        if opened.rack {
            self.tell(Notice::RackLeftAlone(self.racks.name(no)));
        }
        if opened.api {
            self.tell(Notice::ApiLeftAlone);
        }
    }

    fn suffer(&mut self, mut work: Work, fault: &Fault, ticket: Ticket, now: Now, chance: f64) {
        let may_have_applied = work.is_in_the_dark();
        let setback = Setback { failure: fault.failure, error: fault.message.clone(), may_have_applied };
        let decision = retry::decide(self.settings.policy, work.attempts, fault, chance);
        work.setback = Some(setback.clone());
        match decision {
            Decision::InDoubt(credential) => return self.doubt(work, setback, credential, ticket, now.at),
            Decision::Fail => self.fail(work, now),
            Decision::Again(wait) => self.wait(work, setback, now.at + wait),
            Decision::Hampered(wait) => {
                let fewer = self.flights.keep_to_fewer().map(Notice::FewerSlots);
                self.commands.extend(fewer.map(Command::Tell));
                self.wait(work, setback, now.at + wait);
            }
            Decision::Throttled(wait) => self.throttled(work, setback, ticket, wait, now.at),
        }
        match proves_the_key(fault.meaning) {
            true => self.key_is_good(ticket, now),
            false => self.doubts.neutral(ticket.left_at),
        }
    }

    fn fail(&mut self, work: Work, now: Now) {
        let failure = work.failure();
        self.settle(work, failure, now);
    }

    fn settle(&mut self, work: Work, settlement: Settlement, now: Now) {
        self.unsettled += 1;
        let (outcome, has_drift) = (settlement.outcome(), settlement.has_drift());
        let is_watched = self.brake.watches(outcome, has_drift);
        self.unsettled_watched += usize::from(is_watched);
        self.is_doomed |= self.foreseen.settled(outcome, has_drift).is_some();
        let Work { item, last, lost, .. } = work;
        if matches!(settlement, Settlement::Failed(_)) && !lost.is_empty() {
            self.given_up.keep(item.vm.clone(), lost);
        }
        self.commands.push(Command::Settle(Box::new(Settled { item, last, at: now.date, settlement })));
        if is_watched {
            self.commands.push(Command::Flush);
        }
    }

    /// The VM waits, in the ledger too: if we go, what it has been through stays.
    fn wait(&mut self, work: Work, setback: Setback, until: Instant) {
        self.commands.push(Command::Defer(Box::new(work.deferred(setback))));
        self.schedule.wait(work, until);
    }

    fn throttled(
        &mut self,
        mut work: Work,
        setback: Setback,
        ticket: Ticket,
        wait: Option<Duration>,
        now: Instant,
    ) {
        work.struck(self.successes);
        let until = self.pace.throttled(ticket, wait, now);
        let pause = until.saturating_duration_since(now);
        self.tell(Notice::Paused(pause));
        if pause > self.settings.policy.max_wait {
            self.tell(Notice::PauseTooLong(pause));
            self.stop_all(Stop::MaxWait, now);
        }
        self.wait(work, setback, until);
    }

    fn doubt(&mut self, work: Work, setback: Setback, credential: Credential, ticket: Ticket, now: Instant) {
        self.commands.push(Command::Defer(Box::new(work.deferred(setback))));
        if let Some(stop) = self.doubts.refused(work, credential, ticket.left_at, now) {
            self.stop_all(stop, now);
        }
    }

    /// The key works: who was refused before that was refused for good.
    fn key_is_good(&mut self, ticket: Ticket, now: Now) {
        for work in self.doubts.proved(ticket.left_at) {
            self.fail(work, now);
        }
    }

    /// At the end, what is still in doubt is settled, unless the key may be what was refused. Returns whether it was.
    fn resolve_doubts(&mut self, now: Now) -> bool {
        if self.halt.is_on() || self.doubts.is_empty() {
            return false;
        }
        match self.doubts.resolve(self.others_prove_the_key()) {
            Err(stop) => {
                self.stop_all(stop, now.at);
                false
            }
            Ok(refused) => {
                for work in refused {
                    self.fail(work, now);
                }
                true
            }
        }
    }
}
