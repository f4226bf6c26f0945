//! What a ledger promises that several workers share: each VM is one worker's, in one call, and has one outcome.
//!
//! The workers' books are written one batch after another, in an order of the test's own; leases run out when it says so.

mod interleavings;
mod reads;

use super::*;
use crate::ledger::engine::Book;
use crate::ledger::protocol::{LeftAlone, Request, Trial, Tried};

const TERMS: Terms = Terms { lease: Duration::from_mins(1), concurrency: 4 };

/// A worker of a run, and what it holds.
pub(super) struct Hand {
    book: Box<dyn Book>,
}

impl Hand {
    fn join(place: &Database, run: &RunKey) -> Self {
        let ledger = place.open();
        assert!(ledger.join(run, TERMS).unwrap().is_some());
        ledger.start(run).unwrap();
        Self { book: ledger.engine.open_book(run).unwrap() }
    }

    /// One batch.
    fn write(&mut self, batch: Vec<Request>) -> Vec<Reply> {
        self.book.write(&mut batch.into_iter()).unwrap()
    }

    /// How the run stands after a batch; `None` where our lease had run out.
    fn sees(&mut self, batch: Vec<Request>) -> Option<Seen> {
        match self.write(batch).pop() {
            Some(Reply::Seen(seen)) => Some(seen),
            Some(Reply::Lapsed) => None,
            other => panic!("{other:?}"),
        }
    }

    fn seen(&mut self) -> Seen {
        self.sees(vec![Request::Tick]).unwrap()
    }

    fn claims(&mut self, again: Vec<i64>, take: Vec<Take>, allowance: Option<u64>) -> Claimed {
        let claim = Request::Claim { again, take, offset: None, allowance };
        match self.write(vec![claim]).swap_remove(0) {
            Reply::Claimed(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    fn takes(&mut self, vms: u32) -> Vec<Item> {
        self.claims(vec![], take(0, vms), None).items
    }

    fn settles(&mut self, item: Item) -> Option<Seen> {
        let settled = success(item, Outcome::Created, Basis::CreatedFlag);
        self.sees(vec![Request::Settle(Box::new(settled))])
    }
}

/// What all leave alone, as this worker is told of it after one batch: it tells that of the API.
fn left_alone(hand: &mut Hand, trials: &[Trial]) -> Option<(Vec<LeftAlone>, usize)> {
    let told = trials.iter().map(|trial| Request::Breaker(None, *trial)).collect();
    hand.write(told).into_iter().find_map(|reply| match reply {
        Reply::LeftAlone { all, heard } => Some((all, heard)),
        _ => None,
    })
}

fn vms(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.vm.as_str()).collect()
}

fn job(name: &str) -> NewRun {
    NewRun { files: vec![name.into()], ..new_run(BASE) }
}

/// A run of so many VMs in one rack, begun by a worker that has left.
fn begun(place: &Database, name: &str, vms: usize) -> RunKey {
    begun_in(place, name, &vec![None; vms])
}

/// The same of VMs in these racks.
fn begun_in(place: &Database, name: &str, racks: &[Option<&str>]) -> RunKey {
    let ledger = place.open();
    let mut draft = ledger.draft(&job(name)).unwrap();
    for (id, rack) in (1..).zip(racks) {
        draft.add(&vm(&id.to_string(), *rack), Action::Allocate, *rack).unwrap();
    }
    draft.commit(&Reading::default(), &[]).unwrap().run
}

/// The leases of all workers that have not left are over; nobody has noticed yet.
fn leases_run_out(place: &Database) {
    place.server.sql("UPDATE v6fleet.workers SET lease_until = clock_timestamp() WHERE NOT buried");
}

#[test]
fn what_a_worker_had_claimed_is_anothers_once_its_lease_has_run_out_and_it_settles_none_of_it() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 3);
    let [mut slow, mut other] = [(); 2].map(|()| Hand::join(&place, &run));
    let held = slow.takes(2);
    assert_eq!(vms(&other.takes(9)), ["3"], "others take what is left");
    leases_run_out(&place);
    assert_eq!(other.seen().workers, 1, "whoever says a word before that is noticed keeps what it has");
    assert_eq!((other.seen().free, other.seen().workers), (2, 1));
    assert_eq!(slow.settles(held[0].clone()), None);
    assert!(
        slow.write(vec![Request::Release(vec![held[1].position])]).is_empty(),
        "asked before it was heard"
    );
    let retaken = other.takes(9);
    assert_eq!(vms(&retaken), ["1", "2"]);
    assert!(retaken.iter().all(|item| item.tally.attempts == 1 && item.unanswered.len() == 1), "{retaken:?}");
    let anew = slow.sees(vec![Request::Rejoin]).unwrap();
    assert_eq!((anew.free, anew.pending, anew.workers), (0, 3, 2));
    let seen = other.settles(retaken[0].clone()).unwrap();
    assert_eq!((seen.counted.created, seen.pending, seen.started), (1, 2, 3));
    let presences: Vec<_> =
        place.read().workers(&run).unwrap().iter().map(|worker| worker.presence).collect();
    assert_eq!(presences, [Presence::Left, Presence::Lost, Presence::Live, Presence::Live]);
}

