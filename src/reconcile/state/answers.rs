//! What came of a call: its VM is settled, waits for another call, or is in doubt with its key.

use std::time::{Duration, Instant};

use super::State;
use crate::api::{Admission, Attempt, Credential, Fault, Meaning, Success};
use crate::ledger::{RackNo, Setback, Settled, Settlement};
use crate::outcome::{Answer, Look, Offset};
use crate::pace::Ticket;
use crate::reconcile::breakers::Opened;
use crate::reconcile::event::{Command, Now};
use crate::reconcile::flights::{Flight, FlightNo};
use crate::reconcile::notice::Notice;
use crate::reconcile::settings::Looks;
use crate::reconcile::work::Work;
use crate::retry::{self, Decision};
use crate::stop::Stop;
use crate::trust::proves_the_key;

impl State<'_> {
    pub(super) fn answered(&mut self, flight: FlightNo, attempt: Attempt, now: Now, chance: f64) {
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

    pub(super) fn tell_opened(&mut self, no: RackNo, opened: Opened) {
        if opened.rack {
            self.tell(Notice::RackLeftAlone(self.racks.name(no)));
        }
        if opened.api {
            self.tell(Notice::ApiLeftAlone);
        }
        if opened.way {
            self.tell(Notice::CutOff);
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
            self.is_refused(stop, now);
        }
    }

    /// The key works: who was refused before that was refused for good.
    pub(super) fn key_is_good(&mut self, ticket: Ticket, now: Now) {
        for work in self.doubts.proved(ticket.left_at) {
            self.fail(work, now);
        }
    }

    pub(super) fn fail(&mut self, work: Work, now: Now) {
        let failure = work.failure();
        self.settle(work, failure, now);
    }

    fn settle(&mut self, work: Work, settlement: Settlement, now: Now) {
        let is_watched = self.settling.leaves(settlement.outcome(), settlement.has_drift());
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
}
