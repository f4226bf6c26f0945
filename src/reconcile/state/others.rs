//! What other workers of the run do: what they have settled, given back, left alone or stopped for, and that what we had
//! claimed is theirs.

use std::time::Instant;

use super::State;
use crate::ledger::{LeftAlone, RackNo, Seen};
use crate::reconcile::breakers::Opened;
use crate::reconcile::doubts::Doubts;
use crate::reconcile::event::Command;
use crate::reconcile::notice::Notice;
use crate::reconcile::shared::Shared;
use crate::stop::Stop;

impl State<'_> {
    /// Takes note of what others do.
    pub(super) fn saw(&mut self, seen: Seen, now: Instant) {
        let Some(shared) = &mut self.shared else { return };
        let (before, news) = (shared.settled(), shared.saw(seen));
        let all = shared.settled();
        self.schedule.breakers.beside(shared.has_others());
        self.commands
            .extend(news.into_iter().filter(|(_, vms)| *vms > 0).map(|(o, vms)| Command::Count(o, vms)));
        if all.settled > before.settled || self.awaits_others() {
            self.goes_on(now);
        }
        let brake = self.settling.saw(all);
        self.heed(brake, now);
        if seen.is_alerted {
            self.pace.alerted();
        }
        if let Some(stop) = seen.stop {
            self.stopped_by_another(stop, now);
        }
        self.share_trials(now);
    }

    /// Takes note of what all leave alone.
    pub(super) fn saw_left_alone(&mut self, all: &[LeftAlone], heard: usize, now: Instant) {
        for sick in self.schedule.breakers.saw(all, heard, now) {
            let opened = Opened { api: sick.is_none(), way: false, rack: sick.is_some() };
            self.tell_opened(sick.unwrap_or(RackNo(0)), opened);
        }
        self.share_trials(now);
    }

    /// What nobody tries is tried by whoever has a VM for that, and no longer by whoever has none.
    fn share_trials(&mut self, now: Instant) {
        let free = self.shared.as_ref().map_or(0, Shared::free);
        let goes_on = !self.halt.is_on();
        self.schedule.share_trials(goes_on, goes_on && free > 0 && self.startable() != Some(0), now);
    }

    /// Who cannot reach the API holds nothing that others can do, who reach it; where they have no VM to show that by, they
    /// are given one.
    pub(super) fn give_back_where_cut_off(&mut self, now: Instant) {
        let (Some(shared), breakers) = (&mut self.shared, &self.schedule.breakers) else { return };
        if breakers.way_is_closed() {
            return shared.reaches_the_api();
        }
        let others_reach_it = shared.others_reach_the_api();
        let are_idle = shared.has_others() && shared.knows() && shared.free() == 0;
        let waits = breakers.api_allows(now).is_err();
        if !waits || self.halt.is_on() || !(others_reach_it || are_idle) {
            return;
        }
        let given_back = self.schedule.give_back(others_reach_it);
        if !given_back.is_empty() {
            shared.gave_back();
            self.commands.push(Command::GiveBack(given_back));
        }
    }

    /// Our key or our certificates are refused: a run that we have joined we leave to those who have others.
    pub(super) fn is_refused(&mut self, stop: Stop, now: Instant) {
        if self.settings.is_guest {
            self.tell(Notice::LeftToOthers(stop));
            self.is_leaving = true;
            self.stop(stop, now);
        } else {
            self.stop_all(stop, now);
        }
    }

    fn stopped_by_another(&mut self, stop: Stop, now: Instant) {
        if self.shared.as_mut().is_some_and(|shared| shared.is_news(stop)) {
            self.tell(Notice::StoppedForAll(stop));
        }
        self.stop(stop, now);
    }

    /// Nothing that was claimed is ours any more, nor what came of it and is not on disk.
    pub(super) fn lapsed(&mut self, now: Instant) {
        let Some(shared) = &mut self.shared else { return };
        shared.lapsed();
        let asked = shared.asked();
        self.schedule.lapse();
        self.flights.disown();
        self.pace.unheard();
        self.doubts = Doubts::default();
        self.settling.lapsed();
        self.goes_on(now);
        self.tell(Notice::Lapsed);
        self.commands.push(Command::Rejoin);
        self.commands.extend(self.settling.braked().map(Command::Brake));
        self.commands.extend(asked.map(Command::Stop));
    }

    /// Of the VMs that others have given back, or are through with, some may be ours.
    pub(super) fn look_for_more(&mut self, now: Instant) {
        let Some(shared) = self.shared.as_mut().filter(|_| !self.schedule.is_claiming()) else { return };
        if let Some(free) = shared.unknown(self.schedule.pending(), now) {
            self.schedule.refill(free);
        }
    }
}
