//! What must hold in every run, whatever happens: told every event and every command, it counts for itself.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::book::{Place, index, position, rack};
use super::plan::{Plan, Trouble};
use crate::api::{Attempt, Meaning, Success};
use crate::brake::{Canary, Limits, Threshold};
use crate::ledger::{CLAIM_LIFE, Settled, Settlement};
use crate::outcome::Outcome;
use crate::reconcile::event::{Command, Event, Now};
use crate::reconcile::flights::FlightNo;
use crate::reconcile::halt::DRAIN;
use crate::reconcile::{Ending, Looks};
use crate::stop::Stop;
use crate::vm::Action;

/// A refused key draws so many calls more than there are slots.
const REFUSALS: usize = 5;

/// While others wait, a rack of which no answer came has so many slots.
const UNEARNED: usize = 2;

/// No run goes on for longer without a call, an answer or an outcome.
const LONGEST_SILENCE: Duration = Duration::from_mins(4);

/// Where a VM is, as commands and events tell.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Pending, or its first claim is on its way.
    New,
    /// Its next claim is on its way.
    Again,
    /// Claimed on disk: one call may leave.
    Claimed(Timestamp),
    InFlight(FlightNo),
    /// It has been called, and is neither called again nor settled.
    Back,
    Settled,
}

#[derive(Debug, Clone)]
struct Vm {
    rack: usize,
    stage: Stage,
    attempts: u32,
    throttled: u32,
    last: Option<bool>,
    /// A call may have done what it was for, and no look has told.
    is_in_the_dark: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Outcomes {
    vms: u64,
    failed: u64,
    changed: u64,
}

impl Outcomes {
    fn add(&mut self, outcome: Outcome) {
        self.vms += 1;
        self.failed += u64::from(outcome == Outcome::Failed);
        self.changed += u64::from(outcome.is_change());
    }

    /// Which brake these have run into.
    fn exceed(self, limits: Limits) -> Option<&'static str> {
        let is_exceeded = |limit, vms| matches!(limit, Some(Threshold::Vms(most)) if vms > most);
        let brakes = [
            (limits.max_failed, self.failed, "max_failed"),
            (limits.max_changed, self.changed, "max_changed"),
        ];
        brakes.into_iter().find(|(limit, vms, _)| is_exceeded(*limit, *vms)).map(|(.., name)| name)
    }
}

