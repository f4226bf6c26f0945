//! Several workers on one run in virtual time, each with a state and a pace of its own: some come late, leave, hang or die.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::{Duration, Instant};
use std::{iter, mem};

use jiff::Timestamp;

use super::api::{Sent, SimulatedApi, cut_off, turned_away};
use super::book::{position, rack};
use super::plan::{Plan, Trouble};
use super::shared_book::{LEASE, LeaseNo, Place, SharedBook};
use crate::api::Attempt;
use crate::brake::{Brake, Canary, Threshold};
use crate::ledger::Counts;
use crate::pace::Pace;
use crate::reconcile::event::{Command, Event, Now};
use crate::reconcile::flights::FlightNo;
use crate::reconcile::racks::Racks;
use crate::reconcile::state::State;
use crate::reconcile::{Ending, Looks, Settings};
use crate::retry::Policy;
use crate::stop::Stop;
use crate::vm::VmId;

/// How long an outcome waits for others to share its commit.
const PATIENCE: Duration = Duration::from_millis(50);

/// So often a worker that has nothing to write says that it is alive.
const TICK: Duration = Duration::from_secs(1);

/// Longer than this it takes no worker that says a word to hear who tries what is left alone: two batches, a tick, and how long
/// it may hang in between.
const HEARSAY: Duration = Duration::from_secs(10);

/// So long after the ledger is back a worker tries it again, at most.
const PAUSE: Range<u64> = 0..1_000;

/// So long a worker that is stopped leaves undone what it was about to do.
const MOMENT: Duration = Duration::from_millis(50);

/// No run takes longer.
const LONGEST: Duration = Duration::from_mins(20);

/// What becomes of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Works,
    DiesAt(Duration),
    /// Nothing of it moves for so long.
    HangsAt(Duration, Duration),
    LeavesAt(Duration),
    /// It cannot reach the API for so long.
    IsCutOffAt(Duration, Duration),
    /// Something on its way there answers for so long.
    IsTurnedAwayAt(Duration, Duration),
    /// It alone cannot reach the ledger from then to then.
    HasNoLedger(Duration, Duration),
}

/// What becomes of a call that does not come through to the API.
type OnTheWay = fn(&Sent<'_>) -> Attempt;

#[derive(Debug)]
enum Coming {
    Answer(FlightNo, Box<Attempt>),
    /// A batch reaches the disk that was sent then.
    Commit(Vec<Command>, Instant),
    /// The ledger cannot be reached.
    Away,
    /// It can be, by a worker that has kept what it wrote then.
    Back(Vec<Command>, Instant),
    /// The same, by one that is to end.
    End(Ending),
    Freeze(Duration),
    Thaw,
    Death,
    Signal,
}

#[expect(clippy::struct_excessive_bools, reason = "what befalls a worker is drawn each for itself")]
struct Worker<'a> {
    state: State<'a>,
    held: Vec<Command>,
    due: Option<Instant>,
    sent: Vec<Command>,
    is_writing: bool,
    in_flight: usize,
    ticked_at: Instant,
    /// When anything last happened to it.
    heard_at: Instant,
    /// What it hears once it moves again, while it hangs.
    hangs: Option<Vec<Event>>,
    is_dead: bool,
    has_left: bool,
    /// It has seen that no call may leave any more.
    is_told: bool,
    /// What becomes of its calls on the way, and when.
    on_the_way: Option<(Range<Instant>, OnTheWay)>,
    ledger_away: Option<Range<Instant>>,
    /// When what it keeps is written, while the ledger is away.
    back_at: Option<Instant>,
    ending: Option<Ending>,
}

struct Flight {
    position: i64,
    worker: usize,
    no: FlightNo,
    lease: LeaseNo,
}

struct World<'a> {
    plan: &'a Plan,
    name: (Trouble, u64),
    chance: fastrand::Rng,
    begun: Now,
    now: Now,
    api: SimulatedApi<'a>,
    book: SharedBook,
    flights: Vec<Flight>,
    /// For the canary, whatever became of it.
    called: BTreeSet<i64>,
    has_canary_failed: bool,
    /// When calls left that did not come through to the API.
    held_up: Vec<Duration>,
    coming: BTreeMap<(Instant, u64), (usize, Coming)>,
    known: u64,
    workers: Vec<Worker<'a>>,
}

