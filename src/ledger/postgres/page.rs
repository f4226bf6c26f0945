//! What a writer knows of its run, and what each of its batches asks the database for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::breakers;
use super::changes::Changes;
use super::column::{self, moment};
use super::database::{Enlisted, Run};
use super::question::{Question, Value};
use super::sitting::{self, ADD, SEE, added};
use super::statements::{CLAIM, CLAIM_AGAIN, CLAIM_ALONE, CLAIM_CANARY, RENEW, writing};
use crate::allocation::Expected;
use crate::clock;
use crate::ledger::dating::{Dating, first_call};
use crate::ledger::numbers::{number, position};
use crate::ledger::protocol::{Counted, Request, Sick, Take, Trial};
use crate::ledger::record::{Deferred, Item, RackNo, Setback, Settled, Tally};
use crate::ledger::stored;
use crate::outcome::{Failure, Offset};
use crate::pace::{Ask, Exchange};
use crate::stop::Stop;

/// What the writer knows of its run.
pub(super) struct Page {
    pub(super) run: Run,
    pub(super) worker: i64,
    sitting: i64,
    pub(super) racks: Vec<Option<Arc<str>>>,
    /// By rack: what nobody has claimed in this sitting is behind this turn.
    taken: Vec<i64>,
    /// How often breakers had changed when we last looked.
    pub(super) trials: i64,
    /// What the ledger says of our clock, for whoever finds our claims.
    dating: Option<Dating>,
    /// By whose clock items that wait for another call were first called; `None` where nobody knows.
    first_sent: HashMap<i64, Option<Dating>>,
}

/// What a batch asks for, to be answered in this order.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) questions: Vec<Question>,
    pub(super) claims: Vec<Asked>,
    pub(super) counted: Vec<Counted>,
    /// How many trials it tells of.
    pub(super) trials: usize,
    /// Those for the pace, asked after all others: it is everybody's, and locked until the end.
    pub(super) asks: Vec<Ask>,
    /// What those were answered.
    pub(super) exchanges: Vec<Exchange>,
}

/// A claim that is asked for.
pub(super) struct Asked {
    pub(super) at: Timestamp,
    pub(super) again: Vec<i64>,
    pub(super) take: Vec<Take>,
    /// Which questions are those for items that wait, and for pending ones; `None` where there is none.
    pub(super) renewing: Option<usize>,
    pub(super) taking: Option<usize>,
}

/// What is to be claimed.
struct Wish {
    again: Vec<i64>,
    take: Vec<Take>,
    allowance: Option<u64>,
}

/// What an item's calls had come to before this sitting, of the columns of [`CLAIM`].
fn setback(row: &Row) -> Result<Option<Setback>, Error> {
    let Some(failure) = column::known_word(row, 13, Failure::from_word)? else { return Ok(None) };
    let error = column::text(row, 14)?.unwrap_or_default();
    Ok(Some(Setback { failure, error, may_have_applied: row.try_get(15)? }))
}

impl Page {
    pub(super) fn new(
        run: Run,
        Enlisted { no, sitting, .. }: Enlisted,
        racks: Vec<Option<Arc<str>>>,
        taken: Vec<i64>,
    ) -> Self {
        Self { run, worker: no, sitting, racks, taken, trials: 0, dating: None, first_sent: HashMap::new() }
    }

    /// The same run as another worker, which holds nothing, in the same sitting.
    pub(super) fn anew(&mut self, enlisted: Enlisted) -> Self {
        Self::new(self.run, enlisted, mem::take(&mut self.racks), mem::take(&mut self.taken))
    }

