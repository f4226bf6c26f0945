//! A ledger in a database: what is promised of one in a file, and what is a database's alone.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::crash::{creations, made, settled};
use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::key::{MARKER, assert_no_marker};
use crate::postgres::{Lock, Server};
use crate::sandbox::Sandbox;

const VMS: usize = 300;
const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

fn is_running(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).exists()
}

#[test]
fn a_server_is_gone_with_its_test_however_that_ends() {
    let Some(server) = Server::start() else { return };
    assert_eq!(server.sql("SELECT current_user, inet_server_addr() IS NULL"), "fleet|t");
    let id = server.id();
    assert!(is_running(id));
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let _held = server;
        panic!("as a test fails");
    }));
    assert!(failed.is_err() && !is_running(id));
}

/// A fleet to be run against `sandbox`, whose ledger is in a database.
fn fixture(sandbox: &Sandbox, server: Server) -> Fixture {
    let fixture = Fixture::at(sandbox).in_database(server);
    fixture.write("fleet.csv", fleet::csv(VMS));
    fixture
}

/// A run that has made so many calls.
fn under_way(fixture: &Fixture, sandbox: &Sandbox, calls: usize) -> Process {
    let before = sandbox.calls().len();
    let run = fixture.start(&RUN);
    sandbox.await_calls(before + calls);
    run
}

#[test]
fn runs_that_are_killed_lose_nothing_and_each_allocation_is_created_in_exactly_one() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let fixture = fixture(&sandbox, server);
    for _ in 0..4 {
        under_way(&fixture, &sandbox, fastrand::usize(1..VMS / 2)).kill();
        fixture.reports_of_all();
    }
    let killed = settled(&fixture);
    let outcome = fixture.run(&["resume"]).exits(0);
    assert_eq!(outcome.report()["run"]["resumes"], 1);
    let verdicts = outcome.rows().iter().map(|row| (row["vmid"].as_str().unwrap(), &row["outcome"]));
    let verdicts: HashMap<_, _> = verdicts.collect();
    assert!(killed.iter().all(|(vmid, word)| verdicts[vmid.as_str()] == word), "what was settled stays so");
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
    let again = fixture.run(&RUN).exits(0);
    assert!(again.verdicts().iter().all(|verdict| verdict.ends_with(" unchanged ledger")));
    assert!(!fixture.ledger().exists(), "nothing is kept in a file");
}

#[test]
fn a_run_waits_for_a_database_that_crashes_and_comes_back_and_calls_each_vm_once() {
    let Some(server) = Server::durable() else { return };
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let mut fixture = fixture(&sandbox, server);
    let run = fixture.start(&[&RUN[..], &["--concurrency", "4"]].concat());
    for crash in 1..4 {
        sandbox.await_calls(60 * crash);
        fixture.database().crash();
        fixture.database().start_again();
    }
    let outcome = run.end().exits(0);
    outcome.assert_in_stderr("the ledger can be reached again");
    assert_eq!((outcome.rows().len(), sandbox.calls().len()), (VMS, VMS));
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
}

/// A run that is over, and cannot note that it has ended.
fn about_to_end(fixture: &mut Fixture, sandbox: &Sandbox, options: &[&str]) -> (Process, Lock) {
    let run = fixture.start(&[&RUN[..], options].concat());
    sandbox.await_calls(VMS / 2);
    let lock = fixture.database().lock("SELECT 1 FROM v6fleet.runs FOR NO KEY UPDATE");
    fixture.database().await_waiting("%v6fleet.runs WHERE no = $1 FOR NO KEY UPDATE%");
    (run, lock)
}

#[test]
fn a_run_waits_for_a_database_that_dies_after_its_last_call_and_ends_as_if_nothing_had_been() {
    let Some(server) = Server::durable() else { return };
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let mut fixture = fixture(&sandbox, server);
    let (run, lock) = about_to_end(&mut fixture, &sandbox, &[]);
    assert_eq!(sandbox.calls().len(), VMS);
    fixture.database().crash();
    eventually("it is told", || run.stderr().contains("what is left to be written waits until it is back"));
    drop(lock);
    fixture.database().start_again();
    let outcome = run.end().exits(0);
    outcome.assert_in_stderr("the ledger can be reached again");
    assert_eq!((outcome.rows().len(), sandbox.calls().len()), (VMS, VMS));
    assert_eq!(fixture.runs()[0]["exit_code"], 0);
}

