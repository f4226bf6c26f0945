//! A run's life in a ledger, without a network.

mod histories;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::allocation::{Expected, tests::example};
use crate::inventory::{Action, Reading, Vm};
use crate::outcome::{Basis, Failure, FirstCall, Offset, Outcome, Unanswered, Verdict};

pub(super) const BASE: &str = "https://cloud.hostup.se";

pub(super) struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::open(&self.path(), Duration::ZERO).unwrap()
    }
}

pub(super) fn vm(id: &str, rack: Option<&str>) -> Vm {
    let expected = Expected { rack_id: rack.map(Into::into), ..Expected::default() };
    let labels = vec![("role".to_owned(), "web".to_owned())];
    Vm { id: id.parse().unwrap(), name: Some(format!("vm-{id}")), action: None, expected, labels }
}

pub(super) fn new_run(base_url: &str) -> NewRun {
    NewRun {
        base_url: base_url.into(),
        action: Some(Action::Allocate),
        files: vec!["fleet.csv".into()],
        id_files: vec![],
        options: serde_json::Map::new(),
        key_fingerprint: Some("0badf00d".into()),
        timeout: Duration::from_secs(30),
    }
}

/// A run of VMs 1, 2, 3 … on the given racks.
pub(super) fn begin(ledger: &Ledger, racks: &[Option<&str>]) -> RunKey {
    let mut draft = ledger.draft(&new_run(BASE)).unwrap();
    for (id, rack) in (1..).zip(racks) {
        draft.add(&vm(&id.to_string(), *rack), Action::Allocate, *rack).unwrap();
    }
    let reading = Reading { label_columns: vec!["role".into()], vms: draft.selected(), ..Reading::default() };
    draft.commit(&reading, &[]).unwrap()
}

fn reply(writer: &mut Writer) -> Option<Reply> {
    writer.flush();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(writer.reply())
}

pub(super) fn claim(writer: &mut Writer, take: Vec<Take>) -> Vec<Item> {
    writer.claim(vec![], take, None);
    let Some(Reply::Claimed(claimed)) = reply(writer) else { panic!("not claimed") };
    claimed.items
}

pub(super) fn take(rack: u32, vms: u32) -> Vec<Take> {
    vec![Take { rack: RackNo(rack), vms }]
}

pub(super) fn success(mut item: Item, outcome: Outcome, basis: Basis) -> Settled {
    item.tally.attempts += 1;
    item.tally.first_sent = Some(Timestamp::now());
    let verdict = Verdict { outcome, basis, changes: vec![], warnings: vec!["w".into()] };
    let settlement = Settlement::Success { verdict, allocation: Box::new(example()), drift: vec![] };
    let last = LastCall { http_status: Some(201), request_id: None, latency: Duration::from_millis(20) };
    Settled { item, last, at: Timestamp::now(), settlement }
}

pub(super) fn setback() -> Setback {
    Setback { failure: Failure::ServerError, error: "boom".into() }
}

fn rows(ledger: &Ledger, run: &RunKey) -> Vec<Row> {
    let mut rows = Vec::new();
    let each = |row: &Row| {
        rows.push(row.clone());
        Ok::<_, LedgerError>(())
    };
    ledger.each_row(run, each).unwrap();
    rows
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let ledger = fixture.ledger();
    let mut draft = ledger.draft(&new_run(BASE)).unwrap();
    draft.add(&vm("1", None), Action::Allocate, None).unwrap();
    drop(draft);
    assert!(matches!(ledger.find_run("latest"), Err(LedgerError::UnknownRun(_))));
    let run = begin(&ledger, &[None]);
    assert_eq!(ledger.find_run("latest").unwrap(), run);
    assert_eq!(ledger.find_run(&run.id[..9]).unwrap(), run);
}

#[test]
fn racks_are_claimed_in_inventory_order_and_each_vm_once() {
    let fixture = Fixture::new();
    let ledger = fixture.ledger();
    let run = begin(&ledger, &[Some("a"), Some("b"), Some("a"), None, Some("a")]);
    assert_eq!(ledger.sums(&run).unwrap().pending, [3, 1, 1]);
    let mut writer = ledger.write(&run).unwrap();
    let ids = |items: Vec<Item>| items.into_iter().map(|item| item.vm.to_string()).collect::<Vec<_>>();
    let first = claim(&mut writer, take(0, 2));
    assert_eq!(first[0].expected.rack_id.as_deref(), Some("a"));
    assert_eq!(ids(first), ["1", "3"]);
    assert_eq!(ids(claim(&mut writer, take(0, 9))), ["5"]);
    assert_eq!(ids(claim(&mut writer, take(2, 1))), ["4"]);
    assert!(claim(&mut writer, take(0, 1)).is_empty());
}

