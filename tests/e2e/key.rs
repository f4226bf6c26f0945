//! The API key: where it comes from, and that it goes to the API and nowhere else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::fixture::Fixture;
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::script::{Api, answer, error, success};

const MARKER: &str = "SECRET-MARKER-7f3a";

/// Panics where a file of the fixture holds the marker, but for the named ones.
fn assert_no_marker(fixture: &Fixture, but_for: &[&str]) {
    for path in fixture.files() {
        let named = but_for.iter().any(|name| fixture.path(name) == path);
        // A temporary file may be gone by now.
        let Ok(content) = fs::read(&path) else { continue };
        let found = content.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
        assert!(named || !found, "the key is in {}", path.display());
    }
}

#[test]
fn the_key_is_in_no_log_report_ledger_or_command_line() {
    for (format, from_file) in [("text", false), ("text", true), ("json", false), ("json", true)] {
        let keys = tempfile::NamedTempFile::new().unwrap();
        fs::write(keys.path(), MARKER).unwrap();
        let sandbox = Sandbox::start(&["--latency", "30ms", "--key-file", keys.path().to_str().unwrap()]);
        let mut fixture = Fixture::at(&sandbox);
        fixture.write("fleet.csv", fleet::csv(40));
        let mut args = vec!["run", "fleet.csv", "--action", "allocate", "-vvv", "--log-format", format];
        args.extend(["--rate", "none", "--concurrency", "4", "-o", "report.jsonl", "-o", "report.json"]);
        if from_file {
            fixture.write("api-key", format!("\t{MARKER}\r\n"));
            args.extend(["--api-key-file", "api-key"]);
        } else {
            fixture = fixture.env("HOSTUP_API_KEY", MARKER);
        }
        let process = fixture.start(&args);
        sandbox.await_calls(8);
        let command_line = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
        assert!(!String::from_utf8_lossy(&command_line).contains(MARKER));
        assert!(fixture.path("state/v6fleet/ledger.db-wal").exists(), "it is looked at while it is in use");
        assert_no_marker(&fixture, &["api-key"]);
        let outcome = process.end().exits(0);
        assert!(outcome.stderr.lines().count() > 40, "-vvv logs every call");
        assert!(sandbox.calls().iter().all(|call| call.status != 401), "it was the key that was sent");
        assert_eq!(fixture.texts("SELECT key_fingerprint FROM runs"), ["5c2207a0"]);
        assert_no_marker(&fixture, &["api-key"]);
    }
}

#[test]
fn the_key_is_in_no_message_about_calls_that_go_wrong() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = Api::start(|vmid, _| match vmid {
        "10000" => answer(400, "text/plain", "no").into(),
        "10001" => crate::script::Step::Cut(b"what?\r\n".to_vec()),
        _ => error(403, "FORBIDDEN").into(),
    });
    for (url, code) in
        [(format!("http://{closed}"), 3), (api.base_url(), 3), ("https://127.0.0.1:1".into(), 3)]
    {
        let fixture = Fixture::new().env("HOSTUP_API_KEY", MARKER).env("V6FLEET_BASE_URL", &url);
        fixture.write("fleet.csv", "vmid\n10000\n10001\n10002\n");
        let run = ["run", "fleet.csv", "--action", "allocate", "-vvv", "--max-attempts", "1"];
        fixture.run(&run).exits(code);
        assert_no_marker(&fixture, &[]);
    }
}

#[test]
fn a_redirect_is_a_failure_and_the_place_it_names_hears_nothing() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = format!("http://{}/api", elsewhere.local_addr().unwrap());
    let api = Api::start(move |vmid, _| {
        let status = vmid[2..].parse().unwrap();
        answer(status, "text/html", "moved").header("location", target.as_str()).into()
    });
    let fixture = Fixture::new().env("HOSTUP_API_KEY", MARKER).env("V6FLEET_BASE_URL", &api.base_url());
    fixture.write("fleet.csv", "vmid\n10301\n10302\n10303\n10307\n10308\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--rate", "none"]).exits(3);
    for row in outcome.rows() {
        assert_eq!((&row["failure"], &row["attempts"]), (&"redirected".into(), &1.into()), "{row}");
        assert_eq!(row["may_have_applied"], false);
        assert_eq!(format!("10{}", row["http_status"]), row["vmid"].as_str().unwrap());
    }
    assert_eq!(api.received().len(), 5);
    let heard = elsewhere.accept().map(|(_, peer)| peer);
    assert_eq!(heard.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
    assert_no_marker(&fixture, &[]);
}

#[test]
fn a_key_file_goes_before_the_service_managers_credential_and_that_before_the_environment() {
    let api = Api::start(|_, _| success(200, false, 1_000).into());
    let mut fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url());
    fixture.write("fleet.csv", "vmid\n10000\n");
    for (name, key) in [("typed", "from-flag"), ("named", "from-config"), ("creds/api-key", "from-service")] {
        fixture.write(name, format!("{key}\n"));
        fs::set_permissions(fixture.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let run = |fixture: &Fixture, more: &[&str]| {
        fixture.run(&[&["run", "fleet.csv", "--action", "allocate"], more].concat()).exits(0).stderr
    };
    fixture.set("HOSTUP_API_KEY", "from-environment");
    let log = run(&fixture, &[]);
    assert!(log.contains("HOSTUP_API_KEY") && !log.contains("from-environment"), "{log}");
    let credentials = fixture.path("creds").to_str().unwrap().to_owned();
    fixture.set("CREDENTIALS_DIRECTORY", &credentials);
    run(&fixture, &[]);
    fixture.write("config/v6fleet/config.toml", "api-key-file = 'named'\n");
    run(&fixture, &[]);
    let log = run(&fixture, &["--api-key-file", "typed"]);
    assert!(log.contains("typed") && !log.contains("WARN"), "{log}");
    let key = |headers: Vec<(String, String)>| {
        headers.into_iter().find_map(|(name, value)| (name == "x-api-key").then_some(value)).unwrap()
    };
    let sent: Vec<String> = api.received().into_iter().map(|request| key(request.headers)).collect();
    assert_eq!(sent, ["from-environment", "from-service", "from-config", "from-flag"]);

    fs::set_permissions(fixture.path("typed"), fs::Permissions::from_mode(0o644)).unwrap();
    let log = run(&fixture, &["--api-key-file", "typed"]);
    assert!(log.contains("WARN everybody on this machine may read the API key file"), "{log}");
}
