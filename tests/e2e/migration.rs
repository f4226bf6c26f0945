//! Ledgers of every older schema, as the programs of their time left them: read as they are, brought up to date by the
//! next writer, whenever that is killed, and refused where they are newer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::crash::creations;
use crate::fixture::{Fixture, Outcome};
use crate::sandbox::Sandbox;
use crate::strace::{can, traced};

const OLDER: RangeInclusive<u32> = 1..=4;
const TODAYS: u32 = 5;
const FILES: [&str; 2] = ["state/v6fleet/ledger.db", "state/v6fleet/ledger.db-wal"];
/// Where the API was then.
const BASE_URL: &str = "http://127.0.0.1:8646";
const PIN: [&str; 3] = ["runs", "--pin", "latest"];
const RESUME: [&str; 5] = ["resume", "--rate", "none", "--output-dir", "none"];

/// Two of them had acted when the last run was killed, and the third had not.
const LOST: [(&str, &str); 3] =
    [("10002", "lost_answer"), ("10042", "lost_answer"), ("10062", "created_flag")];

/// A ledger whose last run was killed, and what its own program said of it then.
struct Old {
    schema: u32,
    fixture: Fixture,
    said: Value,
}

fn stored(schema: u32, name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledgers");
    let file = File::open(dir.join(format!("schema-{schema}/{name}.gz"))).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

impl Old {
    fn of(schema: u32) -> Self {
        let fixture = Fixture::new().env("V6FLEET_BASE_URL", BASE_URL).env("HOSTUP_API_KEY", "a-key");
        for (path, name) in FILES.into_iter().zip(["ledger.db", "ledger.db-wal"]) {
            fixture.write(path, stored(schema, name));
        }
        fixture.write("fleet.csv", include_str!("../ledgers/fleet.csv"));
        let said = lasting(&serde_json::from_slice(&stored(schema, "said.json")).unwrap());
        Self { schema, fixture, said }
    }

    /// At an API that remembers all that it was called for, at an address of its own.
    fn at_a_sandbox(schema: u32) -> (Self, Sandbox) {
        let mut old = Self::of(schema);
        old.fixture.write("sandbox.jsonl", stored(schema, "sandbox.jsonl"));
        let state = old.fixture.path("sandbox.jsonl");
        let sandbox = Sandbox::start(&["--state", state.to_str().unwrap()]);
        let file = Connection::open(old.fixture.ledger()).unwrap();
        file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        file.execute("UPDATE bases SET url = ?1", [sandbox.base_url()]).unwrap();
        old.said =
            serde_json::from_str(&old.said.to_string().replace(BASE_URL, &sandbox.base_url())).unwrap();
        old.fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
        (old, sandbox)
    }

    fn files(&self) -> [Vec<u8>; 2] {
        FILES.map(|name| fs::read(self.fixture.path(name)).unwrap())
    }

    /// The program's schema that the file has, and its tables.
    fn shape(&self) -> (u32, Vec<String>) {
        let file = Connection::open_with_flags(self.fixture.ledger(), OpenFlags::SQLITE_OPEN_READ_ONLY);
        let file = file.unwrap();
        let schema = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        let mut tables =
            file.prepare("SELECT sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY name").unwrap();
        let tables = tables.query_map([], |row| row.get(0)).unwrap();
        (schema, tables.collect::<Result<_, _>>().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.fixture.command(&[args, &["--format", "json"]].concat()).output().unwrap();
        assert!(
            matches!(output.status.code(), Some(0 | 10 | 11)),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Today's program says all that the old one said, and perhaps more.
    fn assert_says_the_same(&self, when: &str) {
        let when = format!("schema {}, {when}", self.schema);
        let said = |what: &str| self.said[what].as_object().into_iter().flatten();
        for (run, report) in said("reports") {
            assert_holds(report, self.fixture.report_of(run).report(), &format!("{when}: report {run}"));
        }
        for (vmid, history) in said("history") {
            assert_holds(history, &self.json(&["history", vmid]), &format!("{when}: history {vmid}"));
        }
        let compared = ["from", "to"].map(|run| self.said["diff"][run]["id"].as_str().unwrap_or("latest"));
        let audit = ["audit", "fleet.csv", "--max-age", "36500", "--whole-fleet"];
        for (what, args) in
            [("runs", &["runs"][..]), ("diff", &["diff", compared[0], compared[1]]), ("audit", &audit)]
        {
            // The program of schema 1 had `report` alone.
            if !self.said[what].is_null() {
                assert_holds(&self.said[what], &self.json(args), &format!("{when}: {what}"));
            }
        }
    }
}

/// What was said that does not depend on when it is asked for: of a run that had not ended, what is settled.
fn lasting(said: &Value) -> Value {
    let keep = |value: &Value, names: &[&str]| {
        let kept = value.as_object().unwrap().iter().filter(|(name, _)| names.contains(&name.as_str()));
        Value::Object(kept.map(|(name, value)| (name.clone(), lasting(value))).collect())
    };
    match said {
        Value::Object(row) if row.get("settled_at") == Some(&Value::Null) => {
            keep(said, &["vmid", "name", "rack_id", "action", "outcome", "labels"])
        }
        Value::Object(_) if said.pointer("/run/ended_at") == Some(&Value::Null) => {
            let outcomes = ["selected", "created", "unchanged", "updated", "failed", "drifted"];
            let mut lasting = keep(said, &["run", "vms"]);
            lasting["summary"] = keep(&said["summary"], &outcomes);
            lasting
        }
        Value::Object(said) => {
            let lasts = said.iter().filter(|(name, _)| *name != "audited_at");
            lasts.map(|(name, value)| (name.clone(), lasting(value))).collect()
        }
        Value::Array(said) => said.iter().map(lasting).collect(),
        said => said.clone(),
    }
}

/// What was said then is said now; what has been added since may be there too.
#[track_caller]
fn assert_holds(then: &Value, now: &Value, place: &str) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            for (name, then) in then {
                assert_holds(then, now.get(name).unwrap_or(&Value::Null), &format!("{place}.{name}"));
            }
        }
        (Value::Array(then), Value::Array(now)) => {
            assert_eq!(then.len(), now.len(), "{place}");
            for (index, (then, now)) in then.iter().zip(now).enumerate() {
                assert_holds(then, now, &format!("{place}[{index}]"));
            }
        }
        _ if moment(then).is_some() => assert_eq!(moment(now), moment(then), "{place}"),
        _ => assert_eq!(now, then, "{place}"),
    }
}

/// Older programs wrote moments as short as they could.
fn moment(said: &Value) -> Option<Timestamp> {
    said.as_str()?.parse().ok()
}

/// Goes on with the killed run: every VM comes to its one outcome, and what was settled stays as it was.
fn assert_goes_on_to_the_end(old: &Old, sandbox: &Sandbox, killed: &Outcome, when: &str) {
    let when = format!("schema {}, {when}", old.schema);
    let end = old.fixture.run(&RESUME).exits(3);
    let report = old.fixture.report_of("latest");
    assert_eq!(report.summary()["complete"], true, "{when}: {}", end.stdout);
    assert_eq!(report.vmids(), killed.vmids(), "{when}");
    for row in killed.settled() {
        assert_eq!(report.row(row["vmid"].as_str().unwrap()), row, "{when}");
    }
    for (vmid, basis) in LOST {
        let row = report.row(vmid);
        assert_eq!((&row["outcome"], &row["basis"]), (&"created".into(), &basis.into()), "{when}: {vmid}");
    }
    assert_eq!(report.vms_that_are("failed"), ["10099"], "{when}");
    assert_eq!(creations(&old.fixture), made(sandbox), "{when}");
    old.fixture.assert_file_is_sound();
    assert_eq!(old.shape().0, TODAYS, "{when}");
}

/// The VMs whose allocations were not there before the first run, each once.
fn made(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let allocations = sandbox.allocations();
    let of_long_ago =
        |made: &Value| made["allocation"]["allocated_at"].as_str().unwrap().starts_with("2026-02-10 ");
    let made = allocations.iter().filter(|made| !of_long_ago(made));
    made.map(|made| (made["vmid"].as_str().unwrap().to_owned(), 1)).collect()
}

#[test]
fn an_older_ledger_is_copied_as_it_is_read() {
    for schema in OLDER {
        let old = Old::of(schema);
        let before = old.files();
        let copied = old.fixture.run(&["ledger", "copy", FILES[0], "copy.db"]).exits(0).stdout;
        assert_eq!(old.fixture.run(&["ledger", "copy", FILES[0], "copy.db"]).exits(0).stdout, copied);
        assert!(old.files() == before, "schema {schema}: it was changed");
        let copy = old.fixture.path("copy.db");
        for name in FILES {
            fs::remove_file(old.fixture.path(name)).unwrap();
        }
        fs::rename(copy, old.fixture.ledger()).unwrap();
        old.assert_says_the_same("copied");
        assert_eq!(old.shape().0, TODAYS);
    }
}

#[test]
fn what_its_own_program_said_of_an_older_ledger_todays_says_of_the_untouched_file() {
    for schema in OLDER {
        let old = Old::of(schema);
        let before = old.files();
        old.assert_says_the_same("untouched");
        assert!(old.files() == before, "schema {schema}: what only reads has written");
    }
}

#[test]
fn what_failed_in_an_older_ledger_is_selected_before_and_after_it_is_brought_up_to_date() {
    for schema in OLDER {
        let old = Old::of(schema);
        let (run, _) = old.said["reports"]
            .as_object()
            .unwrap()
            .iter()
            .find(|(_, said)| said["summary"]["failed"] == 3)
            .unwrap();
        let failed = format!("--only-failed={run}");
        let selected =
            || old.fixture.run(&["run", "fleet.csv", "--action", "allocate", "--dry-run", &failed]).exits(0);
        let before = selected();
        assert!(before.stdout.contains("3 VMs selected"), "schema {schema}: {}", before.stdout);
        old.fixture.run(&PIN).exits(0);
        assert_eq!(selected().stdout, before.stdout, "schema {schema}");
    }
}

#[test]
fn the_next_command_that_writes_brings_an_older_ledger_up_to_date_and_it_says_the_same() {
    for schema in OLDER {
        let old = Old::of(schema);
        old.fixture.run(&PIN).exits(0);
        old.fixture.run(&["runs", "--unpin", "latest"]).exits(0);
        old.assert_says_the_same("brought up to date");
        old.fixture.assert_file_is_sound();
        assert_eq!(old.shape(), shape_of_a_new_ledger(), "schema {schema}");
    }
}

fn shape_of_a_new_ledger() -> (u32, Vec<String>) {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", include_str!("../ledgers/fleet.csv"));
    fixture.run(&["run", "fleet.csv", "--action", "allocate", "--limit", "1"]).exits(0);
    Old { schema: TODAYS, fixture, said: Value::Null }.shape()
}

#[test]
fn a_run_that_was_killed_under_an_older_schema_is_gone_on_with() {
    for schema in OLDER {
        let (old, sandbox) = Old::at_a_sandbox(schema);
        let killed = old.fixture.report_of("latest");
        for (vmid, _) in LOST {
            assert!(killed.in_flight().contains(&vmid), "schema {schema}: {vmid}");
        }
        assert_goes_on_to_the_end(&old, &sandbox, &killed, "resumed");
    }
}

#[test]
fn whenever_its_migration_is_killed_a_ledger_is_of_one_schema_or_the_other_and_loses_nothing() {
    for call in ["pwrite64", "fsync"] {
        if !can(&format!("{call}:signal=KILL")) {
            return;
        }
    }
    for schema in OLDER {
        for (call, calls) in calls_of_a_migration(schema) {
            for nth in moments(calls) {
                kill_a_migration(schema, call, nth);
            }
        }
    }
}

/// How often a migration makes each of the calls that reach the disk.
fn calls_of_a_migration(schema: u32) -> [(&'static str, usize); 2] {
    ["pwrite64", "fsync"].map(|call| {
        let (old, _sandbox) = Old::at_a_sandbox(schema);
        let options = ["-e", &format!("trace={call}")];
        old.fixture.spawn(traced(&options, &old.fixture, &PIN)).end().exits(0);
        (call, old.fixture.read("trace").matches(&format!(" {call}(")).count())
    })
}

/// The first, the last, and one between.
fn moments(calls: usize) -> impl Iterator<Item = usize> {
    (0..=2).map(move |part| 1 + part * (calls - 1) / 2)
}

fn kill_a_migration(schema: u32, call: &str, nth: usize) {
    let when = format!("killed at {call} {nth}");
    let (old, sandbox) = Old::at_a_sandbox(schema);
    let shape = old.shape();
    let killed = old.fixture.report_of("latest");
    let injection = format!("inject={call}:signal=KILL:when={nth}");
    let options = ["-e", &injection];
    let outcome = old.fixture.spawn(traced(&options, &old.fixture, &PIN)).end();
    assert_eq!(outcome.code, None, "schema {schema}, {when}: {}", outcome.stderr);
    old.fixture.assert_file_is_sound();
    assert!(old.shape() == shape || old.shape().0 == TODAYS, "schema {schema}, {when}");
    assert_goes_on_to_the_end(&old, &sandbox, &killed, &when);
}

#[test]
fn a_ledger_of_a_newer_schema_is_refused_and_left_as_it_is() {
    let old = Old::of(4);
    old.fixture.run(&PIN).exits(0);
    let file = Connection::open(old.fixture.ledger()).unwrap();
    file.pragma_update(None, "user_version", TODAYS + 1).unwrap();
    file.close().unwrap();
    let before = fs::read(old.fixture.ledger()).unwrap();
    let run = ["run", "fleet.csv", "--action", "allocate"];
    let commands: [&[&str]; 10] = [
        &run,
        &[&run[..], &["--dry-run"]].concat(),
        &["resume"],
        &["report"],
        &["runs"],
        &PIN,
        &["history", "10002"],
        &["diff", "latest", "latest"],
        &["audit", "fleet.csv"],
        &[&run[..], &["--resume"]].concat(),
    ];
    for command in commands {
        let outcome = old.fixture.run(command).exits(2);
        assert!(outcome.stderr.contains("newer"), "{command:?}: {}", outcome.stderr);
        assert!(fs::read(old.fixture.ledger()).unwrap() == before, "{command:?} has written");
    }
}
