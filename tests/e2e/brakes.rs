//! What holds a run back or stops it: canary, thresholds, slots, and a key that is revoked on the way.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dialect::{Dialect, in_each};
use crate::fixture::Fixture;
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::script::{Api, Speech, success};

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

#[test]
fn if_a_vm_of_the_canary_fails_no_other_is_called() {
    in_each(assert_canary_is_heeded);
}

fn assert_canary_is_heeded(dialect: Dialect) {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).speaking(dialect);
    let healthy = fleet::vmids(100_000, 100).fold(String::new(), |rows, id| rows + &format!("{id}\n"));
    fixture.write_fleet(format!("vmid\n10000\n10099\n{healthy}"));
    let outcome = fixture.run(&[&RUN[..], &["--canary", "4"]].concat()).exits(4);
    assert_eq!(outcome.summary()["stopped_by"], "canary");
    let mut called = sandbox.called_vmids();
    called.sort();
    assert_eq!(called, ["10000", "100000", "100001", "10099"]);
    assert_eq!(fixture.run(&[&RUN[..], &["--canary", "1"]].concat()).exits(3).rows().len(), 102);
}

#[test]
fn a_canary_of_which_one_vm_is_refused_and_no_later_call_proves_the_key_comes_to_its_end() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |vmid, _| match vmid {
            "1" => dialect.error(401, "UNAUTHORIZED").after(Duration::from_millis(300)).into(),
            _ => dialect.success(201, true, 0).into(),
        });
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n1\n2\n3\n4\n5\n");
        let outcome = fixture.run(&[&RUN[..], &["--canary", "2", "--concurrency", "2"]].concat()).exits(4);
        assert_eq!(outcome.summary()["stopped_by"], "canary");
        assert_eq!(api.received().len(), 2);
    });
}

#[test]
fn more_failed_or_changed_vms_than_allowed_stop_a_run() {
    let sandbox = Sandbox::start(&[]);
    for (options, code, word) in [
        (&["--max-failed", "3"][..], 4, "max_failed"),
        (&["--max-changed", "3"], 4, "max_changed"),
        (&["--max-drift", "2%"], 4, "max_drift"),
        (&["--max-failed", "4", "--max-changed", "8", "--max-drift", "4%"], 3, ""),
    ] {
        let fixture = Fixture::at(&sandbox);
        // Of 100 VMs, 4 do not exist, 8 get an allocation and 4 are not where they are expected.
        let mut csv = "vmid,rack_id\n".to_owned();
        let first = fastrand::u64(1..1_000_000) * 1_000;
        for number in 0..100 {
            let (id, rack) = match number % 25 {
                0 => (first + number * 100 + 99, "dc1r27"),
                1 | 2 => (first + number * 1_000, fleet::rack_of(first + number * 1_000)),
                3 => (first + number * 1_000 + 6, "nowhere"),
                _ => (first + number * 1_000 + 6, fleet::rack_of(first + number * 1_000)),
            };
            writeln!(csv, "{id},{rack}").unwrap();
        }
        fixture.write("fleet.csv", csv);
        let outcome = fixture.run(&[&RUN[..], &["--concurrency", "1"], options].concat()).exits(code);
        assert_eq!(outcome.summary()["stopped_by"].as_str().unwrap_or_default(), word, "{options:?}");
        assert_eq!(outcome.summary()["complete"], word.is_empty());
    }
}

#[test]
fn a_key_revoked_on_the_way_stops_the_run_and_leaves_its_vms_pending() {
    in_each(revoke_the_key);
}

fn revoke_the_key(dialect: Dialect) {
    let calls = AtomicUsize::new(0);
    let api = Api::of(dialect, move |_, _| match calls.fetch_add(1, Ordering::Relaxed) {
        ..100 => dialect.success(201, true, 0).into(),
        _ => dialect.error(401, "UNAUTHORIZED").into(),
    });
    let fixture = api.fixture();
    fixture.write_fleet(fleet::csv(1_000));
    let outcome = fixture.run(&RUN).exits(8);
    assert_eq!(outcome.summary()["stopped_by"], "key_refused");
    let refused = api.received().len() - 100;
    assert!((5..=21).contains(&refused), "{refused} calls with a revoked key");
    assert_eq!(outcome.vms_that_are("created").len(), 100);
    assert_eq!(fixture.report_of("latest").summary()["pending"], 900);
}

