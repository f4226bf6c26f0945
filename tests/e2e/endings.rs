//! Every run ends, and what stopped it does not stop it again once it is resumed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use crate::dialect::{Dialect, in_each};
use crate::fixture::Fixture;
use crate::fleet::{csv, is_allocated, vmids};
use crate::sandbox::Sandbox;
use crate::script::{Api, Speech, success};

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

fn at(url: &str, dialect: Dialect) -> Fixture {
    Fixture::new().speaking(dialect).env("V6FLEET_BASE_URL", url).env("HOSTUP_API_KEY", "a-key")
}

/// VMs that do not exist, then such as get an allocation, then such as have one; the last seven are not where they
/// are expected.
fn uneven_fleet(missing: u64) -> String {
    let mut csv = "vmid,next_hop\n".to_owned();
    (1..=missing).for_each(|hundred| writeln!(csv, "{},", hundred * 100 + 99).unwrap());
    vmids(200_000, 100)
        .filter(|id| !is_allocated(*id))
        .take(8)
        .for_each(|id| writeln!(csv, "{id},").unwrap());
    let mut allocated = vmids(200_000, 100).filter(|id| is_allocated(*id));
    allocated.by_ref().take(22).for_each(|id| writeln!(csv, "{id},").unwrap());
    allocated.take(7).for_each(|id| writeln!(csv, "{id},2001:db8::dead").unwrap());
    csv
}

#[test]
fn a_run_stopped_by_a_brake_goes_on_and_is_not_stopped_by_what_was_counted_before() {
    in_each(stop_by_brakes);
}

fn stop_by_brakes(dialect: Dialect) {
    // Each sitting may count anew what is "more than" its threshold, so this many can be stopped.
    for (options, word, missing, stops) in [
        (&["--canary", "2"][..], "canary", 4, 1..=4),
        (&["--max-failed", "1"], "max_failed", 4, 1..=2),
        (&["--max-changed", "3"], "max_changed", 4, 1..=2),
        (&["--max-drift", "5%"], "max_drift", 4, 1..=2),
        (&[], "all_failed", 45, 1..=2),
    ] {
        let sandbox = Sandbox::start(&[]);
        let fixture = Fixture::at(&sandbox).speaking(dialect);
        fixture.write_fleet(uneven_fleet(missing));
        let mut outcome = fixture.run(&[&RUN[..], &["--concurrency", "1"], options].concat());
        let mut stopped = 0;
        while outcome.code == Some(4) && stopped < 10 {
            assert_eq!(outcome.summary()["stopped_by"], word);
            let spared = outcome.rows().iter().filter(|row| row["failure"] == "not_attempted").count();
            assert_eq!(fixture.report_of("latest").summary()["pending"], spared, "{options:?}");
            stopped += 1;
            outcome = fixture.resume(&[]);
        }
        assert!(stops.contains(&stopped), "{options:?}: stopped {stopped} times");
        let outcome = outcome.exits(3);
        assert_eq!(outcome.summary()["complete"], true);
        assert_eq!(outcome.vms_that_are("failed").len() as u64, missing);
        let called = sandbox.called_vmids();
        assert_eq!(
            called.iter().collect::<BTreeSet<_>>().len(),
            called.len(),
            "{options:?}: none is called again"
        );
    }
}

#[test]
fn at_a_deadline_calls_in_flight_are_waited_for_and_retries_are_not() {
    in_each(reach_the_deadline);
}