pub(super) struct Judge<'a> {
    plan: &'a Plan,
    /// Names the run.
    name: (Trouble, u64),
    begun: Now,
    now: Now,
    vms: Vec<Vm>,
    /// Racks of which any answer came.
    answered: Vec<bool>,
    /// When calls left within the last second.
    latest: VecDeque<Instant>,
    calls: u32,
    paused_until: Option<Instant>,
    /// The most calls at once.
    most: usize,
    refused: usize,
    stop: Option<(Stop, Instant)>,
    /// Outcomes on disk.
    counted: Outcomes,
    /// Those on their way to it too.
    settled: Outcomes,
    silent_since: Instant,
    /// So often in a row time was told that had not passed.
    idle_turns: u32,
    ledger_is_away: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn new(plan: &'a Plan, name: (Trouble, u64), now: Now) -> Self {
        let vm = |position| Vm {
            rack: rack(position, &plan.racks).0 as usize,
            stage: Stage::New,
            attempts: 0,
            throttled: 0,
            last: None,
            is_in_the_dark: false,
        };
        Self {
            plan,
            name,
            begun: now,
            now,
            vms: (0..plan.vms().cast_signed()).map(vm).collect(),
            answered: vec![false; plan.racks.len()],
            latest: VecDeque::new(),
            calls: 0,
            paused_until: None,
            most: plan.settings.concurrency.get() as usize,
            refused: 0,
            stop: None,
            counted: Outcomes::default(),
            settled: Outcomes::default(),
            silent_since: now.at,
            idle_turns: 0,
            ledger_is_away: false,
        }
    }

    #[track_caller]
    fn holds(&self, holds: bool, what: impl fmt::Display) {
        let (trouble, seed) = self.name;
        let at = self.now.at - self.begun.at;
        assert!(holds, "{trouble:?}, seed {seed}, after {at:?}: {what}");
    }

    pub(super) fn happens(&mut self, event: &Event, now: Now) {
        let has_passed = now.at > self.now.at;
        self.now = now;
        match event {
            Event::Woken => {
                self.idle_turns = if has_passed { 0 } else { self.idle_turns + 1 };
                self.holds(self.idle_turns < 10, "time is asked for again and again, and does not pass");
            }
            Event::Signalled(stop) => self.stops(*stop),
            Event::Claimed(claimed) => {
                let new = claimed.items.iter().map(|item| item.position);
                for position in claimed.again.iter().copied().chain(new) {
                    self.vms[index(position)].stage = Stage::Claimed(now.date);
                }
            }
            Event::Settled(counted) => {
                self.silent_since = now.at;
                for vm in counted {
                    self.counted.add(vm.outcome);
                }
            }
            Event::Away(_) => self.ledger_is_away = true,
            Event::Back => self.ledger_is_away = false,
            Event::Seen(_) | Event::LeftAlone { .. } | Event::Lapsed | Event::Over => {
                self.holds(false, "nobody shares the run");
            }
            Event::Paced(_) => {}
            Event::Answered(flight, attempt) => self.answered(*flight, attempt),
        }
        let silence = now.at - self.silent_since;
        self.holds(silence < LONGEST_SILENCE, "no call leaves and none comes back, and the run does not end");
    }

    fn answered(&mut self, flight: FlightNo, attempt: &Attempt) {
        self.silent_since = self.now.at;
        let in_flight = self.in_flight() - 1;
        let vm = self.vms.iter_mut().find(|vm| vm.stage == Stage::InFlight(flight)).unwrap();
        vm.stage = Stage::Back;
        vm.last = Some(match &attempt.result {
            Ok(Success::Called(_)) => true,
            Ok(Success::Looked(look)) => {
                self.plan.settings.looks == Looks::Only || look.clone().done(Action::Allocate).is_some()
            }
            Err(_) => false,
        });
        vm.is_in_the_dark |= attempt.may_have_applied();
        vm.is_in_the_dark &= attempt.result.is_err();
        self.answered[vm.rack] |= attempt.is_answered();
        match attempt.meaning() {
            Some(Meaning::Hampered) => self.most = self.most.min(in_flight.max(1)),
            Some(Meaning::Throttled) => {
                vm.throttled += 1;
                let asked = attempt.result.as_ref().err().and_then(|fault| fault.retry_after);
                let until =
                    self.now.at + asked.filter(|wait| !wait.is_zero()).unwrap_or(Duration::from_secs(1));
                self.paused_until = self.paused_until.max(Some(until));
            }
            Some(Meaning::Refused(_)) => {
                vm.attempts += 1;
                let sent = attempt.sent_at.duration_since(self.begun.date).unsigned_abs();
                // Before that it was one VM's alone.
                self.refused += usize::from(self.plan.faults.refuses(sent));
            }
            Some(_) | None => vm.attempts += 1,
        }
    }

    pub(super) fn sees(&mut self, command: &Command) {
        match command {
            Command::Call { flight, vm, .. } => {
                let must_look = match self.plan.settings.looks {
                    Looks::Never => false,
                    Looks::AfterLoss => self.vms[index(position(vm))].is_in_the_dark,
                    Looks::Only => true,
                };
                self.holds(!must_look, format_args!("VM {vm} is called without a look"));
                self.calls(*flight, position(vm));
            }
            Command::Look { flight, vm, .. } => {
                let may_look = match self.plan.settings.looks {
                    Looks::Never => false,
                    Looks::AfterLoss => self.vms[index(position(vm))].is_in_the_dark,
                    Looks::Only => true,
                };
                self.holds(may_look, format_args!("VM {vm} is looked at for nothing"));
                self.calls(*flight, position(vm));
            }
            Command::Claim { again, .. } => {
                for &position in again {
                    let stage = self.vms[index(position)].stage;
                    let may = matches!(stage, Stage::Back | Stage::Claimed(_));
                    self.holds(may, format_args!("VM {position} is claimed again, which is {stage:?}"));
                    self.vms[index(position)].stage = Stage::Again;
                }
            }
            Command::Settle(settled) => self.settles(settled),
            Command::Brake(stop) => self.stops(*stop),
            Command::Release(_)
            | Command::GiveBack(_)
            | Command::Defer(_)
            | Command::Flush
            | Command::Pace(_)
            | Command::Remember(..)
            | Command::Stop(_)
            | Command::Breaker(..)
            | Command::Rejoin
            | Command::Count(..)
            | Command::Tell(_) => {}
        }
    }

    fn stops(&mut self, stop: Stop) {
        self.stop.get_or_insert((stop, self.now.at));
    }

    fn calls(&mut self, flight: FlightNo, position: i64) {
        let now = self.now;
        let Vm { rack, stage, .. } = self.vms[index(position)];
        let Stage::Claimed(at) = stage else {
            return self.holds(false, format_args!("a call leaves for VM {position}, which is {stage:?}"));
        };
        let age = now.date.duration_since(at);
        self.holds(age <= CLAIM_LIFE, format_args!("a call leaves by a claim of {age}"));
        self.holds(!self.ledger_is_away, "a call leaves while the ledger cannot be reached");
        let stop = self.stop.map_or("", |(stop, _)| stop.as_str());
        self.holds(stop.is_empty(), format_args!("a call leaves after {stop}"));
        let deadline = self.plan.settings.deadline.map(|deadline| self.begun.at + deadline);
        self.holds(deadline.is_none_or(|at| now.at < at), "a call leaves after the deadline");
        self.holds(self.paused_until.is_none_or(|at| now.at >= at), "a call leaves in a pause of the API's");
        let brake = self.settled.exceed(self.plan.limits);
        self.holds(brake.is_none(), format_args!("a call leaves though {brake:?} is exceeded"));
        self.check_slots(rack);
        self.vms[index(position)].stage = Stage::InFlight(flight);
        self.check_canary();
        self.check_rate();
        self.silent_since = now.at;
    }

    fn in_flight(&self) -> usize {
        self.vms.iter().filter(|vm| matches!(vm.stage, Stage::InFlight(_))).count()
    }

    /// Whether this VM waits for a slot.
    fn waits(&self, vm: &Vm) -> bool {
        match vm.stage {
            Stage::New | Stage::Again => true,
            Stage::Claimed(at) => self.now.date.duration_since(at) <= CLAIM_LIFE,
            Stage::InFlight(_) | Stage::Back | Stage::Settled => false,
        }
    }

    /// One more call of this rack is about to leave.
    fn check_slots(&self, rack: usize) {
        let slots = self.plan.settings.concurrency.get() as usize;
        let in_flight = self.in_flight() + 1;
        self.holds(in_flight <= self.most, format_args!("{in_flight} calls at once, of {}", self.most));
        let of_rack = |vm: &&Vm| vm.rack == rack && matches!(vm.stage, Stage::InFlight(_));
        let held = self.vms.iter().filter(of_rack).count() + 1;
        let most = self.plan.settings.rack_concurrency.map_or(slots, |most| most.get() as usize);
        self.holds(held <= most, format_args!("{held} calls at once to one rack, of {most}"));
        let others_wait = self.vms.iter().any(|vm| vm.rack != rack && self.waits(vm));
        let share = if self.answered[rack] { slots.div_ceil(2) } else { UNEARNED.min(slots.div_ceil(2)) };
        self.holds(
            !others_wait || held <= share,
            format_args!("{held} calls at once to one rack while others wait"),
        );
    }

    fn check_canary(&self) {
        if let Canary::Vms(vms) = self.plan.limits.canary
            && self.counted.vms < vms.get().into()
        {
            let called = self.vms.iter().filter(|vm| vm.stage != Stage::New && vm.is_called()).count();
            self.holds(called <= vms.get() as usize, "more VMs are called than the canary has");
        }
    }

    fn check_rate(&mut self) {
        self.calls += 1;
        let now = self.now.at;
        self.latest.push_back(now);
        while self.latest.front().is_some_and(|&at| now - at >= Duration::from_secs(1)) {
            self.latest.pop_front();
        }
        let Some(rate) = self.plan.ceiling().per_second() else { return };
        let most = (rate * 1.02).max(rate + 2.0);
        let within = u32::try_from(self.latest.len()).unwrap();
        self.holds(f64::from(within) <= most, format_args!("{within} calls within a second, at {rate}/s"));
        let all = rate * 1.005 * (now - self.begun.at).as_secs_f64() + 3.0;
        self.holds(f64::from(self.calls) <= all, format_args!("{} calls so far, at {rate}/s", self.calls));
    }

    fn settles(&mut self, settled: &Settled) {
        let position = settled.item.position;
        let vm = self.vms[index(position)].clone();
        self.holds(
            vm.stage == Stage::Back,
            format_args!("VM {position} is settled, which is {:?}", vm.stage),
        );
        let succeeded = settled.settlement.outcome() != Outcome::Failed;
        self.holds(
            vm.last == Some(succeeded),
            format_args!("VM {position} is settled as it was not answered"),
        );
        let tally = settled.item.tally;
        self.holds(
            (tally.attempts, tally.throttled) == (vm.attempts, vm.throttled),
            format_args!("VM {position} was not called {tally:?}"),
        );
        let may_have_applied =
            matches!(&settled.settlement, Settlement::Failed(setback) if setback.may_have_applied);
        self.holds(
            !may_have_applied || vm.is_in_the_dark || self.plan.settings.looks == Looks::Never,
            format_args!("VM {position} is said to have changed perhaps, and was looked at"),
        );
        self.holds(
            succeeded || !vm.is_in_the_dark || may_have_applied,
            format_args!("VM {position} may have changed, and is not said to"),
        );
        let most = self.plan.settings.policy.max_attempts.get();
        self.holds(vm.attempts <= most, format_args!("VM {position} was called {} times", vm.attempts));
        self.settled.add(settled.settlement.outcome());
        self.vms[index(position)].stage = Stage::Settled;
    }

    /// The run has ended, and all that it wrote is on disk.
    pub(super) fn ends(&self, ending: Ending, places: &[Place]) {
        match ending {
            Ending::Complete => self.check_complete(places),
            Ending::Stopped(_) => self.check_stopped(places),
            Ending::Left(_) | Ending::Over => self.holds(false, "nobody shares the run"),
            Ending::Abandoned(_) => {
                self.holds(self.stop.is_some(), "it is abandoned, and nobody asked for it");
            }
        }
        let is_settled = |vm: &Vm| vm.stage == Stage::Settled;
        for (vm, place) in self.vms.iter().zip(places) {
            self.holds(is_settled(vm) == (*place == Place::Settled), "an outcome is not on disk");
        }
        let most = self.plan.settings.concurrency.get() as usize + REFUSALS;
        self.holds(
            self.refused <= most,
            format_args!("{} calls are refused for the key or the certificate", self.refused),
        );
    }

    fn check_complete(&self, places: &[Place]) {
        for (position, place) in places.iter().enumerate() {
            self.holds(*place == Place::Settled, format_args!("VM {position} is forgotten"));
        }
        self.holds(self.counted.vms == self.plan.vms(), "outcomes are not counted");
        self.holds(self.stop.is_none(), "it is complete after a stop");
        let brake = self.counted.exceed(self.plan.limits);
        self.holds(brake.is_none(), format_args!("{brake:?} is exceeded, and no brake"));
    }

    /// Whatever is not in flight is settled, or pending for whoever resumes the run.
    fn check_stopped(&self, places: &[Place]) {
        for (position, (vm, place)) in self.vms.iter().zip(places).enumerate() {
            let is_left = matches!(vm.stage, Stage::InFlight(_));
            self.holds(
                is_left || *place != Place::Claimed,
                format_args!("VM {position} stays claimed, and was {:?}", vm.stage),
            );
        }
        if let Some((_, at)) = self.stop {
            let lasted = self.now.at - at;
            self.holds(lasted <= DRAIN + Duration::from_secs(1), "it goes on after its time");
            self.holds(self.in_flight() == 0 || lasted >= DRAIN, "calls in flight are not waited for");
        }
    }
}

impl Vm {
    fn is_called(&self) -> bool {
        self.attempts + self.throttled > 0 || matches!(self.stage, Stage::InFlight(_))
    }
}
