//! What every engine is held to: a run's life in a ledger, without a network.

mod copies;
mod endings;
mod histories;
mod plans;
mod sharing;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use support::postgres::{Server, is_installed};

use super::*;
use crate::allocation::{Allocation, Expected, NextHop, tests::example};
use crate::dialect::Dialect;
use crate::inventory::{InventoryFile, PIPE, Reading, Vm};
use crate::outcome::{Basis, Failure, FirstCall, Kind, Offset, Outcome, Unanswered, Verdict};
use crate::vm::{Action, VmId};

pub(super) const BASE: &str = "https://cloud.hostup.se";

/// Where an engine keeps a ledger.
pub(super) trait Place {
    fn new() -> Self;
    fn location(&self) -> Location;
    /// As it was when it was new.
    fn empty(&self);
    /// For writing.
    fn open(&self) -> Ledger {
        Ledger::open(&self.location(), Duration::ZERO).unwrap()
    }
    /// For reading, as of now.
    fn read(&self) -> Ledger {
        let ledger = Ledger::open_read_only(&self.location()).unwrap();
        ledger.hold_still().unwrap();
        ledger
    }
}

/// A directory of its own.
pub(super) struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    pub(super) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("ledger.db")
    }
}

impl Place for Disk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn location(&self) -> Location {
        Location::File(self.path())
    }

    fn empty(&self) {
        for file in std::fs::read_dir(self.dir.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

/// A database of its own, on a server of its own.
pub(super) struct Database {
    pub(super) server: Server,
}

impl Place for Database {
    fn new() -> Self {
        Self { server: Server::start().unwrap() }
    }

    fn location(&self) -> Location {
        Location::of(self.server.url().as_ref()).unwrap()
    }

    fn empty(&self) {
        self.server.sql("DROP SCHEMA IF EXISTS v6fleet CASCADE");
    }
}

/// Every engine is held to each of these.
macro_rules! held {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                super::$test::<super::Disk>();
            })*
        }

        mod postgres {
            $(#[test]
            fn $test() {
                if super::is_installed() {
                    super::$test::<super::Database>();
                }
            })*
        }
    };
}

use plans::{
    a_plan_is_another_job_than_the_run_of_the_same_files,
    the_newest_run_of_a_kind_is_not_hidden_by_one_of_the_other,
    what_a_dead_plan_left_claimed_has_done_nothing, what_a_plan_has_seen_is_what_was_before_the_run_after_it,
    what_a_plan_sees_while_an_answer_is_lost_does_not_tell_what_the_call_did,
};

use endings::whether_a_run_is_complete_or_can_be_gone_on_with_is_told_alike_by_all;
use histories::what_is_resumed_is_what_has_no_outcome_with_all_it_has_been_through;

held! {
    what_one_dialect_says_is_nothing_to_the_other_at_the_same_base_url,
    what_is_resumed_is_what_has_no_outcome_with_all_it_has_been_through,
    whether_a_run_is_complete_or_can_be_gone_on_with_is_told_alike_by_all,
    a_draft_that_is_dropped_leaves_nothing_behind,
    racks_are_claimed_in_inventory_order_and_each_vm_once,
    racks_are_taken_from_in_turn_and_more_than_once_by_one_claim,
    what_is_settled_is_counted_remembered_and_reported_in_inventory_order,
    the_next_run_knows_what_was_there_before,
    a_next_hop_that_an_answer_does_not_say_is_known_as_it_was_last_said,
    what_was_seen_last_counts_whatever_our_clock_was_set_to,
    a_vm_is_settled_once_and_only_after_its_claim,
    what_a_dead_process_left_claimed_is_pending_with_an_unanswered_attempt,
    what_a_dead_process_left_claimed_keeps_what_was_known_of_the_servers_clock,
    a_deferred_vm_is_pending_with_all_it_has_been_through,
    what_is_released_was_never_called,
    rehearsals_and_real_runs_do_not_share_a_ledger,
    a_limit_is_remembered_for_its_base_url_and_key,
    a_job_last_succeeded_with_its_last_run_in_which_nothing_failed,
    vms_are_paired_by_id_those_of_the_second_run_first_and_in_its_order,
    a_run_is_compared_with_the_last_complete_one_of_its_job_that_had_its_vms,
    the_newest_the_pinned_and_the_resumable_runs_stay_and_so_does_what_was_last_seen,
    a_pinned_run_that_was_superseded_is_not_gone_on_with_when_its_successor_is_old,
    unfinished_runs_of_what_came_through_a_pipe_do_not_pile_up_and_others_stay,
    what_a_run_has_written_is_told_once_the_run_is_deleted,
    the_runs_of_a_job_are_known_by_any_of_them,
    each_name_of_a_vm_is_known_once,
    what_a_plan_has_seen_is_what_was_before_the_run_after_it,
    what_a_plan_sees_while_an_answer_is_lost_does_not_tell_what_the_call_did,
    what_a_dead_plan_left_claimed_has_done_nothing,
    a_plan_is_another_job_than_the_run_of_the_same_files,
    the_newest_run_of_a_kind_is_not_hidden_by_one_of_the_other,
}

