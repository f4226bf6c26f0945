//! A run as it stands: what happens to it → what is to be done. Pure: time and chance are told.
//!
//! Every VM is in exactly one place: pending in the ledger, being claimed, ready, in flight, waiting for another
//! call, in doubt, or on its way to the disk with its outcome.

mod answers;
mod others;
mod told;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use std::vec::Drain;

use super::doubts::Doubts;
use super::event::{Command, Event, Now};
use super::flights::{Flight, Flights};
use super::halt::{DRAIN, Ending, Halt};
use super::hindrance::Hindrance;
use super::lost::GivenUp;
use super::notice::Notice;
use super::racks::Racks;
use super::schedule::{Bounds, Claim, Schedule};
use super::settings::{Looks, Settings};
use super::settling::Settling;
use super::shared::Shared;
use crate::api::ServerClock;
use crate::brake::Brake;
use crate::ledger::{Claimed, Counted};
use crate::pace::{Pace, Ticket, Wanted};
use crate::stop::Stop;

/// So often a run looks around, whatever happens.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct State<'a> {
    settings: &'a Settings,
    pace: &'a mut Pace,
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
    settling: Settling,
    /// Since when the disk cannot be reached.
    ledger_away_since: Option<Instant>,
    successes: u64,
    /// When the next call may leave, if it is the time that holds it.
    next_slot: Option<Instant>,
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
            racks,
            clock: ServerClock::default(),
            schedule: Schedule::new(slots, rack_slots, pending, now.at),
            flights: Flights::new(slots as usize),
            doubts: Doubts::default(),
            given_up: GivenUp::default(),
            hindrance: Hindrance::default(),
            halt: Halt::new(settings.deadline.map(|deadline| now.at + deadline)),
            shared: None,
            settling: Settling::new(brake),
            ledger_away_since: None,
            successes: 0,
            next_slot: None,
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
            Event::Over => self.ending = Some(Ending::Over),
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
        if !breakers.way_is_closed() {
            return Some("the API cannot be reached from here: probing".into());
        }
        if !breakers.api_is_closed() {
            return Some("the API fails: probing".into());
        }
        (!breakers.all_are_closed()).then(|| format!("{}: probing", self.racks.fail(breakers.open_racks())))
    }

    fn go_on(&mut self, now: Now) {
        self.check_time(now.at);
        self.look_for_more(now.at);
        self.give_back_where_cut_off(now.at);
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
        !self.schedule.is_idle() || !self.flights.is_empty() || !self.settling.is_empty()
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

    /// A guest may have brought another one.
    fn others_prove_the_key(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| !self.settings.is_guest && shared.proves_the_key())
    }

    /// How many VMs may be started now; `None` is all of them.
    fn startable(&self) -> Option<u64> {
        let allowance = self.settling.allowance()?;
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
        if self.halt.is_on() || self.settling.is_doomed() || !may_ask || !self.schedule.may_claim() {
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
            let (offset, allowance) = (self.clock.agreed(), self.settling.allowance());
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

    fn ask_for_slots(&mut self, now: Instant) {
        let room = if self.may_send(now) { self.flights.room() } else { 0 };
        let (schedule, free) = (&self.schedule, self.shared.as_ref().map_or(0, Shared::free));
        let wanted = || Wanted {
            now: schedule.leaving_now(now).min(room) as u64,
            in_all: free.saturating_add(schedule.in_hand()),
        };
        let asked = self.pace.ask(wanted, now);
        self.commands.extend(asked.map(|ask| Command::Pace(Box::new(ask))));
    }

    fn may_send(&self, now: Instant) -> bool {
        let is_written_in_time = self.settling.may_call() && self.ledger_away_since.is_none();
        let has_room = self.flights.have_room_beside(self.unheard());
        has_room && self.is_leased(now) && is_written_in_time && self.doubts.allow()
    }

    /// Outcomes of ours that others would stop for, had they heard of them: of each worker as many as it has slots.
    fn unheard(&self) -> usize {
        if self.shared.is_some() { self.settling.unheard() } else { 0 }
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
        // Where others work on the run, ours are told with theirs.
        match &mut self.shared {
            None => self.commands.push(Command::Count(vm.outcome, 1)),
            Some(shared) => shared.counted(vm.outcome),
        }
        self.goes_on(now);
        let brake = self.settling.arrived(vm);
        self.heed(brake, now);
    }

    /// Some VM of the run was settled.
    fn goes_on(&mut self, now: Instant) {
        let is_well = self.flights.is_empty() && self.schedule.is_at_ease();
        self.hindrance.end(!is_well, now);
    }

    fn heed(&mut self, brake: Option<Stop>, now: Instant) {
        let Some(brake) = brake else { return };
        self.commands.push(Command::Brake(brake));
        self.stop_all(brake, now);
    }

    /// At the end, what is still in doubt is settled, unless the key may be what was refused. Returns whether it was.
    fn resolve_doubts(&mut self, now: Now) -> bool {
        if self.halt.is_on() || self.doubts.is_empty() {
            return false;
        }
        match self.doubts.resolve(self.others_prove_the_key()) {
            Err(stop) => {
                self.is_refused(stop, now.at);
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
