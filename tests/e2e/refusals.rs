//! What is refused before anything is called, and with which exit code.

use crate::dialect::{Dialect, in_each};
use crate::fixture::Fixture;
use crate::fleet;
use crate::sandbox::Sandbox;

const CONCURRENCY: [(&str, usize); 3] = [("16", 16), ("1", 1), ("64", 64)];

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_called() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).env("V6FLEET_ACTION", "allocate");
    fixture.write("fleet.csv", "vmid,rack_id\n10000,dc1r27\n");
    fixture.write("no-ids.csv", "ID,name\n10000,a\n");
    fixture.write("fleet.dat", "vmid\n10000\n");
    fixture.write("broken.json", "{\"vms\":[{\"vmid\":10000},");
    fixture.write("empty.csv", "");
    fixture.write("header-only.csv", "vmid\n");
    fixture.write("bad.toml", "rat = '1/s'\n");
    fixture.write("latin1.toml", b"rate = '1/s'\n# \xE5r\n");
    fixture.write("empty-key", " \n");
    fixture.write("not.db", "not a database, but long enough to have a header of its own".repeat(10));
    for (code, word, args) in [
        (7, "nothing selected", &["fleet.csv", "--rack", "nosuch"][..]),
        (7, "nothing selected", &["fleet.csv", "--vmid", "1"]),
        (2, "header-only.csv is empty", &["header-only.csv"]),
        (2, "--colour", &["fleet.csv", "--colour", "blue"]),
        (2, "nosuch.csv", &["nosuch.csv"]),
        (2, "INVENTORY", &[]),
        (2, "--inventory-format", &["fleet.dat"]),
        (2, "the columns are: ID, name", &["no-ids.csv"]),
        (2, "the file is empty", &["empty.csv"]),
        (2, "broken.json:1", &["broken.json"]),
        (2, "no column is named title", &["fleet.csv", "--column", "name=title"]),
        (2, "release", &["fleet.csv", "--action", "release"]),
        (2, "not a rate", &["fleet.csv", "--rate", "0/s"]),
        (2, "--concurrency", &["fleet.csv", "--concurrency", "0"]),
        (2, "--max-attempts", &["fleet.csv", "--max-attempts", "0"]),
        (2, "not a threshold", &["fleet.csv", "--max-failed", "101%"]),
        (2, "--timeout", &["fleet.csv", "--timeout", "0s"]),
        (2, "key is empty", &["fleet.csv", "--api-key-file", "empty-key"]),
        (2, "nosuch-key", &["fleet.csv", "--api-key-file", "nosuch-key"]),
        (2, "nosuch.pem", &["fleet.csv", "--ca-file", "nosuch.pem"]),
        (2, "no PEM certificate", &["fleet.csv", "--ca-file", "/dev/null"]),
        (2, "the run reads this file", &["fleet.csv", "-o", "fleet.csv"]),
        (2, "the run reads this file", &["fleet.csv", "-o", "copy.csv", "-o", "./fleet.csv"]),
        (2, "--sandbox", &["fleet.csv", "--world", "inventories/world.toml"]),
        (2, "nosuch.toml", &["fleet.csv", "--config", "nosuch.toml"]),
        (2, "\"rat\"", &["fleet.csv", "--config", "bad.toml"]),
        (
            2,
            "latin1.toml: line 2: is not UTF-8: save the file as UTF-8",
            &["fleet.csv", "--config", "latin1.toml"],
        ),
        (2, "no known kind of report", &["fleet.csv", "-o", "report.xlsx"]),
        (2, "does not exist", &["fleet.csv", "-o", "nosuch/report.csv"]),
        (2, "is a directory", &["fleet.csv", "-o", "is-a-dir.csv"]),
        (2, "needs its format, such as csv:-", &["fleet.csv", "-o", "-"]),
        (2, "not a v6fleet ledger", &["fleet.csv", "--ledger", "not.db"]),
        (2, "no run \"nosuch\"", &["fleet.csv", "--only-failed=nosuch"]),
        (2, "plain http", &["fleet.csv", "--base-url", "http://cloud.hostup.se"]),
        (2, "plain http", &["fleet.csv", "--base-url", "http://localhost:80"]),
        (2, "plain http", &["fleet.csv", "--base-url", "http://10.0.0.1"]),
        (2, "user name, password", &["fleet.csv", "--base-url", "https://me:pw@127.0.0.1"]),
    ] {
        std::fs::create_dir_all(fixture.path("is-a-dir.csv")).unwrap();
        let outcome = fixture.run(&[&["run"], args].concat());
        assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(word), "{args:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{args:?}");
        assert_eq!(fixture.reported_runs(), 0, "{args:?}");
    }
    assert_eq!(sandbox.called_vmids(), [""; 0]);
    assert_eq!(fixture.runs().len(), 0);
}

