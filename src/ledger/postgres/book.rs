//! A run as its writer changes it: batches of requests, each in one transaction and one round trip.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::changes::Changes;
use super::column::{self, moment};
use super::database::{Postgres, Run};
use super::engine_error::engine_error;
use super::session::{Question, Session, Value};
use super::statements::{CLAIM, CLAIM_AGAIN, writing};
use crate::allocation::Expected;
use crate::clock;
use crate::ledger::dating::{Dating, first_call};
use crate::ledger::engine::{self, Engine, Vms};
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::{number, position};
use crate::ledger::protocol::{Claimed, Counted, Reply, Request, Take};
use crate::ledger::record::{Deferred, Item, RackNo, RunKey, Setback, Settled, Tally};
use crate::ledger::stored;
use crate::outcome::{Failure, Offset};
use crate::stop::Stop;

const ALIVE: &str = "UPDATE v6fleet.workers SET seen_at = clock_timestamp() WHERE no = $1";

/// A run that is written, and its ledger.
pub(super) struct Book {
    postgres: Postgres,
    page: Page,
}

/// What the writer knows of its run.
struct Page {
    run: Run,
    worker: i64,
    racks: Vec<Option<Arc<str>>>,
    /// By rack: the last turn that was taken. None before it comes again in this sitting.
    taken: Vec<i64>,
    /// What the ledger says of our clock, for whoever finds our claims.
    dating: Option<Dating>,
    /// By whose clock items that wait for another call were first called; `None` where nobody knows.
    first_sent: HashMap<i64, Option<Dating>>,
}

impl Book {
    pub(super) fn open(postgres: Postgres, run: &RunKey) -> Result<Self, LedgerError> {
        let racks = postgres.racks(run)?;
        let run = postgres.run(run)?;
        let worker = postgres.worker.ok_or(LedgerError::WriterGone)?;
        postgres.forget_ahead();
        let carries_out = "UPDATE v6fleet.workers SET run = $2, buried = false WHERE no = $1";
        postgres.session.execute(carries_out, &[&worker, &run.no])?;
        let taken = vec![i64::MIN; racks.len()];
        let page = Page { run, worker, racks, taken, dating: None, first_sent: HashMap::new() };
        Ok(Self { postgres, page })
    }

    /// What a batch asks for.
    fn asking(&mut self, batch: &mut dyn Iterator<Item = Request>) -> Result<Asking, LedgerError> {
        let Self { postgres: Postgres { session, .. }, page } = self;
        let mut changes = Changes::of(page.run.no);
        let mut asking = Asking::default();
        asking.questions.push(session.question(ALIVE, vec![Box::new(page.worker)])?);
        for request in batch {
            match request {
                Request::Claim { again, take, offset, .. } => {
                    let before = writing(
                        session,
                        page.run,
                        page.worker,
                        mem::replace(&mut changes, Changes::of(page.run.no)),
                    )?;
                    asking.questions.extend(before);
                    page.claim(session, &mut asking, again, take, offset)?;
                }
                Request::Release(positions) => changes.release(&positions),
                Request::Defer(deferred) => page.defer(&mut changes, &deferred),
                Request::Brake(brake) => asking.questions.push(page.brake(session, brake)?),
                Request::Remember(vm, unanswered) => changes.remember(&vm, &unanswered),
                Request::Stop(_) | Request::Rejoin | Request::Tick => {}
                Request::Settle(settled) => asking.counted.push(page.settle(&mut changes, &settled)),
            }
        }
        asking.questions.extend(writing(session, page.run, page.worker, changes)?);
        Ok(asking)
    }
}

impl engine::Book for Book {
    fn write(&mut self, batch: &mut dyn Iterator<Item = Request>) -> Result<Vec<Reply>, LedgerError> {
        self.postgres.check()?;
        let Asking { questions, claims, counted } = self.asking(batch)?;
        let answers = self.postgres.session.together(&questions)?;
        let claimed = claims.into_iter().map(|asked| self.claimed(asked, &answers));
        let mut replies = claimed.collect::<Result<Vec<_>, _>>()?;
        if !counted.is_empty() {
            replies.push(Reply::Settled(counted));
        }
        Ok(replies)
    }

    fn shut(self: Box<Self>) -> Box<dyn Engine> {
        Box::new(self.postgres)
    }
}

/// What a batch asks for, to be answered in this order.
#[derive(Default)]
struct Asking {
    questions: Vec<Question>,
    claims: Vec<Asked>,
    counted: Vec<Counted>,
}

