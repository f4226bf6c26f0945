//! `v6fleet inventory`: the account's VMs, all of them or none.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::dialect::Dialect;
use crate::fixture::{Fixture, Outcome, assert_valid};
use crate::sandbox::{Call, Sandbox, Transport};
use crate::script::{Answer, Api, Step, answer, error, json_answer};

/// What is there before a list is made, and must stay where none comes of it.
const OLD: &str = "vmid\nvps_00000000000000000000000000\n";

const HEADER: &str = "vmid,name,primary_ip,service_status,power_state,os,is_payg,tags,pending_maintenance,pending_maintenance_has_deadline";

/// `v6fleet inventory --api v2` as fast as it goes, with more options.
fn inventory<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["inventory", "--api", "v2", "--rate", "none"], more].concat()
}

/// A sandbox whose account has so many VMs from 10000 on, with more options; its world lies in the directory.
pub(crate) fn sandbox_of(vms: u64, options: &[&str]) -> (Sandbox, tempfile::TempDir) {
    speaking(Transport::Plain, vms, options)
}

fn speaking(transport: Transport, vms: u64, options: &[&str]) -> (Sandbox, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let world = directory.path().join("world.toml");
    let last = 9_999 + vms;
    fs::write(
        &world,
        format!(
            "[racks.a]\npool = \"2001:db8::/32\"\nnext_hop = \"2001:db8::1\"\nvms = [\"10000-{last}\"]\n"
        ),
    )
    .unwrap();
    (Sandbox::speaking(transport, &[&["--world", world.to_str().unwrap()], options].concat()), directory)
}

fn ids(first: u64, vms: u64) -> Vec<String> {
    (first..first + vms).map(|vm| Dialect::V2.id(vm)).collect()
}

/// The first column of a CSV inventory.
fn listed(csv: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>().join(","), HEADER);
    reader.records().map(|row| row.unwrap()[0].to_owned()).collect()
}

/// Every page is asked for in the same way, and nothing else is.
fn statuses(calls: &[Call]) -> Vec<u64> {
    assert!(calls.iter().all(|call| (call.dialect.as_str(), call.kind.as_str()) == ("v2", "list")));
    calls.iter().map(|call| call.status).collect()
}

/// Nothing was written: the old file is as it was, no other is there, and standard output is empty.
fn assert_untouched(fixture: &Fixture, outcome: &Outcome) {
    assert_eq!((fixture.read("fleet.csv").as_str(), outcome.stdout.as_str()), (OLD, ""));
    let files = fixture.files().into_iter().map(|path| path.file_name().unwrap().to_owned());
    let mut files: Vec<_> = files.filter(|name| name != "stdout" && name != "stderr").collect();
    files.sort();
    assert_eq!(files, ["fleet.csv"]);
}

/// A list that is not whole, in each way in which it can be asked for: with this exit code, and these words.
fn assert_refused(start: impl Fn() -> (Sandbox, tempfile::TempDir), code: i32, words: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    for output in [&["-o", "fleet.csv"][..], &[], &["--format", "json"]] {
        let (sandbox, _world) = start();
        let fixture = Fixture::at(&sandbox);
        fixture.write("fleet.csv", OLD);
        let outcome = fixture.run(&inventory(&[&["--max-attempts", "2"], output].concat())).exits(code);
        assert!(outcome.stderr.contains("error: no inventory was written: "), "{}", outcome.stderr);
        outcome.assert_in_stderr(words);
        assert_untouched(&fixture, &outcome);
        calls = sandbox.calls();
    }
    calls
}

