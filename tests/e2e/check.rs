//! `v6fleet check`: every trouble of a night found beforehand, each by a line of its own with what to do; nothing is called
//! for any VM, and nothing is written.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use v6fleet::ledger::{Ledger, Location};

use crate::dialect::Dialect;
use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::postgres::Server;
use crate::sandbox::{Sandbox, Transport};
use crate::script::{Api, Step, answer, html, problem};
use crate::tmpfs::Tmpfs;

const CHECK: [&str; 4] = ["check", "fleet.csv", "--action", "allocate"];

fn fixture(sandbox: &Sandbox, dialect: Dialect) -> Fixture {
    let fixture = Fixture::at(sandbox).speaking(dialect);
    fixture.write_fleet(fleet::csv(20));
    fixture
}

/// All that lies in the fixture, but for what the programs themselves have said, and for what any reader of a ledger keeps
/// beside it.
fn files(fixture: &Fixture) -> BTreeSet<PathBuf> {
    let is_kept = |path: &PathBuf| {
        let name = path.strip_prefix(fixture.path("")).unwrap().to_string_lossy();
        !name.starts_with("output-") && !name.ends_with(".db-shm") && !name.ends_with(".db-wal")
    };
    fixture.files().into_iter().filter(is_kept).collect()
}

/// Checks as a run would go, which has this exit code then; nothing is written, and the ledger stays as it is.
#[track_caller]
fn check(fixture: &Fixture, more: &[&str], code: i32) -> Outcome {
    let (before, ledger) = (files(fixture), fs::read(fixture.ledger()).ok());
    let outcome = fixture.run(&[&CHECK[..], more].concat()).exits(code);
    assert_eq!(files(fixture), before);
    assert_eq!(fs::read(fixture.ledger()).ok(), ledger);
    outcome
}

/// The lines that begin so, each of them once.
#[track_caller]
fn assert_lines(outcome: &Outcome, lines: &[&str]) {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let of_check = |told: &&str| told.split_whitespace().take(2).eq(words[..2].iter().copied());
        let told: Vec<&str> = outcome.stdout.lines().filter(of_check).collect();
        let rest = words[2..].join(" ");
        assert!(told.len() == 1 && told[0].contains(&rest), "{line:?} is not in\n{}", outcome.stdout);
    }
}

fn assert_no_vm_is_called(sandbox: &Sandbox) {
    assert!(sandbox.calls().iter().all(|call| call.kind == "list"), "{:?}", sandbox.calls());
}

#[test]
fn where_all_is_well_every_check_says_so_and_a_run_ends_well() {
    for (dialect, access) in [
        (Dialect::V1, "unchecked access v1 tells of a call for a VM alone"),
        (Dialect::V2, "ok access the API takes the key"),
    ] {
        let sandbox = Sandbox::speaking(Transport::Http2, &[]);
        let fixture = fixture(&sandbox, dialect);
        fixture.write("key", "a-key\n");
        fs::set_permissions(fixture.path("key"), Permissions::from_mode(0o600)).unwrap();
        let key = ["--api-key-file", "key", "--rate", "none"];
        let outcome = check(&fixture, &key, 0);
        let lines = [
            "ok settings rate = none  (flag)",
            "ok reports reports can be written",
            "ok key key, rights 0600, fingerprint ",
            "ok ledger ledger.db: not there yet, the first run makes it",
            "ok lock free",
            "ok space free in ",
            "ok inventory 20 VMs selected for allocate at https://127.0.0.1:",
            "ok proxy none",
            "ok name 127.0.0.1 is an address",
            "ok tcp takes connections",
            "ok tls spoken",
            "ok certificate trusted for ",
            "ok api it answers",
            "ok clock within ",
            access,
        ];
        assert_lines(&outcome, &lines);
        assert_eq!(outcome.stdout.lines().count(), lines.len() + 2, "{}", outcome.stdout);
        assert_no_vm_is_called(&sandbox);
        fixture.run(&[&["run"], &CHECK[1..], &key].concat()).exits(0);
        let again = check(&fixture, &key, 0);
        assert_lines(&again, &["ok ledger ledger.db: opens, schema ", "ok lock free"]);
    }
}