    /// What the batch of this number asks for: first of all to be ours, and to be the one that is due. It takes along what
    /// we tell of ourselves.
    pub(super) fn ask(
        &mut self,
        nth: i64,
        told: Option<Question>,
        batch: &mut dyn Iterator<Item = Request>,
    ) -> Asking {
        let mut changes = Changes::of(self.run.no);
        let (mut asking, mut trials) = (Asking::default(), vec![]);
        asking.questions.push(self.renew(nth));
        asking.questions.extend(told);
        for request in batch {
            match request {
                Request::Claim { again, take, offset, allowance } => {
                    let before = mem::replace(&mut changes, Changes::of(self.run.no));
                    asking.questions.extend(writing(self.run, self.worker, before));
                    asking.questions.extend(self.date(offset));
                    self.claim(&mut asking, Wish { again, take, allowance });
                }
                Request::Release(positions) => changes.release(&positions),
                Request::GiveBack(positions) => changes.give_back(&positions),
                Request::Defer(deferred) => self.defer(&mut changes, &deferred),
                Request::Brake(brake) => asking.questions.extend([self.brake(brake), self.stop(brake)]),
                Request::Remember(vm, unanswered) => changes.remember(&vm, &unanswered),
                Request::Breaker(sick, trial) => trials.push((sick, trial)),
                Request::Stop(stop) => asking.questions.push(self.stop(stop)),
                Request::Rejoin | Request::Tick => {}
                Request::Pace(ask) => asking.asks.push(*ask),
                Request::Settle(settled) => asking.counted.push(self.settle(&mut changes, &settled)),
            }
        }
        asking.questions.extend(writing(self.run, self.worker, changes));
        self.sum_up(&mut asking, trials);
        asking
    }

    fn renew(&self, nth: i64) -> Question {
        let Self { run, worker, sitting, .. } = self;
        let values: [Value; 4] = [Box::new(*worker), Box::new(nth), Box::new(run.no), Box::new(*sitting)];
        Question::new(RENEW, values.into())
    }

    /// Last of all, what was settled is added up and the run looked at: others wait for that sum until the end.
    fn sum_up(&self, asking: &mut Asking, trials: Vec<(Sick, Trial)>) {
        asking.trials = trials.len();
        let Asking { questions, counted, .. } = asking;
        if !counted.is_empty() {
            questions.push(Question::new(ADD.as_str(), added(self.run.no, counted)));
        }
        questions.extend(breakers::writing(self.run, self.worker, trials));
        let who = vec![Box::new(self.run.no) as Value, Box::new(self.worker), Box::new(self.trials)];
        questions.push(Question::new(SEE.as_str(), who));
    }

    /// Says by which clock we date what we claim, where that is not known yet.
    fn date(&mut self, offset: Option<Offset>) -> Option<Question> {
        if self.dating.as_ref().is_some_and(|dating| dating.still_says(offset)) {
            return None;
        }
        let dating = self.dating.insert(Dating::ours(offset));
        let date = "UPDATE v6fleet.workers SET clock = $2 WHERE no = $1";
        Some(Question::new(date, vec![Box::new(self.worker), Box::new(stored::json(dating))]))
    }

    fn claim(&self, asking: &mut Asking, wish: Wish) {
        let Asking { questions, claims, .. } = asking;
        let Wish { again, take, allowance } = wish;
        let at = clock::now();
        if !again.is_empty() || !take.is_empty() {
            questions.push(Question::new(CLAIM_ALONE, vec![Box::new(self.run.base)]));
        }
        let renewing = (!again.is_empty()).then_some(questions.len());
        if renewing.is_some() {
            questions.push(Question::new(CLAIM_AGAIN.as_str(), self.renewing(&again, at)));
        }
        let taking = (!take.is_empty()).then_some(questions.len());
        if taking.is_some() {
            questions.push(self.taking(&take, allowance, at));
        }
        claims.push(Asked { at, again, take, renewing, taking });
    }

    /// The values of [`CLAIM_AGAIN`].
    fn renewing(&self, again: &[i64], at: Timestamp) -> Vec<Value> {
        let Run { no, base, .. } = self.run;
        let items: Vec<i64> = again.iter().map(|position| number(no, *position)).collect();
        vec![Box::new(self.worker), Box::new(moment(at)), Box::new(items), Box::new(base), Box::new(no)]
    }

