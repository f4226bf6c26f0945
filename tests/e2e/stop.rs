//! Ctrl-C, SIGTERM and SIGHUP: no new calls, what is in flight is waited for, and the report is true.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::script::{Api, Speech, Step};
use crate::strace::wrapped;

const RUN: [&str; 8] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "8"];

#[test]
fn a_signal_ends_a_run_with_a_true_report_and_its_own_exit_code() {
    in_each(end_by_signals);
}

fn end_by_signals(dialect: Dialect) {
    for (signal, code, word) in
        [("TERM", 143, "terminated"), ("INT", 130, "interrupted"), ("HUP", 143, "terminated")]
    {
        let sandbox = Sandbox::start(&["--latency", "50ms..150ms"]);
        let fixture = Fixture::at(&sandbox).speaking(dialect);
        fixture.write_fleet(fleet::csv(300));
        let process = fixture.start(&RUN);
        sandbox.await_calls(20);
        process.signal(signal);
        let outcome = process.end().exits(code);
        assert_eq!(outcome.rows().len(), 300);
        assert_eq!(outcome.summary()["stopped_by"], word);
        assert_eq!(
            (&outcome.summary()["complete"], &outcome.summary()["exit_code"]),
            (&false.into(), &code.into())
        );
        let called: BTreeSet<String> = sandbox.called_vmids().into_iter().collect();
        assert!((20..100).contains(&called.len()), "{} VMs were called", called.len());
        for row in outcome.rows() {
            let was_called = called.contains(row["vmid"].as_str().unwrap());
            let spared = row["failure"] == "not_attempted";
            assert_eq!((row["outcome"] == "failed", spared), (!was_called, !was_called), "{row}");
            assert_eq!(row["attempts"], u8::from(was_called), "{row}");
        }
        let report = fixture.report_of("latest");
        assert_eq!((report.settled().count(), report.in_flight()), (called.len(), vec![]));
        outcome.assert_in_stdout("v6fleet resume ");
        let spared = 300 - called.len();
        let told = format!(" {spared} failed, {spared} of them not attempted\n");
        outcome.assert_in_stdout(&told);
        let runs = fixture.run(&["runs"]).exits(0).stdout;
        assert!(runs.contains("not attempted"), "{runs}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_run_can_go_on() {
    in_each(end_by_second_signals);
}

fn end_by_second_signals(dialect: Dialect) {
    for (first, second, code) in [("INT", "INT", 130), ("TERM", "TERM", 143), ("INT", "HUP", 143)] {
        let calls = AtomicUsize::new(0);
        let api = Api::of(dialect, move |_, _| match calls.fetch_add(1, Ordering::Relaxed) {
            ..8 => Step::Stall(vec![]),
            _ => dialect.success(200, false, 0).into(),
        });
        let fixture = api.fixture();
        // Without racks: one whose calls hang would not get all slots.
        let rackless =
            fleet::vmids(100_000, 50).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
        fixture.write_fleet(rackless);
        let process = fixture.start(&RUN);
        eventually("calls are in flight", || api.received().len() == 8);
        process.signal(first);
        eventually("the first signal is understood", || process.stderr().contains("no new calls"));
        let in_flight = || fixture.report_of("latest").in_flight().len();
        eventually("what was to leave next is given back", || in_flight() == 8);
        let told = Instant::now();
        process.signal(second);
        let outcome = process.end().exits(code);
        let took = told.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(api.received().len(), 8, "no new calls");
        assert!(outcome.dir.is_none(), "a report would have to wait");
        fixture.assert_file_is_sound();
        assert_eq!(in_flight(), 8);

        let outcome = fixture.run(&["resume", "--rate", "none"]).exits(0);
        assert_eq!(outcome.vms_that_are("created").len(), 8, "those in flight may have acted");
    }
}

#[test]
fn a_vm_that_waits_for_a_retry_when_the_run_stops_keeps_what_it_has_been_through() {
    in_each(stop_before_a_retry);
}

fn stop_before_a_retry(dialect: Dialect) {
    let api = Api::of(dialect, move |vmid, _| match vmid {
        "10000" => dialect.error(503, "UPSTREAM").header("retry-after", "600").into(),
        "10001" => Step::Stall(vec![]),
        _ => dialect.success(201, true, 0).into(),
    });
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10000\n10001\n10002\n");
    let process =
        fixture.start(&["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--timeout", "2s"]);
    let waits = || fixture.report_of("latest").row("10000")["failure"] == "server_error";
    eventually("the ledger knows that one VM waits", || api.received().len() == 3 && waits());
    process.signal("TERM");
    let outcome = process.end().exits(143);
    let row = outcome.row("10000");
    assert_eq!((&row["failure"], &row["attempts"]), (&"server_error".into(), &1.into()), "{row}");
    assert_eq!((&row["may_have_applied"], &row["http_status"]), (&true.into(), &503.into()));
    assert_eq!(outcome.row("10001")["failure"], "timeout");
    assert_eq!(outcome.row("10002")["outcome"], "created");
    assert_eq!(fixture.report_of("latest").summary()["pending"], 2);
}

#[test]
fn a_deadline_stops_new_calls_and_says_so() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(100));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "20/s", "--deadline", "500ms"];
    let outcome = fixture.run(&run).exits(5);
    assert_eq!(outcome.summary()["stopped_by"], "deadline");
    let calls = sandbox.calls().len();
    assert!((1..=13).contains(&calls), "{calls} calls");
    assert_eq!(outcome.vms_that_are("failed").len(), 100 - calls);
}

