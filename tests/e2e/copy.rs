//! `v6fleet ledger copy`: what is said of a ledger is said of its copy, and nothing else than a whole copy is ever seen.

use std::fs;

use crate::crash::{creations, made, settled};
use crate::dialect::Dialect;
use crate::fixture::{Fixture, Outcome, eventually};
use crate::fleet;
use crate::postgres::Server;
use crate::sandbox::Sandbox;
use crate::strace::{can, traced};

const VMS: usize = 40;
const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// The ledger that a fixture's runs write, seen from its directory.
const LEDGER: &str = "state/v6fleet/ledger.db";

/// Of a killed run, and of what came before and after it.
fn fixture(sandbox: &Sandbox) -> Fixture {
    let fixture = Fixture::at(sandbox);
    fixture.write("fleet.csv", format!("{}100099,gone,\u{e5}\n", fleet::csv(VMS)));
    fixture.write("odd.csv", format!("{}x,no id,\u{e5}\n", fleet::csv(VMS / 2)));
    fixture.write("v2.csv", Dialect::V2.inventory(&fleet::csv_of(fleet::vmids(200_000, 20))));
    fixture.run(&["run", "odd.csv", "--action", "allocate", "--rate", "none", "--skip-invalid"]).exits(3);
    fixture.run(&["plan", "v2.csv", "--api", "v2", "--action", "allocate", "--rate", "none"]);
    let moved = ["run", "fleet.csv", "--action", "refresh_next_hop", "--rack", "dc1r27", "--rate", "none"];
    fixture.run(&moved);
    fixture.run(&["runs", "--pin", "latest"]).exits(0);
    kill_a_run(&fixture, sandbox);
    fixture
}

/// A run that leaves calls in flight behind.
fn kill_a_run(fixture: &Fixture, sandbox: &Sandbox) {
    let before = sandbox.calls().len();
    let run = fixture.start(&RUN);
    sandbox.await_calls(before + VMS / 2);
    run.kill();
}

fn copy(fixture: &Fixture, from: &str, to: &str) -> Outcome {
    fixture.run(&["ledger", "copy", from, to])
}

/// What every command that reads says of a ledger, by the command.
fn said(fixture: &Fixture, ledger: &str) -> Vec<[String; 2]> {
    let runs = fixture.run(&["runs", "--format", "json", "--ledger", ledger]).exits(0).stdout;
    let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
    let ids = runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap());
    let ids: Vec<&str> = ids.collect();
    let of_runs = ids.iter().map(|id| format!("report {id}"));
    let of_pairs = ids[1..].iter().step_by(2).map(|id| format!("diff {id} latest"));
    let of_vms = [fixture.id(100_000), Dialect::V2.id(200_001)];
    let of_vms = of_vms.into_iter().map(|vm| format!("history {vm}"));
    let of_all = ["runs", "audit fleet.csv --whole-fleet", "audit v2.csv --api v2"].map(str::to_owned);
    let commands = of_runs.chain(of_pairs).chain(of_vms).chain(of_all);
    commands.flat_map(|command| said_by(fixture, ledger, &command, ids[0])).collect()
}

/// Standard output in both forms, and every file that it writes. A run whose process died before its end goes on to all who
/// add it up: of it, what is said of its VMs.
fn said_by(fixture: &Fixture, ledger: &str, command: &str, died: &str) -> Vec<[String; 2]> {
    let mut said = Vec::new();
    let mut note = |form: &str, text: String| {
        let text = without_its_date(&text);
        let text = text.replace(&format!("'{ledger}'"), "LEDGER").replace(ledger, "LEDGER");
        said.push([format!("{command}: {form}"), text]);
    };
    let goes_on = command == format!("report {died}");
    let endings: &[&str] = match command.split(' ').next() {
        Some("report") if goes_on => &["csv", "jsonl"],
        Some("report") => &["csv", "json", "jsonl", "html", "junit.xml", "prom"],
        Some("diff") => &["csv", "json", "jsonl"],
        // The others say when they were made.
        Some("audit") => &["csv", "jsonl"],
        _ => &[],
    };
    let files: Vec<String> = endings.iter().map(|ending| format!("said.{ending}")).collect();
    let outputs: Vec<&str> = files.iter().flat_map(|file| ["-o", file.as_str()]).collect();
    for (form, outputs) in [("text", &outputs[..]), ("json", &[])] {
        let args: Vec<&str> = command.split(' ').chain(["--format", form, "--ledger", ledger]).collect();
        let outcome = fixture.run(&[&args[..], outputs].concat());
        assert!(matches!(outcome.code, Some(0 | 10 | 11)), "{command}: {}", outcome.stderr);
        if !goes_on {
            note(form, outcome.stdout);
        }
    }
    for file in &files {
        note(file, fixture.read(file));
    }
    said
}

/// An audit says when it was made.
fn without_its_date(text: &str) -> String {
    let Some((before, rest)) = text.split_once("\"audited_at\":\"") else { return text.to_owned() };
    let (_, after) = rest.split_once('"').unwrap();
    format!("{before}{after}")
}