    /// Pending items, or those of a canary.
    fn taking(&self, take: &[Take], allowance: Option<u64>, at: Timestamp) -> Question {
        let number = |vms: u64| i64::try_from(vms).unwrap_or(i64::MAX);
        let mut of_racks: BTreeMap<u32, i64> = BTreeMap::new();
        for Take { rack, vms } in take {
            *of_racks.entry(rack.0).or_default() += i64::from(*vms);
        }
        let after: Vec<i64> = of_racks.keys().map(|rack| self.taken[*rack as usize]).collect();
        let (racks, vms): (Vec<i64>, Vec<i64>) =
            of_racks.into_iter().map(|(rack, vms)| (i64::from(rack), vms)).unzip();
        let mut values: Vec<Value> = vec![
            Box::new(self.run.no),
            Box::new(self.worker),
            Box::new(self.run.base),
            Box::new(moment(at)),
            Box::new(racks),
            Box::new(vms),
            Box::new(after),
        ];
        let Some(allowance) = allowance else { return Question::new(CLAIM.as_str(), values) };
        values.push(Box::new(number(allowance)));
        Question::new(CLAIM_CANARY.as_str(), values)
    }

    /// The items of each rack as they were asked for: racks are taken in turn, and more than once. Behind them those of other
    /// racks.
    pub(super) fn in_order(take: &[Take], items: Vec<Item>) -> Vec<Item> {
        let mut of_racks: HashMap<RackNo, VecDeque<Item>> = HashMap::new();
        for item in items {
            of_racks.entry(item.rack).or_default().push_back(item);
        }
        let mut taken = |Take { rack, vms }: &Take| -> Vec<Item> {
            let items = of_racks.get_mut(rack);
            items.map_or_else(Vec::new, |items| items.drain(..items.len().min(*vms as usize)).collect())
        };
        let mut asked: Vec<Item> = take.iter().flat_map(&mut taken).collect();
        asked.extend(of_racks.into_values().flatten());
        asked
    }

    fn defer(&mut self, changes: &mut Changes, deferred: &Deferred) {
        let first_sent = deferred.tally.first_sent.and_then(|_| {
            self.first_sent.entry(deferred.position).or_insert_with(|| self.dating.clone()).as_ref()
        });
        changes.defer(deferred, first_sent);
    }

    fn settle(&mut self, changes: &mut Changes, settled: &Settled) -> Counted {
        let Settled { item, settlement, .. } = settled;
        self.first_sent.remove(&item.position);
        changes.settle(settled);
        Counted { rack: item.rack, outcome: settlement.outcome(), drifted: settlement.has_drift() }
    }

    fn brake(&self, brake: Stop) -> Question {
        let note = "UPDATE v6fleet.runs SET braked = $2 WHERE no = $1 AND resumes = $3 AND ended_at IS NULL";
        let values: [Value; 3] = [Box::new(self.run.no), Box::new(brake.as_str()), Box::new(self.sitting)];
        Question::new(note, values.into())
    }

    fn stop(&self, stop: Stop) -> Question {
        let (sql, values) = sitting::stopping(self.run.no, Some(self.sitting), stop);
        Question::new(sql, values)
    }

    /// Reads the columns of [`CLAIM`]; there may be no item in them.
    pub(super) fn item(&mut self, row: &Row) -> Result<Option<Item>, Error> {
        let rack: u32 = column::small(row, 1)?.unwrap_or_default();
        if let Some(turn) = row.try_get(12)? {
            self.taken[rack as usize] = turn;
        }
        let Some(no) = row.try_get(0)? else { return Ok(None) };
        let position = position(no);
        let mut expected: Expected = column::json(row, 4)?.unwrap_or_default();
        if row.try_get(5)? {
            expected.rack_id = self.racks[rack as usize].as_deref().map(str::to_owned);
        }
        let first_sent = column::time(row, 10)?;
        let dating: Option<Dating> = column::json(row, 11)?;
        let first_call = first_sent.map(|at| first_call(at, dating.as_ref()));
        if first_sent.is_some() {
            self.first_sent.insert(position, dating);
        }
        Ok(Some(Item {
            position,
            rack: RackNo(rack),
            vm: column::word(row, 2)?,
            action: column::word(row, 3)?,
            expected,
            before: column::shaped(row, 6)?,
            unanswered: column::attempts(row, 7)?,
            first_call,
            tally: Tally {
                attempts: column::small(row, 8)?.unwrap_or_default(),
                throttled: column::small(row, 9)?.unwrap_or_default(),
                first_sent,
            },
            setback: setback(row)?,
        }))
    }
}