#[test]
fn twenty_five_thousand_vms_on_250_pages_are_listed_each_once_with_a_429_in_the_middle() {
    let (sandbox, _world) = sandbox_of(25_000, &["--phase", "120..122=throttle=1s"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", OLD);
    let outcome = fixture.run(&inventory(&["-o", "fleet.csv", "-o", "fleet.jsonl"])).exits(0);
    assert_eq!(outcome.stdout, "");
    let (csv, lines) = (fixture.read("fleet.csv"), fixture.read("fleet.jsonl"));
    assert_eq!(listed(&csv), ids(10_000, 25_000));
    let vmid = |line: &str| serde_json::from_str::<Value>(line).unwrap()["vmid"].as_str().unwrap().to_owned();
    assert!(lines.lines().map(vmid).eq(ids(10_000, 25_000)));
    let calls = sandbox.calls();
    let statuses = statuses(&calls);
    assert_eq!(statuses.len(), 252);
    let throttled: Vec<usize> = (0..252).filter(|&place| statuses[place] == 429).collect();
    assert_eq!(throttled, [120, 121]);
    for place in throttled {
        let pause = calls[place + 1].at.duration_since(calls[place].at).as_secs_f64();
        assert!(pause >= 0.99, "the next call came after {pause} s");
    }
    assert!(sandbox.allocations().is_empty());
}

#[test]
fn what_is_listed_is_what_a_run_reads_in_every_format() {
    for format in ["csv", "json", "jsonl"] {
        let (sandbox, _world) = sandbox_of(250, &[]);
        let fixture = Fixture::at(&sandbox).env("V6FLEET_API", "v2").env("V6FLEET_RATE", "none");
        let binary = crate::fixture::binary();
        let binary = binary.display();
        let line = format!(
            "set -o pipefail; {binary} inventory --format {format} | {binary} run - --action allocate"
        );
        let mut shell = fixture.beside("bash");
        shell.args(["-c", &line]);
        let outcome = fixture.spawn(shell).end().exits(0);
        assert!(outcome.vmids().into_iter().map(|vm| Dialect::V2.id(vm)).eq(ids(10_000, 250)));
        assert_eq!(outcome.vms_that_are("created").len(), 250);
        let row = outcome.row("10000");
        assert_eq!((&row["name"], &row["labels"]["os"]), (&json!("vm-10000"), &json!("Debian 12")));
        let lists = sandbox.calls().iter().filter(|call| call.kind == "list").count();
        assert_eq!(lists, 3, "{format}");
    }
}

#[test]
fn the_json_is_as_its_schemas_say() {
    let world = concat!(env!("CARGO_MANIFEST_DIR"), "/inventories/world.toml");
    let sandbox = Sandbox::start(&["--world", world, "--null", "primaryIp", "--null", "pendingMaintenance"]);
    let fixture = Fixture::at(&sandbox);
    let json: Value =
        serde_json::from_str(&fixture.run(&inventory(&["--format", "json"])).exits(0).stdout).unwrap();
    assert_valid(&json, "inventory.schema.json");
    let lines = fixture.run(&inventory(&["--format", "jsonl"])).exits(0).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && json["vms"] == json!(lines));
    for line in lines {
        assert_valid(&line, "listed.schema.json");
        assert_eq!([&line["primary_ip"], &line["pending_maintenance"]], [&Value::Null; 2]);
    }
}

#[test]
fn a_run_that_is_fed_with_a_list_that_is_not_whole_calls_nobody() {
    let (sandbox, _world) = sandbox_of(1_000, &["--phase", "5..=fail=100%"]);
    let fixture = Fixture::at(&sandbox).env("V6FLEET_API", "v2").env("V6FLEET_RATE", "none");
    for format in ["csv", "json", "jsonl"] {
        let binary = crate::fixture::binary();
        let binary = binary.display();
        let list = format!("{binary} inventory --max-attempts 1 --format {format}");
        let mut shell = fixture.beside("sh");
        shell.args(["-c", &format!("{list} | {binary} run - --action allocate")]);
        fixture.spawn(shell).end().exits(2).assert_in_stderr("error: -:1: the file is empty");
    }
    assert!(sandbox.calls().iter().all(|call| call.kind == "list"));
}

#[test]
fn a_list_of_which_a_run_takes_some_by_what_the_list_says_of_them() {
    let sandbox = Sandbox::start(&["--world", "inventories/world.toml"]);
    let fixture = Fixture::at(&sandbox).env("V6FLEET_API", "v2").env("V6FLEET_RATE", "none");
    fixture.run(&["inventory", "-o", "fleet.csv"]).exits(0);
    let ids = listed(&fixture.read("fleet.csv"));
    assert!(ids.len() > 1);
    let run = ["run", "fleet.csv", "--action", "allocate", "--dry-run", "--where", "is_payg=true"];
    fixture.run(&run).exits(0).assert_in_stdout("VMs selected for allocate");
}

#[test]
fn a_page_that_fails_after_its_attempts_leaves_everything_as_it_was() {
    let calls = assert_refused(
        || sandbox_of(1_000, &["--phase", "5..=fail=100%"]),
        1,
        "page 6 of the list: server_error after 2 attempts: ",
    );
    assert_eq!(statuses(&calls), [200, 200, 200, 200, 200, 500, 500]);
}

#[test]
fn a_page_that_fails_and_comes_in_the_end_costs_nothing_else() {
    let (sandbox, _world) =
        sandbox_of(1_000, &["--phase", "5..7=fail=100%", "--fault", "list:reset-before=20%", "--seed", "3"]);
    let fixture = Fixture::at(&sandbox);
    let outcome = fixture.run(&inventory(&["-q"])).exits(0);
    assert_eq!((listed(&outcome.stdout), outcome.stderr.as_str()), (ids(10_000, 1_000), ""));
    let calls = sandbox.calls();
    assert!(calls.len() > 12 && calls.iter().any(|call| call.fault.as_deref() == Some("reset-before")));
}

#[test]
fn whatever_befalls_pages_the_list_is_whole() {
    for transport in [Transport::Plain, Transport::Http2] {
        let faults = ["--fault", "list:all=40%", "--late", "1s", "--seed", "5"];
        let (sandbox, _world) = speaking(transport, 1_000, &faults);
        let fixture = Fixture::at(&sandbox);
        let patient = ["--timeout", "400ms", "--max-attempts", "12"];
        let outcome = fixture.run(&inventory(&patient)).exits(0);
        assert_eq!(listed(&outcome.stdout), ids(10_000, 1_000));
        let faults: BTreeSet<String> = sandbox.calls().into_iter().filter_map(|call| call.fault).collect();
        assert!(faults.len() > 3, "{faults:?}");
    }
}

#[test]
fn a_cursor_that_comes_twice_leaves_everything_as_it_was() {
    let calls = assert_refused(
        || sandbox_of(1_000, &["--fault", "list:same-cursor=20%", "--seed", "3"]),
        1,
        "leads where page ",
    );
    let faults: Vec<bool> = calls.iter().map(|call| call.fault.is_some()).collect();
    assert_eq!(faults.iter().position(|fault| *fault), Some(4), "{faults:?}");
    assert_eq!(calls.len(), 5);
}

#[test]
fn an_item_that_moved_while_the_list_was_read_leaves_everything_as_it_was() {
    let calls = assert_refused(
        || sandbox_of(1_000, &["--fault", "list:moved-item=20%", "--seed", "3"]),
        1,
        " and, with other contents, on page ",
    );
    let faults: Vec<bool> = calls.iter().map(|call| call.fault.is_some()).collect();
    assert_eq!(faults.iter().position(|fault| *fault), Some(4), "{faults:?}");
    assert_eq!(calls.len(), 6);
}

#[test]
fn an_item_on_two_pages_that_is_the_same_is_listed_once_with_a_warning() {
    let (sandbox, _world) = sandbox_of(1_000, &["--fault", "list:doubled-item=40%", "--seed", "3"]);
    let fixture = Fixture::at(&sandbox);
    let outcome = fixture.run(&inventory(&[])).exits(0);
    assert_eq!(listed(&outcome.stdout), ids(10_000, 1_000));
    let doubled = sandbox.calls().iter().filter(|call| call.fault.is_some()).count();
    assert!(doubled > 1);
    outcome.assert_in_stderr(&format!("{doubled} VMs named more than once, with the same contents: vps_"));
}

#[test]
fn a_pause_that_is_longer_than_max_wait_ends_it_at_once() {
    let calls = assert_refused(
        || sandbox_of(1_000, &["--phase", "2..=throttle=3600s"]),
        5,
        "page 3 of the list: the API lets nothing through for longer than --max-wait: rate_limited: ",
    );
    assert_eq!(statuses(&calls), [200, 200, 429]);
}

#[test]
fn a_key_that_is_refused_or_lacks_the_scope_ends_it_at_once_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    fs::write(&keys, "reader-key read:vm\nwriter-key write:network\n").unwrap();
    let sandbox = Sandbox::start(&["--key-file", keys.to_str().unwrap()]);
    let mut fixture = Fixture::at(&sandbox);
    fixture.run(&["inventory", "--api", "v2"]).exits(8).assert_in_stderr("the API refuses the key: ");
    fixture.set("HOSTUP_API_KEY", "writer-key");
    let outcome = fixture.run(&["inventory", "--api", "v2", "-vv"]).exits(8);
    outcome.assert_in_stderr("the API refuses it to this key (403): the API key lacks the scope");
    outcome.assert_in_stderr("; the key needs the scope read:vm, of an account that is active");
    assert!(!outcome.stderr.contains("writer-key") && outcome.stdout.is_empty());
    fixture.set("HOSTUP_API_KEY", "reader-key");
    assert_eq!(listed(&fixture.run(&["inventory", "--api", "v2"]).exits(0).stdout).len(), 60);
    assert_eq!(statuses(&sandbox.calls()), [401, 403, 200]);
}