#[test]
fn a_run_whose_database_stays_away_after_its_last_call_is_broken_off_and_can_be_ended_later() {
    let Some(server) = Server::durable() else { return };
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let mut fixture = fixture(&sandbox, server);
    let (run, _lock) = about_to_end(&mut fixture, &sandbox, &["--max-wait", "2s"]);
    fixture.database().crash();
    run.end().exits(1).assert_in_stderr("go on: v6fleet resume ");
    fixture.database().start_again();
    let outcome = fixture.run(&["resume"]).exits(0);
    assert_eq!((outcome.rows().len(), sandbox.calls().len()), (VMS, VMS));
}

#[test]
fn a_database_that_crashes_in_mid_run_loses_nothing_that_was_settled() {
    let Some(server) = Server::durable() else { return };
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let mut fixture = fixture(&sandbox, server);
    for _ in 0..2 {
        let before = sandbox.calls().len();
        let run = fixture.start(&[&RUN[..], &["--max-wait", "1s", "--concurrency", "8"]].concat());
        sandbox.await_calls(before + 40);
        fixture.database().crash();
        let outcome = run.end().exits(1);
        outcome.assert_in_stderr("no call leaves until it is back");
        outcome.assert_in_stderr("the database cannot be reached, or not any longer");
        outcome.assert_in_stderr("go on: v6fleet resume ");
        let refused = fixture.run(&RUN).exits(2);
        refused.assert_in_stderr("the database cannot be reached");
        assert_eq!(refused.stderr.matches("error connecting to server").count(), 1, "{}", refused.stderr);
        fixture.database().start_again();
    }
    let before = settled(&fixture);
    let outcome = fixture.run(&["resume"]).exits(0);
    assert_eq!((outcome.rows().len(), before.len() < VMS), (VMS, true));
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
}

#[test]
fn the_same_job_is_not_run_twice_at_once_another_one_is_and_that_of_a_dead_run_is_free() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let fixture = fixture(&sandbox, server);
    let slow = [&RUN[..], &["--concurrency", "2"]].concat();
    let mut first = fixture.start(&slow);
    sandbox.await_calls(4);
    let ends = || fixture.run(&["runs"]).exits(0).stdout.lines().last().unwrap().to_owned();
    assert!(ends().ends_with(" running"), "{}", ends());
    for second in [&RUN[..], &["resume"]] {
        let second = fixture.run(second).exits(6);
        second.assert_in_stderr(&format!("in use by another run (pid {} on ", first.id()));
        second.assert_in_stderr(&format!(", run {})", fixture.latest_run()));
    }
    assert_eq!(fixture.runs().len(), 1);
    assert!(first.is_running(), "reading disturbs nobody");
    fixture
        .run(&["run", "fleet.csv", "--action", "allocate", "--limit", "1", "--output-dir", "none"])
        .exits(0);
    assert!(first.is_running(), "a run of another job neither");
    first.kill();
    assert!(ends().ends_with(" not finished"), "{}", ends());
    let outcome = fixture.run(&["resume", "--concurrency", "100"]).exits(0);
    assert_eq!(outcome.rows().len(), VMS);
}

#[test]
fn a_password_in_a_url_is_refused_wherever_it_stands_and_shown_nowhere() {
    let url = "postgres://me:s3cret@127.0.0.1:1/fleet";
    let typed = Fixture::new();
    let from_environment = Fixture::new().env("V6FLEET_LEDGER", url);
    let from_file = Fixture::new();
    from_file.write("config/v6fleet/config.toml", format!("ledger = \"{url}\"\n"));
    for (fixture, flag) in [(typed, &["--ledger", url][..]), (from_environment, &[]), (from_file, &[])] {
        for command in [&["run", "inventories/demo.csv", "--sandbox"][..], &["runs"], &["config"]] {
            let refused = fixture.run(&[command, flag].concat()).exits(2);
            refused.assert_in_stderr("--ledger: a password in a URL is seen by everybody");
            assert!(!refused.stderr.contains("s3cret") && refused.stdout.is_empty(), "{}", refused.stderr);
        }
    }
}

