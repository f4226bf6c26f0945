//! VMs that wait for another call: by when they are due, and behind whom. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Instant;

use super::work::Work;
use crate::ledger::RackNo;

/// VMs that wait for another call; they hold no slot.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    until: BinaryHeap<Due>,
    /// Those whose wait is over while another of their sick rack is tried.
    behind: BTreeMap<RackNo, VecDeque<Work>>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    work: Work,
}

impl Waiting {
    pub(super) fn push(&mut self, work: Work, at: Instant) {
        self.until.push(Due { at, work });
    }

    pub(super) fn len(&self) -> usize {
        self.until.len() + self.behind.values().map(VecDeque::len).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty() && self.behind.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &Work> {
        self.until.iter().map(|due| &due.work).chain(self.behind.values().flatten())
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = i64> {
        self.all().map(|work| work.item.position)
    }

    pub(super) fn racks(&self) -> impl Iterator<Item = RackNo> {
        self.all().map(|work| work.item.rack)
    }

    /// Those whose wait is over, in no order.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = &Work> {
        let due = self.until.iter().filter(move |due| due.at <= now).map(|due| &due.work);
        due.chain(self.behind.values().flatten())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.until.peek().map(|due| due.at)
    }

    /// The VM that has been due for longest, of the racks that `may` be tried.
    pub(super) fn pop_due(&mut self, now: Instant, may: impl Fn(RackNo) -> bool) -> Option<Work> {
        if let Some(rack) = self.behind.keys().copied().find(|&no| may(no)) {
            return self.pop_behind(rack);
        }
        while self.next_due().is_some_and(|at| at <= now) {
            let Due { work, .. } = self.until.pop()?;
            if may(work.item.rack) {
                return Some(work);
            }
            self.behind.entry(work.item.rack).or_default().push_back(work);
        }
        None
    }

    /// Any of them.
    pub(super) fn pop(&mut self) -> Option<Work> {
        let behind = self.behind.keys().next().copied();
        behind.and_then(|no| self.pop_behind(no)).or_else(|| self.until.pop().map(|due| due.work))
    }

    fn pop_behind(&mut self, rack: RackNo) -> Option<Work> {
        let behind = self.behind.get_mut(&rack)?;
        let work = behind.pop_front();
        if behind.is_empty() {
            self.behind.remove(&rack);
        }
        work
    }
}

impl Ord for Due {
    /// The earliest is the greatest: a `BinaryHeap` gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at).then_with(|| other.work.item.position.cmp(&self.work.item.position))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reconcile::work::tests::work;

    #[test]
    fn waiting_vms_come_back_in_the_order_in_which_they_are_due() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for (position, seconds) in [(1, 5), (2, 1), (3, 1), (4, 9)] {
            waiting.push(work(position), now + Duration::from_secs(seconds));
        }
        assert!(waiting.pop_due(now, |_| true).is_none());
        let later = now + Duration::from_secs(5);
        let due: Vec<i64> =
            std::iter::from_fn(|| waiting.pop_due(later, |_| true)).map(|work| work.item.position).collect();
        assert_eq!(due, [2, 3, 1]);
        assert_eq!((waiting.len(), waiting.next_due()), (1, Some(now + Duration::from_secs(9))));
    }

    #[test]
    fn vms_behind_a_sick_rack_stay_due_and_hold_no_other_rack_back() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for (position, rack) in [(1, 0), (2, 0), (3, 1)] {
            let mut work = work(position);
            work.item.rack = RackNo(rack);
            waiting.push(work, now);
        }
        let position = |work: Option<Work>| work.map(|work| work.item.position);
        assert_eq!(position(waiting.pop_due(now, |no| no != RackNo(0))), Some(3));
        assert_eq!(position(waiting.pop_due(now, |no| no != RackNo(0))), None);
        assert_eq!((waiting.len(), waiting.due(now).count(), waiting.is_empty()), (2, 2, false));
        assert_eq!(position(waiting.pop_due(now, |_| true)), Some(1));
        assert_eq!(position(waiting.pop_due(now, |_| true)), Some(2));
        assert!(waiting.is_empty());
    }
}
