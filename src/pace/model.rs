//! The row that workers share, in memory: what a database does with it, step by step.

use std::time::Duration;

use super::{Ask, Moment, Standing, Tally};

/// Between two calls while it is tried whether any is accepted.
const PROBING: Duration = Duration::from_secs(1);

pub(crate) struct Row {
    asked_at: Option<Moment>,
    version: u64,
    known: Option<String>,
    interval: Duration,
    episode: u32,
    tally: Tally,
    pause: Option<Moment>,
    resumed: Moment,
    is_probing: bool,
    last_slot: Moment,
}

impl Row {
    pub(crate) fn new() -> Self {
        Self {
            asked_at: None,
            version: 0,
            known: None,
            interval: Duration::ZERO,
            episode: 0,
            tally: Tally::default(),
            pause: None,
            resumed: Moment::from_nanos(0),
            is_probing: false,
            last_slot: Moment::from_nanos(0),
        }
    }

    /// As of a moment by its own clock.
    pub(crate) fn answer(&mut self, ask: &Ask, at: Moment) -> Standing {
        let before = self.asked_at.replace(at);
        self.hear(ask);
        self.learn(ask);
        let interval =
            self.interval.max(ask.ceiling).max(if self.is_probing { PROBING } else { Duration::ZERO });
        let (first, slots) = self.grant(ask, interval, at);
        Standing {
            at,
            before,
            version: self.version,
            known: self.known.clone(),
            episode: self.episode,
            tally: self.tally,
            pause: self.pause,
            resumed: self.resumed,
            ceiling: ask.ceiling,
            slots,
            first,
            interval,
        }
    }

    fn hear(&mut self, ask: &Ask) {
        self.pause = self.pause.max(ask.pause);
        if ask.episode == self.episode {
            self.tally = self.tally.and(ask.tally);
            self.is_probing &= self.tally.all_accepted() == 0;
        }
    }

    fn learn(&mut self, ask: &Ask) {
        let holds = |version, pause| version == self.version && pause == self.pause;
        let Some(lesson) = ask.lesson.as_ref().filter(|lesson| holds(lesson.version, lesson.pause)) else {
            return;
        };
        self.version += 1;
        self.known = Some(lesson.known.clone());
        self.interval = lesson.interval;
        if lesson.begins {
            self.episode += 1;
            self.tally = Tally::default();
            self.resumed = self.pause.take().unwrap_or(self.resumed);
            self.is_probing = lesson.is_probing;
        }
    }

    fn grant(&mut self, ask: &Ask, interval: Duration, at: Moment) -> (Moment, u32) {
        let next = (self.last_slot + interval).max(self.resumed);
        let first = if next < at { at + ask.lead } else { next };
        if self.known.is_none() || self.pause.is_some() || interval.is_zero() || first > at + ask.horizon {
            return (first, 0);
        }
        let room = (at + ask.horizon).since(first).as_nanos() / interval.as_nanos() + 1;
        let slots = ask.slots.min(u32::try_from(room).unwrap_or(u32::MAX));
        if slots > 0 {
            self.last_slot = first + interval * (slots - 1);
        }
        (first, slots)
    }
}
