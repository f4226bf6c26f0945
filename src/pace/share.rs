//! The pace of a worker among others: slots are granted to it, a few at a time and ahead of need, and what its calls tell
//! of the API's limit is learned by all of them together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::account::{Ask, Exchange, Lesson, Refusal, Standing, Tally};
use super::budget::Budget;
use super::ceiling::Ceiling;
use super::governor::Governor;
use super::known::Known;
use super::limit::Limit;
use super::moment::Moment;
use super::pause::unstated_pause;
use super::shared_clock::SharedClock;
use super::ticket::{CATCH_UP, Ticket};
use super::whose::Whose;
use crate::api::Announced;

/// How often a worker asks, whatever it needs: while its calls leave, and while none does.
const POLL: Duration = Duration::from_millis(50);
const IDLE_POLL: Duration = Duration::from_millis(250);

/// The least time between two questions.
const SPACING: Duration = Duration::from_millis(10);

/// Slots are asked for so long before they are needed, and two exchanges more; for so long a
/// time, and no less than an exchange takes; and none is taken beyond the horizon, whoever needs it.
const AHEAD: Duration = Duration::from_millis(20);
const STRETCH: Duration = Duration::from_millis(25);
const HORIZON: Duration = Duration::from_millis(500);
/// Of the calls that left of late, so many times as many may leave next.
const MORE: f64 = 1.2;

/// Longer than this, an exchange is none by which the next one is planned.
const LONGEST_EXCHANGE: Duration = Duration::from_millis(250);

/// So long before the end of a pause it is decided what it tells: most calls in flight have come back.
const DECIDED_AHEAD: Duration = Duration::from_millis(150);

/// A question that is not answered for so long may never be.
const LOST: Duration = Duration::from_secs(10);

/// When nobody has asked for so long, what was known is what an earlier run found.
const STALE: Duration = Duration::from_secs(10);

/// A slot that is this worker's.
#[derive(Debug, Clone, Copy)]
struct Slot {
    at: Moment,
    episode: u32,
}

/// The row, as it was seen last.
#[derive(Debug)]
struct Row {
    standing: Standing,
    clock: SharedClock,
    known: Known,
    /// What the row itself knows is nothing, or stale.
    is_anew: bool,
}

/// What slots are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Calls that would leave now, were it not for the pace.
    pub now: u64,
    /// These, and all that may follow: VMs that are claimed, and that may yet be.
    pub in_all: u64,
}

/// A worker's share of the pace.
#[derive(Debug)]
pub(super) struct Share {
    governor: Option<Governor>,
    /// Between two calls at our own ceiling; zero without one.
    ceiling: Duration,
    remembered: Option<f64>,
    row: Option<Row>,
    slots: VecDeque<Slot>,
    /// Not told yet, of the row's episode.
    tally: Tally,
    /// The rate that the API has announced last, in calls a second.
    announced: Option<f64>,
    budget: Option<Budget>,
    paused_until: Option<Moment>,
    /// Calls that have left.
    sent: u64,
    /// The same when we asked last.
    sent_before: u64,
    asked_at: Option<Instant>,
    is_asking: bool,
    /// Others have something to tell.
    is_alerted: bool,
    /// How long an exchange takes, as seen of late.
    exchange: Duration,
}

impl Share {
    pub(super) fn new(ceiling: Ceiling, remembered: Option<f64>, now: Instant) -> Self {
        let interval = ceiling.interval();
        Self {
            governor: interval.and_then(|interval| Governor::new(interval, now)),
            ceiling: interval.unwrap_or_default(),
            remembered,
            row: None,
            slots: VecDeque::new(),
            tally: Tally::default(),
            announced: None,
            budget: None,
            paused_until: None,
            sent: 0,
            sent_before: 0,
            asked_at: None,
            is_asking: false,
            is_alerted: false,
            exchange: Duration::ZERO,
        }
    }

    pub(super) fn limit(&self) -> Option<&Limit> {
        self.row.as_ref().map(|row| &row.known.limit)
    }

