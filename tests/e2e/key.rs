//! The API key: where it comes from, and that it goes to the API and nowhere else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::answers::gzip;
use crate::dialect::{Dialect, in_each};
use crate::fixture::Fixture;
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::script::{Answer, Api, Speech, Step, answer, json_answer, success};

pub(crate) const MARKER: &str = "SECRET-MARKER-7f3a";

/// Panics where a file of the fixture holds the marker, but for the named ones.
pub(crate) fn assert_no_marker(fixture: &Fixture, but_for: &[&str]) {
    assert_in_no_file(fixture, but_for, &[MARKER.to_owned()]);
}

fn assert_in_no_file(fixture: &Fixture, but_for: &[&str], secrets: &[String]) {
    for path in fixture.files() {
        let named = but_for.iter().any(|name| fixture.path(name) == path);
        // A temporary file may be gone by now.
        let Ok(content) = fs::read(&path) else { continue };
        for secret in secrets {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(named || !found, "{secret} is in {}", path.display());
        }
    }
}

/// The key in every form that a server may give it.
fn forms() -> Vec<String> {
    let percent = |digits: fn(u8) -> String, every: usize| {
        let encoded = |(no, byte): (usize, u8)| {
            if no % every == 0 { format!("%{}", digits(byte)) } else { char::from(byte).to_string() }
        };
        MARKER.bytes().enumerate().map(encoded).collect::<String>()
    };
    let (lower, upper) = (|byte| format!("{byte:02x}"), |byte| format!("{byte:02X}"));
    let inside = ["", "user:", "Bearer ", "X-API-Key: "]
        .map(|before| BASE64_STANDARD.encode(format!("{before}{MARKER}:")));
    let mut forms = vec![
        MARKER.to_owned(),
        MARKER.to_lowercase(),
        MARKER[..8].to_owned(),
        MARKER[MARKER.len() - 8..].to_owned(),
        percent(lower, 1),
        percent(upper, 1),
        percent(upper, 3),
        BASE64_STANDARD.encode(MARKER),
        BASE64_URL_SAFE_NO_PAD.encode(format!("a{MARKER}")),
    ];
    forms.extend(inside);
    forms
}

/// One way for an answer to say what is not to be said.
type Echo = fn(Dialect, &str) -> Answer;