pub(super) fn vm(id: &str, rack: Option<&str>) -> Vm {
    let expected = Expected { rack_id: rack.map(Into::into), ..Expected::default() };
    let labels = vec![("role".to_owned(), "web".to_owned())];
    Vm { id: id.parse().unwrap(), name: Some(format!("vm-{id}")), action: None, expected, labels }
}

pub(super) fn new_run(base_url: &str) -> NewRun {
    NewRun {
        kind: Kind::Run,
        dialect: Dialect::V1,
        base_url: base_url.into(),
        action: Some(Action::Allocate),
        files: vec!["fleet.csv".into()],
        id_files: vec![],
        options: serde_json::Map::new(),
        key_fingerprint: Some("0badf00d".into()),
        timeout: Duration::from_secs(30),
        terms: Terms::default(),
    }
}

/// A run of VMs 1, 2, 3 … on the given racks.
pub(super) fn begin(ledger: &Ledger, racks: &[Option<&str>]) -> RunKey {
    let mut draft = ledger.draft(&new_run(BASE)).unwrap();
    for (id, rack) in (1..).zip(racks) {
        draft.add(&vm(&id.to_string(), *rack), Action::Allocate, *rack).unwrap();
    }
    let reading = Reading { label_columns: vec!["role".into()], vms: draft.selected(), ..Reading::default() };
    draft.commit(&reading, &[]).unwrap().run
}

/// The next one that is about what was asked.
fn reply(writer: &mut Writer) -> Option<Reply> {
    writer.flush();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::iter::repeat_with(|| runtime.block_on(writer.reply()))
        .find(|reply| !matches!(reply, Some(Reply::Seen(_) | Reply::LeftAlone { .. })))?
}

pub(super) fn claim(writer: &mut Writer, take: Vec<Take>) -> Vec<Item> {
    writer.claim(vec![], take, None, None);
    let reply = reply(writer);
    let Some(Reply::Claimed(claimed)) = reply else { panic!("not claimed: {reply:?}") };
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
    Setback { failure: Failure::ServerError, error: "boom".into(), may_have_applied: false }
}

pub(super) fn rows(ledger: &Ledger, run: &RunKey) -> Vec<Row> {
    let mut rows = Vec::new();
    let each = |row| {
        rows.push(row);
        Ok::<_, LedgerError>(())
    };
    ledger.each_row(run, each).unwrap();
    rows
}

fn a_draft_that_is_dropped_leaves_nothing_behind<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let mut draft = ledger.draft(&new_run(BASE)).unwrap();
    draft.add(&vm("1", None), Action::Allocate, None).unwrap();
    drop(draft);
    assert!(matches!(ledger.find_run("latest"), Err(LedgerError::UnknownRun(_))));
    let run = begin(&ledger, &[None]);
    assert_eq!(ledger.find_run("latest").unwrap(), run);
    assert_eq!(ledger.find_run(&run.id[..9]).unwrap(), run);
    assert_eq!(ledger.newest(Kind::Plan).unwrap(), None);
}

fn racks_are_claimed_in_inventory_order_and_each_vm_once<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
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

fn racks_are_taken_from_in_turn_and_more_than_once_by_one_claim<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let run = begin(&ledger, &[Some("a"), Some("b"), Some("a"), Some("b"), Some("a"), Some("a")]);
    let mut writer = ledger.write(&run).unwrap();
    let turns = [take(0, 1), take(1, 1), take(0, 2), take(1, 7), take(0, 7)].concat();
    let ids: Vec<_> = claim(&mut writer, turns).iter().map(|item| item.vm.to_string()).collect();
    assert_eq!(ids, ["1", "2", "3", "5", "4", "6"]);
}

