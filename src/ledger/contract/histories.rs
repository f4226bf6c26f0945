//! Random histories of a run against a model of it: what is resumed is what has no outcome, with all that it has been
//! through, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

const RACKS: [Option<&str>; 3] = [Some("a"), Some("b"), None];
/// By position: the number of each VM's rack, in order of first appearance.
const PLACES: [u32; 10] = [0, 0, 1, 0, 2, 1, 1, 0, 2, 2];

/// Something that happens to a run. A number picks one of the VMs that it can happen to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Claim {
        rack: u32,
        vms: u32,
    },
    ClaimAgain(usize),
    Release(usize),
    Defer(usize, bool),
    Fail(usize, bool),
    Succeed(usize),
    /// Somebody reads meanwhile.
    Read,
    /// The process dies, or ends the run; then it is resumed, or another run of the same VMs is begun.
    Over {
        died: bool,
        resumed: bool,
    },
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_u32, 1..4_u32).prop_map(|(rack, vms)| Event::Claim { rack, vms }),
        2 => any::<usize>().prop_map(Event::ClaimAgain),
        1 => any::<usize>().prop_map(Event::Release),
        3 => any::<(usize, bool)>().prop_map(|(vm, unanswered)| Event::Defer(vm, unanswered)),
        2 => any::<(usize, bool)>().prop_map(|(vm, unanswered)| Event::Fail(vm, unanswered)),
        3 => any::<usize>().prop_map(Event::Succeed),
        1 => Just(Event::Read),
        2 => any::<(bool, bool)>().prop_map(|(died, resumed)| Event::Over { died, resumed }),
    ]
}

/// What must be known of one VM.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Fate {
    outcome: Option<Outcome>,
    attempts: u32,
    unanswered: bool,
    allocation_known: bool,
}

/// The model: fates by position, and where each VM is in this sitting.
#[derive(Debug)]
struct Model {
    fates: [Fate; PLACES.len()],
    /// The positions, in the order in which each rack's VMs have their turn.
    order: Vec<usize>,
    /// Claimed, with what the ledger gave out at first.
    held: BTreeMap<usize, Item>,
    /// Had their turn in this sitting and have no outcome.
    aside: BTreeMap<usize, Item>,
    turned: BTreeSet<usize>,
}

fn setback_of(item: &Item) -> Setback {
    Setback { may_have_applied: !item.unanswered.is_empty(), ..setback() }
}

impl Default for Model {
    fn default() -> Self {
        let order = (0..PLACES.len()).collect();
        Self {
            fates: Default::default(),
            order,
            held: BTreeMap::new(),
            aside: BTreeMap::new(),
            turned: BTreeSet::new(),
        }
    }
}

impl Model {
    fn next_of(&self, rack: u32, vms: u32) -> Vec<usize> {
        let free = |position: &usize| {
            PLACES[*position] == rack
                && self.fates[*position].outcome.is_none()
                && !self.turned.contains(position)
        };
        self.order.iter().copied().filter(free).take(vms as usize).collect()
    }

    fn pending(&self) -> Vec<u64> {
        let on = |rack| PLACES.iter().zip(&self.fates).filter(move |(place, _)| **place == rack);
        (0..3).map(|rack| on(rack).filter(|(_, fate)| fate.outcome.is_none()).count() as u64).collect()
    }

    fn counted(&self) -> Vec<(Outcome, u64)> {
        let came_to = |outcome| self.fates.iter().filter(|fate| fate.outcome == Some(outcome)).count() as u64;
        let none = Counts::none(Kind::Run);
        none.by_outcome().map(|(outcome, _)| (outcome, came_to(outcome))).collect()
    }

    fn is_unfinished(&self) -> bool {
        self.fates.iter().any(|fate| fate.outcome.is_none())
    }

    fn pick(of: &mut BTreeMap<usize, Item>, number: usize) -> Option<(usize, Item)> {
        let position = *of.keys().nth(number % of.len().max(1))?;
        of.remove_entry(&position)
    }

    /// One more attempt of a VM that is held.
    fn attempt(&mut self, number: usize, unanswered: bool) -> Option<(usize, Item)> {
        let (position, mut item) = Self::pick(&mut self.held, number)?;
        let fate = &mut self.fates[position];
        fate.attempts += 1;
        item.tally.attempts += 1;
        if unanswered {
            fate.unanswered = true;
            let now = Timestamp::now();
            Unanswered::record(&mut item.unanswered, Unanswered { from: now, until: now, offset_then: None });
        }
        Some((position, item))
    }

