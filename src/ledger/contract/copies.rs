//! A copied ledger against the one that it was made of: it says the same, and the next run finds the same in it.

use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::histories::{Event, History, event};
use super::*;

/// Texts that are kept otherwise than they are, by one engine or the other.
const ODD: &str = "a\0b\u{10ffff}0 å 'x'";

/// A ledger with what random histories do not bring about: other APIs, plans, odd texts, skipped rows, rates, pins.
fn furnish(ledger: &Ledger) {
    let plan =
        NewRun { kind: Kind::Plan, dialect: Dialect::V2, options: limited(), ..new_run("https://b.example") };
    let mut draft = ledger.draft(&plan).unwrap();
    for id in ["7", "10", "9"] {
        let odd = Vm { name: Some(ODD.into()), labels: vec![(ODD.into(), ODD.into())], ..vm(id, Some(ODD)) };
        draft.add(&odd, Action::RefreshNextHop, Some(ODD)).unwrap();
    }
    draft.skip(ODD, 3, "vmid", ODD).unwrap();
    draft.skip("fleet.csv", 2, "prefix", "is none").unwrap();
    let files = vec![InventoryFile { path: "/fleet.csv".into(), sha256: "7f".into() }];
    let reading = Reading { vms: 9, files, label_columns: vec![ODD.into()], ..Reading::default() };
    let planned = draft.commit(&reading, &["w".to_owned()]).unwrap().run;
    ledger.remember_rate(&planned, Some(49.999_999_999_9)).unwrap();
    ledger.pin(&planned, true).unwrap();
    ledger.end(&planned, Some(Stop::Deadline), |_| 5).unwrap();
    let keyless = NewRun { key_fingerprint: None, action: None, ..new_run(BASE) };
    let gone = [(); 2].map(|()| ended(ledger, &keyless, &["1", "2"], None));
    ledger.remember_rate(&gone[0], Some(10.0)).unwrap();
    ledger.resume(&gone[1], &keyless).unwrap();
}

fn limited() -> serde_json::Map<String, serde_json::Value> {
    [("limit".to_owned(), json!("3")), ("rack".to_owned(), json!([ODD]))].into_iter().collect()
}

/// What each question is answered with, in words.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn note(&mut self, question: &str, answer: impl Debug) {
        self.0.push(format!("{question}: {answer:?}"));
    }
}

/// Every answer that a ledger has for whoever reads it.
fn said(ledger: &Ledger) -> Vec<String> {
    let mut said = Said::default();
    let runs = ledger.overviews(None).unwrap();
    said.note("overviews", &runs);
    let keys: Vec<RunKey> = runs.iter().map(|run| RunKey { id: run.id.clone() }).collect();
    for run in &keys {
        say_of_run(&mut said, ledger, run);
    }
    for pair in keys.windows(2) {
        let mut pairs = vec![];
        ledger
            .each_pair(&pair[1], &pair[0], |pair| {
                pairs.push(pair);
                Ok::<_, LedgerError>(())
            })
            .unwrap();
        said.note("pairs", pairs);
    }
    for id in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"] {
        say_of_vm(&mut said, ledger, &id.into());
    }
    said.note("rack ids", ledger.rack_ids().unwrap());
    said.note("names", ledger.names(None).unwrap());
    said.note("latest unfinished", ledger.latest_unfinished().unwrap());
    said.note("superseded", ledger.superseded().unwrap());
    for job in [new_run(BASE), NewRun { key_fingerprint: None, action: None, ..new_run(BASE) }] {
        said.note("unfinished", ledger.unfinished(&job, &[]).unwrap());
        said.note("last inventory", ledger.last_inventory(&job).unwrap());
    }
    for kind in [Kind::Run, Kind::Plan] {
        said.note("newest", ledger.newest(kind).unwrap());
    }
    said.0
}

fn say_of_run(said: &mut Said, ledger: &Ledger, run: &RunKey) {
    said.note("info", ledger.run_info(run).unwrap());
    said.note("course", ledger.course(run).unwrap());
    said.note(
        "summary",
        ledger
            .summed_up(run, ledger.sums(run).unwrap(), ledger.course(run).unwrap(), Timestamp::MAX)
            .unwrap(),
    );
    said.note("rows", rows(ledger, run));
    let mut skipped = vec![];
    ledger
        .each_skipped(run, |row| {
            skipped.push(row);
            Ok::<_, LedgerError>(())
        })
        .unwrap();
    said.note("skipped", skipped);
    said.note("racks", ledger.racks(run).unwrap());
    said.note("pending", ledger.pending(run).unwrap());
    let mut vms = vec![];
    ledger.each_vm(run, &mut |vm, rack| vms.push((vm.to_owned(), rack.map(str::to_owned)))).unwrap();
    said.note("vms", vms);
    said.note("unfinished", ledger.is_unfinished(run).unwrap());
    said.note("baseline", ledger.baseline(run).unwrap());
    said.note("rate", ledger.remembered_rate(run).unwrap());
}

