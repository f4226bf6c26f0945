//! A run as its writer changes it: batches of requests, each in one transaction and one round trip.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::changes::Changes;
use super::column::{self, moment};
use super::database::{Postgres, Run};
use super::engine_error::engine_error;
use super::session::{Question, Value};
use super::statements::{CLAIM, CLAIM_AGAIN, CLAIMED, IN_TURN, writing};
use crate::allocation::Expected;
use crate::clock;
use crate::ledger::dating::{Dating, first_call};
use crate::ledger::engine::{self, Engine, Vms};
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::{number, position, span};
use crate::ledger::protocol::{Claimed, Counted, Reply, Request, Take};
use crate::ledger::record::{Deferred, Item, RackNo, RunKey, Setback, Settled, Tally};
use crate::ledger::stored;
use crate::outcome::{Failure, Offset};
use crate::stop::Stop;

/// How long a batch may take; the server gives it up then, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// A run that is written, and its ledger.
pub(super) struct Book {
    postgres: Postgres,
    page: Page,
    /// How long an answer is waited for.
    patience: Duration,
    /// The number of the last batch.
    batch: i64,
    /// What it asks for, until its answer is known.
    asking: Asking,
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
        let carries_out = "UPDATE v6fleet.workers SET run = $2, buried = false WHERE no = $1 RETURNING batch";
        let batch = postgres.session.one(carries_out, &[&worker, &run.no], |row| row.try_get(0))?;
        postgres.session.batch(&limits(PATIENCE))?;
        let taken = vec![i64::MIN; racks.len()];
        let page = Page { run, worker, racks, taken, dating: None, first_sent: HashMap::new() };
        Ok(Self { postgres, page, patience: PATIENCE, batch, asking: Asking::default() })
    }

    /// What the next batch asks for.
    fn ask(&mut self, batch: &mut dyn Iterator<Item = Request>) {
        let Self { page, batch: number, .. } = self;
        *number += 1;
        let mut changes = Changes::of(page.run.no);
        let mut asking = Asking::default();
        asking.questions.push(Question::new(IN_TURN, vec![Box::new(page.worker), Box::new(*number)]));
        for request in batch {
            match request {
                Request::Claim { again, take, offset, .. } => {
                    let before = mem::replace(&mut changes, Changes::of(page.run.no));
                    asking.questions.extend(writing(page.run, page.worker, before));
                    page.claim(&mut asking, again, take, offset);
                }
                Request::Release(positions) => changes.release(&positions),
                Request::Defer(deferred) => page.defer(&mut changes, &deferred),
                Request::Brake(brake) => asking.questions.push(page.brake(brake)),
                Request::Remember(vm, unanswered) => changes.remember(&vm, &unanswered),
                Request::Stop(_) | Request::Rejoin | Request::Tick => {}
                Request::Settle(settled) => asking.counted.push(page.settle(&mut changes, &settled)),
            }
        }
        asking.questions.extend(writing(page.run, page.worker, changes));
        self.asking = asking;
    }

    /// Asks the database in one round trip; within its time, or never.
    fn asked(&self) -> Result<Vec<Vec<Row>>, LedgerError> {
        self.postgres.session.wait_for(Some(self.patience));
        self.postgres.session.together(&self.asking.questions)
    }

    /// What the batch was answered, which is on disk.
    fn replies(&mut self, answers: &[Vec<Row>]) -> Result<Vec<Reply>, LedgerError> {
        let Asking { claims, counted, .. } = mem::take(&mut self.asking);
        let claimed = claims.into_iter().map(|asked| self.claimed(asked, answers));
        let mut replies = claimed.collect::<Result<Vec<_>, _>>()?;
        if !counted.is_empty() {
            replies.push(Reply::Settled(counted));
        }
        Ok(replies)
    }

    /// What a batch was answered that is on disk, and whose answer was lost.
    fn read_back(&self) -> Result<Vec<Vec<Row>>, LedgerError> {
        let Asking { questions, claims, .. } = &self.asking;
        let mut answers: Vec<Vec<Row>> = questions.iter().map(|_| vec![]).collect();
        let Page { run, worker, .. } = &self.page;
        let [first, last] = span(run.no);
        for Asked { at, again, taking, .. } in claims {
            let Some(nth) = taking else { continue };
            let again: Vec<i64> = again.iter().map(|position| number(run.no, *position)).collect();
            let values =
                [worker as _, &run.base as _, &moment(*at) as _, &first as _, &last as _, &again as _];
            answers[*nth] = self.postgres.session.rows(&CLAIMED, &values)?;
        }
        Ok(answers)
    }

    /// Whether the batch is on disk, as the database says now.
    fn is_written(&self) -> Result<bool, LedgerError> {
        let Postgres { session, .. } = &self.postgres;
        let last = "SELECT batch FROM v6fleet.workers WHERE no = $1";
        match session.first(last, &[&self.page.worker], |row| row.try_get::<_, i64>(0))? {
            Some(last) if last == self.batch => Ok(true),
            Some(last) if last == self.batch - 1 => Ok(false),
            Some(_) | None => Err(LedgerError::Behind { path: session.name().to_owned() }),
        }
    }
}

/// What the server, too, is not to wait for any longer.
fn limits(patience: Duration) -> String {
    let millis = patience.as_millis();
    format!("SET statement_timeout = {millis}; SET idle_in_transaction_session_timeout = {millis}")
}

impl engine::Book for Book {
    fn write(&mut self, batch: &mut dyn Iterator<Item = Request>) -> Result<Vec<Reply>, LedgerError> {
        self.ask(batch);
        let answers = self.asked()?;
        self.replies(&answers)
    }