#[test]
fn the_settings_and_the_key_are_told_and_what_is_wrong_with_the_key() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox, Dialect::V2);
    fixture.write("open-key", "SECRET-MARKER\n");
    fs::set_permissions(fixture.path("open-key"), Permissions::from_mode(0o644)).unwrap();
    fixture.write("wrong-key", "wrong-key\n");
    fs::set_permissions(fixture.path("wrong-key"), Permissions::from_mode(0o640)).unwrap();
    let exposed = check(&fixture, &["--api-key-file", "open-key"], 0);
    assert_lines(
        &exposed,
        &[
            "warning key rights 0644, fingerprint ",
            "warning key everybody on this machine may read it → chmod 600 open-key",
        ],
    );
    assert!(!exposed.stdout.contains("SECRET") && !exposed.stderr.contains("SECRET"));
    let wrong = check(&fixture, &["--api-key-file", "wrong-key"], 8);
    assert_lines(
        &wrong,
        &[
            "ok key rights 0640",
            "error access the API refuses the key: ",
            "error access → take the key that HostUp shows",
        ],
    );
    let missing = check(&fixture, &["--api-key-file", "no-key"], 2);
    assert_lines(
        &missing,
        &[
            "error key --api-key-file no-key: No such file",
            "error key → put the key that HostUp shows there",
            "ok api it answers",
            "unchecked access there is no key",
        ],
    );
    fs::write(fixture.path("no-key"), "k".repeat(200_000)).unwrap();
    let other_file = check(&fixture, &["--api-key-file", "no-key"], 2);
    assert_lines(&other_file, &["error key no API key: it is longer than 4096 bytes → put the key that"]);
    assert_no_vm_is_called(&sandbox);
}

#[test]
fn a_variable_that_is_no_setting_is_told_with_the_one_that_was_meant() {
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture(&sandbox, Dialect::V1);
    fixture.set("V6FLEET_MAX_WIAT", "2h");
    let outcome = check(&fixture, &[], 0);
    assert_lines(
        &outcome,
        &["warning settings V6FLEET_MAX_WIAT is no option of v6fleet, and is ignored; did you mean \
         V6FLEET_MAX_WAIT? → spell it as"],
    );
}

#[test]
fn a_key_that_may_not_list_is_told_from_one_that_is_refused() {
    let (keys, sandbox);
    keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys.path(), "a-key write:network\n").unwrap();
    sandbox = Sandbox::start(&["--key-file", keys.path().to_str().unwrap()]);
    let outcome = check(&fixture(&sandbox, Dialect::V2), &[], 0);
    assert_lines(&outcome, &["warning access → give it the scope read:vm"]);
}

#[test]
fn a_certificate_that_is_not_to_be_trusted_is_told_with_why_and_what_to_do() {
    for (fault, line, remedy) in [
        (
            "expired",
            "error certificate expired",
            "error certificate → check this machine's clock; if it is right",
        ),
        (
            "wrong-host",
            "error certificate not valid for name",
            "error certificate → check --base-url: another server",
        ),
    ] {
        let sandbox = Sandbox::speaking(Transport::Http2, &["--tls-fault", &format!("{fault}=100%")]);
        let outcome = check(&fixture(&sandbox, Dialect::V1), &[], 8);
        assert_lines(
            &outcome,
            &[line, remedy, "ok tcp takes connections", "unchecked tls see certificate", "unchecked api "],
        );
    }
    let sandbox = Sandbox::speaking(Transport::Http2, &[]);
    let mut unknown = fixture(&sandbox, Dialect::V1);
    let other = Sandbox::speaking(Transport::Http2, &[]);
    unknown.set("V6FLEET_CA_FILE", other.ca_file().unwrap().to_str().unwrap());
    let outcome = check(&unknown, &[], 8);
    assert_lines(&outcome, &["error certificate or name the authority's with --ca-file"]);
    assert_lines(
        &check(&unknown, &["--ca-file", "fleet.csv"], 2),
        &["error certificate holds no PEM certificate → name a file of certificates in PEM with --ca-file"],
    );
    for (fault, code) in [("client-certificate", 8), ("plain-http", 5), ("handshake-cut", 5)] {
        let sandbox = Sandbox::speaking(Transport::Http2, &["--tls-fault", &format!("{fault}=100%")]);
        let outcome = check(&fixture(&sandbox, Dialect::V1), &[], code);
        assert_lines(&outcome, &["error tls → check --base-url", "unchecked api see tls"]);
    }
}