#[test]
fn what_is_settled_is_counted_remembered_and_reported_in_inventory_order() {
    let fixture = Fixture::new();
    let run = begin(&fixture.ledger(), &[Some("a"), Some("b")]);
    let mut writer = fixture.ledger().write(&run).unwrap();
    let second = claim(&mut writer, take(1, 1)).remove(0);
    let first = claim(&mut writer, take(0, 1)).remove(0);
    writer.settle(Settled {
        settlement: Settlement::Failed(setback()),
        ..success(second, Outcome::Unchanged, Basis::Ledger)
    });
    writer.settle(success(first, Outcome::Created, Basis::CreatedFlag));
    let (ledger, replies) = writer.close();
    let counted =
        replies.iter().map(|r| if let Reply::Settled(vms) = r { vms.len() } else { 0 }).sum::<usize>();
    assert_eq!(counted, 2);
    let mut ledger = ledger.unwrap();
    ledger.end(&run, None, |_| 3).unwrap();
    let summary = ledger.summary(&run).unwrap();
    assert_eq!((summary.counts.created, summary.counts.failed, summary.complete), (1, 1, true));
    assert_eq!(summary.failures[0].examples, ["2"]);
    let rows = rows(&ledger, &run);
    assert_eq!((rows[0].vmid.as_str(), rows[0].outcome), ("1", Outcome::Created));
    assert_eq!(rows[0].rack_id.as_deref(), Some("dc1r28"), "as answered");
    assert_eq!((rows[1].failure, rows[1].rack_id.as_deref()), (Some(Failure::ServerError), Some("b")));
    assert_eq!(rows[0].labels, [("role".to_owned(), "web".to_owned())]);
    assert_eq!(ledger.last_rack(BASE, &"1".parse().unwrap()).unwrap().as_deref(), Some("dc1r28"));
    assert!(ledger.failed_in(&run, &"2".parse().unwrap()).unwrap());
    assert!(!ledger.failed_in(&run, &"1".parse().unwrap()).unwrap());
}

#[test]
fn the_next_run_knows_what_was_there_before() {
    let fixture = Fixture::new();
    for (night, known) in [(1, false), (2, true)] {
        let ledger = fixture.ledger();
        let run = begin(&ledger, &[None]);
        let mut writer = ledger.write(&run).unwrap();
        let item = claim(&mut writer, take(0, 1)).remove(0);
        assert_eq!(item.before.is_some(), known, "night {night}");
        writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
        writer.close();
    }
}

#[test]
fn a_vm_is_settled_once_and_only_after_its_claim() {
    let fixture = Fixture::new();
    let ledger = fixture.ledger();
    let run = begin(&ledger, &[None, None]);
    let mut writer = ledger.write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    writer.settle(success(item.clone(), Outcome::Created, Basis::CreatedFlag));
    assert!(matches!(reply(&mut writer), Some(Reply::Settled(_))));
    writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
    let (_, replies) = writer.close();
    assert!(matches!(replies[..], [Reply::Failed(LedgerError::SettledTwice(0))]), "{replies:?}");
}

#[test]
fn what_a_dead_process_left_claimed_is_pending_with_an_unanswered_attempt() {
    let fixture = Fixture::new();
    let run = begin(&fixture.ledger(), &[None, None]);
    let before = Timestamp::now();
    let mut writer = fixture.ledger().write(&run).unwrap();
    claim(&mut writer, take(0, 1));
    drop(writer.close());

    let reader = Ledger::open_read_only(&fixture.path()).unwrap();
    let told = |row: &Row| (row.failure, row.may_have_applied, row.error.is_some());
    let told: Vec<_> = rows(&reader, &run).iter().map(told).collect();
    let never = Some(Failure::NotAttempted);
    assert_eq!(told, [(never, true, true), (never, false, false)], "already before the next run");
    assert_eq!(reader.summary(&run).unwrap().failures[0].may_have_applied, 1);
    assert!(reader.entries(&"1".parse().unwrap()).unwrap()[0].row.may_have_applied);
    drop(reader);

    let ledger = fixture.ledger();
    let row = &rows(&ledger, &run)[0];
    assert_eq!((row.outcome, row.may_have_applied, row.attempts), (Outcome::Failed, true, 1));
    assert_eq!(ledger.sums(&run).unwrap().pending, [2]);
    let mut writer = ledger.write(&run).unwrap();
    let items = claim(&mut writer, take(0, 2));
    let [window] = items[0].unanswered[..] else { panic!("{:?}", items[0].unanswered) };
    let slack = before.saturating_sub(jiff::SignedDuration::from_millis(1)).unwrap();
    assert!(window.from >= slack && window.until >= window.from + Duration::from_secs(30));
    assert!(items[1].unanswered.is_empty());
    let first_call = items[0].first_call.unwrap();
    assert!(first_call.at.duration_since(window.from).abs() < SignedDuration::from_millis(1));
    assert_eq!((first_call.told, items[1].first_call), (None, None));
}