    fn write_again(&mut self) -> Result<Vec<Reply>, LedgerError> {
        self.postgres.reconnect()?;
        self.postgres.session.batch(&limits(PATIENCE))?;
        let answers = match self.is_written()? {
            true => self.read_back()?,
            false => self.asked()?,
        };
        self.replies(&answers)
    }

    fn shut(self: Box<Self>) -> Box<dyn Engine> {
        let Self { postgres, .. } = *self;
        postgres.session.wait_for(None);
        // Where this cannot be said any more, nothing can be asked either.
        let _ = postgres.session.batch(&limits(Duration::ZERO));
        Box::new(postgres)
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
    fn claim(&mut self, asking: &mut Asking, again: Vec<i64>, take: Vec<Take>, offset: Option<Offset>) {
        let Asking { questions, claims, .. } = asking;
        if !self.dating.as_ref().is_some_and(|dating| dating.still_says(offset)) {
            let dating = self.dating.insert(Dating::ours(offset));
            let date = "UPDATE v6fleet.workers SET clock = $2 WHERE no = $1";
            questions.push(Question::new(date, vec![Box::new(self.worker), Box::new(stored::json(dating))]));
        }
        let at = clock::now();
        if !again.is_empty() {
            let items: Vec<i64> = again.iter().map(|position| number(self.run.no, *position)).collect();
            let values: Vec<Value> = vec![Box::new(self.worker), Box::new(moment(at)), Box::new(items)];
            questions.push(Question::new(CLAIM_AGAIN, values));
        }
        let taking = (!take.is_empty()).then_some(questions.len());
        if taking.is_some() {
            questions.push(Question::new(CLAIM.as_str(), self.taking(&take, at)));
        }
        claims.push(Asked { at, again, take, taking });
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

    fn brake(&self, brake: Stop) -> Question {
        let note = "UPDATE v6fleet.runs SET braked = $2 WHERE no = $1";
        Question::new(note, vec![Box::new(self.run.no), Box::new(brake.as_str())])
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use support::fixture::eventually;
    use support::postgres::Server;
    use support::proxy::{Proxy, Way};

    use super::*;
    use crate::ledger::Ledger;
    use crate::ledger::contract::{begin, success, take};
    use crate::ledger::engine::Book as _;
    use crate::ledger::postgres::DatabaseUrl;
    use crate::outcome::{Basis, Outcome};

    fn opened(url: &str) -> Postgres {
        let url = DatabaseUrl::of(Path::new(url)).unwrap().unwrap();
        Postgres::open(&url, Duration::ZERO).unwrap()
    }

    fn claim(vms: u32) -> Request {
        Request::Claim { again: vec![], take: take(0, vms), offset: None, allowance: None }
    }

    fn written(replies: Result<Vec<Reply>, LedgerError>) -> (Vec<Item>, usize) {
        let mut found = (vec![], 0);
        for reply in replies.unwrap() {
            match reply {
                Reply::Claimed(claimed) => found.0.extend(claimed.items),
                Reply::Settled(counted) => found.1 += counted.len(),
                _ => {}
            }
        }
        found
    }

    fn settle(item: Item) -> Request {
        Request::Settle(Box::new(success(item, Outcome::Created, Basis::CreatedFlag)))
    }

    #[test]
    fn a_batch_whose_answer_was_lost_is_neither_lost_nor_written_twice() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 6]);
        let mut book = Book::open(opened(&proxy.url()), &run).unwrap();
        let (mut items, _) = written(book.write(&mut [claim(2)].into_iter()));
        let (more, _) = written(book.write(&mut [settle(items.remove(0)), claim(1)].into_iter()));
        proxy.hold(Way::Back);
        book.patience = Duration::from_millis(100);
        let lost = book.write(&mut [settle(items.remove(0)), claim(2)].into_iter());
        assert!(matches!(lost, Err(LedgerError::Away { .. })), "{lost:?}");
        eventually("the server has written it", || {
            server.sql("SELECT max(batch) FROM v6fleet.workers") == "3"
        });
        proxy.let_go();
        book.patience = PATIENCE;
        let (again, settled) = written(book.write_again());
        let vms: Vec<_> = again.iter().map(|item| item.vm.to_string()).collect();
        assert_eq!((vms.join(" "), settled), ("4 5".to_owned(), 1), "as they were claimed");
        let rest: Vec<_> = more.into_iter().chain(again).map(settle).chain([claim(9)]).collect();
        let (left, settled) = written(book.write(&mut rest.into_iter()));
        assert_eq!((left.len(), settled), (1, 3), "one VM is left");
    }
    #[test]
    fn a_database_that_falls_silent_is_given_up_and_found_again_when_it_answers() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 3]);
        let mut book = Book::open(opened(&format!("{}?connect_timeout=1", proxy.url())), &run).unwrap();
        let (items, _) = written(book.write(&mut [claim(1)].into_iter()));
        proxy.fall_silent();
        book.patience = Duration::from_millis(100);
        let silent = book.write(&mut [claim(1)].into_iter()).unwrap_err().to_string();
        assert!(silent.ends_with("the database has not answered for 0.1 s"), "{silent}");
        let silent = book.write_again().unwrap_err();
        assert!(silent.is_away(), "{silent}");
        proxy.let_go();
        book.patience = PATIENCE;
        eventually("it answers", || match book.write_again() {
            Err(error) if error.is_away() => false,
            replies => {
                assert_ne!(written(replies).0[0].position, items[0].position);
                true
            }
        });
    }
}