#[test]
fn vms_that_are_refused_one_by_one_stop_nothing_and_fail_for_themselves() {
    in_each(refuse_one_by_one);
}

fn refuse_one_by_one(dialect: Dialect) {
    // So few that five of them never come back in a row, in whatever order.
    let is_refused = |vmid: &str| vmid.ends_with("27") || vmid.ends_with("77");
    let api = Api::of(dialect, move |vmid, _| match is_refused(vmid) {
        true => dialect.error(401, "UNAUTHORIZED").into(),
        false => dialect.success(201, true, 0).into(),
    });
    let fixture = api.fixture();
    fixture.write_fleet(fleet::csv(1_000));
    let outcome = fixture.run(&[&RUN[..], &["--concurrency", "64"]].concat()).exits(3);
    let refused: Vec<String> =
        fleet::vmids(100_000, 1_000).map(|id| id.to_string()).filter(|id| is_refused(id)).collect();
    assert_eq!(outcome.vms_that_are("failed"), refused);
    assert_eq!(api.received().len(), 1_000);
}

#[test]
fn a_brake_that_the_last_vm_trips_leaves_nothing_to_resume() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |_, _| dialect.error(404, "NOT_FOUND").into());
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10000\n10001\n");
        let outcome = fixture.run(&[&RUN[..], &["--max-failed", "1"]].concat()).exits(4);
        assert_eq!(outcome.summary()["pending"], 0);
        assert!(outcome.stdout.contains("--only-failed=") && !outcome.stdout.contains("v6fleet resume"));
        assert!(fixture.run(&["resume"]).exits(7).stderr.contains("nothing to resume"));
    });
}

/// The most calls that were under way at once: in all, and by rack (the third digit of a VM's id).
fn most_at_once(options: &[&str]) -> (usize, HashMap<String, usize>) {
    let under_way =
        Arc::new(Mutex::new((HashMap::<String, usize>::new(), HashMap::<String, usize>::new(), 0)));
    let counted = Arc::clone(&under_way);
    let api = Api::start(move |vmid, _| {
        let rack = vmid[2..3].to_owned();
        {
            let (now, most, in_all) = &mut *counted.lock().unwrap();
            *now.entry(rack.clone()).or_default() += 1;
            let (here, everywhere): (usize, usize) = (now[&rack], now.values().sum());
            most.entry(rack.clone()).and_modify(|most| *most = here.max(*most)).or_insert(here);
            *in_all = everywhere.max(*in_all);
        }
        std::thread::sleep(Duration::from_millis(20));
        *counted.lock().unwrap().0.get_mut(&rack).unwrap() -= 1;
        success(201, true, 0).into()
    });
    let fixture = api.fixture();
    let mut csv = "vmid,rack_id\n".to_owned();
    for (rack, vms) in [(0, 60), (1, 60), (2, 4)] {
        for vm in 0..vms {
            writeln!(csv, "10{rack}{vm:02},r{rack}").unwrap();
        }
    }
    fixture.write("fleet.csv", csv);
    fixture.run(&[&RUN[..], options].concat()).exits(0);
    let (_, most, in_all) = under_way.lock().unwrap().clone();
    (in_all, most)
}

#[test]
fn no_rack_holds_more_slots_than_it_may() {
    let (in_all, by_rack) = most_at_once(&["--concurrency", "8"]);
    assert!(in_all == 8 && by_rack["2"] <= 4, "{in_all} {by_rack:?}");
    let (in_all, by_rack) = most_at_once(&["--concurrency", "8", "--rack-concurrency", "3"]);
    assert!(in_all <= 8 && by_rack.values().all(|&most| most <= 3), "{in_all} {by_rack:?}");
    let (in_all, _) = most_at_once(&["--concurrency", "1"]);
    assert_eq!(in_all, 1);
}