#[test]
fn what_a_dead_process_left_claimed_keeps_what_was_told_of_the_servers_clock() {
    let fixture = Fixture::new();
    let run = begin(&fixture.ledger(), &[None, None, None]);
    let told = |hours| {
        let offset = SignedDuration::from_hours(hours);
        Some(Offset { least: offset, most: offset })
    };
    let mut writer = fixture.ledger().write(&run).unwrap();
    for told in [None, told(1), told(5)] {
        writer.claim(vec![], take(0, 1), told);
        reply(&mut writer);
    }
    drop(writer.close());
    let mut writer = fixture.ledger().write(&run).unwrap();
    let kept: Vec<_> =
        claim(&mut writer, take(0, 3)).iter().map(|item| item.unanswered[0].told.unwrap()).collect();
    let near = |offset: &Offset| offset.agrees_with(&told(5).unwrap());
    assert!(kept.iter().all(near), "{kept:?}");
}

#[test]
fn a_deferred_vm_is_pending_with_all_it_has_been_through() {
    let fixture = Fixture::new();
    let run = begin(&fixture.ledger(), &[None]);
    let mut writer = fixture.ledger().write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    let at = Timestamp::now();
    let unanswered = vec![Unanswered { from: at, until: at, told: None }];
    writer.defer(Deferred {
        position: item.position,
        vm: item.vm,
        tally: Tally { attempts: 2, throttled: 1, first_sent: Some(at) },
        unanswered: unanswered.clone(),
        last: LastCall { http_status: Some(503), ..LastCall::default() },
        setback: setback(),
    });
    drop(writer.close());
    let ledger = fixture.ledger();
    let row = &rows(&ledger, &run)[0];
    assert_eq!((row.failure, row.http_status, row.attempts), (Some(Failure::ServerError), Some(503), 2));
    assert_eq!(ledger.summary(&run).unwrap().throttled, 1);
    let mut writer = ledger.write(&run).unwrap();
    let again = claim(&mut writer, take(0, 1)).remove(0);
    assert_eq!((again.unanswered, again.tally.attempts), (unanswered, 2));
    let first_call = FirstCall { at: timestamp(micros(at)), told: None };
    assert_eq!(again.first_call, Some(first_call), "by the clock of the same process");
}

#[test]
fn what_is_released_was_never_called() {
    let fixture = Fixture::new();
    let run = begin(&fixture.ledger(), &[None]);
    let mut writer = fixture.ledger().write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    writer.release(vec![item.position]);
    drop(writer.close());
    let row = &rows(&fixture.ledger(), &run)[0];
    assert_eq!((row.failure, row.may_have_applied), (Some(Failure::NotAttempted), false));
}

#[test]
fn rehearsals_and_real_runs_do_not_share_a_ledger() {
    let fixture = Fixture::new();
    let ledger = fixture.ledger();
    ledger.check_kind(SANDBOX).unwrap();
    begin(&ledger, &[None]);
    ledger.check_kind("https://other.example").unwrap();
    assert!(matches!(ledger.check_kind(SANDBOX), Err(LedgerError::Mixed { .. })));
}

#[test]
fn a_limit_is_remembered_for_its_base_url_and_key() {
    let fixture = Fixture::new();
    let ledger = fixture.ledger();
    let run = |base_url: &str, key: Option<&str>| {
        let new = NewRun { key_fingerprint: key.map(str::to_owned), ..new_run(base_url) };
        ledger.draft(&new).unwrap().commit(&Reading::default(), &[]).unwrap()
    };
    let first = run(BASE, Some("0badf00d"));
    assert_eq!(ledger.remembered_rate(&first).unwrap(), None);
    ledger.remember_rate(&first, Some(49.5)).unwrap();
    ledger.remember_rate(&first, Some(50.0)).unwrap();
    assert_eq!(ledger.remembered_rate(&run(BASE, Some("0badf00d"))).unwrap(), Some(50.0));
    assert_eq!(ledger.remembered_rate(&run(BASE, Some("deadbeef"))).unwrap(), None);
    assert_eq!(ledger.remembered_rate(&run("https://example.com", Some("0badf00d"))).unwrap(), None);
    let keyless = run(BASE, None);
    ledger.remember_rate(&keyless, Some(5.0)).unwrap();
    assert_eq!(ledger.remembered_rate(&keyless).unwrap(), Some(5.0));
    ledger.remember_rate(&keyless, None).unwrap();
    assert_eq!(ledger.remembered_rate(&keyless).unwrap(), None);
    assert_eq!(ledger.remembered_rate(&first).unwrap(), Some(50.0));
}