fn what_is_settled_is_counted_remembered_and_reported_in_inventory_order<P: Place>() {
    let fixture = P::new();
    let run = begin(&fixture.open(), &[Some("a"), Some("b")]);
    let mut writer = fixture.open().write(&run).unwrap();
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
    let ledger = ledger.unwrap();
    ledger.end(&run, None, |_| 3).unwrap();
    let summary = ledger.summary(&run).unwrap();
    assert_eq!((summary.counts.created, summary.counts.failed, summary.complete), (1, 1, true));
    assert_eq!(summary.failures[0].examples, ["2"]);
    let rows = rows(&ledger, &run);
    assert_eq!((rows[0].vmid.as_str(), rows[0].outcome), ("1", Outcome::Created));
    assert_eq!(rows[0].rack_id.as_deref(), Some("dc1r28"), "as answered");
    assert_eq!((rows[1].failure, rows[1].rack_id.as_deref()), (Some(Failure::ServerError), Some("b")));
    assert_eq!(rows[0].labels, [("role".to_owned(), "web".to_owned())]);
    assert_eq!(
        ledger.last_rack(BASE, Dialect::V1, &"1".parse().unwrap()).unwrap().as_deref(),
        Some("dc1r28")
    );
    for (vm, outcome) in [("1", Some(Outcome::Created)), ("2", Some(Outcome::Failed)), ("4", None)] {
        assert_eq!(ledger.outcome_in(&run, &vm.into()).unwrap(), outcome, "{vm}");
    }
}

fn the_next_run_knows_what_was_there_before<P: Place>() {
    let fixture = P::new();
    for (night, known) in [(1, false), (2, true)] {
        let ledger = fixture.open();
        let run = begin(&ledger, &[None]);
        let mut writer = ledger.write(&run).unwrap();
        let item = claim(&mut writer, take(0, 1)).remove(0);
        assert_eq!(item.before.is_some(), known, "night {night}");
        writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
        writer.close();
    }
}

fn a_next_hop_that_an_answer_does_not_say_is_known_as_it_was_last_said<P: Place>() {
    let fixture = P::new();
    let hop = |text: &str| text.parse().ok();
    let nights = [hop("2001:db8::1"), None, None, hop("2001:db8::2"), hop("2001:db8::2")];
    let mut known = vec![];
    for said in nights {
        let ledger = fixture.open();
        let run = begin(&ledger, &[None]);
        let mut writer = ledger.write(&run).unwrap();
        let item = claim(&mut writer, take(0, 1)).remove(0);
        known.push(item.before.as_ref().and_then(|before| before.next_hop.clone()));
        let allocation = Box::new(Allocation { next_hop: said.clone(), ..example() });
        let verdict =
            Verdict { outcome: Outcome::Unchanged, basis: Basis::Ledger, changes: vec![], warnings: vec![] };
        let settlement = Settlement::Success { verdict, allocation, drift: vec![] };
        writer.settle(Settled { settlement, ..success(item, Outcome::Unchanged, Basis::Ledger) });
        writer.close();
        let row = rows(&fixture.read(), &run).remove(0);
        let text = |hop: &Option<NextHop>| hop.as_ref().map(ToString::to_string);
        assert_eq!(row.next_hop, text(&said));
        assert_eq!(row.previous_next_hop, text(known.last().unwrap()));
    }
    assert_eq!(known, [None, hop("2001:db8::1"), hop("2001:db8::1"), hop("2001:db8::1"), hop("2001:db8::2")]);
}