#[test]
fn a_worker_of_a_run_that_has_ended_or_was_resumed_since_writes_nothing_more_and_ends_it_for_nobody() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 3);
    let [mut lost, mut idle] = [(); 2].map(|()| Hand::join(&place, &run));
    lost.takes(1);
    leases_run_out(&place);
    idle.seen();
    assert_eq!(lost.sees(vec![Request::Tick]), None, "others have noticed, and it may rejoin");
    let other = Hand::join(&place, &run);
    leases_run_out(&place);
    let end = |hand: Hand| Ledger::of(hand.book.shut()).end(&run, Some(Stop::Interrupted), |_| 130);
    assert!(matches!(end(other), Ok(End::Noted { .. })), "nobody else is alive");
    let stop = || place.server.sql("SELECT coalesce(stop, 'none') FROM v6fleet.sittings");
    assert_eq!(stop(), "interrupted", "who renews its lease just then claims nothing");
    let is_over = |hand: &mut Hand, batch| matches!(hand.write(batch)[..], [Reply::Over]);
    assert!(is_over(&mut idle, vec![Request::Tick]), "though nobody has noticed that its lease ran out");
    let rejoins = || vec![Request::Rejoin, Request::Brake(Stop::MaxFailed), Request::Stop(Stop::Deadline)];
    assert!(is_over(&mut lost, rejoins()));
    assert!(matches!(end(idle), Ok(End::Before)));

    let resumed = place.open();
    resumed.resume(&run, &job("a")).unwrap();
    assert!(is_over(&mut lost, rejoins()));
    assert!(matches!(end(lost), Err(LedgerError::Over)));
    let braked = place.server.sql("SELECT count(*) FROM v6fleet.runs WHERE braked IS NOT NULL");
    assert_eq!((stop(), braked), ("none".to_owned(), "0".to_owned()));
    let mut next = Hand { book: resumed.engine.open_book(&run).unwrap() };
    assert_eq!((next.takes(9).len(), next.seen().workers), (3, 1));
}