#[test]
fn a_name_that_does_not_resolve_and_a_port_that_is_closed_are_told_and_the_rest_is_checked_all_the_same() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, line, remedy) in [
        (
            "https://api.invalid".to_owned(),
            "error name api.invalid cannot be resolved: ",
            "error name → check --base-url (or --proxy), and this machine's name service",
        ),
        (
            format!("http://{closed}"),
            "error tcp takes no connection: Connection refused",
            "error tcp → check the port of --base-url",
        ),
    ] {
        let fixture = Fixture::new().env("V6FLEET_BASE_URL", &url).env("HOSTUP_API_KEY", "a-key");
        fixture.write("fleet.csv", "vmid\n10000\n10x\n");
        // A run is refused for its inventory before it calls anybody.
        let outcome = check(&fixture, &[], 2);
        let lines = [
            line,
            remedy,
            "error inventory 1 invalid row; nothing was called",
            "ok ledger ",
            "unchecked api ",
            "unchecked clock ",
            "unchecked access ",
        ];
        assert_lines(&outcome, &lines);
        outcome.assert_in_stdout("\n                        fleet.csv:3: vmid: ");
        let skips = check(&fixture, &["--skip-invalid"], 5);
        assert_lines(
            &skips,
            &["warning inventory 1 VM selected", "warning inventory 1 invalid row would be skipped"],
        );
    }
}

#[test]
fn a_clock_that_is_ten_minutes_off_is_told_and_which_way() {
    for (step, lines) in [
        // Between the two clocks is what the answer takes, too.
        ("10m30s", ["warning clock 10 min", "warning clock behind the server's"]),
        ("-10m30s", ["warning clock 10 min", "warning clock ahead of the server's"]),
    ] {
        let sandbox = Sandbox::start(&[]);
        sandbox.step_clock(step);
        let outcome = check(&fixture(&sandbox, Dialect::V2), &[], 0);
        assert_lines(&outcome, &lines);
        assert_lines(&outcome, &["warning clock → set it, and keep it right"]);
    }
}

#[test]
fn what_answers_in_the_apis_place_is_told_and_with_it_the_proxy() {
    for (dialect, step, code) in [
        (Dialect::V1, (|| html(200)) as fn() -> _, 5),
        (Dialect::V2, || html(200), 5),
        (Dialect::V2, || html(403), 5),
        (Dialect::V1, || html(302).header("location", "https://portal.example/login"), 4),
        (Dialect::V2, || html(404), 4),
        (Dialect::V2, || problem(404, "not_found", "no such page"), 4),
        (Dialect::V2, || answer(200, "application/json", r#"{"data":[]}"#), 5),
        (Dialect::V2, || answer(200, "text/plain", "\u{1b}[2J"), 5),
    ] {
        let api = Api::of(dialect, move |_, _| step().into());
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10000\n");
        let outcome = check(&fixture, &[], code);
        assert_lines(
            &outcome,
            &[
                "error api something else answers in the API's place: HTTP ",
                "error api → check --base-url, and what stands between",
                "unchecked access the API is not reached",
            ],
        );
        assert!(!outcome.stdout.contains('\u{1b}'));
    }
    let silent = Api::of(Dialect::V1, |_, _| html(404).into());
    let fixture = silent.fixture();
    fixture.write_fleet("vmid\n10000\n");
    assert_lines(
        &check(&fixture, &[], 0),
        &["warning api whether it is the API that answers is not known: HTTP 404"],
    );
}

#[test]
fn an_api_in_trouble_and_one_that_says_nothing_are_told() {
    for (step, code, line) in [
        (
            (|| problem(503, "upstream_unavailable", "not now").into()) as fn() -> Step,
            5,
            "error api it is in trouble: HTTP 503 (not now) → try again later",
        ),
        (
            || problem(429, "rate_limited", "too many").into(),
            0,
            "warning api it refuses calls for their rate: HTTP 429",
        ),
        (|| Step::Stall(Vec::new()), 5, "error api no answer: "),
        (|| Step::Cut(Vec::new()), 5, "error api no answer: "),
    ] {
        let api = Api::of(Dialect::V1, move |_, _| step());
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10000\n");
        assert_lines(&check(&fixture, &["--timeout", "300ms"], code), &[line]);
    }
}

/// A proxy that answers each CONNECT with these bytes, and then leads to that address, if to any.
fn proxy(says: &'static str, leads_to: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok);
            // A client that only tried the port has hung up.
            if !lines.any(|line| line.is_empty()) {
                continue;
            }
            (&client).write_all(says.as_bytes()).unwrap();
            let Some(server) = leads_to.as_deref().map(TcpStream::connect) else { continue };
            join(client, server.unwrap());
        }
    });
    format!("http://{address}")
}