impl World<'_> {
    #[track_caller]
    fn holds(&self, holds: bool, what: impl std::fmt::Display) {
        let at = self.now.at - self.begun.at;
        assert!(holds, "{:?}, after {at:?}: {what}", self.name);
    }

    fn comes(&mut self, worker: usize, after: Duration, coming: Coming) {
        self.known += 1;
        self.coming.insert((self.now.at + after, self.known), (worker, coming));
    }

    fn fated(&mut self, fates: &[Fate]) {
        let begun = self.begun.at;
        for worker in &mut self.workers {
            worker.ledger_away =
                self.plan.ledger_away.as_ref().map(|away| begun + away.start..begun + away.end);
        }
        for (worker, fate) in fates.iter().enumerate() {
            match *fate {
                Fate::Works => {}
                Fate::DiesAt(at) => self.comes(worker, at, Coming::Death),
                Fate::HangsAt(at, lasts) => self.comes(worker, at, Coming::Freeze(lasts)),
                Fate::LeavesAt(at) => self.comes(worker, at, Coming::Signal),
                Fate::IsCutOffAt(at, lasts) => self.on_the_way(worker, at..at + lasts, cut_off),
                Fate::IsTurnedAwayAt(at, lasts) => self.on_the_way(worker, at..at + lasts, turned_away),
                Fate::HasNoLedger(from, to) => {
                    self.workers[worker].ledger_away = Some(begun + from..begun + to);
                }
            }
        }
    }

    fn on_the_way(&mut self, no: usize, lasts: Range<Duration>, becomes: OnTheWay) {
        let lasts = self.begun.at + lasts.start..self.begun.at + lasts.end;
        self.workers[no].on_the_way = Some((lasts, becomes));
    }

    /// The next moment at which a worker does something by itself.
    fn wake(&self, worker: &Worker<'_>) -> Option<Instant> {
        let moves = worker.ending.is_none() && !worker.is_dead && worker.hangs.is_none();
        let tick = Some(worker.ticked_at + TICK).filter(|_| !worker.is_writing);
        let wake =
            [tick, worker.due].into_iter().flatten().fold(worker.state.wake(worker.heard_at), Instant::min);
        moves.then_some(wake.max(self.now.at))
    }

    /// Lets the next thing happen. Returns whether anything did.
    fn goes_on(&mut self) -> bool {
        let wakes = self.workers.iter().enumerate();
        let wake = wakes.filter_map(|(no, worker)| Some((self.wake(worker)?, no))).min();
        let coming = self.coming.first_key_value().map(|(&key, _)| key);
        match (coming, wake) {
            (None, None) => return false,
            (Some(key), wake) if wake.is_none_or(|(at, _)| key.0 <= at) => {
                self.passes(key.0);
                if let Some((worker, coming)) = self.coming.remove(&key) {
                    self.happens(worker, coming);
                }
            }
            (_, Some((at, worker))) => {
                let late = Duration::from_micros(self.chance.u64(1..1_000));
                self.passes(at.max(self.now.at) + late);
                self.hears(worker, Event::Woken);
            }
            (Some(_), None) => {}
        }
        true
    }

    fn passes(&mut self, to: Instant) {
        let passed = to.saturating_duration_since(self.now.at);
        self.now = Now { at: self.now.at + passed, date: self.now.date + passed };
        self.holds(self.now.at - self.begun.at < LONGEST, "the run does not end");
    }

    fn happens(&mut self, no: usize, coming: Coming) {
        match coming {
            Coming::Answer(flight, attempt) => {
                self.flights.retain(|known| (known.worker, known.no) != (no, flight));
                self.workers[no].in_flight -= 1;
                self.hears(no, Event::Answered(flight, *attempt));
            }
            Coming::Commit(batch, left_at) => {
                for event in self.commits(no, batch, left_at) {
                    self.hears(no, event);
                }
            }
            // What it has kept dies with it, and waits where it hangs.
            Coming::Back(..) | Coming::End(_) if self.workers[no].is_dead => {}
            Coming::Back(..) | Coming::End(_) if self.workers[no].hangs.is_some() => {
                self.comes(no, MOMENT, coming);
            }
            Coming::Away => self.hears(no, Event::Away("gone".into())),
            Coming::Back(batch, left_at) => {
                self.workers[no].back_at = None;
                self.book.spare(self.now.at);
                let events = self.commits(no, batch, left_at);
                for event in iter::once(Event::Back).chain(events) {
                    self.hears(no, event);
                }
            }
            Coming::End(ending) => {
                self.book.spare(self.now.at);
                self.ends(no, ending);
            }
            Coming::Freeze(lasts) => {
                self.workers[no].hangs = Some(vec![]);
                self.comes(no, lasts, Coming::Thaw);
            }
            Coming::Thaw => {
                let missed = self.workers[no].hangs.take().unwrap_or_default();
                for event in missed {
                    self.hears(no, event);
                }
                self.hears(no, Event::Woken);
            }
            Coming::Death => self.workers[no].is_dead = true,
            Coming::Signal => {
                self.workers[no].has_left = self.workers[no].ending.is_none();
                self.hears(no, Event::Signalled(Stop::Interrupted));
            }
        }
    }

    fn commits(&mut self, no: usize, batch: Vec<Command>, left_at: Instant) -> Vec<Event> {
        self.workers[no].is_writing = false;
        let events = self.book.commit(no, batch, left_at, self.now, &mut self.chance);
        self.check_book();
        self.check_canary();
        events
    }

    fn hears(&mut self, no: usize, event: Event) {
        let worker = &mut self.workers[no];
        if worker.is_dead || worker.ending.is_some() {
            return;
        }
        if let Some(missed) = &mut worker.hangs {
            return missed.push(event);
        }
        worker.heard_at = self.now.at;
        if let Event::Seen(seen) = &event {
            worker.is_told |= seen.stop.is_some()
                || exceeds(self.plan, seen.counted.failed, seen.counted.created + seen.counted.updated);
        }
        let commands: Vec<Command> = worker.state.on(event, self.now, self.chance.f64()).collect();
        for command in commands {
            self.does(no, command);
        }
        self.writes(no);
        if let Some(ending) = self.workers[no].state.ending() {
            self.workers[no].ending = Some(ending);
            match self.workers[no].back_at.or(self.away_until(no)) {
                None => self.ends(no, ending),
                Some(back_at) => self.comes(no, back_at - self.now.at + MOMENT, Coming::End(ending)),
            }
        }
    }

    fn does(&mut self, no: usize, command: Command) {
        match command {
            Command::Call { flight, vm, .. } => {
                let sent = self.leaves(no, flight, &vm);
                let held_up = self.answer_on_the_way(no, &sent);
                let attempt = held_up.unwrap_or_else(|| self.api.call(&sent, &mut self.chance));
                self.comes(no, attempt.latency, Coming::Answer(flight, Box::new(attempt)));
            }
            Command::Look { flight, vm } => {
                let sent = self.leaves(no, flight, &vm);
                let held_up = self.answer_on_the_way(no, &sent);
                let attempt = held_up.unwrap_or_else(|| self.api.look(&sent, &mut self.chance));
                self.comes(no, attempt.latency, Coming::Answer(flight, Box::new(attempt)));
            }
            Command::Remember(..) | Command::Count(..) | Command::Tell(_) => {}
            Command::Flush => self.flushes(no),
            command => {
                let is_urgent = !matches!(
                    command,
                    Command::Release(_) | Command::GiveBack(_) | Command::Defer(_) | Command::Settle(_)
                );
                let due = self.now.at + PATIENCE;
                self.workers[no].held.push(command);
                self.workers[no].due.get_or_insert(due);
                if is_urgent {
                    self.flushes(no);
                }
            }
        }
    }

    /// When this worker can reach the ledger again, where it cannot.
    fn away_until(&self, no: usize) -> Option<Instant> {
        let away = self.workers[no].ledger_away.as_ref()?;
        away.contains(&self.now.at).then_some(away.end)
    }

    /// The answer to a call that does not come through to the API.
    fn answer_on_the_way(&mut self, no: usize, sent: &Sent<'_>) -> Option<Attempt> {
        let (lasts, becomes) = self.workers[no].on_the_way.as_ref()?;
        let attempt = lasts.contains(&self.now.at).then(|| becomes(sent))?;
        self.held_up.push(self.now.at - self.begun.at);
        Some(attempt)
    }

    fn leaves<'v>(&mut self, no: usize, flight: FlightNo, vm: &'v VmId) -> Sent<'v> {
        let position = position(vm);
        let lease = self.book.lease_of(no);
        self.holds(
            self.book.is_alive(lease, self.now.at),
            format_args!("{no} calls {position} after its lease"),
        );
        let place = self.book.place(position);
        self.holds(place == Place::Claimed(lease), format_args!("{no} calls {position}, which is {place:?}"));
        let others = self.flights.iter().filter(|flight| flight.position == position);
        let at_once = others.filter(|flight| self.book.is_alive(flight.lease, self.now.at)).count();
        self.holds(at_once == 0, format_args!("VM {position} is called twice at once"));
        for sick in [None, Some(rack(position, &self.plan.racks))] {
            let tried = self.book.tried_by(sick, HEARSAY, self.now.at);
            self.holds(
                tried.is_none_or(|tried| tried == lease),
                format_args!("{no} calls though {sick:?} is left alone, and tried by {tried:?}"),
            );
        }
        let worker = &self.workers[no];
        self.holds(!worker.is_told && !worker.has_left, format_args!("{no} calls after a stop"));
        let deadline = self.plan.settings.deadline.map(|deadline| self.begun.at + deadline);
        self.holds(deadline.is_none_or(|at| self.now.at < at), "a call leaves after the deadline");
        if let Canary::Vms(vms) = self.plan.limits.canary
            && (self.has_canary_failed || self.book.counted.settled() < vms.get().into())
        {
            self.called.insert(position);
            self.holds(self.called.len() <= vms.get() as usize, "more VMs are called than the canary has");
        }
        self.flights.push(Flight { position, worker: no, no: flight, lease });
        self.workers[no].in_flight += 1;
        let most = self.plan.settings.concurrency.get() as usize;
        self.holds(self.workers[no].in_flight <= most, "more calls at once than there are slots");
        Sent { vm, now: self.now, since_begun: self.now.at - self.begun.at, in_flight: 1 }
    }

    fn flushes(&mut self, no: usize) {
        let worker = &mut self.workers[no];
        worker.due = None;
        worker.sent.append(&mut worker.held);
    }

    /// As the shell and the writer do it, after each event.
    fn writes(&mut self, no: usize) {
        let now = self.now.at;
        let worker = &self.workers[no];
        if worker.in_flight == 0 || worker.due.is_some_and(|due| now >= due) {
            self.flushes(no);
        }
        let worker = &mut self.workers[no];
        if !worker.is_writing && (!worker.sent.is_empty() || now >= worker.ticked_at + TICK) {
            (worker.is_writing, worker.ticked_at) = (true, now);
            let batch = mem::take(&mut worker.sent);
            let takes = Duration::from_millis(self.chance.u64(self.plan.commit.clone()));
            match self.away_until(no) {
                None => self.comes(no, takes, Coming::Commit(batch, now)),
                Some(end) => {
                    let back_at = end + Duration::from_millis(self.chance.u64(PAUSE)) + takes;
                    self.workers[no].back_at = Some(back_at);
                    self.comes(no, Duration::ZERO, Coming::Away);
                    self.comes(no, back_at - now, Coming::Back(batch, now));
                }
            }
        }
    }

    fn ends(&mut self, no: usize, ending: Ending) {
        // What is on its way is waited for.
        self.flushes(no);
        let under_way: Vec<_> = self
            .coming
            .extract_if(.., |_, (worker, coming)| {
                *worker == no && matches!(coming, Coming::Commit(..) | Coming::Back(..))
            })
            .collect();
        let mut batch: Vec<Command> = vec![];
        for (_, (_, coming)) in under_way {
            if let Coming::Commit(sent, _) | Coming::Back(sent, _) = coming {
                batch.extend(sent);
            }
        }
        batch.append(&mut self.workers[no].sent);
        self.book.commit(no, batch, self.now.at, self.now, &mut self.chance);
        self.book.leave(no, self.now);
        match ending {
            Ending::Complete => self.holds(self.book.pending() == 0, "it is complete, and VMs are pending"),
            // Whatever came of its last batch, all are to hear of it.
            Ending::Stopped(stop) => self.book.stop = self.book.stop.max(Some(stop)),
            Ending::Over => self.holds(false, "nobody has ended it before"),
            // Told to leave while it was about to, it goes at once.
            Ending::Left(_) | Ending::Abandoned(_) => {
                let refused = matches!(
                    ending,
                    Ending::Left(Stop::KeyRefused | Stop::CertificateRefused) if no > 0
                );
                self.holds(self.workers[no].has_left || refused, "nobody told it to leave");
                self.workers[no].has_left = true;
            }
        }
    }

    /// No brake is passed by more than what was under way.
    fn check_book(&self) {
        let slots = u64::from(self.plan.settings.concurrency.get()) * self.workers.len() as u64;
        for (limit, vms) in [
            (self.plan.limits.max_failed, self.book.counted.failed),
            (self.plan.limits.max_changed, self.book.counted.created + self.book.counted.updated),
        ] {
            let most = limit.map(|limit| if let Threshold::Vms(vms) = limit { vms } else { 0 });
            self.holds(most.is_none_or(|most| vms <= most + slots), format_args!("{vms} pass {limit:?}"));
        }
    }

    /// Nothing but the canary is settled before all of it is.
    fn check_canary(&mut self) {
        if let Canary::Vms(vms) = self.plan.limits.canary {
            let counted = self.book.counted;
            self.has_canary_failed |= counted.failed > 0 && counted.settled() <= vms.get().into();
        }
    }

    /// All workers have ended, each in its way.
    fn is_over(&self) {
        let is_left = |worker: &Worker<'_>| worker.is_dead || worker.has_left;
        let is_done = self.book.stop.is_some() || self.workers.iter().all(is_left);
        self.holds(is_done || self.book.pending() == 0, "VMs are forgotten");
    }
}

