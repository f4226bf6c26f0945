//! Disks that are full, failing or read-only: nothing is called that could not be recorded, what is on disk stays
//! right, and the message says which file, and what to do.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;

use crate::crash::{assert_whole, creations, made, settled};
use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::strace::{can, traced, wrapped};
use crate::tmpfs::Tmpfs;

const VMS: usize = 100;
const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
const WITHOUT_REPORTS: [&str; 2] = ["--output-dir", "none"];
const LEDGER: &str = "state/v6fleet/ledger.db";

fn sandbox() -> Sandbox {
    Sandbox::start(&["--latency", "1ms..10ms"])
}

fn fixture(sandbox: &Sandbox) -> Fixture {
    let fixture = Fixture::at(sandbox);
    fixture.write("fleet.csv", fleet::csv(VMS));
    fixture
}

/// How many calls each VM has had.
fn calls(sandbox: &Sandbox) -> HashMap<String, usize> {
    sandbox.called_vmids().into_iter().fold(HashMap::new(), |mut calls, vmid| {
        *calls.entry(vmid).or_default() += 1;
        calls
    })
}

/// A run whose ledger failed: nothing was called unrecorded, and going on leads to the truth.
fn assert_broken_off(fixture: &Fixture, sandbox: &Sandbox, outcome: &Outcome) {
    outcome.assert_in_stderr("ledger.db: ");
    assert_whole(fixture);
    let settled = settled(fixture);
    let report = fixture.report_of("latest");
    let recorded = |vmid: &String| settled.contains_key(vmid) || report.in_flight().contains(&vmid.as_str());
    let before = calls(sandbox);
    assert!(before.keys().all(recorded), "called, and not in the ledger");
    let unfinished = settled.len() < VMS;
    let told = |command| outcome.stderr.contains(command);
    // What fails once the run is over leaves nothing to go on with.
    let is_over = !unfinished && told("Once that is mended: v6fleet report ");
    let told = is_over || told("go on: v6fleet resume ");
    match outcome.code {
        Some(1) => assert!(told, "{}", outcome.stderr),
        Some(2) => assert!(before.is_empty(), "called: {}", outcome.stderr),
        code => panic!("exit code {code:?}: {}", outcome.stderr),
    }

    if !unfinished {
        // Only its end could not be written: what was told to be typed makes up for it.
        match is_over {
            true => fixture.run(&["report", "latest"]).exits(0),
            false => fixture.resume(&[]).exits(0),
        };
        assert!(!fixture.run(&["runs"]).exits(0).stdout.contains("not finished"));
    }
    let again = fixture.run(&[&RUN[..], &["--resume"]].concat()).exits(0);
    assert_eq!(again.vmids().len(), VMS);
    let after = calls(sandbox);
    assert!(
        !unfinished || settled.keys().all(|vmid| after[vmid] == before[vmid]),
        "a settled VM was called again"
    );
    assert_eq!(creations(fixture), made(&sandbox.calls()));
    assert_whole(fixture);
}

#[test]
fn whenever_the_ledgers_disk_begins_to_fail_nothing_settled_is_lost_and_the_run_can_be_gone_on_with() {
    if !can("fsync:error=EIO") {
        return;
    }
    let mut codes = Vec::new();
    for (fault, moments) in [
        ("fsync:error=EIO", [1, 5, 8, 15, 30]),
        ("pwrite64:error=ENOSPC", [1, 40, 100, 150, 250]),
        ("pwrite64:error=EIO", [2, 60, 110, 140, 200]),
    ] {
        for moment in moments {
            let sandbox = sandbox();
            let fixture = fixture(&sandbox);
            let injection = format!("inject={fault}:when={moment}+");
            // The fewer calls at a time, the more commits.
            let run = [&RUN[..], &WITHOUT_REPORTS, &["--concurrency", "2"]].concat();
            let outcome = fixture.spawn(traced(&["-e", &injection], &fixture, &run)).end();
            codes.push(outcome.code);
            if outcome.code == Some(0) {
                continue;
            }
            if fixture.runs().is_empty() {
                assert_eq!((outcome.code, calls(&sandbox).len()), (Some(2), 0), "{}", outcome.stderr);
                assert_eq!(fixture.run(&RUN).exits(0).vmids().len(), VMS, "what was begun of it can be used");
            } else {
                assert_broken_off(&fixture, &sandbox, &outcome);
            }
        }
    }
    let times = |code| codes.iter().filter(|is| **is == Some(code)).count();
    assert!(times(1) >= 5 && times(2) >= 5, "both before and after the first call: {codes:?}");
}