    pub(super) fn to_remember(&self) -> Option<f64> {
        self.limit().map_or(self.remembered, Limit::to_remember)
    }

    pub(super) fn per_second(&self) -> Option<f64> {
        self.held_to().map(|(per_second, _)| per_second)
    }

    pub(super) fn held_to(&self) -> Option<(f64, Whose)> {
        match &self.row {
            Some(row) => row.known.limit.held_to(self.ceiling.max(row.standing.ceiling)),
            None => (!self.ceiling.is_zero()).then(|| (self.ceiling.as_secs_f64().recip(), Whose::Typed)),
        }
    }

    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        let (row, until) = self.row.as_ref().zip(self.paused_until)?;
        Some(row.clock.instant(until)).filter(|&until| until > now)
    }

    pub(super) fn next(&mut self, now: Instant) -> Result<Ticket, Instant> {
        self.keep_to_budget(now);
        if let Some(until) = self.paused_until(now) {
            return Err(until);
        }
        let episode = self.slot(now)?;
        if let Some(governor) = &mut self.governor {
            governor.check(now)?;
        }
        self.slots.pop_front();
        self.sent += 1;
        let left = self.row.as_ref().map(|row| row.clock.moment(now));
        self.tally = self.tally.and(Tally { first_left: left, ..Tally::default() });
        Ok(Ticket { left_at: now, number: self.sent, episode })
    }

    /// The episode of the slot that is used now, or when there may be one. What was missed is lost: others have theirs
    /// after it.
    fn slot(&mut self, now: Instant) -> Result<u32, Instant> {
        let Some(row) = self.row.as_ref().filter(|row| !row.is_anew) else { return Err(now + POLL) };
        let Standing { episode, interval, pause, .. } = row.standing;
        if interval.is_zero() && pause.is_none() {
            return Ok(episode);
        }
        let moment = row.clock.moment(now);
        let is_lost = |slot: &Slot| slot.episode != episode || slot.at + CATCH_UP < moment;
        while self.slots.front().is_some_and(is_lost) {
            self.slots.pop_front();
        }
        match self.slots.front() {
            Some(slot) if slot.at <= moment => Ok(episode),
            Some(slot) => Err(row.clock.instant(slot.at)),
            None => Err(now + POLL),
        }
    }

    pub(super) fn accepted(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        self.told(ticket, announced, now);
        let Some(row) = self.row.as_ref().filter(|row| row.standing.episode == ticket.episode) else {
            return;
        };
        let left_at = row.clock.moment(ticket.left_at);
        let refusal = row.standing.tally.and(self.tally).refusal;
        let is_after = refusal.is_some_and(|refusal| refusal.left_at < left_at);
        self.tally.accepted += u64::from(!is_after);
        self.tally.accepted_after += u64::from(is_after);
        self.tally.last_left = self.tally.last_left.max(Some(left_at));
    }

    pub(super) fn told(&mut self, ticket: Ticket, announced: Announced, now: Instant) {
        let Announced { remaining, reset_in, per_second } = announced;
        match per_second {
            Some(rate) => self.announced = Some(rate),
            None => self.budget = Budget::told(self.budget, ticket, remaining, reset_in, now),
        }
    }

    /// Once our part of all that the API said may leave has left, nothing does until its limit is reset.
    fn keep_to_budget(&mut self, now: Instant) {
        let used_up = self.budget.filter(|budget| budget.is_used_up(self.sent, now));
        let Some(Budget { until, .. }) = used_up else { return };
        let Some(row) = &self.row else { return };
        let (now, until) = (row.clock.moment(now), row.clock.moment(until));
        if self.paused_until.is_none_or(|paused| paused < until) {
            self.paused_until = Some(until);
            self.refused(Refusal { left_at: now, at: now, is_announced: true });
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        self.tally = self.tally.and(Tally { refusal: Some(refusal), ..Tally::default() });
    }

    pub(super) fn throttled(&mut self, ticket: Ticket, wait: Option<Duration>, now: Instant) -> Instant {
        let wait = wait.filter(|wait| !wait.is_zero()).unwrap_or_else(|| self.unstated_pause());
        let Some(row) = &self.row else { return now + wait };
        let (clock, at) = (row.clock, row.clock.moment(now));
        let until = self.paused_until.max(Some(at + wait)).unwrap_or(at);
        self.paused_until = Some(until);
        if ticket.episode == row.standing.episode {
            self.tally.refused += 1;
            self.refused(Refusal { left_at: clock.moment(ticket.left_at), at, is_announced: false });
        }
        clock.instant(until)
    }

    fn unstated_pause(&self) -> Duration {
        let Some(row) = &self.row else { return unstated_pause(0) };
        let is_vain = row.standing.tally.and(self.tally).all_accepted() == 0;
        unstated_pause(if is_vain { row.known.vain } else { 0 })
    }

    pub(super) fn ask(&mut self, wanted: impl FnOnce() -> Wanted, now: Instant) -> Option<Ask> {
        let spacing = if self.is_asking { LOST } else { SPACING };
        if self.asked_at.is_some_and(|asked_at| now < asked_at + spacing) {
            return None;
        }
        let ask = self.question(wanted(), now);
        if !self.is_due(&ask, now) {
            return None;
        }
        self.tally = Tally::default();
        (self.is_asking, self.is_alerted, self.asked_at, self.sent_before) =
            (true, false, Some(now), self.sent);
        Some(ask)
    }

    /// Whether what is asked is worth an exchange by now.
    fn is_due(&self, ask: &Ask, now: Instant) -> bool {
        let Some(asked_at) = self.asked_at else { return true };
        let since = now.saturating_duration_since(asked_at);
        let is_urgent = self.is_alerted || ask.tally.refusal.is_some() || ask.lesson.is_some();
        is_urgent || ask.slots > 0 || since >= self.poll()
    }

    fn poll(&self) -> Duration {
        match self.is_alerted {
            true => SPACING,
            false if self.sent > self.sent_before => POLL,
            false => IDLE_POLL,
        }
    }

    pub(super) fn asks_at(&self) -> Option<Instant> {
        let asked_at = self.asked_at.filter(|_| !self.is_asking)?;
        Some(asked_at + self.poll())
    }

    fn question(&self, wanted: Wanted, now: Instant) -> Ask {
        let lead = self.exchange;
        let ask = Ask {
            ceiling: self.ceiling,
            episode: 0,
            tally: self.tally,
            pause: None,
            lesson: None,
            slots: 0,
            lead,
            horizon: HORIZON + 2 * lead,
        };
        let Some(row) = &self.row else { return ask };
        let moment = row.clock.moment(now);
        let pause = self.paused_until.filter(|until| *until > moment && !row.has_heard(*until));
        Ask {
            episode: row.standing.episode,
            pause,
            lesson: row.lesson(self, pause, wanted.now > 0, moment),
            slots: self.slots_needed(row, wanted, now),
            ..ask
        }
    }

    /// As many as will leave, as far as can be told, until the next ones come.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
    fn slots_needed(&self, row: &Row, wanted: Wanted, now: Instant) -> u32 {
        let interval = row.standing.interval;
        if interval.is_zero() || row.is_anew {
            return 0;
        }
        let (ahead, stretch) = (AHEAD + 2 * self.exchange, STRETCH.max(self.exchange));
        let moment = row.clock.moment(now);
        let last = self.slots.back().map_or(moment, |slot| slot.at).max(moment);
        let missing = (moment + ahead).since(last);
        if missing.is_zero() {
            return 0;
        }
        let of_late = self.left_of_late(now) * (ahead + stretch).as_secs_f64();
        // A slot that is asked for and not used is lost to all.
        let leaving = wanted.now.saturating_add((of_late * MORE).ceil() as u64).min(wanted.in_all);
        let in_time = ((missing + stretch).as_secs_f64() / interval.as_secs_f64()).ceil();
        leaving.saturating_sub(self.slots.len() as u64).min(in_time as u64) as u32
    }

    /// Calls a second that have left since we asked last.
    #[expect(clippy::cast_precision_loss, reason = "few calls leave in between")]
    fn left_of_late(&self, now: Instant) -> f64 {
        let since = self.asked_at.map_or(POLL, |asked_at| now.saturating_duration_since(asked_at));
        (self.sent - self.sent_before) as f64 / since.max(SPACING).as_secs_f64()
    }

    pub(super) fn alerted(&mut self) {
        self.is_alerted = true;
    }

    pub(super) fn unheard(&mut self) {
        self.is_asking = false;
        self.slots.clear();
    }

    pub(super) fn granted(&mut self, Exchange { sent, received, standing }: Exchange, now: Instant) {
        self.is_asking = false;
        let took = self.asked_at.map_or(Duration::ZERO, |asked_at| now.saturating_duration_since(asked_at));
        // One that took long by chance, or because we were stopped meanwhile, tells little of the next.
        let longer = (self.exchange + took.min(LONGEST_EXCHANGE)) / 2;
        self.exchange = longer.max(self.exchange.mul_f64(0.9));
        if self.row.as_ref().is_some_and(|row| row.standing.episode != standing.episode) {
            // What was counted meanwhile is of one that is over.
            self.tally = Tally::default();
        }
        let Standing { slots, first, interval, episode, .. } = standing;
        self.slots.extend((0..slots).map(|nth| Slot { at: first + interval * nth, episode }));
        self.paused_until = self.paused_until.max(standing.pause).max(Some(standing.resumed));
        let clock = self.row.as_ref().map(|row| row.clock);
        let clock = clock.map_or_else(
            || SharedClock::new(sent, received, standing.at),
            |clock| clock.heard(sent, received, standing.at),
        );
        let row = Row::seen(standing, clock, self.row.take(), self);
        self.row = Some(row);
    }
}

