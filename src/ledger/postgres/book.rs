//! A run as its writer changes it: batches of requests, each in one transaction and one round trip.

use std::mem;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::Row;
use tracing::warn;

use super::database::Postgres;
use super::engine_error::engine_error;
use super::pace;
use super::page::{Asked, Asking, Page};
use super::question::Question;
use super::session::Heard;
use super::sitting::{self, SEE, Sight};
use super::statements::{CLAIMED, CLAIMED_AGAIN};
use super::{burial, column};
use crate::ledger::engine::{self, Engine, Vms};
use crate::ledger::error::LedgerError;
use crate::ledger::numbers::{number, position, span};
use crate::ledger::protocol::{Claimed, Reply, Request, Seen};
use crate::ledger::record::{Item, RunKey, Terms};
use crate::pace::{Ask, Exchange};

/// How long a batch may take, and no longer than a third of the lease; the server gives it up then, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a worker says nothing at the most.
const TICK: Duration = Duration::from_secs(1);

/// How often it is looked whether others on this machine have ended.
const LOOK: Duration = Duration::from_secs(1);

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
    /// When it was sent: what it renews lasts a lease from then on, at least.
    asked_at: Instant,
    looked_at: Instant,
    /// How long it says nothing at the most.
    tick: Duration,
    /// By others, since the last batch was answered.
    is_alerted: bool,
    /// Our lease had run out: what is asked before whoever asks has heard of it is asked in vain. So is all where the run is
    /// over.
    has_lapsed: bool,
}

impl Book {
    pub(super) fn open(postgres: Postgres, run: &RunKey) -> Result<Self, LedgerError> {
        let racks = postgres.racks(run)?;
        let run = postgres.run(run)?;
        let enlisted = postgres.worker.get().filter(|ours| ours.run == run.no);
        let worker = enlisted.map_or_else(|| postgres.enlist(run.no, Terms::default()), Ok)?;
        postgres.forget_ahead();
        let looked = postgres.last_taken.take().filter(|(looked_as, _)| *looked_as == worker);
        let taken = looked.map_or_else(|| vec![i64::MIN; racks.len()], |(_, taken)| taken);
        let patience = PATIENCE.min(worker.terms.lease / 3);
        postgres.session.unheeded(listening());
        let now = Instant::now();
        Ok(Self {
            postgres,
            page: Page::new(run, worker, racks, taken),
            patience,
            batch: 0,
            asking: Asking::default(),
            asked_at: now,
            looked_at: now,
            tick: TICK,
            is_alerted: false,
            has_lapsed: false,
        })
    }

    /// Asks the database in one round trip; within its time, or never.
    fn asked(&mut self) -> Result<Vec<Vec<Row>>, LedgerError> {
        self.postgres.session.wait_for(Some(self.patience));
        let sent = Instant::now();
        let (paces, others) = (self.paces(), self.asking.questions.len());
        self.asking.questions.extend(paces);
        let answers = self.postgres.session.together(&self.asking.questions);
        self.asking.questions.truncate(others);
        let mut answers = answers?;
        self.asking.exchanges = self.exchanges(&answers.split_off(others), sent)?;
        Ok(answers)
    }

    fn paces(&self) -> Vec<Question> {
        let Page { run, worker, .. } = &self.page;
        self.asking.asks.iter().map(|ask| pace::asking(run.no, *worker, ask)).collect()
    }

    /// Asks for slots anew: those that were granted with an answer that was lost are nobody's, and what was told with it is
    /// known.
    fn pace_again(&mut self) -> Result<(), LedgerError> {
        self.asking.asks.iter_mut().for_each(Ask::is_heard);
        if self.asking.asks.is_empty() {
            return Ok(());
        }
        let sent = Instant::now();
        let answers = self.postgres.session.together(&self.paces())?;
        self.asking.exchanges = self.exchanges(&answers, sent)?;
        Ok(())
    }