fn what_was_seen_last_counts_whatever_our_clock_was_set_to<P: Place>() {
    let fixture = P::new();
    let vm: VmId = "1".parse().unwrap();
    let night = |second: i64, next_hop: &str| {
        let run = begin(&fixture.open(), &[None]);
        let mut writer = fixture.open().write(&run).unwrap();
        let item = claim(&mut writer, take(0, 1)).remove(0);
        let mut settled = success(item, Outcome::Unchanged, Basis::Ledger);
        settled.at = Timestamp::from_second(second).unwrap();
        if let Settlement::Success { allocation, .. } = &mut settled.settlement {
            allocation.next_hop = next_hop.parse().ok();
        }
        writer.settle(settled);
        let ledger = writer.close().0.unwrap();
        let seen = |ledger: &Ledger| {
            let last = ledger.sighting(BASE, Dialect::V1, &vm).unwrap().unwrap();
            (last.seen_at.as_second(), last.allocation.unwrap().next_hop.unwrap().to_string())
        };
        let expected = (second, next_hop.to_owned());
        assert_eq!(seen(&fixture.read()), expected, "while it is on");
        ledger.end(&run, None, |_| 0).unwrap();
        assert_eq!(seen(&ledger), expected, "once it has ended");
    };
    night(10, "2001:db8::1");
    night(20, "2001:db8::1");
    night(5, "2001:db8::2");
    night(7, "2001:db8::2");
}

fn a_vm_is_settled_once_and_only_after_its_claim<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let run = begin(&ledger, &[None, None]);
    let mut writer = ledger.write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    writer.settle(success(item.clone(), Outcome::Created, Basis::CreatedFlag));
    let settled = reply(&mut writer);
    assert!(matches!(settled, Some(Reply::Settled(_))), "{settled:?}");
    writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
    let (_, mut replies) = writer.close();
    replies.retain(|reply| !matches!(reply, Reply::Seen(_) | Reply::LeftAlone { .. }));
    assert!(matches!(replies[..], [Reply::Failed(LedgerError::SettledTwice(0))]), "{replies:?}");
}

fn what_a_dead_process_left_claimed_is_pending_with_an_unanswered_attempt<P: Place>() {
    let fixture = P::new();
    let run = begin(&fixture.open(), &[None, None]);
    let before = Timestamp::now();
    let mut writer = fixture.open().write(&run).unwrap();
    claim(&mut writer, take(0, 1));
    writer.close();

    let reader = fixture.read();
    let fate = |row: &Row| (row.failure, row.may_have_applied, row.error.is_some());
    let fates: Vec<_> = rows(&reader, &run).iter().map(fate).collect();
    let never = Some(Failure::NotAttempted);
    assert_eq!(fates, [(never, true, true), (never, false, false)], "already before the next run");
    assert_eq!(reader.summary(&run).unwrap().failures[0].may_have_applied, 1);
    assert!(reader.entries(&"1".parse().unwrap()).unwrap()[0].row.may_have_applied);
    drop(reader);

    let ledger = fixture.open();
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
    assert_eq!((first_call.offset_then, items[1].first_call), (None, None));
}

fn what_a_dead_process_left_claimed_keeps_what_was_known_of_the_servers_clock<P: Place>() {
    let fixture = P::new();
    let run = begin(&fixture.open(), &[None, None, None]);
    let at = |hours| {
        let offset = SignedDuration::from_hours(hours);
        Some(Offset { least: offset, most: offset })
    };
    let mut writer = fixture.open().write(&run).unwrap();
    for offset in [None, at(1), at(5)] {
        writer.claim(vec![], take(0, 1), offset, None);
        reply(&mut writer);
    }
    writer.close();
    let mut writer = fixture.open().write(&run).unwrap();
    let kept: Vec<_> =
        claim(&mut writer, take(0, 3)).iter().map(|item| item.unanswered[0].offset_then.unwrap()).collect();
    let near = |offset: &Offset| offset.agrees_with(&at(5).unwrap());
    assert!(kept.iter().all(near), "{kept:?}");
}

fn a_deferred_vm_is_pending_with_all_it_has_been_through<P: Place>() {
    let fixture = P::new();
    let run = begin(&fixture.open(), &[None]);
    let mut writer = fixture.open().write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    let at = Timestamp::now();
    let unanswered = vec![Unanswered { from: at, until: at, offset_then: None }];
    let setback = Setback { may_have_applied: true, ..setback() };
    writer.defer(Deferred {
        position: item.position,
        vm: item.vm,
        tally: Tally { attempts: 2, throttled: 1, first_sent: Some(at) },
        unanswered: unanswered.clone(),
        last: LastCall { http_status: Some(503), ..LastCall::default() },
        setback: setback.clone(),
    });
    writer.close();
    let ledger = fixture.open();
    let row = &rows(&ledger, &run)[0];
    assert!(row.may_have_applied);
    assert_eq!((row.failure, row.http_status, row.attempts), (Some(Failure::ServerError), Some(503), 2));
    assert_eq!(ledger.summary(&run).unwrap().throttled, 1);
    let mut writer = ledger.write(&run).unwrap();
    let again = claim(&mut writer, take(0, 1)).remove(0);
    assert_eq!((again.unanswered, again.tally.attempts), (unanswered, 2));
    assert_eq!(again.setback, Some(setback));
    let first_call =
        FirstCall { at: Timestamp::from_microsecond(at.as_microsecond()).unwrap(), offset_then: None };
    assert_eq!(again.first_call, Some(first_call), "by the clock of the same process");
}

