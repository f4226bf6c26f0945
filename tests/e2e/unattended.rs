//! Where nobody watches: cron's empty environment, closed pipes, logs and recaps that programs read.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::{Fixture, binary, eventually};
use crate::sandbox::Sandbox;

#[test]
fn crons_empty_environment_is_enough() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("home")).unwrap();
    let url = sandbox.base_url();
    let inventory = concat!(env!("CARGO_MANIFEST_DIR"), "/inventories/demo.csv");
    let mut command = Command::new(binary());
    command.args(["run", inventory, "--action", "allocate", "--rate", "none", "--base-url", &url]);
    command.env_clear().env("HOME", fixture.path("home")).env("HOSTUP_API_KEY", "a-key");
    command.current_dir(fixture.path("")).stdin(Stdio::null());
    let outcome = fixture.spawn(command).end().exits(3);
    assert_eq!(outcome.rows().len(), 60);
    let mode = |name: &str| fs::metadata(fixture.path(name)).unwrap().permissions().mode() & 0o777;
    let dir = "home/.local/state/v6fleet";
    assert_eq!((mode(dir), mode(&format!("{dir}/ledger.db"))), (0o700, 0o600));
}

#[test]
fn reports_have_the_rights_that_the_umask_gives() {
    let fixture = Fixture::new();
    let mut command = Command::new("/bin/sh");
    let script =
        format!("umask 027; exec {} run inventories/demo.csv --sandbox --rate none", binary().display());
    command.args(["-c", &script]).current_dir(fixture.path("")).env_clear().env("HOME", fixture.path("home"));
    let outcome = fixture.spawn(command).end().exits(3);
    for name in ["report.csv", "report.json", "report.html"] {
        let path = outcome.dir.as_ref().unwrap().join(name);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640, "{name}");
    }
}

#[test]
fn a_reader_that_is_gone_is_no_error() {
    let fixture = Fixture::new();
    for args in [
        &["run", "inventories/demo.csv", "--sandbox", "--rate", "none"][..],
        &[
            "run",
            "inventories/demo.csv",
            "--sandbox",
            "--rate",
            "none",
            "--format",
            "json",
            "--progress",
            "always",
        ],
        &["run", "inventories/demo.csv", "--sandbox", "--dry-run"],
        &["report", "--sandbox"],
        &["runs", "--sandbox"],
        &["runs", "--sandbox", "--format", "json"],
        &["history", "10000", "--sandbox"],
        &["diff", "latest", "latest", "--sandbox"],
        &["diff", "latest", "latest", "--sandbox", "--format", "json"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
    ] {
        let mut command = fixture.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        let expected = if args[0] == "run" && !args.contains(&"--dry-run") { 3 } else { 0 };
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{args:?}");
    }
    assert_eq!(fixture.reported_runs(), 2);
}

#[test]
fn a_sandbox_whose_address_nobody_reads_serves_all_the_same() {
    let fixture = Fixture::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = fixture.command(&["sandbox", "--listen", &free.to_string()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    eventually("it serves", || TcpStream::connect(free).is_ok());
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_recap_for_programs_is_one_json_object_and_all_of_standard_output() {
    let fixture = Fixture::new();
    let run = ["run", "inventories/demo.csv", "--sandbox", "--rate", "none", "--format", "json"];
    let outcome = fixture.run(&run).exits(3);
    let recap: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&recap["summary"], &recap["run"]), (outcome.summary(), &outcome.report()["run"]));
    assert_eq!(outcome.stdout.lines().count(), 1);
    let reports: Vec<&str> =
        recap["reports"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert!(reports.len() == 3 && reports.iter().all(|path| fixture.path(path).is_file()), "{reports:?}");

    let again = fixture.run(&["report", "--sandbox", "--format", "json"]).exits(0);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["summary"], recap["summary"]);

    let dry: Value =
        serde_json::from_str(&fixture.run(&[&run[..], &["--dry-run"]].concat()).exits(0).stdout).unwrap();
    assert_eq!((&dry["dry_run"], &dry["selected"]), (&true.into(), &60.into()));
}

#[test]
fn every_log_line_for_programs_is_a_json_object() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    for more in [&["-vvv"][..], &[], &["-v", "--progress", "never"]] {
        let run =
            ["run", "inventories/demo.csv", "--action", "allocate", "--rate", "none", "--log-format", "json"];
        let outcome = fixture.run(&[&run[..], more].concat()).exits(3);
        for line in outcome.stderr.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        }
        assert!(outcome.stderr.lines().count() >= 3);
    }
    let refused = fixture.run(&["run", "none.csv", "--action", "allocate", "--log-format", "json"]).exits(2);
    let last: Value = serde_json::from_str(refused.stderr.lines().last().unwrap()).unwrap();
    let fields = &last["fields"];
    assert!(fields["message"].as_str().unwrap().starts_with("none.csv: No such file"), "{last}");
    assert_eq!((&last["level"], &fields["exit_code"]), (&"ERROR".into(), &2.into()));
}

#[test]
fn quiet_logs_hold_nothing_of_a_run_that_went_well() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", "vmid\n10000\n10006\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--sandbox", "-q"]).exits(0);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn nothing_is_coloured_where_there_is_no_terminal_or_nobody_wants_it() {
    let fixture = Fixture::new().env("NO_COLOR", "1").env("TERM", "xterm-256color");
    for progress in ["auto", "always", "never"] {
        let run =
            ["run", "inventories/demo.csv", "--sandbox", "--rate", "none", "-vv", "--progress", progress];
        let outcome = fixture.run(&run).exits(3);
        assert!(!outcome.stdout.contains('\u{1b}'), "{:?}", outcome.stdout);
        let colours = outcome.stderr.split("\u{1b}[").skip(1).filter(|rest| {
            rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
        });
        assert_eq!(colours.count(), 0, "{:?}", outcome.stderr);
        assert_eq!(outcome.stderr.contains('\u{1b}'), progress == "always");
    }
}