fn join(client: TcpStream, server: TcpStream) {
    for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        std::thread::spawn(move || io::copy(&mut from, &mut to));
    }
}

#[test]
fn a_proxy_that_lets_nobody_through_or_shows_a_certificate_of_its_own_is_told() {
    let sandbox = Sandbox::speaking(Transport::Http2, &[]);
    let address = sandbox.base_url().split_once("//").unwrap().1.to_owned();
    let refusing = proxy("HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n", None);
    let answering = proxy("HTTP/1.1 200 OK\r\n\r\n", Some(address));
    let fixture =
        Fixture::new().env("V6FLEET_BASE_URL", "https://api.example").env("HOSTUP_API_KEY", "a-key");
    fixture.write("fleet.csv", "vmid\n10000\n");
    let (_, refusing_host) = refusing.split_once("//").unwrap();
    let refused = check(&fixture, &["--proxy", &refusing], 5);
    refused.assert_in_stdout(&format!("ok         proxy        {refusing_host}, from --proxy\n"));
    refused.assert_in_stdout("error      proxy        the proxy does not let us through to the API: ");
    refused.assert_in_stdout(" → check --proxy (or HTTPS_PROXY)");
    let outcome = check(&fixture, &["--proxy", &answering], 8);
    assert_lines(&outcome, &["error certificate → a proxy may answer in the API's place"]);
    let refused =
        Fixture::new().env("HTTPS_PROXY", "socks5://me:SECRET@proxy").env("HOSTUP_API_KEY", "a-key");
    let outcome = refused.run(&["check"]).exits(2);
    assert_lines(&outcome, &["error proxy HTTPS_PROXY: ", "unchecked api no call can be made"]);
    assert!(!outcome.stdout.contains("SECRET"));
}

#[test]
fn a_full_disk_and_a_read_only_directory_are_told() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox, Dialect::V1);
    let Some(disk) = Tmpfs::mount("size=2m", &fixture.path("small")) else { return };
    let ledger = [&CHECK[..], &["--ledger", "small/l.db"]].concat();
    let reports = [&CHECK[..], &["--output-dir", "small/reports"]].concat();
    let told = |args: &[&str], code| fixture.spawn(disk.command(&fixture, args)).end().exits(code);
    assert_lines(&told(&ledger, 0), &["warning space 2.0 MiB free in small → make room"]);
    let filler = disk.fill();
    assert_lines(&told(&ledger, 2), &["error space 0.0 KiB free in small → make room on the ledger's disk"]);
    assert_lines(&told(&reports, 1), &["error reports small/reports: 0.0 KiB free in small → make room"]);
    let file = [&CHECK[..], &["-o", "small/report.csv"]].concat();
    let line =
        "error reports small/report.csv: 0.0 KiB free in small → make room, or name another file with -o";
    assert_lines(&told(&file, 1), &[line]);
    fs::remove_file(filler).unwrap();
    disk.protect();
    let read_only = told(&ledger, 2);
    assert_lines(
        &read_only,
        &["error ledger small: Read-only file system", "error ledger must be there to be written", "ok api "],
    );
    assert_lines(
        &told(&reports, 2),
        &[
            "error reports small/reports: small cannot be written: Read-only",
            "error reports → mend its rights",
        ],
    );
    assert_lines(
        &told(&file, 2),
        &[
            "error reports small/report.csv: cannot be written: Read-only file system (os error 30) → have it so that",
        ],
    );
    assert_eq!(files(&fixture).len(), 1, "{:?}", files(&fixture));
    assert_no_vm_is_called(&sandbox);
}