#[track_caller]
fn assert_same(copy: &[[String; 2]], original: &[[String; 2]]) {
    for ([command, copied], [_, said]) in copy.iter().zip(original) {
        assert_eq!(copied, said, "{command}");
    }
    assert_eq!(copy.len(), original.len());
}

#[test]
fn every_command_that_reads_says_the_same_of_a_copy_in_a_database_and_of_one_in_a_file_again() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let fixture = fixture(&sandbox);
    let database = server.url();
    let there = copy(&fixture, LEDGER, &database).exits(0).stdout;
    let expected = format!("copied to {database}, and the same on both sides: 2 APIs, 4 runs, ");
    assert!(there.starts_with(&expected), "{there}");
    let back = copy(&fixture, &database, "back.db").exits(0).stdout;
    assert_eq!(back, there.replace(&database, "back.db"));
    let original = said(&fixture, LEDGER);
    assert!(
        original.iter().any(|[_, said]| said.contains("or was when the process died")),
        "one is in flight"
    );
    for ledger in [&database, "back.db"] {
        assert_same(&said(&fixture, ledger), &original);
    }
}

#[test]
fn a_run_that_was_killed_goes_on_in_a_copy_and_each_allocation_is_created_in_exactly_one() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let mut fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(VMS));
    kill_a_run(&fixture, &sandbox);
    let (killed, run) = (settled(&fixture), fixture.latest_run());
    let database = server.url();
    copy(&fixture, LEDGER, &database).exits(0);
    fixture.set("V6FLEET_LEDGER", &database);
    let resumed = fixture.run(&["resume"]).exits(0);
    assert_eq!(
        (&resumed.report()["run"]["id"], &resumed.report()["run"]["resumes"]),
        (&run.into(), &1.into())
    );
    assert!(
        killed.len() < VMS
            && resumed.rows().iter().all(|row| killed
                .get(row["vmid"].as_str().unwrap())
                .is_none_or(|word| row["outcome"] == *word))
    );
    kill_a_run(&fixture, &sandbox);
    copy(&fixture, &database, "back.db").exits(0);
    fixture.set("V6FLEET_LEDGER", "back.db");
    let again = fixture.run(&RUN).exits(0);
    assert!(
        again.verdicts().iter().all(|verdict| verdict.ends_with(" unchanged ledger")),
        "{:?}",
        again.verdicts()
    );
    assert_eq!(creations(&fixture), made(&sandbox.calls()));
    assert_eq!(fixture.runs().len(), 3);
}

/// Of a ledger in which no run can be seen.
#[track_caller]
fn is_empty(fixture: &Fixture, ledger: &str) -> bool {
    let seen = fixture.run(&["runs", "--format", "json", "--ledger", ledger]);
    seen.stderr.contains("there is no ledger yet") || seen.exits(0).stdout.contains("\"runs\":[]")
}

/// A ledger's tables in a database, with nothing in them.
fn emptied(fixture: &Fixture, server: &Server) -> String {
    copy(fixture, LEDGER, &server.url()).exits(0);
    server.sql("TRUNCATE v6fleet.bases, v6fleet.runs, v6fleet.items, v6fleet.progress CASCADE");
    server.url()
}

#[test]
fn a_copy_into_a_database_that_is_killed_anywhere_leaves_nothing_behind_and_is_made_anew() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let fixture = fixture(&sandbox);
    let database = emptied(&fixture, &server);
    server
        .sql("CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); END'");
    let hanging = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let hang = || server.sql(&format!("SELECT count(*) {hanging}"));
    for table in ["runs", "skipped", "items", "progress", "vms"] {
        server.sql(&format!("CREATE TRIGGER hang BEFORE INSERT ON v6fleet.{table} EXECUTE FUNCTION hang()"));
        let process = fixture.start(&["ledger", "copy", LEDGER, &database]);
        eventually("it is in the midst of it", || hang() == "1");
        process.kill();
        server.sql(&format!("SELECT pg_terminate_backend(pid) {hanging}"));
        eventually("the server has heard of it", || hang() == "0");
        server.sql(&format!("DROP TRIGGER hang ON v6fleet.{table}"));
        assert!(is_empty(&fixture, &database), "{table}");
    }
    let copied = copy(&fixture, LEDGER, &database).exits(0).stdout;
    assert_eq!(copy(&fixture, LEDGER, &database).exits(0).stdout, copied, "and again it is only compared");
}

#[test]
fn a_copy_into_a_file_that_is_killed_anywhere_leaves_nothing_or_all_and_is_made_anew() {
    if !can("pwrite64:signal=KILL") {
        return;
    }
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let fixture = fixture(&sandbox);
    let whole = copy(&fixture, LEDGER, "whole.db").exits(0).stdout;
    let killed_at = |write: u32| {
        let injection = format!("inject=pwrite64:signal=KILL:when={write}");
        let args = ["ledger", "copy", LEDGER, "copy.db"];
        fixture.spawn(traced(&["-e", &injection], &fixture, &args)).end().code.is_none()
    };
    // The more it has to do, the later.
    let mut kills = 0;
    for moment in (0..).map(|power| 1 << power) {
        if !killed_at(moment) {
            break;
        }
        kills += 1;
        if !is_empty(&fixture, "copy.db") {
            break;
        }
    }
    assert!(kills > 4, "{kills}");
    assert_eq!(copy(&fixture, LEDGER, "copy.db").exits(0).stdout, whole.replace("whole.db", "copy.db"));
}