fn what_is_released_was_never_called<P: Place>() {
    let fixture = P::new();
    let run = begin(&fixture.open(), &[None]);
    let mut writer = fixture.open().write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    writer.release(vec![item.position]);
    writer.close();
    let row = &rows(&fixture.open(), &run)[0];
    assert_eq!((row.failure, row.may_have_applied), (Some(Failure::NotAttempted), false));
}

fn rehearsals_and_real_runs_do_not_share_a_ledger<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    ledger.check_kind(SANDBOX).unwrap();
    begin(&ledger, &[None]);
    ledger.check_kind("https://other.example").unwrap();
    assert!(matches!(ledger.check_kind(SANDBOX), Err(LedgerError::Mixed { .. })));
    assert!(matches!(ledger.draft(&new_run(SANDBOX)), Err(LedgerError::Mixed { .. })));
}

fn what_one_dialect_says_is_nothing_to_the_other_at_the_same_base_url<P: Place>() {
    let fixture = P::new();
    let [v1, v2] = Dialect::EACH.map(|dialect| NewRun { dialect, ..new_run(BASE) });
    let begun = |job: &NewRun| {
        let ledger = fixture.open();
        let mut draft = ledger.draft(job).unwrap();
        draft.add(&vm("1", Some("a")), Action::Allocate, Some("a")).unwrap();
        draft.commit(&Reading::default(), &[]).unwrap().run
    };
    let run = begun(&v1);
    fixture.open().remember_rate(&run, Some(50.0)).unwrap();
    let unfinished = |job: &NewRun| fixture.open().unfinished(job, &[]).unwrap().map(|left| left.run);
    assert_eq!((unfinished(&v1), unfinished(&v2)), (Some(run.clone()), None));
    let mut writer = fixture.open().write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
    writer.close().0.unwrap().end(&run, None, |_| 0).unwrap();

    let id = VmId::from("1");
    for (dialect, is_known) in [(Dialect::V1, true), (Dialect::V2, false)] {
        let ledger = fixture.read();
        assert_eq!(ledger.last_rack(BASE, dialect, &id).unwrap().is_some(), is_known, "{dialect}");
        assert_eq!(ledger.sighting(BASE, dialect, &id).unwrap().is_some(), is_known, "{dialect}");
        let mut sightings = 0;
        ledger.each_sighting(BASE, dialect, &mut |_, _, _| sightings += 1).unwrap();
        assert_eq!(sightings, u32::from(is_known), "{dialect}");
    }
    for (job, is_known) in [(&v2, false), (&v1, true)] {
        let next = begun(job);
        let ledger = fixture.open();
        assert_eq!(ledger.run_info(&next).unwrap().dialect, job.dialect);
        assert_eq!(ledger.remembered_rate(&next).unwrap().is_some(), is_known, "{}", job.dialect);
        assert_eq!(compared_with(&ledger, &next), Some(run.clone()).filter(|_| is_known), "{}", job.dialect);
        assert_eq!(ledger.last_inventory(job).unwrap().is_some(), is_known, "{}", job.dialect);
        let item = claim(&mut ledger.write(&next).unwrap(), take(0, 1)).remove(0);
        assert_eq!(item.before.is_some(), is_known, "{}", job.dialect);
    }
}