fn exceeds(plan: &Plan, failed: u64, changed: u64) -> bool {
    let exceeds = |limit, vms| matches!(limit, Some(Threshold::Vms(most)) if vms > most);
    exceeds(plan.limits.max_failed, failed) || exceeds(plan.limits.max_changed, changed)
}

fn fate(chance: &mut fastrand::Rng) -> Fate {
    let at = Duration::from_millis(chance.u64(0..6_000));
    match chance.u8(..8) {
        0 => Fate::DiesAt(at),
        1 => {
            let most = if chance.bool() { 2_500 } else { 20_000 };
            Fate::HangsAt(at, Duration::from_millis(chance.u64(100..most)))
        }
        2 => Fate::LeavesAt(at),
        3 => Fate::IsCutOffAt(at, Duration::from_millis(chance.u64(100..60_000))),
        4 => Fate::IsTurnedAwayAt(at, Duration::from_millis(chance.u64(100..60_000))),
        _ => Fate::Works,
    }
}

/// Carries out a run that is drawn by chance.
fn run(trouble: Trouble, seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut plan = plan(trouble, &mut chance);
    let mut fates: Vec<Fate> = (0..chance.usize(1..5)).map(|_| fate(&mut chance)).collect();
    if let Some(away) = plan.ledger_away.take_if(|_| chance.bool()) {
        // It is one worker's way there.
        fates[0] = Fate::HasNoLedger(away.start, away.end);
    }
    carry_out(&plan, (trouble, seed), &fates, chance, |_| ());
}