#[test]
fn after_a_failed_sync_nothing_more_is_written_to_the_ledger() {
    if !can("fsync:error=EIO") {
        return;
    }
    // The slower the calls, the more commits: the first dozen comes before the run begins.
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let fixture = fixture(&sandbox);
    let writes = "trace=fsync,pwrite64,ftruncate,unlink,rename";
    let options = ["-e", writes, "-e", "inject=fsync:error=EIO:when=20"];
    let run = [&RUN[..], &WITHOUT_REPORTS, &["--concurrency", "2"]].concat();
    let outcome = fixture.spawn(traced(&options, &fixture, &run)).end().exits(1);
    let trace = fixture.read("trace");
    let mut after = trace.lines().skip_while(|line| !line.contains("INJECTED"));
    assert!(after.next().unwrap().contains("ledger.db-wal"));
    let written: Vec<&str> = after.filter(|line| line.contains("ledger.db")).collect();
    assert_eq!(written, [""; 0], "the sync could be told to have succeeded without what the first one lost");
    assert_broken_off(&fixture, &sandbox, &outcome);
}

#[test]
fn a_log_that_cannot_be_folded_into_the_ledger_stops_the_run() {
    if !can("fsync:error=EIO") {
        return;
    }
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    fixture.run(&RUN).exits(0);
    fixture.write("more.csv", fleet::csv_of(fleet::vmids(300_000, 16_000)));
    let ledger = fixture.path(LEDGER);
    let options = ["-P", ledger.to_str().unwrap(), "-e", "inject=fsync:error=EIO"];
    let run = ["run", "more.csv", "--action", "allocate", "--rate", "none", "--output-dir", "none"];
    let outcome = fixture.spawn(traced(&options, &fixture, &run)).end().exits(1);
    outcome.assert_in_stderr("ledger.db: disk I/O error");
    assert_whole(&fixture);
    fixture.run(&["resume"]).exits(0);
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
}

#[test]
fn a_ledger_on_read_only_media_is_read_if_it_was_closed() {
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let fixture = fixture(&sandbox);
    let Some(closed) = Tmpfs::mount("size=8m", &fixture.path("state")) else { return };
    fixture.spawn(closed.command(&fixture, &RUN)).end().exits(0);
    let read = [&["report", "--format", "json"][..], &["runs"], &["history", "100000"]];
    let told =
        |disk: &Tmpfs| read.map(|args| fixture.spawn(disk.command(&fixture, args)).end().exits(0).stdout);
    let before = told(&closed);
    closed.protect();
    assert_eq!(told(&closed), before);
    let refused = fixture.spawn(closed.command(&fixture, &RUN)).end().exits(2);
    refused.assert_in_stderr("ledger.db");
    drop(closed);

    let Some(killed) = Tmpfs::mount("size=8m", &fixture.path("state")) else { return };
    let run = fixture.spawn(killed.command(&fixture, &RUN));
    let calls = sandbox.calls().len();
    sandbox.await_calls(calls + 10);
    run.kill();
    killed.protect();
    let refused = fixture.spawn(killed.command(&fixture, &["runs"])).end().exits(2);
    refused.assert_in_stderr("was not closed, and lies on a read-only file system");
}

#[test]
fn a_disk_that_fills_up_in_mid_run_stops_it_and_with_room_it_goes_on() {
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let fixture = fixture(&sandbox);
    let state = fixture.path("state");
    let Some(disk) = Tmpfs::mount("size=2m", &state) else { return };
    let run = [&RUN[..], &["--concurrency", "2"]].concat();
    let run = fixture.spawn(disk.command(&fixture, &run));
    sandbox.await_calls(10);
    let filler = disk.fill();
    let outcome = run.end().exits(1);
    outcome.assert_in_stderr("make room on the ledger's disk");
    let calls = sandbox.calls().len();
    assert!(calls < VMS, "{calls} calls");
    disk.copy("v6fleet", &state.join("v6fleet"));
    assert_whole(&fixture);
    let settled = settled(&fixture);

    let full = fixture.spawn(disk.command(&fixture, &["resume"])).end().exits(2);
    full.assert_in_stderr("ledger.db");
    assert!(full.stderr.matches("disk is full").count() <= 1, "said twice: {}", full.stderr);
    assert_eq!(sandbox.calls().len(), calls, "nothing is called while nothing can be recorded");
    fs::remove_file(filler).unwrap();
    fixture.spawn(disk.command(&fixture, &["resume"])).end().exits(0);
    fs::remove_dir_all(state.join("v6fleet")).unwrap();
    disk.copy("v6fleet", &state.join("v6fleet"));
    assert_whole(&fixture);
    let record = self::calls(&sandbox);
    assert!(settled.keys().all(|vmid| record[vmid] == 1), "a settled VM was called again");
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
}

