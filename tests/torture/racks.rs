//! Sick racks and sick VMs: whoever is well is not held up by them.

use std::fmt::Write;

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Outcome};
use crate::sandbox::Sandbox;
use crate::trouble::is_full;
use crate::truth::assert_true;

const RACKS: u64 = 10;
const DEAD: u64 = 3;
const TRIES: usize = 3;

/// The VMs of a rack.
fn vmids(rack: u64) -> impl Iterator<Item = u64> {
    let vms = if is_full() { 200 } else { 50 };
    (0..vms).map(move |vm| 100_000 + 1_000 * rack + vm)
}

/// Ten racks in a world of their own, and an inventory sorted by them.
fn write_fleet(fixture: &Fixture) {
    let (mut world, mut csv) = (String::new(), "vmid,rack_id\n".to_owned());
    for rack in 0..RACKS {
        let ids: Vec<u64> = vmids(rack).collect();
        let (pool, vms) = (0x2001_0db8_0000_u64 + rack, format!("{}-{}", ids[0], ids[ids.len() - 1]));
        let network = format!("2001:db8:{:x}::", pool & 0xffff);
        writeln!(world, "[racks.r{rack}]\npool = \"{network}/48\"\nprefix_length = 64").unwrap();
        writeln!(world, "next_hop = \"{network}1\"\nvms = [\"{vms}\"]").unwrap();
        for id in ids {
            writeln!(csv, "{id},r{rack}").unwrap();
        }
    }
    fixture.write("world.toml", world);
    fixture.write_fleet(csv);
}

fn sandbox(fixture: &mut Fixture, faults: &[&str]) -> Sandbox {
    let world = fixture.path("world.toml");
    let sandbox =
        Sandbox::start(&[&["--latency", "50ms", "--world", world.to_str().unwrap()], faults].concat());
    fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
    sandbox
}

fn run(fixture: &Fixture) -> Outcome {
    let (timeout, max_wait) = if is_full() { ("5s", "20s") } else { ("1s", "2500ms") };
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--timeout", timeout];
    fixture.run(&[&run[..], &["--max-wait", max_wait]].concat())
}

/// Seconds from the first call until all racks but the dead one were done.
fn nine_took(sandbox: &Sandbox) -> f64 {
    let calls = sandbox.calls();
    let dead: Vec<String> = vmids(DEAD).map(|id| id.to_string()).collect();
    let last = calls.iter().rfind(|call| !dead.contains(&call.vmid)).unwrap();
    last.at.duration_since(calls[0].at).as_secs_f64()
}

/// A run with a dead rack, stopped and resumed. Returns how long the others took.
fn with_a_dead_rack(fixture: &mut Fixture, fault: &str) -> f64 {
    let rack = format!("r{DEAD}");
    let sandbox = sandbox(fixture, &["--rack-fault", &format!("{rack}={fault}")]);
    let outcome = run(fixture).exits(5);
    assert_eq!(outcome.summary()["stopped_by"], "max_wait");
    outcome.assert_in_stderr("rack r3 fails: probing");
    assert!(!outcome.stderr.contains("leaving the API alone"), "{}", outcome.stderr);
    assert_true(&outcome, &sandbox, &[]);
    let (took, unsettled) = (nine_took(&sandbox), outcome.vms_that_are("failed").len());
    assert_eq!(unsettled, vmids(DEAD).count());

    sandbox.set_fault(&rack, None);
    let outcome = fixture.resume(&[]).exits(0);
    assert_true(&outcome, &sandbox, &[]);
    assert_eq!(outcome.vms_that_are("created").len(), outcome.rows().len());
    took
}

#[test]
fn one_dead_rack_of_ten_holds_nobody_up_and_is_waited_for_and_resumed() {
    // One after another: the machine is each one's alone.
    for (fault, dialect) in [("hang", Dialect::V1), ("504", Dialect::V1), ("hang", Dialect::V2)]
        .into_iter()
        .take(if is_full() { 3 } else { 1 })
    {
        let mut ratios = Vec::new();
        while ratios.last().is_none_or(|&ratio| ratio > 1.3) {
            assert!(
                ratios.len() < TRIES,
                "the other nine took so many times as long with a rack's {fault}: {ratios:?}"
            );
            let mut fixture = Fixture::alone().speaking(dialect).env("HOSTUP_API_KEY", "a-key");
            write_fleet(&fixture);
            let healthy = sandbox(&mut fixture, &[]);
            run(&fixture).exits(0);
            let alone = nine_took(&healthy);
            let took = with_a_dead_rack(&mut fixture, fault);
            println!("{fault}, {dialect:?}: the other nine took {took:.2} s, and {alone:.2} s without it");
            ratios.push(took / alone);
        }
    }
}

/// Starts a run in which three VMs of this inventory always answer 500.
#[track_caller]
fn assert_simply_failed(dialect: Dialect, inventories: &[String]) {
    let sick = ["100010", "100011", "100012"];
    let faults: Vec<String> = sick.iter().map(|id| format!("{}=500", dialect.id(id))).collect();
    let options: Vec<&str> = faults.iter().flat_map(|fault| ["--vm-fault", fault]).collect();
    let start = |csv: &String| {
        let sandbox = Sandbox::start(&options);
        let fixture = Fixture::at(&sandbox).speaking(dialect);
        fixture.write_fleet(csv);
        let process = fixture.start(&["run", "fleet.csv", "--action", "allocate", "--rate", "none"]);
        (sandbox, fixture, process)
    };
    for (sandbox, fixture, process) in inventories.iter().map(start).collect::<Vec<_>>() {
        let outcome = process.end().exits(3);
        drop(fixture);
        assert_eq!(outcome.vms_that_are("failed"), sick);
        assert!(!outcome.stderr.contains("alone"), "{}", outcome.stderr);
        let calls = sandbox.called_vmids();
        for id in sick {
            assert_eq!(calls.iter().filter(|called| *called == id).count(), 5);
            assert_eq!(outcome.row(id)["failure"], "server_error");
        }
        assert_true(&outcome, &sandbox, &[]);
    }
}

#[test]
fn three_vms_that_always_answer_500_are_simply_failed_wherever_they_are() {
    let rackless = (100_000..100_040).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
    let last = (100_000..100_013).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
    let rack = |id| if (100_010..=100_012).contains(&id) { "small" } else { "large" };
    let own_rack =
        (100_000..100_040).fold("vmid,rack_id\n".to_owned(), |csv, id| csv + &format!("{id},{}\n", rack(id)));
    let inventories = [rackless, last, own_rack];
    in_each(|dialect| assert_simply_failed(dialect, &inventories));
}