fn a_limit_is_remembered_for_its_base_url_and_key<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let run = |base_url: &str, key: Option<&str>| {
        let new = NewRun { key_fingerprint: key.map(str::to_owned), ..new_run(base_url) };
        ledger.draft(&new).unwrap().commit(&Reading::default(), &[]).unwrap().run
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

/// A run of these VMs, none of them called, that ended.
fn ended(ledger: &Ledger, job: &NewRun, vms: &[&str], stopped_by: Option<Stop>) -> RunKey {
    ended_with(ledger, job, vms, stopped_by, 0)
}

fn ended_with(
    ledger: &Ledger,
    job: &NewRun,
    vms: &[&str],
    stopped_by: Option<Stop>,
    exit_code: u8,
) -> RunKey {
    let mut draft = ledger.draft(job).unwrap();
    for id in vms {
        draft.add(&vm(id, Some("a")), Action::Allocate, Some("a")).unwrap();
    }
    let run = draft.commit(&Reading::default(), &[]).unwrap().run;
    ledger.end(&run, stopped_by, |_| exit_code).unwrap();
    run
}

fn a_job_last_succeeded_with_its_last_run_in_which_nothing_failed<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let job = new_run(BASE);
    let success = |ledger: &Ledger, run: &RunKey| ledger.run_info(run).unwrap().last_success_at;
    let end = |ledger: &Ledger, run: &RunKey| ledger.run_info(run).unwrap().ended_at;
    let failed = ended_with(&ledger, &job, &["1"], None, 3);
    assert_eq!(success(&ledger, &failed), None);
    for exit_code in [0, 10, 11] {
        let run = ended_with(&ledger, &job, &["1"], None, exit_code);
        assert_eq!(success(&ledger, &run), end(&ledger, &run), "{exit_code}");
    }
    let good = ended(&ledger, &job, &["1"], None);
    let of_rack = NewRun { options: [("rack".to_owned(), json!("a"))].into_iter().collect(), ..job.clone() };
    ended(&ledger, &of_rack, &["1"], None);
    ended(&ledger, &NewRun { files: vec!["other.csv".into()], ..job.clone() }, &["1"], None);
    let stopped = ended_with(&ledger, &job, &["1"], Some(Stop::Canary), 4);
    assert_eq!(success(&ledger, &stopped), end(&ledger, &good));
    assert_eq!(success(&ledger, &failed), None, "a later success is none of its own");

    let whole = |ledger: &Ledger, run: &RunKey| ledger.run_info(run).unwrap().whole_success_at;
    let part = ended(&ledger, &of_rack, &["1"], None);
    assert_eq!(success(&ledger, &part), end(&ledger, &part));
    assert_eq!(whole(&ledger, &part), end(&ledger, &good), "a part of the fleet is not the fleet");
    assert_eq!(whole(&ledger, &good), None);
    let alone = NewRun { files: vec!["alone.csv".into()], ..of_rack.clone() };
    let alone = ended(&ledger, &alone, &["1"], None);
    assert_eq!(whole(&ledger, &alone), None, "the whole was never run");
}

fn vms_are_paired_by_id_those_of_the_second_run_first_and_in_its_order<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let from = ended(&ledger, &new_run(BASE), &["1", "2", "3"], None);
    let to = ended(&ledger, &new_run(BASE), &["3", "2", "4"], None);
    let mut pairs = Vec::new();
    let each = |pair: Pair| {
        assert_eq!((pair.rack.as_deref(), pair.vm.labels.len()), (Some("a"), 1));
        pairs.push((pair.vm.id.to_string(), pair.before.is_some(), pair.after.is_some()));
        Ok::<_, LedgerError>(())
    };
    ledger.each_pair(&from, &to, each).unwrap();
    let expected = [("3", true, true), ("2", true, true), ("4", false, true), ("1", true, false)];
    assert_eq!(pairs, expected.map(|(id, before, after)| (id.to_owned(), before, after)));
}

fn a_run_is_compared_with_the_last_complete_one_of_its_job_that_had_its_vms<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let whole = new_run(BASE);
    let narrowed = |name: &str, value: &str| NewRun {
        options: [(name.to_owned(), json!(value))].into_iter().collect(),
        ..whole.clone()
    };
    let of_rack = narrowed("rack", "a");
    let first = ended(&ledger, &whole, &["1"], None);
    let rack = ended(&ledger, &of_rack, &["1"], None);
    ended(&ledger, &narrowed("only-failed", "latest"), &["1"], None);
    ended(&ledger, &NewRun { action: None, ..whole.clone() }, &["1"], None);
    ended(&ledger, &NewRun { files: vec!["other.csv".into()], ..whole.clone() }, &["1"], None);
    ended(&ledger, &NewRun { base_url: "https://other.example".into(), ..whole.clone() }, &["1"], None);
    ended(&ledger, &whole, &["1"], Some(Stop::Canary));
    for (job, baseline) in
        [(&narrowed("rate", "20/s"), &first), (&narrowed("rack", "b"), &first), (&of_rack, &rack)]
    {
        let run = ledger.draft(job).unwrap().commit(&Reading::default(), &[]).unwrap().run;
        assert_eq!(compared_with(&ledger, &run).as_ref(), Some(baseline), "{:?}", job.options);
    }
    assert_eq!(ledger.baseline(&first).unwrap(), None);

    let run = ledger.draft(&of_rack).unwrap().commit(&Reading::default(), &[]).unwrap().run;
    ledger.resume(&run, &narrowed("rate", "5/s")).unwrap();
    let options = ledger.run_info(&run).unwrap().options;
    assert_eq!((&options["rack"], &options["rate"]), (&json!("a"), &json!("5/s")));
    assert_eq!(compared_with(&ledger, &run), Some(rack), "gone on with, it is of the same selection");
}