#[test]
fn a_certificate_that_nobody_vouches_for_ends_it_and_one_that_is_named_does_not() {
    let sandbox = Sandbox::speaking(Transport::Http2, &[]);
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &sandbox.base_url()).env("HOSTUP_API_KEY", "a-key");
    fixture.run(&["inventory", "--api", "v2"]).exits(8).assert_in_stderr("the API is not trusted");
    let outcome = Fixture::at(&sandbox).run(&["inventory", "--api", "v2"]).exits(0);
    assert_eq!(listed(&outcome.stdout), ids(10_000, 60));
    assert!(sandbox.calls().iter().all(|call| call.http == "2" && call.status == 200));
}

#[test]
fn where_there_is_no_list_it_says_which_dialect_has_one() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", OLD);
    for command in [&["inventory"][..], &["inventory", "--api", "v1", "-o", "fleet.csv"]] {
        let outcome = fixture.run(command).exits(2);
        outcome.assert_in_stderr("the API's v1 has no list of VMs: take --api v2");
        assert_untouched(&fixture, &outcome);
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn a_signal_ends_it_at_once_and_leaves_everything_as_it_was() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (sandbox, _world) = sandbox_of(1_000, &["--phase", "3..=throttle=600s"]);
        let fixture = Fixture::at(&sandbox);
        fixture.write("fleet.csv", OLD);
        let process = fixture.start(&inventory(&["-o", "fleet.csv", "-o", "fleet.json"]));
        sandbox.await_calls(4);
        process.signal(signal);
        let outcome = process.end().exits(code);
        outcome.assert_in_stderr("no inventory was written: stopped before the list was whole");
        assert_untouched(&fixture, &outcome);
    }
}