    /// The process is gone: whatever it held may have been called.
    fn over(&mut self) {
        for position in self.held.keys() {
            self.fates[*position].attempts += 1;
            self.fates[*position].unanswered = true;
        }
        let order = std::mem::take(&mut self.order);
        *self = Self { fates: self.fates, order, ..Self::default() };
    }

    /// Another run begins: what is known of the VMs stays, and those without an outcome come first.
    fn anew(&mut self) {
        let left = |position: &usize| self.fates[*position].outcome.is_none();
        let left = self.order.iter().copied().filter(left);
        let done = (0..PLACES.len()).filter(|position| self.fates[*position].outcome.is_some());
        self.order = left.chain(done).collect();
        for fate in &mut self.fates {
            (fate.outcome, fate.attempts) = (None, 0);
        }
    }
}

/// A ledger, the run in it that goes on, and what must be so.
pub(super) struct History<'p, P> {
    place: &'p P,
    run: RunKey,
    writer: Option<Writer>,
    model: Model,
}

impl<'p, P: Place> History<'p, P> {
    pub(super) fn new(place: &'p P) -> Self {
        place.empty();
        let ledger = place.open();
        let run = begin(&ledger, &PLACES.map(|rack| RACKS[rack as usize]));
        let writer = Some(ledger.write(&run).unwrap());
        Self { place, run, writer, model: Model::default() }
    }

    pub(super) fn happens(&mut self, event: Event) {
        match event {
            Event::Claim { rack, vms } => self.claim(rack, vms),
            Event::ClaimAgain(number) => self.claim_again(number),
            Event::Release(number) => self.release(number),
            Event::Defer(number, unanswered) => self.defer(number, unanswered),
            Event::Fail(number, unanswered) => self.fail(number, unanswered),
            Event::Succeed(number) => self.succeed(number),
            Event::Read => self.read(),
            Event::Over { died, resumed } => self.over(died, resumed),
        }
    }