#[test]
fn what_a_worker_asks_all_to_do_is_nothing_to_those_who_have_resumed_the_run_since() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 1);
    let [mut idle, last] = [(); 2].map(|()| Hand::join(&place, &run));
    assert!(place.open().request_stop(&run, Stop::Deadline).unwrap());
    let end = |ledger: &Ledger| ledger.end(&run, Some(Stop::Deadline), |_| 5);
    assert!(matches!(end(&Ledger::of(last.book.shut())), Ok(End::Noted { .. })), "nobody holds anything");
    let resumed = place.open();
    resumed.resume(&run, &job("a")).unwrap();
    let asks = vec![Request::Brake(Stop::MaxFailed), Request::Stop(Stop::Deadline)];
    assert!(matches!(idle.write(asks)[..], [Reply::Over]));
    let idle = Ledger::of(idle.book.shut());
    idle.request_stop(&run, Stop::Deadline).unwrap();
    assert!(matches!(end(&idle), Err(LedgerError::Over)));
    let mut next = Hand { book: resumed.engine.open_book(&run).unwrap() };
    assert_eq!(next.seen().stop, None);
    assert_eq!(place.server.sql("SELECT braked IS NULL FROM v6fleet.runs"), "t");
    assert!(place.open().request_stop(&run, Stop::Terminated).unwrap());
    assert_eq!(next.seen().stop, Some(Stop::Terminated), "who is no worker stops whichever sitting there is");
}

#[test]
fn no_worker_writes_what_came_of_a_vm_that_another_one_has_claimed() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 2);
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    let theirs = one.takes(1).remove(0);
    let settled = success(theirs.clone(), Outcome::Created, Basis::CreatedFlag);
    let refused = two.book.write(&mut [Request::Settle(Box::new(settled))].into_iter());
    assert!(matches!(refused, Err(LedgerError::SettledTwice(0))), "{refused:?}");
    assert_eq!(one.settles(theirs).unwrap().counted.created, 1);
}

#[test]
fn a_vm_is_in_one_call_at_a_time_also_of_two_runs() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let runs = ["a", "b"].map(|name| begun(&place, name, 6));
    let [mut a, mut b] = runs.each_ref().map(|run| Hand::join(&place, run));
    let mut first = a.takes(3);
    assert_eq!(vms(&b.takes(2)), ["4", "5"], "those before are called");
    b.write(vec![Request::Release(vec![3])]);
    assert_eq!(vms(&a.takes(1)), ["4"], "it waits, and is in no call");
    assert!(b.claims(vec![3], vec![], None).again.is_empty());
    a.settles(first.remove(1)).unwrap();
    a.write(vec![Request::Release(vec![3])]);
    let claimed = b.claims(vec![3], take(0, 9), None);
    assert_eq!((claimed.again, vms(&claimed.items)), (vec![3], vec!["2", "6"]));
    for item in first {
        a.settles(item).unwrap();
    }
    assert_eq!(vms(&b.takes(9)), ["1", "3"], "those that were passed by come again");
}

#[test]
fn a_job_is_carried_out_by_one_command_at_a_time_and_others_beside_it() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let ledger = place.open();
    let mut draft = ledger.draft(&job("a")).unwrap();
    draft.add(&vm("1", None), Action::Allocate, None).unwrap();
    let begins = |name: &str| {
        let ledger = place.open();
        let draft = ledger.draft(&job(name));
        draft.and_then(|draft| draft.commit(&Reading::default(), &[])).map(|begun| (begun.run, ledger))
    };
    let is_locked = |error: LedgerError, named: &str| {
        let LedgerError::Locked { holder, .. } = &error else { panic!("{error}") };
        assert!(holder.ends_with(named), "{holder}");
    };
    is_locked(begins("a").unwrap_err(), "only just begun");
    let run = draft.commit(&Reading::default(), &[]).unwrap().run;
    is_locked(begins("a").unwrap_err(), &format!(", run {}", run.id));
    is_locked(place.open().resume(&run, &job("a")).unwrap_err(), &format!(", run {}", run.id));
    let (other, other_ledger) = begins("b").unwrap();
    assert_eq!(place.read().under_way(vec![]).unwrap(), [run.id.clone(), other.id.clone()]);
    other_ledger.end(&other, None, |_| 0).unwrap();
    let newest = begins("c").unwrap().1;
    assert_eq!(newest.prune(1, &mut |_| ()).unwrap(), 0, "its worker may still write reports");
    drop(other_ledger);
    assert_eq!(newest.prune(1, &mut |_| ()).unwrap(), 1);
    drop(ledger);
    let ledger = place.open();
    ledger.resume(&run, &job("a")).unwrap();
    is_locked(begins("a").unwrap_err(), &format!(", run {}", run.id));
}