    fn exchanges(&self, answers: &[Vec<Row>], sent: Instant) -> Result<Vec<Exchange>, LedgerError> {
        let received = Instant::now();
        let exchanges = answers.iter().flatten().map(|row| pace::exchange(row, sent, received));
        let exchanges = exchanges.collect::<Result<Vec<_>, _>>().map_err(engine_error(self.postgres.path()));
        Ok(exchanges?.into_iter().flatten().collect())
    }

    /// What the batch was answered, which is on disk unless our lease had run out, or the run is over.
    fn replies(&mut self, answers: Result<Vec<Vec<Row>>, LedgerError>) -> Result<Vec<Reply>, LedgerError> {
        let answers = match answers {
            Err(LedgerError::Lapsed) => return Ok(self.lapse()),
            Err(LedgerError::Over) => return Ok(self.end()),
            answers => answers?,
        };
        let Asking { claims, counted, trials, exchanges, .. } = mem::take(&mut self.asking);
        let claimed = claims.into_iter().map(|asked| self.claimed(asked, &answers));
        let mut replies = claimed.collect::<Result<Vec<_>, _>>()?;
        if !counted.is_empty() {
            replies.push(Reply::Settled(counted));
        }
        if let Some(sight) = self.sight(&answers)? {
            self.look_around(&sight)?;
            self.page.trials = sight.trials;
            self.postgres.is_through.set(sight.seen.pending == 0);
            replies.extend(sight.left_alone.map(|all| Reply::LeftAlone { all, heard: trials }));
            let is_alerted = mem::take(&mut self.is_alerted);
            replies.push(Reply::Seen(Seen { is_alerted, ..sight.seen }));
        }
        replies.extend(exchanges.into_iter().map(|exchange| Reply::Paced(Box::new(exchange))));
        Ok(replies)
    }

    fn claimed(&mut self, asked: Asked, answers: &[Vec<Row>]) -> Result<Reply, LedgerError> {
        let Asked { at, take, renewing, taking, .. } = asked;
        let rows = |nth: Option<usize>| nth.and_then(|nth| answers.get(nth)).map_or(&[][..], Vec::as_slice);
        let broken = engine_error(self.postgres.path());
        let again = rows(renewing).first().map_or(Ok(vec![]), |row| row.try_get(0)).map_err(broken)?;
        let items = rows(taking).iter().filter_map(|row| self.page.item(row).transpose());
        let items: Vec<Item> = items.collect::<Result<_, _>>().map_err(broken)?;
        let again = again.into_iter().map(position).collect();
        Ok(Reply::Claimed(Claimed { at, again, items: Page::in_order(&take, items) }))
    }

    /// What the last question of a batch has found.
    fn sight(&self, answers: &[Vec<Row>]) -> Result<Option<Sight>, LedgerError> {
        let leased_until = self.asked_at + self.terms().lease;
        let row = answers.last().and_then(|rows| rows.first());
        let sight = row.map(|row| sitting::sight(self.page.run, row, leased_until)).transpose();
        sight.map_err(engine_error(self.postgres.path()))
    }

    fn terms(&self) -> Terms {
        self.postgres.worker.get().map_or_else(Terms::default, |ours| ours.terms)
    }

    /// Takes what the last batch has found of others.
    fn look_around(&mut self, sight: &Sight) -> Result<(), LedgerError> {
        let is_due = sight.others > 0 && self.looked_at.elapsed() >= LOOK;
        if sight.lapsed == 0 && !is_due {
            return Ok(());
        }
        self.looked_at = Instant::now();
        match burial::bury_lost(&self.postgres.session, Some(self.page.worker)) {
            // The batch is written: whoever asks next hears of it.
            Err(error) if error.is_away() => Ok(()),
            buried => buried,
        }
    }

    fn lapse(&mut self) -> Vec<Reply> {
        warn!("{}", LedgerError::Lapsed);
        self.has_lapsed = true;
        vec![Reply::Lapsed]
    }

    /// Nothing is written any more.
    fn end(&mut self) -> Vec<Reply> {
        self.has_lapsed = true;
        vec![Reply::Over]
    }