#[test]
fn plain_http_to_anything_but_loopback_is_refused_before_a_ledger_is_made() {
    let fixture =
        Fixture::new().env("HOSTUP_API_KEY", "a-key").env("V6FLEET_BASE_URL", "http://cloud.hostup.se");
    fixture.write("fleet.csv", "vmid\n10000\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(2);
    outcome.assert_in_stderr("http://cloud.hostup.se");
    assert!(!fixture.path("state").exists() && !fixture.path("reports").exists());
}

#[test]
fn without_a_key_nothing_is_called() {
    let sandbox = Sandbox::start(&[]);
    for (key, word) in [(None, "no API key"), (Some(""), "is empty"), (Some(" \t\n"), "is empty")] {
        let mut fixture = Fixture::new().env("V6FLEET_BASE_URL", &sandbox.base_url());
        if let Some(key) = key {
            fixture = fixture.env("HOSTUP_API_KEY", key);
        }
        fixture.write("fleet.csv", "vmid\n10000\n");
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(2);
        assert!(outcome.stderr.contains(word), "{key:?}: {}", outcome.stderr);
    }
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &sandbox.base_url()).env("HOSTUP_API_KEY", "a\nb");
    fixture.write("fleet.csv", "vmid\n10000\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(2);
    outcome.assert_in_stderr("no HTTP header can carry");
    assert_eq!(sandbox.called_vmids(), [""; 0]);
}

#[test]
fn a_wrong_key_stops_the_run_after_a_few_calls_and_leaves_its_vms_pending() {
    in_each(refuse_the_key);
}

fn refuse_the_key(dialect: Dialect) {
    for (typed, concurrency) in CONCURRENCY {
        let sandbox = Sandbox::start(&["--latency", "1ms..10ms"]);
        let fixture = Fixture::at(&sandbox).speaking(dialect).env("HOSTUP_API_KEY", "wrong-key");
        fixture.write_fleet(fleet::csv(1_000));
        let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", typed];
        let outcome = fixture.run(&run).exits(8);
        let calls = sandbox.calls();
        assert!((5..=concurrency + 5).contains(&calls.len()), "{} calls at {typed}", calls.len());
        assert!(calls.iter().all(|call| call.status == 401));
        assert_eq!(fixture.report_of("latest").summary()["pending"], 1_000);
        assert_eq!(outcome.vms_that_are("failed").len(), 1_000);
        assert_eq!(outcome.summary()["stopped_by"], "key_refused");
        let refused = outcome.rows().iter().filter(|row| row["failure"] == "unauthorized").count();
        let spared = outcome.rows().iter().filter(|row| row["failure"] == "not_attempted").count();
        assert_eq!((refused, spared), (calls.len(), 1_000 - calls.len()));
    }
}

#[test]
fn a_wrong_key_is_told_also_where_the_fleet_is_smaller_than_five() {
    in_each(|dialect| {
        let sandbox = Sandbox::start(&[]);
        let fixture = Fixture::at(&sandbox).speaking(dialect).env("HOSTUP_API_KEY", "wrong-key");
        fixture.write_fleet("vmid\n10000\n10001\n");
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(8);
        assert_eq!(outcome.summary()["stopped_by"], "key_refused");
        assert_eq!(fixture.report_of("latest").summary()["pending"], 2);
    });
}