fn plan(trouble: Trouble, chance: &mut fastrand::Rng) -> Plan {
    let mut plan = Plan::new(trouble, chance);
    plan.commit = [1..10, 20..60, 100..1_500][chance.usize(..3)].clone();
    plan.settings.looks = if chance.bool() { Looks::Never } else { Looks::Only };
    plan.faults.descriptors = None;
    plan
}

/// The first worker has begun the run; whoever wants to may `watch` it after all that happens. Returns what it came to, and when
/// calls left that did not come through to the API.
fn carry_out(
    plan: &Plan,
    name: (Trouble, u64),
    fates: &[Fate],
    mut chance: fastrand::Rng,
    watch: impl Fn(&World<'_>),
) -> (Counts, Vec<Duration>) {
    let begun = Now { at: Instant::now(), date: Timestamp::from_second(1_800_000_000).unwrap() };
    let mut paces: Vec<Pace> = fates.iter().map(|_| Pace::new(plan.ceiling(), None, begun.at)).collect();
    let guest = Settings { is_guest: true, ..plan.settings.clone() };
    let workers = paces.iter_mut().enumerate().map(|(no, pace)| {
        let brake = Brake::new(plan.limits, plan.vms());
        let racks = Racks(vec![None; plan.racks.len()]);
        let settings = if no > 0 { &guest } else { &plan.settings };
        let mut state = State::new(settings, pace, brake, racks, &plan.racks, begun);
        state.share();
        let ticked_at = begun.at + Duration::from_millis(chance.u64(..3_000));
        Worker {
            state,
            held: vec![],
            due: None,
            sent: vec![],
            is_writing: false,
            in_flight: 0,
            ticked_at,
            heard_at: begun.at,
            hangs: None,
            is_dead: false,
            has_left: false,
            is_told: false,
            on_the_way: None,
            ledger_away: None,
            back_at: None,
            ending: None,
        }
    });
    let mut world = World {
        plan,
        name,
        begun,
        now: begun,
        api: SimulatedApi::new(plan),
        book: SharedBook::new(plan, fates.len(), begun.at),
        flights: vec![],
        called: BTreeSet::new(),
        has_canary_failed: false,
        held_up: vec![],
        coming: BTreeMap::new(),
        known: 0,
        workers: workers.collect(),
        chance,
    };
    world.fated(fates);
    while world.goes_on() {
        watch(&world);
    }
    world.is_over();
    (world.book.counted, world.held_up)
}

/// Who leaves is drawn for each worker, and no commit takes longer than a lease; descriptors are a process's own.
const OF_ONE_ALONE: [Trouble; 3] = [Trouble::Signals, Trouble::SlowLedger, Trouble::Descriptors];

#[test]
fn workers_of_one_run_lose_and_double_nothing_whoever_of_them_hangs_leaves_or_dies() {
    for trouble in Trouble::ALL.into_iter().filter(|trouble| !OF_ONE_ALONE.contains(trouble)) {
        (0..24).for_each(|seed| run(trouble, seed));
    }
}

#[test]
fn a_ledger_that_is_away_for_longer_than_a_lease_costs_no_worker_what_it_holds() {
    for seed in 0..60 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut plan = plan(Trouble::Nothing, &mut chance);
        plan.commit = 1..10;
        let (from, lasts) = (chance.u64(..1_000), chance.u64(1_500..20_000));
        plan.ledger_away = Some(Duration::from_millis(from)..Duration::from_millis(from + lasts));
        plan.settings.policy.max_wait = Duration::from_mins(1);
        let fates = [Fate::Works; 4];
        carry_out(&plan, (Trouble::LedgerAway, seed), &fates, chance, |world| {
            world.holds(world.book.lost == 0, "a worker is given up");
        });
    }
}