/// A certificate for `localhost`, its key, and that of the authority which vouches for it, as PEM.
fn certified() -> [String; 3] {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    [certificate.pem(), key.serialize_pem(), authority.pem()]
}

#[test]
fn over_tls_the_server_proves_who_it_is_before_it_hears_the_password_which_is_shown_nowhere() {
    let [certificate, key, authority] = certified();
    let Some(server) = Server::over_tls(&certificate, &key, MARKER) else { return };
    let sandbox = Sandbox::start(&["--latency", "30ms"]);
    let mut fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(40));
    fixture.write("ca.pem", authority);
    fixture.write("home/.pgpass", format!("*:*:*:fleet:{MARKER}\n"));
    fs::set_permissions(fixture.path("home/.pgpass"), fs::Permissions::from_mode(0o600)).unwrap();
    let url = |host| {
        format!("postgres://fleet@{host}:{}/postgres?sslmode=verify-full&sslrootcert=ca.pem", server.port())
    };
    let run = [&RUN[..], &["-vvv", "--concurrency", "4", "-o", "report.json"]].concat();
    let refused = fixture.run(&[&run[..], &["--ledger", &url("127.0.0.1")]].concat()).exits(2);
    refused.assert_in_stderr("not valid for name");
    assert_eq!(sandbox.calls().len(), 0);
    fixture.set("V6FLEET_LEDGER", &url("localhost"));
    let process = fixture.start(&run);
    sandbox.await_calls(8);
    let command_line = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
    assert!(!String::from_utf8_lossy(&command_line).contains(MARKER));
    let over_tls = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'v6fleet'";
    assert_eq!(server.sql(over_tls), "t");
    process.end().exits(0);
    fixture.run(&["config"]).exits(0).assert_in_stdout("localhost");
    fixture.report_of("latest");
    assert_no_marker(&fixture, &["home/.pgpass"]);
}

#[test]
fn a_database_that_is_no_ledger_is_left_as_it_is() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture(&sandbox, server);
    fixture.run(&["runs"]).exits(2).assert_in_stderr("there is no ledger yet");
    let [theirs, newer, latin] = ["theirs", "newer", "latin"].map(|name| {
        let encoding = if name == "latin" { "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0" } else { "" };
        let server = fixture.database();
        server.sql(&format!("CREATE DATABASE {name} {encoding}"));
        server.url_of(name)
    });
    let server = fixture.database();
    server.sql_in("theirs", "CREATE SCHEMA v6fleet");
    server.sql_in("newer", "CREATE SCHEMA v6fleet; CREATE TABLE v6fleet.schema (version bigint)");
    server.sql_in("newer", "INSERT INTO v6fleet.schema VALUES (99)");
    let none = server.url_of("none");
    for (url, reason) in [
        (theirs, "its schema v6fleet is no ledger"),
        (newer, "written by a newer v6fleet (schema 99, this one knows 1)"),
        (latin, "its encoding is LATIN1, and a ledger needs UTF8"),
        (none, "make it with `createdb`"),
    ] {
        fixture.run(&[&RUN[..], &["--ledger", &url]].concat()).exits(2).assert_in_stderr(reason);
    }
    assert_eq!(sandbox.calls().len(), 0);
    assert_eq!(fixture.database().sql_in("newer", "SELECT version FROM v6fleet.schema"), "99");
}

#[test]
fn texts_that_no_database_can_hold_come_back_to_the_letter() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox, server);
    fixture.write(
        "odd.jsonl",
        "{\"vmid\": 100000, \"name\": \"a\\u0000b\\udbff\\udfff0\", \"role\": \"\\u0000\"}\n",
    );
    let outcome = fixture.run(&["run", "odd.jsonl", "--action", "allocate"]).exits(0);
    let row = &outcome.rows()[0];
    assert_eq!((&row["name"], &row["labels"]["role"]), (&"a\0b\u{10ffff}0".into(), &"\0".into()));
}