impl Row {
    fn seen(standing: Standing, clock: SharedClock, before: Option<Self>, share: &Share) -> Self {
        let known = Self::known(&standing, before);
        let is_anew = known.is_none();
        let anew = || Known::new(share.ceiling.max(standing.ceiling), share.remembered, standing.at);
        Self { known: known.unwrap_or_else(anew), clock, is_anew, standing }
    }

    fn known(standing: &Standing, before: Option<Self>) -> Option<Known> {
        let is_stale = standing.before.is_none_or(|before| standing.at.since(before) >= STALE);
        let stored = standing.known.as_deref().filter(|_| before.is_some() || !is_stale);
        match before.filter(|row| row.standing.version == standing.version && !row.is_anew) {
            Some(row) => Some(row.known),
            None => stored.and_then(Known::read),
        }
    }

    fn has_heard(&self, pause: Moment) -> bool {
        self.standing.pause.max(Some(self.standing.resumed)) >= Some(pause)
    }

    /// What follows by now from what all have told, if it is news.
    fn lesson(&self, share: &Share, pause: Option<Moment>, sends: bool, now: Moment) -> Option<Lesson> {
        let Standing { version, ceiling, tally, .. } = self.standing;
        let ceiling = ceiling.max(share.ceiling);
        let tally = tally.and(share.tally);
        let mut known = self.known.clone();
        if let Some(rate) = share.announced {
            known.limit.announced(rate);
        }
        known.heard(&tally, now);
        let pause = self.standing.pause.max(pause);
        let ends = pause.filter(|until| *until <= now + DECIDED_AHEAD);
        let mut is_probing = false;
        if let Some(until) = ends {
            is_probing = known.learn(&tally, until, ceiling);
        } else if pause.is_none() && sends {
            known.limit.interval(ceiling, now);
        }
        let is_news = self.is_anew || ends.is_some() || known.limit.differs(&self.known.limit);
        is_news.then(|| Lesson {
            version,
            pause,
            known: known.written(),
            interval: known.limit.interval_alone(),
            begins: self.is_anew || ends.is_some(),
            is_probing,
        })
    }
}