fn reach_the_deadline(dialect: Dialect) {
    let api = Api::of(dialect, move |vmid, nth| match (vmid, nth) {
        ("10000", 0) => dialect.error(503, "UPSTREAM").header("retry-after", "600").into(),
        ("10001", _) => dialect.success(201, true, 0).after(Duration::from_millis(2_500)).into(),
        _ => dialect.success(201, true, 0).into(),
    });
    let fixture = api.fixture();
    fixture.write_fleet((10_000..10_040).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n")));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "10/s", "--deadline", "1s"];
    let outcome = fixture.run(&run).exits(5);
    assert_eq!(outcome.summary()["stopped_by"], "deadline");
    assert_eq!(
        (&outcome.row("10000")["failure"], &outcome.row("10000")["attempts"]),
        (&"server_error".into(), &1.into())
    );
    assert_eq!(outcome.row("10001")["outcome"], "created", "it was under way");
    let calls = api.received();
    let last = calls[calls.len() - 1].at - calls[0].at;
    assert!(last < Duration::from_millis(1_500), "a call left {last:?} after the first");
    assert_eq!(outcome.vms_that_are("created").len(), calls.len() - 1);
    assert_eq!(fixture.report_of("latest").summary()["pending"], 40 - calls.len() + 1);

    let outcome = fixture.resume(&["--deadline", "1h", "--rate", "none"]).exits(0);
    assert_eq!(outcome.vms_that_are("created").len(), 40);
    // v2 looks first what became of the one that was lost.
    assert_eq!(api.received().len(), if dialect == Dialect::V1 { 41 } else { 42 });
}

#[test]
fn a_run_whose_last_call_was_answered_after_the_deadline_is_not_said_to_go_on() {
    let api = Api::start(|_, _| success(201, true, 0).after(Duration::from_millis(2_500)).into());
    let fixture = api.fixture();
    fixture.write("fleet.csv", "vmid\n10000\n");
    let run = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--deadline", "1s"]).exits(5);
    let id = fixture.latest_run();
    assert_eq!(run.row("10000")["outcome"], "created");
    for told in [&run, &fixture.run(&["report"]).exits(0), &fixture.run(&["status"]).exits(0)] {
        assert!(!told.stdout.contains("v6fleet resume"), "{}", told.stdout);
    }
    let report = format!("exit code 5; v6fleet report {id}");
    fixture.run(&["status"]).exits(0).assert_in_stdout(&report);
    fixture.run(&["resume", &id]).exits(7).assert_in_stderr("is finished");
}

#[test]
fn a_run_ends_within_max_wait_whatever_keeps_it_from_settling_a_vm() {
    in_each(keep_from_settling);
}

fn keep_from_settling(dialect: Dialect) {
    let throttled = move || dialect.error(429, "RATE_LIMITED").header("retry-after", "1");
    let throttling = Api::of(dialect, move |_, _| throttled().into());
    let last = move || dialect.success(201, true, 0).header("x-ratelimit-remaining", "0");
    let spent = Api::of(dialect, move |_, _| last().header("x-ratelimit-reset", "3600").into());
    let down = Sandbox::start(&["--phase", "30..=down-503"]);
    let gone = Sandbox::start(&["--latency", "20ms", "--phase", "500ms..=refuse"]);
    let cases = [
        (throttling.base_url(), "the API asked for it"),
        (spent.base_url(), "the API asked for it"),
        (down.base_url(), "fails: probing"),
        (gone.base_url(), "the API fails: probing"),
    ];
    let runs: Vec<_> = cases
        .into_iter()
        .map(|(url, why)| {
            let fixture = at(&url, dialect);
            fixture.write_fleet(csv(400));
            let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "100/s", "--max-wait", "3s"];
            (fixture.start(&run), fixture, why)
        })
        .collect();
    for (process, fixture, why) in runs {
        let outcome = process.end().exits(5);
        assert_eq!(outcome.summary()["stopped_by"], "max_wait", "{why}");
        assert!(outcome.stderr.contains(why), "{why}:\n{}", outcome.stderr);
        let report = fixture.report_of("latest");
        assert!(report.summary()["pending"].as_u64() > Some(0), "{why}");
        assert_eq!(report.in_flight(), [""; 0], "{why}");
    }
}

#[test]
fn a_dead_rack_is_named_and_resume_finishes_it_once_it_lives() {
    in_each(revive_a_rack);
}

fn revive_a_rack(dialect: Dialect) {
    let sandbox = Sandbox::start(&["--rack-fault", "dc1r28=504"]);
    let fixture = Fixture::at(&sandbox).speaking(dialect);
    fixture.write_fleet(csv(400));
    let outcome = fixture.run(&[&RUN[..], &["--max-wait", "1500ms"]].concat()).exits(5);
    outcome.assert_in_stderr("rack dc1r28 fails: probing");
    let unsettled = outcome.vms_that_are("failed");
    assert!(unsettled.len() >= 90 && unsettled.iter().all(|id| outcome.row(id)["rack_id"] == "dc1r28"));
    sandbox.set_fault("dc1r28", None);
    assert_eq!(fixture.resume(&[]).exits(0).vms_that_are("failed").len(), 0);
}