#[test]
fn no_more_vms_are_started_than_the_run_is_allowed_whoever_asks() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 9);
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    let mut held = one.claims(vec![], take(0, 3), Some(5)).items;
    assert_eq!(vms(&two.claims(vec![], take(0, 3), Some(5)).items), ["4", "5"]);
    one.settles(held.remove(0)).unwrap();
    assert!(one.claims(vec![], take(0, 3), Some(5)).items.is_empty());
    drop(two);
    one.seen();
    let items = one.claims(vec![], take(0, 3), Some(5)).items;
    assert_eq!(vms(&items), ["4", "5"], "what another has left, and no more");
    assert_eq!(vms(&one.takes(1)), ["6"]);
}

#[test]
fn the_vms_of_a_canary_are_the_same_ones_whoever_of_its_workers_dies_and_in_whichever_racks_they_are() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let racks = ["a", "b", "c"].map(Some);
    let run = begin(&place.open(), &racks.repeat(3));
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    let canary = |hand: &mut Hand, rack| hand.claims(vec![], take(rack, 9), Some(3)).items;
    let mut held = canary(&mut one, 0);
    assert_eq!(vms(&held), ["1", "4", "7"]);
    one.settles(held.remove(0)).unwrap();
    drop(one);
    two.seen();
    let taken = two.claims(vec![], take(1, 1), Some(3)).items;
    assert_eq!(vms(&taken), ["4"], "one for the one that was asked for");
    let taken = canary(&mut two, 2);
    assert_eq!((vms(&taken), taken[0].rack), (vec!["7"], RackNo(0)));
    assert!(canary(&mut two, 2).is_empty(), "and no other");
    drop(two);
    place.open().resume(&run, &new_run(BASE)).unwrap();
    assert_eq!(vms(&canary(&mut Hand::join(&place, &run), 2)), ["3", "6", "9"], "it is begun anew");
}

#[test]
fn what_is_left_alone_is_tried_by_one_worker_at_a_time() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 1);
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    // Who tries it, whether whoever asks has found it ill, and for how many seconds it is left alone.
    let api = |tried, is_found_by_us, seconds| {
        let [wait, gap] = [seconds, 2 * seconds].map(Duration::from_secs);
        vec![LeftAlone { sick: None, wait, gap, tried, is_found_by_us }]
    };
    let begins = |seconds| {
        let [wait, gap] = [seconds, 2 * seconds].map(Duration::from_secs);
        Trial::Begins { wait, gap }
    };
    assert_eq!(left_alone(&mut one, &[begins(1)]), Some((api(Tried::ByOthers, true, 1), 1)), "two follows");
    let others = [begins(2), Trial::TakenOver, Trial::GivenUp, Trial::Succeeded];
    assert_eq!(left_alone(&mut one, &others), Some((api(Tried::ByOthers, true, 1), 4)), "it is two's");
    assert_eq!(left_alone(&mut two, &[]), Some((api(Tried::ByUs, false, 1), 0)));
    assert_eq!(
        left_alone(&mut two, &[begins(4)]),
        Some((api(Tried::ByOthers, true, 4), 1)),
        "and then one's"
    );
    assert_eq!(left_alone(&mut one, &[Trial::GivenUp]), Some((api(Tried::ByNobody, false, 4), 1)));
    assert_eq!(left_alone(&mut two, &[]), Some((api(Tried::ByNobody, true, 4), 0)));
    assert_eq!(left_alone(&mut two, &[]), None, "told once");
    assert_eq!(left_alone(&mut two, &[Trial::TakenOver]), Some((api(Tried::ByUs, true, 4), 1)));
    drop(two);
    one.seen();
    assert_eq!(left_alone(&mut one, &[]), Some((api(Tried::ByNobody, false, 4), 0)), "who tried it is gone");
    assert_eq!(left_alone(&mut one, &[Trial::TakenOver]), Some((api(Tried::ByUs, false, 4), 1)));
    assert_eq!(
        left_alone(&mut one, &[begins(8)]),
        Some((api(Tried::ByUs, true, 8), 1)),
        "nobody else is there"
    );
    assert_eq!(left_alone(&mut one, &[Trial::Succeeded]), Some((vec![], 1)));
}