/// A claim that is asked for.
struct Asked {
    at: Timestamp,
    again: Vec<i64>,
    take: Vec<Take>,
    /// Which question is that for pending items; `None` where there is none.
    taking: Option<usize>,
}

impl Book {
    fn claimed(&mut self, asked: Asked, answers: &[Vec<Row>]) -> Result<Reply, LedgerError> {
        let Asked { at, again, take, taking } = asked;
        let rows = taking.and_then(|nth| answers.get(nth)).map_or(&[][..], Vec::as_slice);
        let items = rows.iter().map(|row| self.page.item(row)).collect::<Result<Vec<_>, _>>();
        let items = in_order(&take, items.map_err(engine_error(self.postgres.path()))?);
        Ok(Reply::Claimed(Claimed { at, again, items }))
    }
}

/// What an item's calls had come to before this sitting, of the columns of [`CLAIM`].
fn setback(row: &Row) -> Result<Option<Setback>, Error> {
    let Some(failure) = column::known_word(row, 13, Failure::from_word)? else { return Ok(None) };
    let error = column::text(row, 14)?.unwrap_or_default();
    Ok(Some(Setback { failure, error, may_have_applied: row.try_get(15)? }))
}

/// The items of each rack as they were asked for: racks are taken in turn, and more than once.
fn in_order(take: &[Take], items: Vec<Item>) -> Vec<Item> {
    let mut of_racks: HashMap<RackNo, VecDeque<Item>> = HashMap::new();
    for item in items {
        of_racks.entry(item.rack).or_default().push_back(item);
    }
    let mut taken = |Take { rack, vms }: &Take| -> Vec<Item> {
        let items = of_racks.get_mut(rack);
        items.map_or_else(Vec::new, |items| items.drain(..items.len().min(*vms as usize)).collect())
    };
    take.iter().flat_map(&mut taken).collect()
}

impl Page {
    fn claim(
        &mut self,
        session: &Session,
        asking: &mut Asking,
        again: Vec<i64>,
        take: Vec<Take>,
        offset: Option<Offset>,
    ) -> Result<(), LedgerError> {
        let Asking { questions, claims, .. } = asking;
        if !self.dating.as_ref().is_some_and(|dating| dating.still_says(offset)) {
            let dating = self.dating.insert(Dating::ours(offset));
            let date = "UPDATE v6fleet.workers SET clock = $2 WHERE no = $1";
            questions
                .push(session.question(date, vec![Box::new(self.worker), Box::new(stored::json(dating))])?);
        }
        let at = clock::now();
        if !again.is_empty() {
            let items: Vec<i64> = again.iter().map(|position| number(self.run.no, *position)).collect();
            let values: Vec<Value> = vec![Box::new(self.worker), Box::new(moment(at)), Box::new(items)];
            questions.push(session.question(CLAIM_AGAIN, values)?);
        }
        let taking = (!take.is_empty()).then_some(questions.len());
        if taking.is_some() {
            questions.push(session.question(CLAIM, self.taking(&take, at))?);
        }
        claims.push(Asked { at, again, take, taking });
        Ok(())
    }

    /// The values of [`CLAIM`].
    fn taking(&self, take: &[Take], at: Timestamp) -> Vec<Value> {
        let mut of_racks: BTreeMap<u32, i64> = BTreeMap::new();
        for Take { rack, vms } in take {
            *of_racks.entry(rack.0).or_default() += i64::from(*vms);
        }
        let after: Vec<i64> = of_racks.keys().map(|rack| self.taken[*rack as usize]).collect();
        let (racks, vms): (Vec<i64>, Vec<i64>) =
            of_racks.into_iter().map(|(rack, vms)| (i64::from(rack), vms)).unzip();
        vec![
            Box::new(self.run.no),
            Box::new(self.worker),
            Box::new(self.run.base),
            Box::new(moment(at)),
            Box::new(racks),
            Box::new(vms),
            Box::new(after),
        ]
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

    fn brake(&self, session: &Session, brake: Stop) -> Result<Question, LedgerError> {
        let note = "UPDATE v6fleet.runs SET braked = $2 WHERE no = $1";
        session.question(note, vec![Box::new(self.run.no), Box::new(brake.as_str())])
    }

    /// Reads the columns of [`CLAIM`].
    fn item(&mut self, row: &Row) -> Result<Item, Error> {
        let position = position(row.try_get(0)?);
        let rack: u32 = column::small(row, 1)?.unwrap_or_default();
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
        self.taken[rack as usize] = row.try_get(12)?;
        Ok(Item {
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
        })
    }
}