/// The run with which `run` can be compared.
fn compared_with(ledger: &Ledger, run: &RunKey) -> Option<RunKey> {
    ledger.baseline(run).unwrap().map(|baseline| baseline.run)
}

fn runs(ledger: &Ledger) -> Vec<String> {
    ledger.overviews(None).unwrap().into_iter().map(|run| run.id).collect()
}

fn ids(runs: &[&RunKey]) -> Vec<String> {
    runs.iter().map(|run| run.id.clone()).collect()
}

/// A run of VM 1, which is called and settled.
fn complete(fixture: &impl Place) -> RunKey {
    let ledger = fixture.open();
    let run = begin(&ledger, &[Some("a")]);
    let mut writer = ledger.write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
    writer.close().0.unwrap().end(&run, None, |_| 0).unwrap();
    run
}

fn the_newest_the_pinned_and_the_resumable_runs_stay_and_so_does_what_was_last_seen<P: Place>() {
    let fixture = P::new();
    let [_, pinned, _] = [(); 3].map(|()| complete(&fixture));
    let ledger = fixture.open();
    let other = NewRun { files: vec!["other.csv".into()], ..new_run(BASE) };
    let stopped = || {
        let mut draft = ledger.draft(&other).unwrap();
        draft.add(&vm("2", None), Action::Allocate, None).unwrap();
        draft.skip("other.csv", 3, "vmid", "is missing").unwrap();
        let run = draft.commit(&Reading::default(), &[]).unwrap().run;
        ledger.end(&run, Some(Stop::Deadline), |_| 5).unwrap();
        run
    };
    let [_superseded, resumable] = [(); 2].map(|()| stopped());
    ledger.pin(&pinned, true).unwrap();
    drop(ledger);
    let newest = complete(&fixture);
    let ledger = fixture.open();
    assert_eq!(ledger.prune(6, &mut |_| ()).unwrap(), 0);
    assert_eq!(ledger.prune(1, &mut |_| ()).unwrap(), 3);
    assert_eq!(runs(&ledger), ids(&[&newest, &resumable, &pinned]));
    assert_eq!(ledger.latest_unfinished().unwrap(), Some(resumable));
    assert_eq!(
        ledger.last_rack(BASE, Dialect::V1, &"1".parse().unwrap()).unwrap().as_deref(),
        Some("dc1r28")
    );
    ledger.pin(&pinned, false).unwrap();
    assert_eq!(ledger.prune(1, &mut |_| ()).unwrap(), 1);
}

fn a_pinned_run_that_was_superseded_is_not_gone_on_with_when_its_successor_is_old<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let stopped = begin(&ledger, &[None]);
    ledger.end(&stopped, Some(Stop::Deadline), |_| 5).unwrap();
    ledger.pin(&stopped, true).unwrap();
    drop(ledger);
    let successor = complete(&fixture);
    let ledger = fixture.open();
    let other = NewRun { files: vec!["other.csv".into()], ..new_run(BASE) };
    let other = ledger.draft(&other).unwrap().commit(&Reading::default(), &[]).unwrap().run;
    assert_eq!(ledger.prune(1, &mut |_| ()).unwrap(), 0);
    assert_eq!(ledger.unfinished(&new_run(BASE), &[]).unwrap(), None);
    ledger.pin(&stopped, false).unwrap();
    assert_eq!(ledger.prune(1, &mut |_| ()).unwrap(), 2);
    assert_eq!(runs(&ledger), ids(&[&other]));
    assert!(ledger.find_run(&successor.id).is_err());
}

