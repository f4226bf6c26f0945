//! A run that several workers share, as one of them knows it: what of it is ours, and what the others have done. Pure.

use std::time::{Duration, Instant};

use crate::brake::Outcomes;
use crate::ledger::{Counts, Seen};
use crate::outcome::Outcome;
use crate::stop::Stop;

/// What others gave back is looked for so often, where nothing came of it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// As of our last batch; `None` before the first one under this lease.
    seen: Option<Seen>,
    /// A claim was answered, and what it leaves of the run is yet to be seen.
    is_behind: bool,
    /// How often VMs had been given back when they were last looked for.
    returns: u64,
    /// When a claim brought nothing, if the last one did.
    came_empty_at: Option<Instant>,
    /// What whoever watches was told of.
    told: Option<Counts>,
    /// What we have asked all to end for.
    asked: Option<Stop>,
    /// VMs that came out well by us.
    ours: u64,
    /// The same by others, as of when we could last reach the API.
    others: u64,
}

impl Shared {
    /// An outcome of ours is on disk.
    pub(super) fn counted(&mut self, outcome: Outcome) {
        self.ours += u64::from(outcome != Outcome::Failed);
    }

    /// Whether others work on the run at the moment.
    pub(super) fn has_others(&self) -> bool {
        self.seen.is_some_and(|seen| seen.workers > 1)
    }

    /// VMs that came out well by others.
    fn by_others(&self) -> u64 {
        let Outcomes { settled, failed, .. } = self.settled();
        (settled - failed).saturating_sub(self.ours)
    }

    /// We can reach the API.
    pub(super) fn reaches_the_api(&mut self) {
        self.others = self.by_others();
    }

    /// Whether others have reached it since we could not.
    pub(super) fn others_reach_the_api(&self) -> bool {
        self.by_others() > self.others
    }

    /// Returns the outcomes that whoever watches has not heard of, and how many VMs more came out so.
    pub(super) fn saw(&mut self, seen: Seen) -> Vec<(Outcome, u64)> {
        self.is_behind = false;
        self.seen = Some(seen);
        let told = self.told.replace(seen.counted).unwrap_or(seen.counted);
        let news = seen.counted.by_outcome().zip(told.by_outcome());
        news.map(|((outcome, now), (_, then))| (outcome, now.saturating_sub(then))).collect()
    }

    /// What all workers have settled.
    pub(super) fn settled(&self) -> Outcomes {
        let Some(Seen { counted, drifted, .. }) = &self.seen else { return Outcomes::default() };
        Outcomes {
            settled: counted.settled(),
            failed: counted.failed,
            changed: counted.created + counted.updated,
            drifted: *drifted,
        }
    }

    /// Whether what we hold is certainly ours.
    pub(super) fn is_leased(&self, now: Instant) -> bool {
        self.seen.is_some_and(|seen| now < seen.leased_until)
    }

    /// Our lease ran out: nothing is ours.
    pub(super) fn lapsed(&mut self) {
        (self.seen, self.is_behind) = (None, true);
    }

    /// A claim was answered, with so many VMs of those that were `asked` for.
    pub(super) fn claimed(&mut self, asked: u64, came: usize, now: Instant) {
        self.is_behind = true;
        if asked > 0 {
            self.came_empty_at = (came == 0).then_some(now);
        }
    }

    /// We have given some back.
    pub(super) fn gave_back(&mut self) {
        self.is_behind = true;
    }

    /// Whether what we know of the run is of after our last claim, and all that we gave back.
    pub(super) fn knows(&self) -> bool {
        !self.is_behind
    }

    /// Whether it makes sense to ask for VMs that may not be there.
    fn may_ask(&self, now: Instant) -> bool {
        self.came_empty_at.is_none_or(|at| now >= at + LOOK_AGAIN)
    }

    /// Whether a claim may be made now, which may or may not be `bounded` to some of the VMs that are pending.
    pub(super) fn may_claim(&self, bounded: bool, now: Instant) -> bool {
        self.knows() && (!bounded || self.may_ask(now))
    }

    /// How many VMs may be started of an `allowance`, which is of all workers.
    pub(super) fn startable(&self, allowance: u64) -> u64 {
        allowance.saturating_sub(self.seen.map_or(0, |seen| seen.started))
    }

    /// Whether any VM but `ours`, which are in doubt, has no outcome yet.
    pub(super) fn has_more(&self, ours: usize) -> bool {
        self.seen.is_none_or(|seen| seen.pending > ours as u64)
    }

    /// VMs that nobody holds.
    pub(super) fn free(&self) -> u64 {
        self.seen.map_or(0, |seen| seen.free)
    }

    /// VMs that may be claimed, where it is time to look for them: some were given back since we last did, or more are free than
    /// we know as `pending`, as another run has called them when we asked.
    pub(super) fn unknown(&mut self, pending: u64, now: Instant) -> Option<u64> {
        let Seen { free, returns, .. } = self.seen.filter(|seen| seen.free > 0 && self.knows())?;
        let is_time = returns != self.returns || free > pending && self.may_ask(now);
        is_time.then(|| {
            self.returns = returns;
            free
        })
    }

    /// Whether all are to hear of this stop from us.
    pub(super) fn is_news(&mut self, stop: Stop) -> bool {
        let is_news = self.asked < Some(stop);
        self.asked = self.asked.max(Some(stop));
        is_news
    }

    /// Whether the key has drawn a success, whoever used it.
    pub(super) fn proves_the_key(&self) -> bool {
        let Outcomes { settled, failed, .. } = self.settled();
        settled > failed
    }

    /// What we have asked all to end for.
    pub(super) fn asked(&self) -> Option<Stop> {
        self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vms_are_looked_for_where_some_came_back_or_more_are_free_than_are_known() {
        let now = Instant::now();
        let seen = |free, returns| Seen {
            counted: Counts::default(),
            drifted: 0,
            started: 0,
            pending: 9,
            free,
            returns,
            stop: None,
            leased_until: now,
            workers: 2,
            is_alerted: false,
        };
        let mut shared = Shared::default();
        for (free, returns, known, found) in [
            (9, 0, 9, None),
            (9, 0, 8, Some(9)),
            (9, 0, 0, Some(9)),
            (0, 0, 0, None),
            (9, 1, 9, Some(9)),
            (9, 1, 9, None),
            (0, 2, 9, None),
        ] {
            shared.saw(seen(free, returns));
            assert_eq!(shared.unknown(known, now), found, "{free} free, {returns} returns, {known} known");
        }
        shared.claimed(1, 0, now);
        assert_eq!(shared.unknown(0, now + LOOK_AGAIN), None, "how many are left is not known yet");
        shared.saw(seen(9, 1));
        assert_eq!([now, now + LOOK_AGAIN].map(|now| shared.unknown(0, now)), [None, Some(9)]);
    }
}