#[test]
fn a_rehearsal_lists_what_its_world_has_and_needs_no_key() {
    let fixture = Fixture::new().env("V6FLEET_API", "v2");
    assert_eq!(listed(&fixture.run(&["inventory", "--sandbox"]).exits(0).stdout), ids(10_000, 60));
    let world = concat!(env!("CARGO_MANIFEST_DIR"), "/inventories/world.toml");
    let of_world = fixture.run(&["inventory", "--sandbox", "--world", world]).exits(0);
    assert_ne!(listed(&of_world.stdout), ids(10_000, 60));
    fixture.run(&["inventory", "--world", world]).exits(2).assert_in_stderr("--sandbox");
    let state = fixture.path("state/v6fleet");
    assert!(!state.exists(), "a list leaves nothing behind");
}

#[test]
fn what_narrows_or_writes_a_runs_report_is_not_the_lists() {
    let mut fixture = Fixture::new().env("V6FLEET_API", "v2").env("V6FLEET_SANDBOX", "1");
    fixture.set("V6FLEET_OUTPUT", "report.csv");
    fixture.set("V6FLEET_FORMAT", "json");
    fixture.write("config/v6fleet/config.toml", "format = 'text'\nrack = ['a']\nmax-attempts = 2\n");
    let outcome = fixture.run(&["inventory"]).exits(0);
    assert_eq!(listed(&outcome.stdout).len(), 60);
    assert!(!fixture.path("report.csv").exists());
    fixture.set("V6FLEET_RATE", "soon");
    fixture.run(&["inventory"]).exits(2).assert_in_stderr("V6FLEET_RATE: invalid value 'soon'");
}

