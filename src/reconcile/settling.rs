//! Outcomes on their way to the disk, and what the brakes make of them: those count that are there, and those that are yet
//! to come hold calls. Pure.

use crate::brake::{Brake, Outcomes};
use crate::ledger::Counted;
use crate::outcome::Outcome;
use crate::stop::Stop;

/// So many are on their way at the most.
const CAP: usize = 4096;

#[derive(Debug)]
pub(super) struct Settling {
    brake: Brake,
    /// The brake as it will be once all outcomes on their way are on disk.
    foreseen: Brake,
    /// Whether the outcomes on their way will stop the run.
    is_doomed: bool,
    on_their_way: usize,
    /// Outcomes on their way that may bring the run nearer to a stop.
    watched: usize,
    /// Such outcomes that are on disk, since we last saw what all workers have settled.
    unseen: usize,
    /// The brake that the run has run into.
    braked: Option<Stop>,
}

impl Settling {
    pub(super) fn new(brake: Brake) -> Self {
        Self {
            foreseen: brake.clone(),
            brake,
            is_doomed: false,
            on_their_way: 0,
            watched: 0,
            unseen: 0,
            braked: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.on_their_way == 0
    }

    /// Whether what is on its way will stop the run.
    pub(super) fn is_doomed(&self) -> bool {
        self.is_doomed
    }

    /// Whether calls may leave before what is on its way is there.
    pub(super) fn may_call(&self) -> bool {
        self.on_their_way < CAP && !self.is_doomed
    }

    /// How many VMs may be started in all; `None` is all of them.
    pub(super) fn allowance(&self) -> Option<u64> {
        self.brake.allowance()
    }

    /// Outcomes of ours that others would stop for, had they heard of them.
    pub(super) fn unheard(&self) -> usize {
        self.watched + self.unseen
    }

    /// Another is on its way. Returns whether it is to be there at once, for it may bring the run nearer to a stop.
    pub(super) fn leaves(&mut self, outcome: Outcome, has_drift: bool) -> bool {
        let is_watched = self.brake.watches(outcome, has_drift);
        self.on_their_way += 1;
        self.watched += usize::from(is_watched);
        self.is_doomed |= self.foreseen.settled(outcome, has_drift).is_some();
        is_watched
    }

    /// One is on disk. Returns the brake that the run runs into by that.
    pub(super) fn arrived(&mut self, vm: Counted) -> Option<Stop> {
        let watched = usize::from(self.brake.watches(vm.outcome, vm.drifted));
        self.on_their_way -= 1;
        self.watched -= watched;
        self.unseen += watched;
        let brake = self.brake.settled(vm.outcome, vm.drifted);
        self.runs_into(brake)
    }

    /// What all workers have settled is seen, ours that is on disk among it. Returns the brake that the run runs into by that.
    pub(super) fn saw(&mut self, all: Outcomes) -> Option<Stop> {
        self.unseen = 0;
        let others = all.without(self.brake.ours());
        self.is_doomed |= self.foreseen.others(others).is_some();
        let brake = self.brake.others(others);
        self.runs_into(brake)
    }

    /// Only what is graver than before is news.
    fn runs_into(&mut self, brake: Option<Stop>) -> Option<Stop> {
        let news = brake.filter(|&brake| self.braked < Some(brake))?;
        self.braked = Some(news);
        self.braked
    }

    pub(super) fn braked(&self) -> Option<Stop> {
        self.braked
    }

    /// What was on its way never arrives.
    pub(super) fn lapsed(&mut self) {
        (self.on_their_way, self.watched, self.unseen) = (0, 0, 0);
        self.foreseen = self.brake.clone();
        self.is_doomed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brake::{Canary, Limits, Threshold};
    use crate::ledger::RackNo;

    /// At most two VMs may fail.
    fn settling() -> Settling {
        let max_failed = Some(Threshold::Vms(2));
        let limits = Limits { canary: Canary::Off, max_failed, max_changed: None, max_drift: None };
        Settling::new(Brake::new(limits, 100))
    }

    fn arrives(settling: &mut Settling, outcome: Outcome) -> Option<Stop> {
        settling.arrived(Counted { rack: RackNo(0), outcome, drifted: false })
    }

    #[test]
    fn what_is_on_its_way_holds_calls_and_what_is_there_stops_the_run() {
        let mut settling = settling();
        assert!(!settling.leaves(Outcome::Created, false), "no brake waits for it");
        assert!(settling.leaves(Outcome::Failed, false) && settling.leaves(Outcome::Failed, false));
        assert!(settling.may_call());
        settling.leaves(Outcome::Failed, false);
        assert!(settling.is_doomed() && !settling.may_call());
        let outcomes = [Outcome::Created, Outcome::Failed, Outcome::Failed, Outcome::Failed];
        let stops = outcomes.map(|outcome| arrives(&mut settling, outcome));
        assert_eq!(stops, [None, None, None, Some(Stop::MaxFailed)]);
        assert!(settling.is_empty());
        settling.leaves(Outcome::Failed, false);
        assert_eq!(arrives(&mut settling, Outcome::Failed), None, "no news");
        assert_eq!(settling.braked(), Some(Stop::MaxFailed));
    }

    #[test]
    fn what_others_have_settled_counts_with_ours_and_what_they_have_not_heard_of_is_known() {
        let mut settling = settling();
        settling.leaves(Outcome::Failed, false);
        assert_eq!(settling.unheard(), 1, "on its way");
        arrives(&mut settling, Outcome::Failed);
        assert_eq!(settling.unheard(), 1, "there, and the others not seen since");
        let all = |failed| Outcomes { settled: failed, failed, ..Outcomes::default() };
        assert_eq!((settling.saw(all(1)), settling.unheard()), (None, 0));
        settling.leaves(Outcome::Failed, false);
        assert!(settling.may_call());
        assert_eq!(settling.saw(all(2)), None);
        assert!(settling.is_doomed(), "one of theirs, one of ours, and one on its way");
        settling.lapsed();
        assert!(settling.may_call() && settling.is_empty(), "it never arrives");
        assert_eq!(settling.saw(all(3)), Some(Stop::MaxFailed));
    }

    #[test]
    fn no_more_are_on_their_way_than_can_be_kept() {
        let mut settling = settling();
        for _ in 0..CAP {
            settling.leaves(Outcome::Created, false);
        }
        assert!(!settling.may_call());
        arrives(&mut settling, Outcome::Created);
        assert!(settling.may_call());
    }
}
