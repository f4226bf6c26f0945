//! Who of a run's workers tries what all leave alone, as one of them knows it. Pure.
//!
//! One tries it, as it would alone, and the others wait for what comes of that; the next trial is another one's, as it may be
//! their way there that is ill. Who it is, the ledger says: whoever has told of something decides nothing more before that is
//! heard.

use std::collections::BTreeSet;
use std::mem;
use std::time::Instant;

use crate::breaker::{Breaker, Purpose};
use crate::ledger::{LeftAlone, Sick, Trial, Tried};

/// What is told to others, and heard of them.
#[derive(Debug, Default)]
pub(super) struct Trials {
    to_tell: Vec<(Sick, Trial)>,
    /// Told, and not heard of yet.
    unheard: usize,
    /// What nobody tries.
    untried: BTreeSet<Sick>,
    /// What we were the last to find ill.
    found: BTreeSet<Sick>,
}

impl Trials {
    pub(super) fn tell(&mut self, sick: Sick, trial: Trial) {
        self.to_tell.push((sick, trial));
        self.unheard += 1;
    }

    /// What is yet to be told.
    pub(super) fn told(&mut self) -> Vec<(Sick, Trial)> {
        mem::take(&mut self.to_tell)
    }

    /// Whether what is known of others is of after all that was told.
    pub(super) fn are_heard(&self) -> bool {
        self.unheard == 0
    }

    /// What we were the last to find ill, as far as that is known.
    pub(super) fn found(&self) -> &BTreeSet<Sick> {
        &self.found
    }

    /// What nobody tries.
    pub(super) fn untried(&self) -> &BTreeSet<Sick> {
        &self.untried
    }

    /// This is `all` that is left alone, once `heard` more of what was told is known. Returns whether that is all of it.
    pub(super) fn heard(&mut self, all: &[LeftAlone], heard: usize) -> bool {
        self.unheard = self.unheard.saturating_sub(heard);
        if self.are_heard() {
            let untried = all.iter().filter(|left| left.tried == Tried::ByNobody);
            self.untried = untried.map(|left| left.sick).collect();
            self.found = all.iter().filter(|left| left.is_found_by_us).map(|left| left.sick).collect();
        }
        self.are_heard()
    }

    /// A call came back, before which a breaker was tried or not: what others are to know of it.
    pub(super) fn came_of(
        &mut self,
        (sick, breaker): (Sick, &mut Breaker),
        purpose: Purpose,
        was_tried: bool,
        now: Instant,
    ) {
        let begins = breaker.wait(now).map(|wait| Trial::Begins { wait, gap: breaker.gap() });
        let told = match (was_tried, purpose) {
            // It left before anything was tried, and says nothing new.
            (true, Purpose::Work) => None,
            (true, Purpose::Trial) if breaker.is_closed() => Some(Trial::Succeeded),
            (true, Purpose::Trial) | (false, _) => begins,
        };
        let Some(trial) = told else { return };
        if !breaker.is_closed() {
            // It is ours to try again where nobody else is there to.
            breaker.leave();
        }
        self.tell(sick, trial);
    }
}

/// Goes by what is known of a breaker: that it is `left` alone, or that it is not.
pub(super) fn follow(breaker: &mut Breaker, left: Option<&LeftAlone>, now: Instant) {
    match left {
        None if !breaker.is_closed() => breaker.heal(),
        Some(LeftAlone { tried: Tried::ByUs, wait, gap, .. }) if !breaker.is_tried() => {
            breaker.take_over(*wait, *gap, now);
        }
        None | Some(LeftAlone { tried: Tried::ByUs, .. }) => {}
        Some(LeftAlone { tried: Tried::ByOthers | Tried::ByNobody, .. }) => breaker.leave(),
    }
}