#[test]
fn a_locked_ledger_a_newer_one_and_what_is_none_are_told_and_the_inventory_is_checked_all_the_same() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox, Dialect::V1);
    fixture.run(&[&["run"], &CHECK[1..], &["--rate", "none"]].concat()).exits(0);
    let held = Ledger::open(&Location::File(fixture.ledger()), Duration::ZERO).unwrap();
    let lines = [
        &*format!("error lock in use by another run (pid {} on ", std::process::id()),
        "error lock → wait for it, or give --lock-timeout",
        "ok ledger opens, schema",
        "ok inventory 20 VMs selected",
    ];
    // A ledger that is open has more files than one.
    let locked = fixture.run(&CHECK).exits(6);
    assert_lines(&locked, &lines);
    let waits = fixture.run(&[&CHECK[..], &["--lock-timeout", "1m"]].concat()).exits(0);
    assert_lines(&waits, &["warning lock which a run waits for, for 1 min 0 s"]);
    held.close().unwrap();
    check(&fixture, &[], 0);

    let lock = fixture.path(&format!("{}.lock", fixture.ledger().display()));
    fs::remove_file(&lock).unwrap();
    symlink("nowhere", &lock).unwrap();
    assert_lines(
        &check(&fixture, &[], 2),
        &["error ledger ledger.db.lock: is a link, and a ledger's lock is"],
    );
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, "[[package]]\n").unwrap();
    assert_lines(
        &check(&fixture, &[], 2),
        &["error ledger is no ledger's lock: name another", "unchecked lock "],
    );
    fs::remove_file(&lock).unwrap();
    check(&fixture, &[], 0);

    rusqlite::Connection::open(fixture.ledger()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let newer = check(&fixture, &[], 2);
    assert_lines(
        &newer,
        &[
            "error ledger written by a newer v6fleet (schema 99, this one knows ",
            "error ledger upgrade",
            "unchecked lock ",
            "ok inventory 20 VMs selected",
        ],
    );
    let looks_back = check(&fixture, &["--resume"], 2);
    assert_lines(&looks_back, &["unchecked inventory the ledger cannot be opened"]);
    assert_lines(
        &check(&fixture, &["--ledger", "."], 2),
        &["error ledger .: is a directory, and a ledger is a file: name one with --ledger"],
    );
    fs::write(fixture.ledger(), "no ledger at all, but a text that is long enough").unwrap();
    assert_lines(&check(&fixture, &[], 2), &["error ledger not a v6fleet ledger"]);
}