#[test]
fn who_tries_what_is_left_alone_changes_with_every_trial_among_all_who_live() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 1);
    let mut hands = [(); 4].map(|()| Hand::join(&place, &run));
    let lapsed = place.server.sql("SELECT max(no) - 1 FROM v6fleet.workers");
    place.server.sql(&format!("UPDATE v6fleet.workers SET lease_until = since WHERE no = {lapsed}"));
    let begins = Trial::Begins { wait: Duration::from_secs(1), gap: Duration::from_secs(2) };
    for (from, to) in [(0, 1), (1, 3), (3, 0)] {
        left_alone(&mut hands[from], &[begins]).unwrap();
        let (all, _) = left_alone(&mut hands[to], &[]).unwrap();
        assert_eq!(all[0].tried, Tried::ByUs, "from {from} to {to}");
    }
}

#[test]
fn whatever_a_run_is_to_stop_for_all_its_workers_hear_of_it() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    for &stop in Stop::ALL {
        let run = begun(&place, stop.as_str(), 1);
        let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
        one.write(vec![Request::Stop(stop)]);
        assert_eq!(two.seen().stop, Some(stop));
    }
}

#[test]
fn a_stop_holds_for_all_workers_and_the_last_that_holds_anything_ends_the_run_once() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let before = begun(&place, "a", 1);
    let mut alone = Hand::join(&place, &before);
    let held = alone.takes(1).remove(0);
    alone.settles(held).unwrap();
    assert!(matches!(Ledger::of(alone.book.shut()).end(&before, None, |_| 0), Ok(End::Noted { .. })));
    let run = begun(&place, "a", 9);
    let [mut one, two] = [(); 2].map(|()| Hand::join(&place, &run));
    let mut held = one.takes(2);
    let left = two.book.shut();
    let end = |ledger: &Ledger, stop| ledger.end(&run, stop, |_| 5).unwrap();
    let left = Ledger::of(left);
    assert!(matches!(end(&left, Some(Stop::Interrupted)), End::Held), "others go on with it");
    assert!(place.open().request_stop(&run, Stop::Deadline).unwrap());
    one.write(vec![Request::Stop(Stop::MaxWait)]);
    assert_eq!(one.seen().stop, Some(Stop::Deadline), "the graver one");
    assert!(one.takes(1).is_empty());
    assert!(matches!(end(&left, Some(Stop::Deadline)), End::Held), "one still holds some");
    one.settles(held.remove(0)).unwrap();
    let one = Ledger::of(one.book.shut());
    let End::Noted { summary, .. } = end(&one, Some(Stop::Deadline)) else { panic!("not noted") };
    assert_eq!((summary.counts.created, summary.pending, summary.complete), (1, 8, false));
    let since = summary.since.unwrap();
    assert_eq!(since.run, before.id);
    assert!(matches!(end(&left, None), End::Before), "noted twice");
    let End::Noted { summary: again, .. } = end(&one, Some(Stop::Deadline)) else {
        panic!("its answer may have been lost")
    };
    for summary in [left.summary_since(&run).unwrap(), *again] {
        assert_eq!((summary.stopped_by, summary.exit_code), (Some(Stop::Deadline), 5));
        assert_eq!(summary.since.as_ref(), Some(&since));
    }
    assert_eq!(place.open().join(&run, TERMS).unwrap(), None);
    assert!(!place.open().request_stop(&run, Stop::Deadline).unwrap());
    let workers = place.read().workers(&run).unwrap();
    let settled: Vec<_> = workers.iter().map(|worker| (worker.settled.created, worker.holds)).collect();
    assert_eq!(settled, [(0, 0), (1, 0), (0, 0)]);
}