#[test]
fn what_is_written_otherwise_than_it_was_given_is_not_kept() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let fixture = fixture(&sandbox);
    let database = emptied(&fixture, &server);
    for (table, spoilt, words) in [
        ("vms", "RETURN NULL", "(VMs known: "),
        ("items", "NEW.name = 'other'", "(VMs of runs: as many, and not the same)"),
    ] {
        let body = format!("IF NEW.vmid = '100000' THEN {spoilt}; END IF; RETURN NEW;");
        server.sql(&format!(
            "CREATE OR REPLACE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$;
             CREATE TRIGGER spoil BEFORE INSERT ON v6fleet.{table} FOR EACH ROW EXECUTE FUNCTION spoil()"
        ));
        let outcome = copy(&fixture, LEDGER, &database).exits(1);
        outcome.assert_in_stderr(&format!(
            "{database}: what was written reads otherwise than what was copied {words}"
        ));
        assert!(outcome.stdout.is_empty() && is_empty(&fixture, &database));
        server.sql(&format!("DROP TRIGGER spoil ON v6fleet.{table}"));
    }
}

#[test]
fn what_cannot_be_copied_or_copied_to_is_refused_and_left_as_it_is() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    let database = server.url();
    fixture.write("notes.txt", "not a database, but long enough to have a header of its own".repeat(10));
    std::os::unix::fs::symlink(fixture.path(LEDGER), fixture.path("link.db")).unwrap();
    fixture
        .run(&[
            "run", "v2.csv", "--api", "v2", "--action", "allocate", "--limit", "1", "--ledger", "taken.db",
        ])
        .exits(0);
    let before = fs::read(fixture.path("taken.db")).unwrap();
    let again = format!("{database}?application_name=v6fleet");
    for (from, to, reason) in [
        ("none.db", "new.db", "none.db: there is no ledger yet"),
        (&database, "new.db", "there is no ledger yet"),
        ("notes.txt", "new.db", "notes.txt: not a v6fleet ledger"),
        (LEDGER, "notes.txt", "notes.txt: not a v6fleet ledger"),
        (LEDGER, "taken.db", "taken.db: holds a ledger already (1 API, 1 run, "),
        (LEDGER, LEDGER, "FROM and TO are one and the same ledger"),
        (LEDGER, "link.db", "FROM and TO are one and the same ledger"),
        ("postgres://me:s3cret@127.0.0.1/a", "new.db", "a password in a URL"),
        (LEDGER, "postgres://me:s3cret@127.0.0.1/a", "a password in a URL"),
        (LEDGER, "postgres://127.0.0.1:1/a", "the database cannot be reached"),
    ] {
        let refused = copy(&fixture, from, to).exits(2);
        refused.assert_in_stderr(reason);
        assert!(refused.stdout.is_empty() && !refused.stderr.contains("s3cret"), "{}", refused.stderr);
        assert!(!fixture.path("new.db").exists(), "{from}");
    }
    copy(&fixture, LEDGER, &database).exits(0);
    copy(&fixture, &database, &again).exits(2).assert_in_stderr("FROM and TO are one and the same ledger");
    assert!(fs::read(fixture.path("taken.db")).unwrap() == before);
    fixture.run(&["ledger", "copy", LEDGER]).exits(2).assert_in_stderr("<TO>");
    fixture
        .run(&["ledger", "copy", LEDGER, "new.db", "--ledger", "other.db"])
        .exits(2)
        .assert_in_stderr("--ledger says nothing to ledger copy: both ledgers are named behind it");
    assert!(!fixture.path("new.db").exists());
}

#[test]
fn a_ledger_that_a_run_is_writing_is_not_copied_and_none_is_copied_into_it() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let mut fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(VMS));
    let database = server.url();
    fixture.run(&[
        "run",
        "inventories/demo.csv",
        "--ledger",
        "other.db",
        "--limit",
        "1",
        "--action",
        "allocate",
    ]);
    for ledger in [LEDGER, &database] {
        fixture.set("V6FLEET_LEDGER", ledger);
        let before = sandbox.calls().len();
        let mut run = fixture.start(&[&RUN[..], &["--concurrency", "2"]].concat());
        sandbox.await_calls(before + 2);
        for (from, to) in [(ledger, "new.db"), ("other.db", ledger)] {
            let refused = copy(&fixture, from, to).exits(6);
            refused.assert_in_stderr(&format!("{ledger}: a run is under way (pid {} on ", run.id()));
            refused.assert_in_stderr(&fixture.latest_run());
        }
        assert!(run.is_running() && !fixture.path("new.db").exists());
        run.kill();
    }
}