#[test]
fn who_cannot_reach_the_api_leaves_all_to_the_others_and_stops_nobody() {
    for seed in 0..60 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut plan = plan(Trouble::Nothing, &mut chance);
        let max_attempts = NonZeroU32::new(4).unwrap();
        plan.settings.policy = Policy { max_attempts, max_wait: Duration::from_mins(1) };
        let cut_off = Fate::IsCutOffAt(Duration::from_millis(chance.u64(..500)), LONGEST);
        let fates = if chance.bool() { [Fate::Works, cut_off] } else { [cut_off, Fate::Works] };
        let (counted, _) = carry_out(&plan, (Trouble::Nothing, seed), &fates, chance, |_| ());
        assert_eq!((counted.failed, counted.settled()), (0, plan.vms()), "seed {seed}");
    }
}

/// A run of several hundred VMs, of one rack or more, at an API that is well.
fn at_length(chance: &mut fastrand::Rng) -> Plan {
    let mut plan = plan(Trouble::Nothing, chance);
    plan.racks = if chance.bool() { vec![600] } else { vec![120; 5] };
    (plan.rate, plan.commit) = (["20/s", "60/s"][chance.usize(..2)], 1..10);
    (plan.settings.concurrency, plan.settings.rack_concurrency) = (NonZeroU32::new(8).unwrap(), None);
    let max_attempts = NonZeroU32::new(5).unwrap();
    plan.settings.policy = Policy { max_attempts, max_wait: Duration::from_mins(5) };
    plan
}