#[test]
fn whoever_is_about_to_end_a_run_is_followed_by_another_once_it_is_gone_and_by_whoever_goes_on_with_it() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 2);
    let [one, two] = [(); 2].map(|()| Hand::join(&place, &run));
    let is_about_to = |no: &str| {
        place.server.sql(&format!("UPDATE v6fleet.sittings SET stop = 'interrupted', ender = {no}"));
    };
    let first = place.server.sql("SELECT min(no) FROM v6fleet.workers WHERE lease_until > clock_timestamp()");
    is_about_to(&first);
    let two = Ledger::of(two.book.shut());
    let end = || two.end(&run, Some(Stop::Interrupted), |_| 5).unwrap();
    assert!(matches!(end(), End::Held), "one is at it");
    drop(one);
    let End::Noted { summary, .. } = end() else { panic!("not noted") };
    assert_eq!((summary.pending, summary.stopped_by), (2, Some(Stop::Interrupted)));
    is_about_to(&first);
    let ledger = place.open();
    ledger.resume(&run, &job("a")).unwrap();
    let mut hand = Hand { book: ledger.engine.open_book(&run).unwrap() };
    assert_eq!(vms(&hand.takes(9)), ["1", "2"]);
}

#[test]
fn nobody_looks_for_what_a_worker_has_given_back_that_held_nothing() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 2);
    let [idle, mut other] = [(); 2].map(|()| Hand::join(&place, &run));
    other.takes(1);
    for (gone, returns) in [(idle, "0"), (other, "1")] {
        drop(gone);
        drop(place.open());
        assert_eq!(place.server.sql("SELECT returns FROM v6fleet.sittings"), returns);
    }
}

#[test]
fn whoever_waits_for_the_end_of_its_run_for_longer_than_its_lease_is_not_lost() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", 2);
    let [done, mut other] = [(); 2].map(|()| Hand::join(&place, &run));
    other.takes(1);
    let done = Ledger::of(done.book.shut());
    for _ in 0..2 {
        assert!(matches!(done.end(&run, None, |_| 0).unwrap(), End::Held));
        let presence = || place.read().workers(&run).unwrap()[1].presence;
        assert_eq!(presence(), Presence::Live);
        place.server.sql("UPDATE v6fleet.workers SET lease_until = clock_timestamp() WHERE buried");
        assert_eq!(presence(), Presence::Lost);
    }
}

#[test]
fn what_several_workers_had_in_flight_is_not_copied_to_a_file_before_somebody_has_taken_note_of_it() {
    if !is_installed() {
        return;
    }
    let (place, file) = (Database::new(), Disk::new());
    let run = begun(&place, "a", 3);
    let hands = [(); 2].map(|()| Hand::join(&place, &run));
    drop(hands.map(|mut hand| (hand.takes(1), hand)));
    let dated = |by: &str| place.server.sql(&format!("UPDATE v6fleet.workers SET clock = {by}"));
    let copied = || {
        let from = Ledger::open_to_copy(&place.location()).unwrap();
        from.copy_to(&Ledger::open_for_copy(&file.location()).unwrap(), &mut |_| {})
    };
    dated("no::text");
    let refused = copied().unwrap_err();
    assert!(
        matches!(&refused, LedgerError::SeveralClocks { run: named, .. } if *named == run.id),
        "{refused}"
    );
    assert_eq!(file.read().overviews(None).unwrap(), []);
    dated("NULL");
    drop(place.open());
    copied().unwrap();
    assert_eq!(file.read().overviews(None).unwrap()[0].id, run.id);
}