/// A pipe that nobody reads: whoever opens it to write waits for ever.
fn pipe(fixture: &Fixture, name: &str) {
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, fixture.path(name), fifo, 0o600.into(), 0).unwrap();
}

/// A run of 20 VMs that is over but for its reports, one of which goes into a pipe without a reader.
fn writing_its_reports(fixture: &Fixture) -> Process {
    fixture.write("fleet.csv", fleet::csv(20));
    pipe(fixture, "pipe.jsonl");
    let process = fixture.start(&[&RUN[..], &["-o", "pipe.jsonl"]].concat());
    eventually("the calls are over", || fixture.runs().iter().any(|run| !run["ended_at"].is_null()));
    process
}

#[test]
fn after_the_calls_the_first_signal_is_told_what_goes_on_and_the_second_ends_it_at_once() {
    for (first, second, code) in [("INT", "INT", 130), ("TERM", "HUP", 143)] {
        let sandbox = Sandbox::start(&[]);
        let fixture = Fixture::at(&sandbox);
        let mut process = writing_its_reports(&fixture);
        process.signal(first);
        eventually("the first signal is understood", || {
            process.stderr().contains("stop again to leave at once")
        });
        assert!(process.is_running(), "the report may yet be read");
        process.signal(second);
        process.end_within(Duration::from_secs(10)).exits(code);
        let report = fixture.run(&["report", "-o", "report.csv"]).exits(0);
        assert!(report.stdout.starts_with("Complete: 20 VMs"), "{}", report.stdout);
        assert_eq!(fixture.read("report.csv").lines().count(), 21);
        assert_eq!(sandbox.calls().len(), 20);
    }
}

#[test]
fn a_run_that_was_stopped_is_left_at_once_while_it_writes_its_reports() {
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(1_000));
    pipe(&fixture, "pipe.jsonl");
    let process = fixture.start(&[&RUN[..], &["-o", "pipe.jsonl"]].concat());
    sandbox.await_calls(20);
    process.signal("TERM");
    eventually("the calls are over", || fixture.runs()[0]["stopped_by"] == "terminated");
    process.signal("INT");
    process.end_within(Duration::from_secs(10)).exits(130);
    std::fs::remove_file(fixture.path("pipe.jsonl")).unwrap();
    fixture.run(&["resume", "--rate", "none"]).exits(0);
    let calls: BTreeSet<String> = sandbox.called_vmids().into_iter().collect();
    assert_eq!((calls.len(), sandbox.calls().len()), (1_000, 1_000));
}

#[test]
fn a_run_that_was_told_to_ignore_hangups_does() {
    let sandbox = Sandbox::start(&["--latency", "10ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(200));
    let process = fixture.spawn(wrapped(&["nohup"], &fixture, &RUN));
    sandbox.await_calls(20);
    process.signal("HUP");
    process.end().exits(0);
}
