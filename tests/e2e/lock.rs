//! Two runs on one ledger.

use crate::fixture::{Fixture, eventually};
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::strace::{can, traced};

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
    let (_, since) = second.stderr.split_once(" since ").unwrap();
    assert!(since[..20].parse::<jiff::Timestamp>().is_ok(), "{}", second.stderr);
    for command in [&["resume"][..], &[&other_job[..], &["--lock-timeout", "200ms"]].concat()] {
        let outcome = fixture.run(command).exits(6);
        assert!(outcome.stderr.contains("in use by another run"), "{}", outcome.stderr);
    }
    assert_eq!((second.stdout.as_str(), fixture.count("SELECT count(*) FROM runs")), ("", 1));
    assert!(sandbox.called_vmids().iter().all(|vmid| vmid.len() == 6), "the demo's ids have five digits");

    let report = fixture.run(&["report", "-o", "meanwhile.csv"]).exits(0);
    assert!(report.stdout.starts_with("Running (it is not finished yet): 1,000 VMs"), "{}", report.stdout);
    assert!(!report.stdout.contains("v6fleet resume"), "it goes on by itself: {}", report.stdout);
    assert_eq!(fixture.read("meanwhile.csv").lines().count(), 1_001);
    fixture.run(&["run", "inventories/demo.csv", "--dry-run"]).exits(0);
    let runs = fixture.run(&["runs"]).exits(0).stdout;
    assert!(runs.contains(" running"), "{runs}");
    assert!(first.is_running(), "reading disturbs nobody");
    // A rehearsal has a ledger of its own.
    let rehearsal = ["run", "inventories/demo.csv", "--sandbox", "--rate", "none", "--output-dir", "none"];
    fixture.run(&rehearsal).exits(3);
    first.signal("TERM");
    first.end().exits(143);
}

#[test]
fn whether_a_run_is_on_or_has_died_is_told_by_the_lock() {
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(100));
    let verdict =
        || fixture.run(&["report", "--format", "json"]).exits(0).stdout.contains(r#""running":true"#);
    let ends = || fixture.run(&["runs"]).exits(0).stdout.lines().last().unwrap().to_owned();
    let first = fixture.start(&RUN);
    sandbox.await_calls(4);
    assert!(verdict() && ends().ends_with(" running"), "{}", ends());
    first.kill();
    assert!(!verdict() && ends().ends_with(" not finished"), "{}", ends());
    let report = fixture.run(&["report"]).exits(0).stdout;
    assert!(report.starts_with("Not finished (its process died): 100 VMs"), "{report}");
    assert!(report.contains("v6fleet resume "), "{report}");

    // Another run of the ledger that is on is not this one.
    let killed = ends().split_whitespace().next().unwrap().to_owned();
    fixture.write("other.csv", fleet::csv(50));
    let begun = sandbox.calls().len();
    let second =
        fixture.start(&["run", "other.csv", "--action", "allocate", "--rate", "none", "--concurrency", "2"]);
    sandbox.await_calls(begun + 4);
    let report = fixture.run(&["report", &killed]).exits(0).stdout;
    assert!(report.starts_with("Not finished (its process died)"), "{report}");
    second.kill();
}

#[test]
fn looking_whether_a_run_is_on_keeps_none_from_beginning() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(1));
    fixture.run(&RUN).exits(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(fixture.command(&["runs", "--limit", "1"]).output().unwrap().status.success());
            }
        });
        let begun: Vec<_> = (0..20).map(|_| fixture.run(&RUN)).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for outcome in begun {
            outcome.exits(0);
        }
    });
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
    eventually("the second waits, and says for whom", || second.stderr().contains("waiting for another run"));
    assert!(second.stderr().contains(&format!("pid {} on ", first.id())), "{}", second.stderr());
    assert!(second.is_running());
    first.kill();
    let outcome = second.end().exits(0);
    assert_eq!(outcome.vms_that_are("created"), ["200000"]);
}

#[test]
fn a_link_to_a_ledger_has_the_lock_of_the_ledger() {
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(1_000));
    let first = fixture.start(&RUN);
    sandbox.await_calls(1);
    std::os::unix::fs::symlink("state/v6fleet/ledger.db", fixture.path("link.db")).unwrap();
    fixture.run(&["run", "inventories/demo.csv", "--ledger", "link.db"]).exits(6);
    first.signal("TERM");
    first.end().exits(143);
}

#[test]
fn a_file_system_that_cannot_lock_or_is_a_networks_is_refused_with_the_reason() {
    const NFS: &str = "statfs:poke_exit=@arg2=6969000000000000";
    if !can("flock:error=ENOLCK") || !can(NFS) {
        return;
    }
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    for (injection, reason) in
        [("flock:error=ENOLCK", "cannot lock"), (NFS, "NFS can neither lock nor share")]
    {
        let run = ["run", "inventories/demo.csv", "--ledger", "ledger.db"];
        let outcome =
            fixture.spawn(traced(&["-e", &format!("inject={injection}")], &fixture, &run)).end().exits(2);
        assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("keep the ledger on a local disk"), "{}", outcome.stderr);
    }
    assert_eq!(sandbox.called_vmids(), [""; 0]);
}