fn say_of_vm(said: &mut Said, ledger: &Ledger, vm: &VmId) {
    said.note("entries", ledger.entries(vm).unwrap());
    said.note("last known", ledger.last_known(vm).unwrap());
    for dialect in Dialect::EACH {
        said.note("rack", ledger.last_rack(BASE, dialect, vm).unwrap());
        said.note("sighting", ledger.sighting(BASE, dialect, vm).unwrap());
    }
}

/// What a run that goes on is given of each of its VMs, in the order in which it is.
fn given(ledger: Ledger, run: &RunKey) -> Vec<String> {
    let racks = ledger.racks(run).unwrap().len();
    let mut writer = ledger.write(run).unwrap();
    let racks = 0..u32::try_from(racks).unwrap();
    let items: Vec<Item> = racks.flat_map(|rack| claim(&mut writer, take(rack, 99))).collect();
    writer.release(items.iter().map(|item| item.position).collect());
    writer.close();
    items.iter().map(|item| format!("{item:?}")).collect()
}

/// What the next run of the same VMs is given, begun as it would be.
fn given_anew(place: &impl Place) -> Vec<String> {
    let ledger = place.open();
    let run = begin(&ledger, &[Some("a"), Some("b"), Some("a"), None, Some("b")]);
    assert_eq!(ledger.find_run("latest").unwrap(), run);
    given(ledger, &run)
}

fn copied(from: &impl Place, to: &impl Place) -> String {
    let (from, to) =
        (Ledger::open_to_copy(&from.location()).unwrap(), Ledger::open_for_copy(&to.location()).unwrap());
    let copied = from.copy_to(&to, &mut |_| {}).unwrap();
    to.close().unwrap();
    copied.in_words()
}

/// From a file to a database, and back to another file.
fn copies_are_the_same(events: Vec<Event>, places: &(Disk, Database, Disk)) {
    let (first, second, third) = places;
    let mut history = History::new(first);
    for event in events {
        history.happens(event);
    }
    let run = history.dies();
    second.empty();
    third.empty();
    assert_eq!(copied(first, second), copied(second, third));
    let original = said(&first.read());
    assert_eq!(said(&second.read()), original);
    assert_eq!(said(&third.read()), original);
    // What the process left in flight is found by whoever writes next.
    let buried = said(&first.open());
    assert_eq!(said(&second.open()), buried);
    assert_eq!(said(&third.open()), buried);
    let resumed = given(first.open(), &run);
    assert_eq!(given(second.open(), &run), resumed);
    assert_eq!(given(third.open(), &run), resumed);
    let anew = given_anew(first);
    assert_eq!(given_anew(second), anew);
    assert_eq!(given_anew(third), anew);
}

#[test]
fn a_copied_ledger_says_what_the_first_one_says_and_so_does_the_next_run_on_it() {
    if !is_installed() {
        return;
    }
    let cases = if std::env::var("V6FLEET_TORTURE").is_ok_and(|form| form == "full") { 200 } else { 2 };
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let histories = proptest::collection::vec(event(), 1..60);
    let places = (Disk::new(), Database::new(), Disk::new());
    let held = TestRunner::new(config).run(&histories, |events| {
        copies_are_the_same(events, &places);
        Ok(())
    });
    held.unwrap();
}

fn everything_that_a_ledger_holds_is_copied<From: Place, To: Place>() {
    let (from, to) = (From::new(), To::new());
    let ledger = from.open();
    furnish(&ledger);
    drop(ledger);
    complete(&from);
    from.open().prune(2, &mut |_| ()).unwrap();
    let words = copied(&from, &to);
    assert_eq!(said(&to.read()), said(&from.read()), "{words}");
    assert_eq!(
        words,
        "2 APIs, 3 runs, 3 racks of runs, 2 skipped rows, 6 VMs of runs, 1 VM that was called, 0 calls in flight, \
         1 VM known, 2 learned rates"
    );
    let original = Ledger::open_to_copy(&from.location()).unwrap();
    assert!(
        matches!(original.find_copy(&to.location()), Ok(Found::Copy(found)) if found.in_words() == words)
    );
    complete(&to);
    assert!(matches!(original.find_copy(&to.location()), Err(LedgerError::Occupied { .. })));
}

#[test]
fn everything_that_a_file_holds_is_copied_to_another() {
    everything_that_a_ledger_holds_is_copied::<Disk, Disk>();
}

#[test]
fn everything_that_a_file_holds_is_copied_to_a_database() {
    if is_installed() {
        everything_that_a_ledger_holds_is_copied::<Disk, Database>();
    }
}

#[test]
fn everything_that_a_database_holds_is_copied_to_another() {
    if is_installed() {
        everything_that_a_ledger_holds_is_copied::<Database, Database>();
    }
}
