//! Two runs on one ledger.

use jiff::Timestamp;
use serde_json::json;

use crate::crash::{creations, made};
use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::ledger::settle_pending;
use crate::sandbox::Sandbox;
use crate::script::{Api, Step, success};
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
        outcome.assert_in_stderr("in use by another run");
    }
    assert_eq!((second.stdout.as_str(), fixture.runs().len()), ("", 1));
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
        outcome.assert_in_stderr(reason);
        outcome.assert_in_stderr("keep the ledger on a local disk");
    }
    assert_eq!(sandbox.called_vmids(), [""; 0]);
}

/// A run of many slow calls, under way.
fn under_way(fixture: &Fixture, sandbox: &Sandbox) -> Process {
    fixture.write("fleet.csv", fleet::csv(200));
    let run = fixture.start(&RUN);
    sandbox.await_calls(4);
    run
}

#[test]
fn a_run_stops_before_its_next_claim_when_its_lock_or_its_ledger_is_taken_away_from_under_it() {
    let ledger = "state/v6fleet/ledger.db";
    let takings: [fn(&std::path::Path); 5] = [
        |ledger| std::fs::remove_file(ledger.with_extension("db.lock")).unwrap(),
        |ledger| {
            std::fs::remove_file(ledger.with_extension("db.lock")).unwrap();
            std::fs::write(ledger.with_extension("db.lock"), "").unwrap();
        },
        |ledger| std::fs::remove_file(ledger).unwrap(),
        |ledger| std::fs::rename(ledger, ledger.with_extension("old")).unwrap(),
        |ledger| {
            std::fs::copy(ledger, ledger.with_extension("new")).unwrap();
            std::fs::rename(ledger.with_extension("new"), ledger).unwrap();
        },
    ];
    for take_away in takings {
        let sandbox = Sandbox::start(&["--latency", "50ms"]);
        let fixture = Fixture::at(&sandbox);
        let run = under_way(&fixture, &sandbox);
        take_away(&fixture.path(ledger));
        let outcome = run.end().exits(1);
        outcome.assert_in_stderr("was removed, renamed or replaced");
        outcome.assert_in_stderr("v6fleet resume ");
        assert!(!outcome.stdout.contains("Complete") && outcome.dir.is_none(), "{}", outcome.stdout);
        assert!(sandbox.calls().len() < 100, "{} calls", sandbox.calls().len());
    }
}

#[test]
fn a_run_whose_lock_was_removed_is_gone_on_with_by_another_and_never_by_two() {
    let sandbox = Sandbox::start(&["--latency", "50ms"]);
    let fixture = Fixture::at(&sandbox);
    let first = under_way(&fixture, &sandbox);
    std::fs::remove_file(fixture.path("state/v6fleet/ledger.db.lock")).unwrap();
    fixture.run(&[&RUN[..], &["--resume"]].concat()).exits(0);
    first.end().exits(1);
    let calls = sandbox.called_vmids();
    assert!(calls.len() <= 200 + 4, "{} calls for 200 VMs", calls.len());
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
}

#[test]
fn a_ledger_that_others_may_read_or_put_files_beside_is_a_warning_and_one_with_two_names_is_refused() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let fixture = Fixture::new();
    let run = |ledger: &str| {
        fixture.run(&["run", "inventories/demo.csv", "--sandbox", "--rate", "none", "--ledger", ledger])
    };
    let said = |log: &str| {
        ["read or change the ledger", "put files beside the ledger"].map(|word| log.contains(word))
    };
    assert_eq!(
        said(&run("mine/ledger.db").exits(3).stderr),
        [false, false],
        "one that is new is nobody else's"
    );
    let (dir, file) = (fixture.path("mine"), fixture.path("mine/ledger.db"));
    for (mode, of, expected) in [
        (0o644, &file, [true, false]),
        (0o602, &file, [true, false]),
        (0o640, &file, [false, false]),
        (0o777, &dir, [false, true]),
        (0o1777, &dir, [false, true]),
    ] {
        set_permissions(of, Permissions::from_mode(mode)).unwrap();
        assert_eq!(said(&run("mine/ledger.db").exits(3).stderr), expected, "{mode:o}");
        set_permissions(of, Permissions::from_mode(if of == &file { 0o600 } else { 0o700 })).unwrap();
    }
    std::fs::hard_link(&file, fixture.path("mine/other.db")).unwrap();
    for ledger in ["mine/ledger.db", "mine/other.db"] {
        let refused = run(ledger).exits(2);
        refused.assert_in_stderr("it has 2 names (hard links)");
    }
}

#[test]
fn a_link_planted_in_the_locks_place_is_refused_and_its_target_stays() {
    let fixture = Fixture::new();
    fixture.write("precious", "precious");
    std::os::unix::fs::symlink(fixture.path("precious"), fixture.path("ledger.db.lock")).unwrap();
    let run = ["run", "inventories/demo.csv", "--sandbox", "--ledger", "ledger.db"];
    let refused = fixture.run(&run).exits(2);
    refused.assert_in_stderr("ledger.db.lock: is a link");
    assert_eq!(fixture.read("precious"), "precious");
}

/// A run of two VMs whose outcomes are on disk, and whose end is not: as it is where the disk is full after them.
fn without_an_end() -> (Api, Fixture) {
    let api = Api::start(|_, nth| match nth {
        0 => Step::Stall(vec![]),
        _ => success(201, true, 0).into(),
    });
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    let run = fixture.start(&RUN);
    eventually("both calls are in flight", || api.received().len() == 2);
    run.kill();
    settle_pending(
        &fixture,
        Timestamp::now(),
        |_| json!({"prefix": "2001:db8::/48", "next_hop": "2001:db8::1"}),
    );
    assert!(fixture.run(&["runs"]).exits(0).stdout.contains("not finished"));
    (api, fixture)
}

#[test]
fn a_run_that_could_not_note_its_end_is_finished_by_resume_and_told_so_until_then() {
    for by_id in [false, true] {
        let (api, fixture) = without_an_end();
        let id = fixture.latest_run();
        let report = fixture.run(&["report"]).exits(0).stdout;
        assert!(report.starts_with("Not finished (its process died): 2 VMs"), "{report}");
        assert!(report.contains(&format!("Go on:        v6fleet resume {id}")), "{report}");
        let summary = fixture.report_of("latest");
        assert_eq!(
            (&summary.summary()["complete"], &summary.summary()["pending"]),
            (&false.into(), &0.into())
        );
        let page = fixture.run(&["report", "-o", "html:-"]).exits(0).stdout;
        let end = format!("the run's end was not noted: <code>v6fleet resume {id}</code> ends it");
        assert!(page.contains(&end), "{page}");
        let command = if by_id { &["resume", &id][..] } else { &["resume"] };
        let outcome = fixture.run(command).exits(0);
        assert!(outcome.stdout.starts_with("Complete: 2 VMs"), "{}", outcome.stdout);
        assert!(!fixture.run(&["runs"]).exits(0).stdout.contains("not finished"));
        fixture.run(command).exits(7);
        assert_eq!(api.received().len(), 2);
    }
    let (api, fixture) = without_an_end();
    fixture.run(&[&RUN[..], &["--resume"]].concat()).exits(0);
    assert_eq!(fixture.runs().len(), 2, "a scheduler's next run calls the fleet anew");
    assert_eq!(api.received().len(), 4);
}