/// Every field of every kind of answer, and enough good ones that no breaker opens.
const ECHOES: [Echo; 18] = [
    |_, said| {
        let body = json!({"error": said, "message": format!("bad key {said}!"), "code": said, "requestId": said, "timestamp": said});
        json_answer(400, &body)
    },
    |_, said| {
        json_answer(
            422,
            &json!({"detail": said, "title": said, "type": said, "instance": said, "errors": [{"detail": said}]}),
        )
    },
    |_, said| {
        let escaped = said.bytes().flat_map(|byte| format!("\\u{byte:04x}").into_bytes()).collect();
        let escaped = String::from_utf8(escaped).unwrap();
        answer(
            404,
            "application/json",
            format!("{{\"message\":\"bad key {escaped}\",\"code\":\"{escaped}\"}}"),
        )
    },
    |_, said| answer(404, "text/html", format!("<html>{said}</html>")).header("x-request-id", said),
    |_, said| answer(405, "text/plain", said),
    |_, said| {
        answer(501, "application/octet-stream", "")
            .header("x-kind", said)
            .header("retry-after", said)
            .header("date", said)
    },
    |api, said| api.refusal(200, said),
    |_, said| json_answer(200, &json!({"success": said, "data": said})),
    |api, said| {
        let mut body = api.success_body(false, 1_000);
        body["requestId"] = said.into();
        body["timestamp"] = said.into();
        for (name, value) in api.allocation(&mut body).as_object_mut().unwrap() {
            if !name.starts_with("prefix") && *name != api.field("next_hop") && name != "metadata" {
                *value = format!("a {said}").into();
            }
        }
        api.allocation(&mut body)["metadata"] = json!({"updatedAt": said, "updatedBy": said});
        api.says(200, &body)
    },
    |api, said| with_allocation(api, |allocation| allocation["prefix"] = said.into()),
    |api, said| with_allocation(api, |allocation| allocation[api.field("next_hop")] = said.into()),
    |api, said| {
        with_allocation(api, |allocation| allocation[api.field("prefix_length")] = said.into())
            .header("x-request-id", said)
    },
    |_, said| {
        let body = json!({"message": [said, {"reason": said}], "errors": {"vmid": [said]}}).to_string();
        answer(404, "application/json", body.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
    },
    |_, said| {
        let body = gzip(&json!({"error": {"code": said, "message": said}}));
        answer(404, "application/json", body).header("content-encoding", "gzip")
    },
    |api, said| api.success(201, true, 0).header("content-encoding", said),
    |api, _| api.success(200, false, 1_000),
    |api, _| api.success(200, false, 1_000),
    |api, _| api.success(200, false, 1_000),
];

fn with_allocation(api: Dialect, edit: impl FnOnce(&mut Value)) -> Answer {
    let mut body = api.success_body(true, 0);
    edit(api.allocation(&mut body));
    api.says(201, &body)
}

#[test]
fn what_an_api_says_of_the_key_in_whatever_form_and_field_comes_to_nobody() {
    in_each(say_the_key_in_every_form);
}

fn say_the_key_in_every_form(dialect: Dialect) {
    let monitor = Api::start(|_, _| answer(200, "text/plain", format!("OK {MARKER}")).into());
    let api = Api::of(dialect, move |vmid, _| {
        let no: usize = vmid.parse().unwrap();
        let said = &forms()[no % 100];
        ECHOES[no / 100 - 1](dialect, said).into()
    });
    for format in ["text", "json"] {
        let fixture = api.fixture().env("HOSTUP_API_KEY", MARKER);
        let fixture = fixture.env("V6FLEET_PING_URL", &monitor.base_url()).env("RUST_LOG", "trace");
        let vmids = (0..forms().len()).flat_map(|form| (1..=ECHOES.len()).map(move |echo| echo * 100 + form));
        fixture.write_fleet(vmids.fold("vmid\n".to_owned(), |csv, vmid| csv + &format!("{vmid}\n")));
        let mut run = vec!["run", "fleet.csv", "--action", "allocate", "-vvv", "--log-format", format];
        run.extend(["--rate", "none", "--max-attempts", "1", "--canary", "0", "--format", format]);
        run.extend(["-o", "a.jsonl", "-o", "a.junit.xml", "-o", "a.prom"]);
        let outcome = fixture.run(&run);
        assert!(matches!(outcome.code, Some(3 | 5)), "{:?}: {}", outcome.code, outcome.stderr);
        assert!(outcome.stdout.contains("***") && outcome.stderr.contains("***"), "{}", outcome.stdout);
        let stars = outcome.rows().iter().filter(|row| row.to_string().contains("***")).count();
        assert!(stars > 9 * forms().len(), "{stars} rows tell that something was masked");
        fixture.run(&["history", &fixture.id(900)]).exits(0);
        assert_in_no_file(&fixture, &[], &forms());
    }
    for request in monitor.received() {
        let body = String::from_utf8(request.body).unwrap();
        assert!(forms().iter().all(|form| !body.contains(form)), "{body}");
    }
}

#[test]
fn a_key_with_a_byte_order_mark_is_sent_without_it_and_one_that_no_header_can_carry_is_named_by_its_source() {
    in_each(send_a_marked_key);
}

/// The header that carries a key.
fn carried(dialect: Dialect, key: &str) -> (String, String) {
    match dialect {
        Dialect::V1 => ("x-api-key".to_owned(), key.to_owned()),
        Dialect::V2 => ("authorization".to_owned(), format!("Bearer {key}")),
    }
}

fn send_a_marked_key(dialect: Dialect) {
    let api = Api::of(dialect, move |_, _| dialect.success(200, false, 1_000).into());
    let fixture = Fixture::new().speaking(dialect).env("V6FLEET_BASE_URL", &api.base_url());
    fixture.write_fleet("vmid\n10000\n");
    fixture.write("with-bom", format!("\u{feff}{MARKER}\r\n"));
    fixture.write("unfit", format!("{MARKER}å"));
    let run = ["run", "fleet.csv", "--action", "allocate", "--api-key-file"];
    fixture.run(&[&run[..], &["with-bom"]].concat()).exits(0);
    let key = carried(dialect, MARKER);
    assert!(api.received().iter().all(|request| request.headers.contains(&key)));
    let refused = fixture.run(&[&run[..], &["unfit"]].concat()).exits(2);
    refused.assert_in_stderr("from unfit has a character that no HTTP header can carry");
    assert!(!refused.stderr.contains(&MARKER[..6]) && api.received().len() == 1);
}

#[test]
fn a_url_that_is_refused_is_named_without_what_is_secret_in_it_wherever_it_comes_from() {
    for (option, url) in [
        ("ping-url", "http://hc.example/SECRET-MARKER-7f3a"),
        ("notify-url", "http://chat.example/hook?key=SECRET-MARKER-7f3a"),
        ("base-url", "https://me:SECRET-MARKER-7f3a@api.example"),
        ("proxy", "socks5://me:SECRET-MARKER-7f3a@proxy:1080"),
        ("proxy", "http://me:SECRET-MARKER-7f3a@proxy:port"),
    ] {
        let variable = format!("V6FLEET_{}", option.replace('-', "_").to_uppercase());
        let flag = format!("--{option}");
        for source in ["flag", "environment", "file"] {
            let mut fixture = Fixture::new();
            let mut run = vec!["run", "inventories/demo.csv", "--sandbox"];
            match source {
                "flag" => run.extend([flag.as_str(), url]),
                "environment" => fixture.set(&variable, url),
                _ => fixture.write("config/v6fleet/config.toml", format!("{option} = '{url}'\n")),
            }
            let outcome = fixture.run(&run).exits(2);
            assert!(
                outcome.stderr.contains(option) || outcome.stderr.contains(&variable),
                "{}",
                outcome.stderr
            );
            assert!(!outcome.stderr.contains(MARKER), "{source}: {}", outcome.stderr);
        }
    }
    let fixture = Fixture::new()
        .env("HTTPS_PROXY", "socks5://me:SECRET-MARKER-7f3a@proxy")
        .env("HOSTUP_API_KEY", "a-key");
    let outcome = fixture.run(&["run", "inventories/demo.csv"]).exits(2);
    assert!(
        outcome.stderr.contains("HTTPS_PROXY: ") && !outcome.stderr.contains(MARKER),
        "{}",
        outcome.stderr
    );
    assert!(!fixture.path("state").exists());
}

#[test]
fn the_key_is_in_no_log_report_ledger_or_command_line() {
    in_each(look_for_the_key_everywhere);
}

fn look_for_the_key_everywhere(dialect: Dialect) {
    for (format, from_file) in [("text", false), ("text", true), ("json", false), ("json", true)] {
        let keys = tempfile::NamedTempFile::new().unwrap();
        fs::write(keys.path(), MARKER).unwrap();
        let sandbox = Sandbox::start(&["--latency", "30ms", "--key-file", keys.path().to_str().unwrap()]);
        let mut fixture = Fixture::at(&sandbox).speaking(dialect);
        fixture.write_fleet(fleet::csv(40));
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
        let report = fixture.report_of("latest");
        assert_eq!(
            (fixture.runs().len(), &report.report()["run"]["key_fingerprint"]),
            (1, &"5c2207a0".into())
        );
        assert_no_marker(&fixture, &["api-key"]);
    }
}

#[test]
fn the_key_is_in_no_message_about_calls_that_go_wrong() {
    in_each(look_for_the_key_in_messages);
}

fn look_for_the_key_in_messages(dialect: Dialect) {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = Api::of(dialect, move |vmid, _| match vmid {
        "10000" => answer(400, "text/plain", "no").into(),
        "10001" => Step::Cut(b"what?\r\n".to_vec()),
        _ => dialect.error(403, "FORBIDDEN").into(),
    });
    for (url, code) in
        [(format!("http://{closed}"), 3), (api.base_url(), 3), ("https://127.0.0.1:1".into(), 3)]
    {
        let fixture = api.fixture().env("HOSTUP_API_KEY", MARKER).env("V6FLEET_BASE_URL", &url);
        fixture.write_fleet("vmid\n10000\n10001\n10002\n");
        let run = ["run", "fleet.csv", "--action", "allocate", "-vvv", "--max-attempts", "1"];
        fixture.run(&run).exits(code);
        assert_no_marker(&fixture, &[]);
    }
}

#[test]
fn a_redirect_is_a_failure_and_the_place_it_names_hears_nothing() {
    in_each(redirect);
}

fn redirect(dialect: Dialect) {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = format!("http://{}/api", elsewhere.local_addr().unwrap());
    let api = Api::of(dialect, move |vmid, _| {
        let status = vmid[2..].parse().unwrap();
        answer(status, "text/html", "moved").header("location", target.as_str()).into()
    });
    let fixture = api.fixture().env("HOSTUP_API_KEY", MARKER);
    fixture.write_fleet("vmid\n10301\n10302\n10303\n10307\n10308\n");
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

#[test]
fn in_a_rehearsal_nothing_is_taken_for_a_key() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", "vmid,rack_id\n10000,rehearsal-1\n10001,sandbox\n");
    let outcome =
        fixture.run(&["run", "fleet.csv", "--action", "allocate", "--sandbox", "--rate", "none"]).exits(0);
    let racks: Vec<&str> = outcome.rows().iter().map(|row| row["rack_id"].as_str().unwrap()).collect();
    assert_eq!((racks, &outcome.summary()["drifted"]), (vec!["rehearsal-1", "sandbox"], &0.into()));
}

#[test]
fn a_proxy_is_used_as_curl_would_and_neither_its_password_nor_what_it_says_of_the_key_comes_to_anybody() {
    let proxy = Api::start(|_, _| {
        answer(502, "text/plain", format!("no: {MARKER}"))
            .header("proxy-status", format!("a; details={MARKER}"))
            .into()
    });
    let url = proxy.base_url().replace("http://", "http://me:PROXY-PASSWORD@");
    // TEST-NET-1 of RFC 5737: nobody is there.
    let run = ["run", "fleet.csv", "--action", "allocate", "--base-url", "https://192.0.2.1", "-vvv"];
    let run = [&run[..], &["--max-attempts", "1", "--connect-timeout", "200ms"]].concat();
    for (exceptions, asked) in
        [(None, true), (Some(""), true), (Some("192.0.3.0/24"), true), (Some("*"), false)]
    {
        let mut fixture = Fixture::new().env("HOSTUP_API_KEY", MARKER).env("HTTPS_PROXY", &url);
        if let Some(exceptions) = exceptions {
            fixture.set("NO_PROXY", exceptions);
        }
        fixture.write("fleet.csv", "vmid\n10000\n");
        let before = proxy.received().len();
        let outcome = fixture.run(&run).exits(3);
        assert_eq!(outcome.row("10000")["failure"], "connect", "{}", outcome.stderr);
        assert_eq!(proxy.received().len() > before, asked, "NO_PROXY={exceptions:?}: {}", outcome.stderr);
        assert_in_no_file(&fixture, &[], &[MARKER.to_owned(), "PROXY-PASSWORD".to_owned()]);
    }
    let lines: Vec<String> = proxy.received().into_iter().map(|request| request.request_line).collect();
    assert!(lines.iter().all(|line| line == "CONNECT 192.0.2.1:443 HTTP/1.1"), "{lines:?}");
    assert!(
        proxy
            .received()
            .iter()
            .flat_map(|request| &request.headers)
            .all(|(_, value)| !value.contains(MARKER))
    );
}
