//! Two runs on one ledger.

use crate::fixture::{Fixture, eventually};
use crate::fleet;
use crate::sandbox::Sandbox;

const RUN: [&str; 8] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "2"];

#[test]
fn a_second_run_on_a_ledger_is_told_who_holds_it_and_calls_nothing() {
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(1_000));
    let mut first = fixture.start(&RUN);
    sandbox.await_calls(4);
    let other_job = ["run", "inventories/demo.csv"];
    let second = fixture.run(&other_job).exits(6);
    assert!(
        second.stderr.contains(&format!("in use by another run (pid {} on ", first.id())),
        "{}",
        second.stderr
    );
    assert_eq!((second.stdout.as_str(), fixture.count("SELECT count(*) FROM runs")), ("", 1));
    assert!(sandbox.called_vmids().iter().all(|vmid| vmid.len() == 6), "the demo's ids have five digits");

    let report = fixture.run(&["report", "-o", "meanwhile.csv"]).exits(0);
    assert!(report.stdout.starts_with("Not finished"), "{}", report.stdout);
    assert_eq!(fixture.read("meanwhile.csv").lines().count(), 1_001);
    fixture.run(&["run", "inventories/demo.csv", "--dry-run"]).exits(0);
    assert!(first.is_running(), "reading disturbs nobody");
    // A rehearsal has a ledger of its own.
    let rehearsal = ["run", "inventories/demo.csv", "--sandbox", "--rate", "none", "--output-dir", "none"];
    fixture.run(&rehearsal).exits(3);
    first.signal("TERM");
    first.end().exits(143);
}

#[test]
fn a_run_that_may_wait_goes_on_when_the_other_is_gone() {
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(1_000));
    fixture.write("other.csv", "vmid\n200000\n");
    let first = fixture.start(&RUN);
    sandbox.await_calls(4);
    let mut second = fixture.start(&["run", "other.csv", "--action", "allocate", "--lock-timeout", "1m"]);
    eventually("the second looks for the lock", || second.stderr().contains("API key"));
    assert!(second.is_running());
    first.kill();
    let outcome = second.end().exits(0);
    assert_eq!(outcome.vms_that_are("created"), ["200000"]);
}