fn unfinished_runs_of_what_came_through_a_pipe_do_not_pile_up_and_others_stay<P: Place>() {
    let fixture = P::new();
    let ledger = fixture.open();
    let limited = [("limit".to_owned(), "1".into())].into_iter().collect();
    let by_hand = NewRun { options: limited, ..new_run(BASE) };
    let piped = NewRun { files: vec![PIPE.into()], ..new_run(BASE) };
    let stopped = |job: &NewRun, sha256: &str| {
        let mut draft = ledger.draft(job).unwrap();
        draft.add(&vm("1", None), Action::Allocate, None).unwrap();
        let files = vec![InventoryFile { path: PIPE.into(), sha256: sha256.into() }];
        let run = draft.commit(&Reading { files, ..Reading::default() }, &[]).unwrap().run;
        ledger.end(&run, Some(Stop::Deadline), |_| 5).unwrap();
        run
    };
    let (fleet, part) = (stopped(&new_run(BASE), ""), stopped(&by_hand, ""));
    let [_, _, third] = ["1", "2", "3"].map(|sha256| stopped(&piped, sha256));
    assert_eq!(ledger.prune(1, &mut |_| ()).unwrap(), 2);
    assert_eq!(runs(&ledger), ids(&[&third, &part, &fleet]), "neither supersedes the other");
    assert!(ledger.superseded().unwrap().is_empty());
}

fn each_name_of_a_vm_is_known_once<P: Place>() {
    let fixture = P::new();
    complete(&fixture);
    let ledger = fixture.open();
    begin(&ledger, &[Some("a"), None]);
    let names = ["1", "2"].map(|id| (format!("vm-{id}"), id.into()));
    assert_eq!(ledger.names(None).unwrap(), names);
    for (name, id) in &names {
        assert_eq!(ledger.names(Some(name)).unwrap(), [(name.clone(), id.clone())]);
    }
    assert_eq!(ledger.names(Some("nobody")).unwrap(), []);
}

fn the_runs_of_a_job_are_known_by_any_of_them<P: Place>() {
    let fixture = P::new();
    let [first, second] = [(); 2].map(|()| complete(&fixture));
    let ledger = fixture.open();
    let other = NewRun { action: Some(Action::RefreshNextHop), ..new_run(BASE) };
    let other = ledger.draft(&other).unwrap().commit(&Reading::default(), &[]).unwrap().run;
    let of = |run: &RunKey| ledger.of_same_job(run).unwrap();
    assert_eq!((of(&first), of(&second)), (vec![second.clone(), first.clone()], vec![second, first]));
    assert_eq!(of(&other), [other]);
}

fn what_a_run_has_written_is_told_once_the_run_is_deleted<P: Place>() {
    let fixture = P::new();
    let file = |path: &str, bytes| WrittenFile { path: path.into(), bytes, sha256: "00ff".into() };
    let [old, pinned, bare, newest] = [(); 4].map(|()| complete(&fixture));
    let ledger = fixture.open();
    assert_eq!(ledger.written(&old).unwrap(), []);
    ledger.add_written(&old, vec![file("/r/old/report.csv", 1), file("/r/old/ü \u{1b}.json", 2)]).unwrap();
    // It was gone on with, and wrote one of them anew.
    ledger.add_written(&old, vec![file("/r/old/report.csv", 3), file("/s/old/report.csv", 4)]).unwrap();
    for run in [&pinned, &newest] {
        ledger.add_written(run, vec![file("/r/kept/report.csv", 5)]).unwrap();
    }
    ledger.pin(&pinned, true).unwrap();
    drop(ledger);
    let ledger = fixture.open();
    let mut told = Vec::new();
    assert_eq!(ledger.prune(1, &mut |files| told.push(files.to_vec())).unwrap(), 2);
    let written =
        [file("/r/old/ü \u{1b}.json", 2), file("/r/old/report.csv", 3), file("/s/old/report.csv", 4)];
    told.sort_by_key(Vec::len);
    assert_eq!(told, [vec![], written.to_vec()], "{} had written nothing", bare.id);
    assert_eq!(runs(&ledger), ids(&[&newest, &pinned]));
    assert_eq!(ledger.prune(1, &mut |_| panic!("all is told")).unwrap(), 0);
}