    /// Goes on as a worker that holds nothing, in the same sitting.
    fn rejoin(&mut self) -> Result<(), LedgerError> {
        // What we were has not left: it was lost.
        let lost = self.postgres.worker.take();
        let enlisted = self.postgres.session.transaction(|| self.postgres.rejoin(self.page.run.no, lost));
        // Its terms are those of the next try, and its sitting is the one that it was in.
        let enlisted = enlisted.inspect_err(|_| self.postgres.worker.set(lost))?;
        self.page = self.page.anew(enlisted);
        (self.batch, self.has_lapsed) = (0, false);
        Ok(())
    }

    /// What a batch was answered that is on disk, and whose answer was lost.
    fn read_back(&mut self) -> Result<Vec<Vec<Row>>, LedgerError> {
        let Asking { questions, claims, .. } = &self.asking;
        let mut answers: Vec<Vec<Row>> = questions.iter().map(|_| vec![]).collect();
        let Page { run, worker, .. } = &self.page;
        let [first, last] = span(run.no);
        let session = &self.postgres.session;
        for Asked { at, again, renewing, taking, .. } in claims {
            let again: Vec<i64> = again.iter().map(|position| number(run.no, *position)).collect();
            let at = column::moment(*at);
            if let Some(nth) = renewing {
                answers[*nth] = session.rows(CLAIMED_AGAIN, &[worker, &at, &again])?;
            }
            if let Some(nth) = taking {
                let values = [worker as _, &run.base as _, &at as _, &first as _, &last as _, &again as _];
                answers[*nth] = session.rows(&CLAIMED, &values)?;
            }
        }
        if let Some(last) = answers.last_mut() {
            *last = session.rows(&SEE, &[&run.no, worker, &self.page.trials])?;
        }
        Ok(answers)
    }

    /// Whether the batch is on disk, as the database says now.
    fn is_written(&self) -> Result<bool, LedgerError> {
        let Postgres { session, .. } = &self.postgres;
        let last = "SELECT batch, buried FROM v6fleet.workers WHERE no = $1";
        let found = session.first(last, &[&self.page.worker], |row| {
            Ok((row.try_get::<_, i64>(0)?, row.try_get::<_, bool>(1)?))
        })?;
        match found {
            Some((_, true)) => Err(LedgerError::Lapsed),
            Some((last, false)) if last == self.batch => Ok(true),
            Some((last, false)) if last == self.batch - 1 => Ok(false),
            Some(_) | None => Err(LedgerError::Behind { path: session.name().to_owned() }),
        }
    }

    /// The answers to the last batch, which may be on disk.
    fn asked_again(&mut self) -> Result<Vec<Vec<Row>>, LedgerError> {
        self.postgres.reconnect()?;
        self.postgres.session.unheeded(listening());
        if !self.is_written()? {
            return self.asked();
        }
        let answers = self.read_back()?;
        self.pace_again()?;
        Ok(answers)
    }
}

/// What a connection begins with: who is not alerted looks all the same, later.
fn listening() -> Question {
    Question::new("LISTEN v6fleet", vec![])
}

impl engine::Book for Book {
    fn write(&mut self, mut batch: &mut dyn Iterator<Item = Request>) -> Result<Vec<Reply>, LedgerError> {
        if self.has_lapsed {
            if !Iterator::any(&mut batch, |request| matches!(request, Request::Rejoin)) {
                return Ok(vec![]);
            }
            match self.rejoin() {
                Err(LedgerError::Over) => return Ok(self.end()),
                rejoined => rejoined?,
            }
        }
        self.batch += 1;
        // Also where it is asked again: an earlier try may be the one that renewed the lease.
        self.asked_at = Instant::now();
        self.asking = self.page.ask(self.batch, self.postgres.posted.take(self.page.worker), batch);
        let answers = self.asked();
        self.replies(answers)
    }

    fn write_again(&mut self) -> Result<Vec<Reply>, LedgerError> {
        let answers = self.asked_again();
        self.replies(answers)
    }