#[test]
fn a_ledger_in_a_database_is_checked_as_one_in_a_file_is() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture(&sandbox, Dialect::V1).in_database(server);
    let first = fixture.run(&CHECK).exits(0);
    assert_lines(&first, &["ok ledger postgres://", "ok ledger not there yet, the first run makes it"]);
    let run = fixture.start(&[&["run"], &CHECK[1..], &["--rate", "1/m"]].concat());
    sandbox.await_calls(1);
    let held = format!("error lock in use by another run (pid {} on ", run.id());
    assert_lines(&fixture.run(&CHECK).exits(6), &["ok ledger opens, schema ", &held]);
    for (args, lock) in [
        // Of other jobs nobody waits for it.
        (&["check", "fleet.csv", "--action", "refresh_next_hop"][..], "ok lock free"),
        (&["check", "inventories/demo.csv", "--action", "allocate"], "ok lock free"),
        (&["check"], "unchecked lock a run waits for those of its own job"),
        (
            &["check", "fleet.csv", "--action", "allocate", "--lock-timeout", "1m"],
            "warning lock which a run waits for",
        ),
    ] {
        assert_lines(&fixture.run(args).exits(0), &[lock]);
    }
    run.kill();
    assert_lines(&fixture.run(&CHECK).exits(0), &["ok lock free"]);
    fixture.database().sql("UPDATE v6fleet.schema SET version = 99");
    assert_lines(&fixture.run(&CHECK).exits(2), &["error ledger written by a newer v6fleet (schema 99"]);
}

#[test]
fn a_database_that_a_run_could_not_write_is_told_and_stays_as_it_is() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture(&sandbox, Dialect::V1);
    let refused = |fixture: &Fixture, user: &str, line: &str| {
        let ledger = server.url().replace("fleet@", &format!("{user}@"));
        let args = ["--ledger", &ledger];
        assert_lines(
            &fixture.run(&[&CHECK[..], &args].concat()).exits(2),
            &[&format!("error ledger {line}")],
        );
        fixture.run(&[&["run"], &CHECK[1..], &args].concat()).exits(2).assert_in_stderr(line);
    };
    server.sql("CREATE ROLE reader LOGIN");
    refused(&fixture, "reader", "permission denied for database postgres");
    fixture.set("V6FLEET_LEDGER", &server.url());
    fixture.run(&CHECK).exits(0);
    assert_eq!(server.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'v6fleet'"), "0");
    fixture.run(&[&["run"], &CHECK[1..], &["--rate", "none"]].concat()).exits(0);
    server.sql(
        "GRANT USAGE ON SCHEMA v6fleet TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA v6fleet TO reader",
    );
    refused(&fixture, "reader", "permission denied for table ");
    let read = ["status", "--ledger", &server.url().replace("fleet@", "reader@")];
    fixture.run(&read).exits(0).assert_in_stdout("exit code 0");
    server.sql("ALTER DATABASE postgres SET default_transaction_read_only = on");
    refused(&fixture, "fleet", "in a read-only transaction");
}

#[test]
fn programs_are_told_the_same_with_every_setting_and_its_source() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox, Dialect::V1);
    let outcome = check(&fixture, &["--format", "json", "--limit", "0"], 7);
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&told["schema"], &told["exit_code"]), (&"v6fleet.check/1".into(), &7.into()));
    let checks = told["checks"].as_array().unwrap();
    let of = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap();
    assert_eq!((&of("inventory")["level"], &of("tcp")["level"]), (&"error".into(), &"ok".into()));
    assert!(of("inventory")["says"].as_str().unwrap().starts_with("nothing selected: "));
    let settings = told["settings"].as_array().unwrap();
    let rate = settings.iter().find(|setting| setting["name"] == "rate").unwrap();
    assert_eq!((&rate["values"][0], &rate["source"]), (&"10/s".into(), &"default".into()));
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_rehearsal_is_checked_without_a_key_or_a_network() {
    let fixture = Fixture::new();
    let before = files(&fixture);
    for (fleet, api, access) in
        [("inventories/demo.csv", "v1", "unchecked"), ("inventories/demo-v2.csv", "v2", "ok")]
    {
        let outcome = fixture.run(&["check", fleet, "--api", api, "--sandbox", "-q"]).exits(0);
        assert_lines(
            &outcome,
            &[
                "ok key the rehearsal",
                "ok inventory at sandbox",
                "ok api it answers",
                &format!("{access} access "),
            ],
        );
        assert_eq!(outcome.stderr, "");
    }
    assert_eq!(files(&fixture), before);
    let world = fixture.run(&["check", "--sandbox", "--world", "none.toml"]).exits(2);
    assert_lines(&world, &["error api none.toml"]);
}