#[test]
fn a_file_that_is_read_or_that_cannot_be_written_costs_no_call() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("key.csv", "a-key");
    for (options, words) in [
        (&["-o", "key.csv", "--api-key-file", "key.csv"][..], "key.csv: the run reads this file"),
        (&["-o", "fleet.csv", "-o", "./fleet.csv"], "are one file"),
        (&["-o", "missing/fleet.csv"], "the directory missing does not exist"),
        (
            &["-o", "fleet.html"],
            "an inventory is written to a file whose name ends in one of .csv, .json, .jsonl",
        ),
        (&["-o", "fleet.csv", "--format", "json"], "cannot be used with"),
        (&["fleet.csv"], "unexpected argument"),
    ] {
        fixture.run(&inventory(options)).exits(2).assert_in_stderr(words);
    }
    assert!(sandbox.calls().is_empty() && fixture.read("key.csv") == "a-key");
}

#[test]
fn a_reader_that_has_gone_away_is_no_error_and_a_full_disk_is_one() {
    let (sandbox, _world) = sandbox_of(5_000, &[]);
    let fixture = Fixture::at(&sandbox);
    let binary = crate::fixture::binary();
    let line = format!("set -o pipefail; {} {} | head -n 1", binary.display(), inventory(&[]).join(" "));
    let mut shell = fixture.beside("bash");
    shell.args(["-c", &line]);
    assert_eq!(fixture.spawn(shell).end().exits(0).stdout, format!("{HEADER}\n"));
    let mut full = fixture.command(&inventory(&[]));
    full.stdout(Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap()));
    let output = full.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The list of an API that answers with this.
fn list_of(
    script: impl Fn(usize) -> Step + Send + Sync + 'static,
    options: &[&str],
) -> (Outcome, Vec<String>, Fixture) {
    let api = Api::start(move |_, nth| script(nth));
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
    fixture.write("fleet.csv", OLD);
    let outcome = fixture.run(&inventory(&[&["--max-attempts", "2"], options].concat()));
    (outcome, api.received().into_iter().map(|request| request.request_line).collect(), fixture)
}

fn page(items: &[Value], next: Option<&str>) -> Answer {
    json_answer(200, &json!({"data": items, "nextCursor": next}))
}

#[test]
fn a_cursor_goes_back_as_it_came_and_nowhere_else() {
    let cursor = "a/b?c=1&limit=9#\r\nx: y %2e å\u{0}";
    let (outcome, lines, _) = list_of(
        move |nth| page(&[json!({"id": ids(10_000, 2)[nth.min(1)]})], (nth == 0).then_some(cursor)).into(),
        &[],
    );
    assert_eq!(listed(&outcome.exits(0).stdout), ids(10_000, 2));
    let first = "GET /api/v2/vps?limit=100&include=pendingMaintenance HTTP/1.1";
    let second =
        first.replace(" HTTP", "&cursor=a%2Fb%3Fc%3D1%26limit%3D9%23%0D%0Ax%3A+y+%252e+%C3%A5%00 HTTP");
    assert_eq!(lines, [first, &second]);
}

#[test]
fn whatever_a_vm_is_called_is_one_cell_that_nothing_obeys_and_exact_in_json() {
    let names =
        ["=cmd|' /C calc'!A0", "\u{1b}[2J\u{202e}\n", "\"a\",b", "-1+1", &"å".repeat(10_000), "10000"];
    let items: Vec<Value> = names
        .iter()
        .zip(ids(10_000, names.len() as u64))
        .map(|(name, id)| json!({"id": id, "name": name, "tags": [name], "operatingSystem": name, "serviceStatus": "dreaming"}))
        .collect();
    let answer = items.clone();
    let (outcome, ..) = list_of(move |_| page(&answer, None).into(), &["--format", "jsonl"]);
    let outcome = outcome.exits(0);
    let read: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (row, name) in read.iter().zip(names) {
        assert_eq!([&row["name"], &row["os"], &row["tags"][0]], [name; 3]);
        assert_eq!((&row["service_status"], &row["is_payg"]), (&json!("dreaming"), &Value::Null));
    }
    assert!(!outcome.stdout.contains(['\u{1b}', '\u{202e}']));
    outcome.assert_in_stderr("1 VM with a text that is longer than run takes, such as VM vps_01hxa3b0000000000000010004, whose name");
    let (outcome, _, fixture) = list_of(move |_| page(&items, None).into(), &["-o", "fleet.csv"]);
    outcome.exits(0);
    let csv = fixture.read("fleet.csv");
    assert!(!csv.contains(['\u{1b}', '\u{202e}']) && csv.lines().count() == names.len() + 1);
    assert!(csv.contains(",'=cmd|' /C calc'!A0,"), "{csv}");
    fixture.run(&["run", "fleet.csv", "--api", "v2", "--action", "allocate", "--dry-run"]).exits(2);
    let run = ["run", "fleet.csv", "--api", "v2", "--action", "allocate", "--dry-run", "--skip-invalid"];
    fixture.run(&run).exits(3).assert_in_stdout("5 VMs selected");
}