#[test]
fn a_ledger_that_may_not_grow_stops_the_run() {
    let sandbox = sandbox();
    let fixture = fixture(&sandbox);
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", "300"];
    let outcome = fixture.spawn(wrapped(&limited, &fixture, &RUN)).end().exits(1);
    assert!(!sandbox.calls().is_empty());
    assert_broken_off(&fixture, &sandbox, &outcome);
}

#[test]
fn a_report_that_cannot_be_written_is_named_and_the_command_that_writes_it_is_told() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    symlink("/dev/full", fixture.path("full.jsonl")).unwrap();
    let outcome = fixture.run(&[&RUN[..], &["-o", "full.jsonl", "-o", "good.csv"]].concat()).exits(1);
    assert!(outcome.stdout.starts_with("Complete: 100 VMs, "), "{}", outcome.stdout);
    outcome.assert_in_stderr("error: full.jsonl: cannot be written: No space left");
    assert_eq!((outcome.rows().len(), fixture.read("good.csv").lines().count()), (VMS, VMS + 1));

    fs::remove_file(fixture.path("full.jsonl")).unwrap();
    let (_, command) = outcome.stderr.split_once("Once that is mended: v6fleet ").unwrap();
    let args: Vec<&str> = command.split_whitespace().collect();
    assert_eq!((args[0], &args[2..]), ("report", &["-o", "full.jsonl"][..]));
    fixture.run(&args).exits(0);
    assert_eq!(fixture.read("full.jsonl").lines().count(), VMS);
    assert_eq!(sandbox.calls().len(), VMS);
}

#[test]
fn a_full_disk_for_the_reports_costs_no_outcome() {
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let fixture = fixture(&sandbox);
    let Some(disk) = Tmpfs::mount("size=256k", &fixture.path("small")) else { return };
    let run = [&RUN[..], &["--output-dir", "small", "-o", "good.csv"]].concat();
    let run = fixture.spawn(disk.command(&fixture, &run));
    sandbox.await_calls(1);
    let filler = disk.fill();
    let outcome = run.end().exits(1);
    assert!(outcome.stdout.starts_with("Complete: 100 VMs, "), "{}", outcome.stdout);
    assert_eq!(fixture.read("good.csv").lines().count(), VMS + 1);
    fs::remove_file(filler).unwrap();
    let (_, command) = outcome.stderr.split_once("Once that is mended: v6fleet ").unwrap();
    let report: Vec<&str> = command.split_whitespace().collect();
    fixture.spawn(disk.command(&fixture, &report)).end().exits(0);
    disk.copy(&fixture.latest_run(), &fixture.path("copy"));
    assert_eq!(fixture.read("copy/report.csv").lines().count(), VMS + 1);
}

#[test]
fn what_cannot_be_written_is_found_before_the_first_call() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    let read_only = Tmpfs::mount("ro", &fixture.path("read-only"));
    fixture.write("a-file", "");
    for dir in ["/proc", "a-file", "read-only"] {
        for (option, name) in [("--ledger", "ledger.db"), ("-o", "report.csv"), ("--output-dir", "reports")] {
            let path = format!("{dir}/{name}");
            let run = [&RUN[..], &[option, &path]].concat();
            let command = match (&read_only, dir) {
                (Some(disk), "read-only") => disk.command(&fixture, &run),
                (None, "read-only") => continue,
                _ => fixture.command(&run),
            };
            let outcome = fixture.spawn(command).end();
            assert_eq!(outcome.code, Some(2), "{option} {path}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(&path), "{option} {path}: {}", outcome.stderr);
        }
    }
    assert_eq!(sandbox.called_vmids(), [""; 0]);
}

#[test]
fn a_damaged_ledger_is_told_from_a_sound_one_before_the_first_call() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    fixture.run(&RUN).exits(0);
    let calls = sandbox.calls().len();
    let mut bytes = fs::read(fixture.path(LEDGER)).unwrap();
    bytes[4096..].fill(0xa5);
    fixture.write(LEDGER, &bytes);
    for command in [&RUN[..], &["resume"]] {
        let outcome = fixture.run(command).exits(2);
        outcome.assert_in_stderr("the ledger is damaged");
    }
    let dry_run = [&RUN[..], &["--dry-run"]].concat();
    for command in [
        &["runs"][..],
        &["runs", "--pin", "latest"],
        &["history", "10000"],
        &["report"],
        &["diff", "latest", "latest"],
        &["audit", "fleet.csv"],
        &dry_run,
    ] {
        fixture.run(command).exits(1).assert_in_stderr("the ledger is damaged");
    }
    assert_eq!(sandbox.calls().len(), calls);
    assert!(fs::read(fixture.path(LEDGER)).unwrap() == bytes, "a damaged ledger is left as it is");
}