#[test]
fn whom_something_on_the_way_answers_keeps_nobody_else_from_the_api() {
    for seed in 0..16 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let plan = at_length(&mut chance);
        let mut fates = [Fate::Works; 4];
        fates[chance.usize(..4)] = Fate::IsTurnedAwayAt(Duration::from_millis(chance.u64(..1_000)), LONGEST);
        let (counted, held_up) = carry_out(&plan, (Trouble::Nothing, seed), &fates, chance, |world| {
            world.holds(world.now.at - world.begun.at < Duration::from_secs(20), "it takes too long");
        });
        assert_eq!((counted.failed, counted.settled()), (0, plan.vms()), "seed {seed}");
        assert!(held_up.len() <= 40, "seed {seed}: {held_up:?}");
    }
}

#[test]
fn an_api_that_is_ill_is_tried_no_more_often_by_several_workers_than_by_one() {
    let [from, lasts] = [1, 99].map(Duration::from_secs);
    for seed in 0..6 {
        let trials = |workers| {
            let mut chance = fastrand::Rng::with_seed(seed);
            let plan = at_length(&mut chance);
            let fates = vec![Fate::IsTurnedAwayAt(from, lasts); workers];
            let (counted, held_up) = carry_out(&plan, (Trouble::Nothing, seed), &fates, chance, |_| ());
            assert_eq!(counted.settled(), plan.vms(), "seed {seed}");
            held_up.into_iter().filter(|at| *at > 3 * from).count()
        };
        let [one, four] = [1, 4].map(trials);
        assert!((1..=one).contains(&four), "seed {seed}: {four}, and {one} by one");
    }
}

