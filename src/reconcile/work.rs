//! One VM on its way through the loop.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Instant;

use jiff::Timestamp;

use super::lost::Lost;
use crate::ledger::{CLAIM_LIFE, Deferred, Item, LastCall, RackNo, Setback, Tally};

/// A VM that draws this many 429s, each with another VM's success after it, has failed.
const STRIKES: u32 = 10;

/// A claimed VM, and what its calls have come to in this sitting.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) item: Item,
    /// The date of its claim on disk.
    claimed_at: Timestamp,
    /// Attempts since the start or the last resume: what `--max-attempts` counts.
    pub(super) attempts: u32,
    pub(super) last: LastCall,
    pub(super) setback: Option<Setback>,
    pub(super) lost: Lost,
    strikes: u32,
    /// The run's successes when the last 429 came that has not been counted yet.
    struck_at: Option<u64>,
}

impl Work {
    pub(super) fn new(item: Item, claimed_at: Timestamp) -> Self {
        Self {
            lost: Lost::inherited(item.unanswered.clone()),
            item,
            claimed_at,
            attempts: 0,
            last: LastCall::default(),
            setback: None,
            strikes: 0,
            struck_at: None,
        }
    }

    /// Whether the VM has not been called in this run.
    pub(super) fn is_new(&self) -> bool {
        self.item.tally.attempts == 0 && self.item.tally.throttled == 0
    }

    pub(super) fn claimed(self, at: Timestamp) -> Self {
        Self { claimed_at: at, ..self }
    }

    /// Whether the claim is too old to tell when the call left.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.claimed_at) > CLAIM_LIFE
    }

    /// Notes a 429; `successes` is the whole run's count.
    pub(super) fn struck(&mut self, successes: u64) {
        self.struck_at.get_or_insert(successes);
    }

    /// Whether the API refuses this VM for its rate while it serves others.
    pub(super) fn is_struck_out(&mut self, successes: u64) -> bool {
        if self.struck_at.is_some_and(|then| successes > then) {
            self.struck_at = None;
            self.strikes += 1;
        }
        self.strikes >= STRIKES
    }

    /// What goes into the ledger while this VM waits.
    pub(super) fn deferred(&self, setback: Setback) -> Deferred {
        Deferred {
            position: self.item.position,
            vm: self.item.vm.clone(),
            tally: self.item.tally,
            unanswered: self.item.unanswered.clone(),
            last: self.last.clone(),
            setback,
        }
    }

    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.item.tally
    }
}

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
    use crate::allocation::Expected;
    use crate::inventory::Action;

    fn work(position: i64) -> Work {
        let item = Item {
            position,
            rack: RackNo(0),
            vm: "10000".parse().unwrap(),
            action: Action::Allocate,
            expected: Expected::default(),
            before: None,
            unanswered: vec![],
            first_call: None,
            tally: Tally::default(),
        };
        Work::new(item, crate::clock::now())
    }

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

    #[test]
    fn a_vm_is_struck_out_by_ten_429s_each_with_anothers_success_after_it() {
        let mut work = work(1);
        for successes in 0..9 {
            work.struck(successes);
            assert!(!work.is_struck_out(successes), "nobody has succeeded since");
            assert!(!work.is_struck_out(successes + 1));
        }
        assert!(!work.is_struck_out(100), "one success counts for one 429");
        work.struck(100);
        work.struck(105);
        assert!(work.is_struck_out(106));
    }
}