    /// The process dies.
    pub(super) fn dies(mut self) -> RunKey {
        drop(self.writer.take().unwrap().close());
        self.run
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    fn claim(&mut self, rack: u32, vms: u32) {
        let expected = self.model.next_of(rack, vms);
        let items = claim(self.writer(), take(rack, vms));
        let claimed: Vec<usize> = items.iter().map(|item| usize::try_from(item.position).unwrap()).collect();
        assert_eq!(claimed, expected);
        for (position, item) in expected.into_iter().zip(items) {
            let known = Fate {
                outcome: None,
                attempts: item.tally.attempts,
                unanswered: !item.unanswered.is_empty(),
                allocation_known: item.before.is_some(),
            };
            assert_eq!(known, self.model.fates[position], "at position {position}");
            self.model.turned.insert(position);
            self.model.held.insert(position, item);
        }
    }

    fn claim_again(&mut self, number: usize) {
        let Some((position, item)) = Model::pick(&mut self.model.aside, number) else { return };
        self.writer().claim(vec![item.position], vec![], None, None);
        let claimed = reply(self.writer());
        assert!(matches!(&claimed, Some(Reply::Claimed(claimed)) if claimed.again == [item.position]));
        self.model.held.insert(position, item);
    }

    fn release(&mut self, number: usize) {
        let Some((position, item)) = Model::pick(&mut self.model.held, number) else { return };
        self.writer().release(vec![item.position]);
        self.model.aside.insert(position, item);
    }

    fn defer(&mut self, number: usize, unanswered: bool) {
        let Some((position, item)) = self.model.attempt(number, unanswered) else { return };
        self.writer().defer(Deferred {
            position: item.position,
            vm: item.vm.clone(),
            tally: item.tally,
            unanswered: item.unanswered.clone(),
            last: LastCall::default(),
            setback: setback_of(&item),
        });
        self.model.aside.insert(position, item);
    }

    fn fail(&mut self, number: usize, unanswered: bool) {
        let Some((position, item)) = self.model.attempt(number, unanswered) else { return };
        self.model.fates[position].outcome = Some(Outcome::Failed);
        let settlement = Settlement::Failed(setback_of(&item));
        self.settle(Settled { item, last: LastCall::default(), at: Timestamp::now(), settlement });
    }

    fn succeed(&mut self, number: usize) {
        let Some((position, item)) = Model::pick(&mut self.model.held, number) else { return };
        let fate = &mut self.model.fates[position];
        let attempts = fate.attempts + 1;
        let outcome = Some(Outcome::Created);
        *fate = Fate { outcome, attempts, unanswered: false, allocation_known: true };
        self.settle(success(item, Outcome::Created, Basis::CreatedFlag));
    }

    fn settle(&mut self, settled: Settled) {
        self.writer().settle(settled);
        assert!(matches!(reply(self.writer()), Some(Reply::Settled(vms)) if vms.len() == 1));
    }

    /// What is not folded yet counts for a reader.
    fn read(&mut self) {
        // All that was asked before is on disk once this is answered.
        self.writer().flush();
        assert!(claim(self.writer(), vec![]).is_empty());
        let reader = self.place.read();
        let rows = rows(&reader, &self.run);
        for ((position, row), fate) in rows.iter().enumerate().zip(&self.model.fates) {
            let known = (row.outcome, row.attempts);
            assert_eq!(known, (fate.outcome.unwrap_or(Outcome::Failed), fate.attempts), "{row:?}");
            let is_held = self.model.held.contains_key(&position);
            assert!(row.may_have_applied || !is_held, "{row:?}");
            let sighting =
                reader.sighting(BASE, crate::dialect::Dialect::V1, &row.vmid.parse().unwrap()).unwrap();
            assert_eq!(sighting.is_some(), fate.allocation_known, "{row:?}");
        }
        let mut seen = 0;
        reader.each_sighting(BASE, crate::dialect::Dialect::V1, &mut |_, _, _| seen += 1).unwrap();
        assert_eq!(seen, self.model.fates.iter().filter(|fate| fate.allocation_known).count());
    }

    fn over(&mut self, died: bool, resumed: bool) {
        let (ledger, _) = self.writer.take().unwrap().close();
        let ledger = ledger.unwrap();
        if !died {
            ledger.end(&self.run, Some(Stop::Deadline), |_| 5).unwrap();
        }
        drop(ledger);
        self.model.over();
        let ledger = self.place.open();
        self.check(&ledger, died);
        if resumed && self.model.is_unfinished() {
            ledger.resume(&self.run, &new_run(BASE)).unwrap();
        } else {
            self.model.anew();
            self.run = begin(&ledger, &PLACES.map(|rack| RACKS[rack as usize]));
        }
        self.writer = Some(ledger.write(&self.run).unwrap());
    }

    /// What a resume would find, and what a report says.
    fn check(&self, ledger: &Ledger, died: bool) {
        let unfinished = died || self.model.is_unfinished();
        let (sums, start) = (ledger.sums(&self.run).unwrap(), ledger.start(&self.run).unwrap());
        assert_eq!(sums.pending, self.model.pending());
        let so_far = start.so_far();
        assert_eq!((start.counts, start.pending), (sums.counts(), sums.pending));
        assert_eq!(
            (so_far.selected, so_far.by_outcome().collect()),
            (PLACES.len() as u64, self.model.counted())
        );
        assert_eq!(ledger.is_unfinished(&self.run).unwrap(), unfinished);
        assert_eq!(ledger.latest_unfinished().unwrap(), unfinished.then(|| self.run.clone()));
        let rows = rows(ledger, &self.run);
        assert_eq!(rows.len(), PLACES.len());
        for (row, fate) in rows.iter().zip(&self.model.fates) {
            let known = (row.outcome, row.attempts);
            assert_eq!(known, (fate.outcome.unwrap_or(Outcome::Failed), fate.attempts), "{row:?}");
            assert_eq!(row.settled_at.is_some(), fate.outcome.is_some(), "{row:?}");
            assert!(fate.attempts == 0 || row.may_have_applied == fate.unanswered, "{row:?}");
        }
    }
}

pub(super) fn what_is_resumed_is_what_has_no_outcome_with_all_it_has_been_through<P: Place>() {
    let cases = if std::env::var("V6FLEET_TORTURE").is_ok_and(|form| form == "full") { 1_000 } else { 16 };
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let histories = proptest::collection::vec(event(), 1..60);
    let place = P::new();
    let held = TestRunner::new(config).run(&histories, |events| {
        let mut history = History::new(&place);
        for event in events {
            history.happens(event);
        }
        history.over(true, true);
        Ok(())
    });
    held.unwrap();
}