#[test]
fn an_api_that_is_ill_and_then_cannot_be_reached_is_called_once_it_is_well() {
    for (seed, workers) in [1, 2, 4].into_iter().flat_map(|workers| (0..4).map(move |seed| (seed, workers))) {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut plan = at_length(&mut chance);
        let [from, lasts] = [1, chance.u64(3..11)].map(Duration::from_secs);
        plan.faults.outage = Some(from + lasts..Duration::from_secs(20));
        let fates = vec![Fate::IsTurnedAwayAt(from, lasts); workers];
        let (counted, _) = carry_out(&plan, (Trouble::Nothing, seed), &fates, chance, |_| ());
        assert_eq!(counted.settled(), plan.vms(), "seed {seed}, {workers} workers");
    }
}

#[test]
fn what_is_given_back_of_a_rack_that_had_no_more_is_called_however_much_is_left_of_others() {
    const SOON: Duration = Duration::from_secs(5);
    for seed in 0..24 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut plan = Plan::new(Trouble::Nothing, &mut chance);
        (plan.racks, plan.rate, plan.is_contended) = (vec![14, 400], "50/s", false);
        plan.faults.latency = 300..500;
        plan.settings.looks = Looks::Never;
        (plan.settings.concurrency, plan.settings.rack_concurrency) = (NonZeroU32::new(8).unwrap(), None);
        let dies_after = Duration::from_millis(chance.u64(300..900));
        carry_out(
            &plan,
            (Trouble::Nothing, seed),
            &[Fate::Works, Fate::DiesAt(dies_after)],
            chance,
            |world| {
                let is_free = |&position: &i64| world.book.place(position) == Place::Free;
                let is_late = world.now.at >= world.begun.at + dies_after + LEASE + SOON;
                let others_are_left = (14..414).any(|position| is_free(&position));
                let forgotten: Vec<i64> =
                    (0..14).filter(|p| is_late && others_are_left && is_free(p)).collect();
                world.holds(forgotten.is_empty(), format_args!("{forgotten:?} are called last"));
            },
        );
    }
}