#[test]
fn what_is_null_everywhere_is_an_inventory_all_the_same() {
    let item = json!({"id": ids(10_000, 1)[0], "name": null, "primaryIp": null, "serviceStatus": null, "powerState": null,
        "operatingSystem": null, "billing": null, "tags": null, "pendingMaintenance": null, "pendingMaintenanceHasDeadline": null});
    let (outcome, ..) = list_of(move |_| page(std::slice::from_ref(&item), None).into(), &["-q"]);
    let outcome = outcome.exits(0);
    assert_eq!(outcome.stdout, format!("{HEADER}\n{},,,,,,,,,\n", ids(10_000, 1)[0]));
    assert_eq!(outcome.stderr, "");
    let (outcome, ..) = list_of(|_| page(&[], None).into(), &[]);
    outcome.exits(0).assert_in_stderr("the account has no VMs");
}

type Script = fn(usize) -> Step;

#[test]
fn what_is_no_list_is_told_with_the_page_and_the_vm_and_leaves_everything_as_it_was() {
    let cases: [(Script, &str, usize); 9] = [
        (
            |_| page(&[json!({"id": "vps_../x", "name": "web"})], None).into(),
            r#"VM 1 of the page: "web": id "vps_../x" is not a HostUp VM id"#,
            2,
        ),
        (|_| page(&[json!({"id": 10_000})], None).into(), "--api v1", 2),
        (
            |_| page(&[json!({"name": "web\u{1b}[2J"})], None).into(),
            r#"VM 1 of the page: "web\u{1b}[2J": id is missing"#,
            2,
        ),
        (
            |_| answer(200, "application/json", "[]").into(),
            "page 1 of the list: malformed_answer after 2 attempts: not the documented answer: no JSON object",
            2,
        ),
        (|_| answer(200, "text/html", "<html>Sign in</html>").into(), "malformed_answer after 2 attempts", 2),
        (
            |_| page(&[json!({"id": ids(10_000, 1)[0], "name": "x".repeat(9 << 20)})], None).into(),
            "the body is larger than 8388608 bytes",
            2,
        ),
        (
            |nth| page(&[json!({"id": ids(10_000, 1)[0]})], Some(&nth.to_string())).into(),
            "the last 100 pages of the list named no VM",
            101,
        ),
        (
            |_| error(404, "NOT_FOUND").into(),
            "page 1 of the list: not_found after 1 attempt: it is NOT_FOUND",
            1,
        ),
        (
            |_| answer(302, "text/plain", "").header("location", "https://example.net/").into(),
            "redirected after 1 attempt",
            1,
        ),
    ];
    for (script, words, calls) in cases {
        let (outcome, lines, fixture) = list_of(script, &["-o", "fleet.csv"]);
        let outcome = outcome.exits(1);
        outcome.assert_in_stderr(words);
        assert!(!outcome.stderr.contains('\u{1b}') && outcome.stderr.len() < 2_000, "{}", outcome.stderr);
        assert_eq!(lines.len(), calls, "{words}");
        assert_untouched(&fixture, &outcome);
    }
}

#[test]
fn the_key_is_in_nothing_that_is_written_whatever_the_api_says_of_it() {
    let key = "SECRET-MARKER-7f3a";
    let api = Api::start(move |_, nth| match nth {
        0 => page(&[json!({"id": ids(10_000, 1)[0], "name": key, "tags": [key]})], Some("next")).into(),
        _ => json_answer(400, &json!({"detail": format!("bad key {key}")})).into(),
    });
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", key);
    let outcome = fixture.run(&inventory(&["-vv", "--log-format", "json"])).exits(1);
    assert!(outcome.stderr.contains("bad key ***") && !outcome.stderr.contains(key), "{}", outcome.stderr);
    let sent: BTreeSet<String> = api
        .received()
        .into_iter()
        .flat_map(|request| request.headers)
        .filter(|(_, value)| value.contains(key))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(sent, BTreeSet::from(["authorization".to_owned()]));
}