    fn await_requests(&mut self, requests: &mut UnboundedReceiver<Vec<Request>>) -> Option<Vec<Request>> {
        let tick = self.tick.min(self.terms().lease / 3);
        let heard = self.postgres.session.listen(requests.recv(), tick);
        self.is_alerted |= matches!(heard, Heard::Alert);
        match heard {
            Heard::It(requests) => requests,
            Heard::Alert | Heard::Nothing => Some(vec![Request::Tick]),
        }
    }

    fn shut(self: Box<Self>) -> Box<dyn Engine> {
        let Self { postgres, page, .. } = *self;
        postgres.session.wait_for(None);
        postgres.session.unheeded(Question::new("UNLISTEN v6fleet", vec![]));
        // Its rate binds nobody any more; where that is not said, others find it out in time.
        postgres.session.unheeded(Question::new(pace::LEAVE, vec![Box::new(page.worker)]));
        Box::new(postgres)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use support::fixture::eventually;
    use support::postgres::Server;
    use support::proxy::{Proxy, Way};

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::ledger::Ledger;
    use crate::ledger::contract::{begin, success, take};
    use crate::ledger::engine::Book as _;
    use crate::ledger::postgres::DatabaseUrl;
    use crate::ledger::postgres::pace::tests::plain;
    use crate::ledger::protocol::Trial;
    use crate::outcome::{Basis, Outcome};
    use crate::pace::{Moment, Tally};
    use crate::stop::Stop;

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
    fn a_book_that_cannot_say_that_it_is_shut_is_shut_all_the_same() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 2]);
        let book = Book::open(opened(&server.url()), &run).unwrap();
        server.sql("DROP TABLE v6fleet.pacers");
        let engine = Box::new(book).shut();
        assert_eq!(engine.start(&run).unwrap().pending, [2]);
    }

    #[test]
    fn what_is_asked_in_one_go_is_answered_in_one_round_trip() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 2]);
        let mut writer = Ledger::of(Box::new(opened(&proxy.url()))).write(&run).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut trips = || {
            let before = proxy.round_trips();
            writer.claim(vec![], take(0, 2), None, None);
            writer.pace(Box::new(plain(Duration::ZERO)));
            assert!(writer.is_due(Instant::now()));
            writer.flush();
            while !matches!(runtime.block_on(writer.reply()).unwrap(), Reply::Paced(_)) {}
            proxy.round_trips() - before
        };
        // What it says by itself now and then is a trip of its own.
        assert!((0..9).any(|_| trips() == 1));
    }

    #[test]
    fn a_rate_binds_the_other_runs_of_its_account_as_long_as_somebody_works_on_its_run() {
        let Some(server) = Server::start() else { return };
        let [fast, slow] = [5, 20].map(Duration::from_millis);
        let runs = [(); 2].map(|()| begin(&Ledger::of(Box::new(opened(&server.url()))), &[None]));
        let [mut ours, mut other] = runs.map(|run| Book::open(opened(&server.url()), &run).unwrap());
        let interval = |book: &mut Book, ceiling| {
            let replies = book.write(&mut [Request::Pace(Box::new(plain(ceiling)))].into_iter()).unwrap();
            let paced = replies.into_iter().find_map(|reply| match reply {
                Reply::Paced(exchange) => Some(exchange.standing.interval),
                _ => None,
            });
            paced.unwrap()
        };
        assert_eq!(interval(&mut ours, fast), fast);
        assert_eq!(interval(&mut other, slow), slow);
        assert_eq!(interval(&mut ours, fast), slow);
        drop(Box::new(other).shut());
        assert_eq!(interval(&mut ours, fast), fast);
    }

    #[test]
    fn claims_settlements_and_slots_go_in_one_round_trip() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::from_millis(2));
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 9]);
        let mut book = Book::open(opened(&proxy.url()), &run).unwrap();
        let slots = || Request::Pace(Box::new(Ask { slots: 1, ..plain(Duration::from_millis(1)) }));
        let (mut items, _) = written(book.write(&mut [claim(3), slots()].into_iter()));
        let before = proxy.round_trips();
        for _ in 0..3 {
            let batch = [settle(items.remove(0)), claim(1), slots()];
            items.extend(written(book.write(&mut batch.into_iter())).0);
        }
        assert_eq!(proxy.round_trips() - before, 3);
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
    fn a_batch_whose_answer_was_lost_has_told_its_tally_once_and_is_granted_slots_anew() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 3]);
        let mut book = Book::open(opened(&proxy.url()), &run).unwrap();
        let tally = Tally { accepted: 3, ..Tally::default() };
        let ask = Ask { slots: 1, ..plain(Duration::from_millis(1)) };
        book.write(&mut [Request::Pace(Box::new(ask.clone()))].into_iter()).unwrap();
        proxy.hold(Way::Back);
        book.patience = Duration::from_millis(100);
        let lost = book.write(&mut [Request::Pace(Box::new(Ask { tally, ..ask }))].into_iter());
        assert!(matches!(lost, Err(LedgerError::Away { .. })), "{lost:?}");
        eventually("the server has written it", || {
            server.sql("SELECT max(batch) FROM v6fleet.workers") == "2"
        });
        proxy.let_go();
        book.patience = PATIENCE;
        let replies = book.write_again().unwrap();
        let paced = replies.iter().filter_map(|reply| match reply {
            Reply::Paced(exchange) => Some(exchange.standing.tally.accepted),
            _ => None,
        });
        assert_eq!(paced.collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn who_waits_is_alerted_at_once_of_what_all_are_to_know_and_of_nothing_else() {
        let Some(server) = Server::start() else { return };
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 3]);
        let [mut one, mut two] = [(); 2].map(|()| Book::open(opened(&server.url()), &run).unwrap());
        let (_asks, mut requests) = unbounded_channel();
        let pause = Some(Moment::from_nanos(u64::MAX / 4));
        let ask = |pause| Request::Pace(Box::new(Ask { pause, ..plain(Duration::from_millis(1)) }));
        let begins = Trial::Begins { wait: Duration::from_secs(1), gap: Duration::from_secs(2) };
        for (asked, is_alert) in [
            (Request::Tick, false),
            (claim(1), false),
            (ask(None), false),
            (ask(pause), true),
            (ask(pause), false),
            (Request::Breaker(None, begins), true),
            (Request::Brake(Stop::MaxFailed), true),
            (Request::Stop(Stop::Interrupted), true),
        ] {
            let name = format!("{asked:?}");
            one.write(&mut [asked].into_iter()).unwrap();
            two.tick = if is_alert { Duration::from_secs(10) } else { Duration::ZERO };
            let ticked = two.await_requests(&mut requests).unwrap();
            assert!(matches!(ticked[..], [Request::Tick]), "{name}: {ticked:?}");
            let seen = two.write(&mut ticked.into_iter()).unwrap().pop();
            let Some(Reply::Seen(seen)) = seen else { panic!("{name}: {seen:?}") };
            assert_eq!(seen.is_alerted, is_alert, "{name}");
        }
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

    #[test]
    fn a_batch_that_arrives_after_it_was_given_up_and_written_again_changes_nothing() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::to(&server, Duration::ZERO);
        let run = begin(&Ledger::of(Box::new(opened(&server.url()))), &[None; 6]);
        let mut book = Book::open(opened(&proxy.url()), &run).unwrap();
        written(book.write(&mut [claim(1)].into_iter()));
        proxy.hold(Way::There);
        book.patience = Duration::from_millis(100);
        let late = book.write(&mut [claim(2)].into_iter());
        assert!(matches!(late, Err(LedgerError::Away { .. })), "{late:?}");
        book.patience = PATIENCE;
        assert_eq!(written(book.write_again()).0.len(), 2);
        proxy.let_go();
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        eventually("the server is through with it", || server.sql(sessions) == "1");
        assert_eq!(server.sql("SELECT count(*) FROM v6fleet.progress"), "3");
        assert_eq!(server.sql("SELECT max(batch) FROM v6fleet.workers"), "2");
    }
}
