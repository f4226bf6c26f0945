//! Answers that no sandbox gives: every trap of the API and of what lies before it, over a real connection.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Outcome};
use crate::sandbox::Transport;
use crate::script::{Answer, Api, Step, answer, error, html, json_answer, success, success_body};

/// So old that no attempt of a test can have made it.
const OLD: i64 = 100_000;

pub(crate) fn fixture(api: &Api) -> Fixture {
    let mut fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
    if let Some(certificate) = api.certificate() {
        fixture.write("certificate.pem", certificate);
        fixture.set("V6FLEET_CA_FILE", "certificate.pem");
    }
    fixture
}

/// A documented success of an allocation that stood there long before.
pub(crate) fn found() -> Step {
    success(200, false, OLD).into()
}

/// The same, of one made this moment: by the attempt before, if that went unanswered.
fn found_new() -> Step {
    success(200, false, 0).into()
}

pub(crate) fn made() -> Step {
    success(201, true, 0).into()
}

/// A problem document of RFC 9457.
pub(crate) fn problem(status: u16, code: &str) -> Answer {
    let body = json!({"type": "about:blank", "title": "T", "status": status, "detail": format!("D {code}"), "code": code});
    answer(status, "application/problem+json", body.to_string())
}

/// What a VM's calls are answered with, and what must be said of it:
/// `outcome basis-or-failure attempts may_have_applied http_status`.
type Trap = (&'static str, &'static [fn() -> Step], &'static str);

const TRAPS: &[Trap] = &[
    ("a 500, then made", &[|| error(500, "INTERNAL").into(), made], "created created_flag 2 false 201"),
    ("a 500 that acted", &[|| error(500, "INTERNAL").into(), found_new], "created lost_answer 2 false 200"),
    (
        "a 503 that did not",
        &[|| problem(503, "upstream_unavailable").into(), found],
        "unchanged server_clock 2 false 200",
    ),
    ("502 from the edge", &[|| html(502).into(), found], "unchanged server_clock 2 false 200"),
    ("520 from the edge", &[|| html(520).into(), found], "unchanged server_clock 2 false 200"),
    ("504 for ever", &[|| html(504).into()], "failed server_error 3 true 504"),
    ("501 is final", &[|| error(501, "NOT_IMPLEMENTED").into()], "failed server_error 1 true 501"),
    ("505 is final", &[|| html(505).into()], "failed server_error 1 true 505"),
    ("511 is final", &[|| html(511).into()], "failed server_error 1 true 511"),
    ("507, then made", &[|| html(507).into(), made], "created created_flag 2 false 201"),
    ("525 from the edge", &[|| html(525).into(), made], "created created_flag 2 false 201"),
    ("530 from the edge", &[|| html(530).into(), made], "created created_flag 2 false 201"),
    ("599 from a proxy", &[|| html(599).into(), found_new], "created lost_answer 2 false 200"),
    ("304", &[|| answer(304, "text/html", "").into()], "failed malformed_answer 1 true 304"),
    ("700", &[|| answer(700, "text/html", "").into()], "failed malformed_answer 1 true 700"),
    ("cut off before the answer", &[|| Step::Cut(vec![]), found_new], "created lost_answer 2 false 200"),
    (
        "cut off in the head",
        &[|| Step::Cut(b"HTTP/1.1 201 Cre".to_vec()), found_new],
        "created lost_answer 2 false 200",
    ),
    (
        "cut off in the body",
        &[|| Step::Cut(success(201, true, 0).without(40)), found_new],
        "created lost_answer 2 false 200",
    ),
    ("cut off for ever", &[|| Step::Cut(vec![])], "failed malformed_answer 3 true null"),
    (
        "no HTTP at all",
        &[|| Step::Cut(b"220 mail.example.com ESMTP\r\n".to_vec())],
        "failed malformed_answer 3 true null",
    ),
    ("an empty 200", &[|| answer(200, "application/json", "").into()], "failed malformed_answer 3 true 200"),
    ("a 204", &[|| answer(204, "application/json", "").into()], "failed malformed_answer 3 true 204"),
    ("truncated JSON", &[truncated, found], "unchanged server_clock 2 false 200"),
    ("HTML with a 200", &[|| html(200).into()], "failed malformed_answer 3 true 200"),
    ("a huge success", &[huge], "failed malformed_answer 3 true 200"),
    (
        "a huge error",
        &[|| answer(400, "text/html", "x".repeat(1 << 20)).into()],
        "failed rejected 1 false 400",
    ),
    ("no prefix in it", &[without_prefix], "failed malformed_answer 3 true 200"),
    ("success: false", &[|| refused(200)], "failed refused_by_api 1 false 200"),
    ("success: false with a 201", &[|| refused(201)], "failed refused_by_api 1 false 201"),
    ("201 with created: false", &[|| success(201, false, OLD).into()], "unchanged server_clock 1 false 201"),
    ("200 with created: true", &[|| success(200, true, 0).into()], "created created_flag 1 false 200"),
    ("401 for one VM", &[|| error(401, "UNAUTHORIZED").into()], "failed unauthorized 1 false 401"),
    ("401 from the edge", &[|| html(401).into(), found], "unchanged server_clock 2 false 200"),
    ("403", &[|| problem(403, "account_inactive").into()], "failed forbidden 1 false 403"),
    ("403 from the edge", &[|| html(403).into(), made], "created created_flag 2 false 201"),
    ("404", &[|| error(404, "NOT_FOUND").into()], "failed not_found 1 false 404"),
    ("400", &[|| problem(400, "invalid_request").into()], "failed rejected 1 false 400"),
    ("418", &[|| html(418).into()], "failed rejected 1 false 418"),
    ("423", &[|| error(423, "LOCKED").into(), made], "created created_flag 2 false 201"),
    ("408", &[|| error(408, "TIMEOUT").into(), found_new], "created lost_answer 2 false 200"),
    ("425", &[|| html(425).into(), made], "created created_flag 2 false 201"),
    ("not ready yet", &[|| problem(409, "vps_not_ready").into(), made], "created created_flag 2 false 201"),
    (
        "upstream failed",
        &[|| problem(409, "upstream_failed").into(), found_new],
        "created lost_answer 2 false 200",
    ),
    ("another conflict", &[|| error(409, "NO_ALLOCATION").into()], "failed conflict 1 false 409"),
    ("never an answer", &[|| Step::Stall(vec![])], "failed timeout 3 true null"),
    ("no answer, but it acted", &[|| Step::Stall(vec![]), found_new], "created lost_answer 2 false 200"),
    (
        "half an answer for ever",
        &[|| Step::Stall(success(201, true, 0).without(40))],
        "failed timeout 3 true 201",
    ),
    (
        "an answer too late",
        &[|| success(201, true, 0).after(Duration::from_secs(2)).into(), found_new],
        "created lost_answer 2 false 200",
    ),
    ("gzip unasked", &[|| packed(gzip(&success_body(true, 0)), "gzip")], "created created_flag 1 false 201"),
    (
        "half of a gzip",
        &[|| packed(gzip(&success_body(true, 0))[..99].to_vec(), "gzip"), found_new],
        "created lost_answer 2 false 200",
    ),
    ("a gzip that swells", &[|| packed(gzip(&swollen()), "gzip")], "failed malformed_answer 3 true 201"),
    ("no gzip", &[|| packed(b"{}".to_vec(), "gzip")], "failed malformed_answer 3 true 201"),
    ("brotli", &[|| packed(b"\x0b\x02".to_vec(), "br")], "failed malformed_answer 3 true 201"),
    ("an error in gzip", &[error_in_gzip], "failed not_found 1 false 404"),
    ("401 in Latin-1", &[|| latin1(401).into()], "failed unauthorized 1 false 401"),
    ("403 with half a surrogate", &[surrogate], "failed forbidden 1 false 403"),
    ("a byte order mark", &[marked], "created created_flag 1 false 201"),
    (
        "another next hop",
        &[|| with("next_hop", "fe80::1%vmbr0".into())],
        "unchanged server_clock 1 false 200",
    ),
    ("a moment that is empty", &[|| with("released_at", "".into())], "unchanged server_clock 1 false 200"),
    (
        "plain text",
        &[|| answer(400, "text/plain", "no such\u{1b}[31m VM\nmore").into()],
        "failed rejected 1 false 400",
    ),
    ("times as numbers", &[|| Step::Cut(vec![]), || timed_in_numbers(0)], "created lost_answer 2 false 200"),
    ("old times as numbers", &[|| timed_in_numbers(OLD)], "unchanged server_clock 1 false 200"),
    ("changed while we called", &[|| success_updated_now()], "updated server_clock 1 false 200"),
];

/// Those that HTTP/2 has no way to say.
const TRAPS_OF_HTTP_1: &[Trap] = &[
    ("101", &[|| answer(101, "text/html", "").into()], "failed malformed_answer 1 true 101"),
    (
        "folded and broken header lines",
        &[|| success(201, true, 0).header("x-note", "a\r\n\tb").header("no name", "c").into()],
        "created created_flag 1 false 201",
    ),
    ("a hint before the answer", &[hinted], "created created_flag 1 false 201"),
    ("a reason in Latin-1", &[odd_reason], "failed not_found 1 false 404"),
    ("HTTP/1.0, to the connection's end", &[old_http], "created created_flag 1 false 201"),
];

pub(crate) fn gzip(body: &Value) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body.to_string().as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn packed(body: Vec<u8>, encoding: &str) -> Step {
    answer(201, "application/json", body).header("content-encoding", encoding).into()
}

fn swollen() -> Value {
    let mut body = success_body(true, 0);
    body["padding"] = " ".repeat(1 << 20).into();
    body
}

fn error_in_gzip() -> Step {
    let body = json!({"error": "Not Found", "message": ["no such VM", "here"]});
    answer(404, "application/json", gzip(&body)).header("content-encoding", "gzip").into()
}

/// JSON, but for its encoding.
fn latin1(status: u16) -> Answer {
    answer(status, "text/html", b"{\"error\":\"Unauthorized\",\"message\":\"f\xe5 en nyckel\"}")
}

fn surrogate() -> Step {
    answer(403, "application/json", r#"{"message":"not \ud83d yours"}"#).into()
}

/// Seconds in one place, milliseconds in another.
fn timed_in_numbers(age_s: i64) -> Step {
    let at = Timestamp::now() - SignedDuration::from_secs(age_s);
    let seconds = at.as_duration().as_secs_f64();
    let mut body = success_body(false, age_s);
    body["timestamp"] = Timestamp::now().as_millisecond().into();
    for field in ["allocated_at", "created_at", "updated_at"] {
        body["data"]["allocation"][field] = seconds.into();
    }
    body["data"]["allocation"]["metadata"]["updatedAt"] = at.as_millisecond().into();
    json_answer(200, &body).into()
}

fn hinted() -> Step {
    let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    Step::Cut([&hint[..], &success(201, true, 0).without(0)].concat())
}

fn odd_reason() -> Step {
    Step::Cut(b"HTTP/1.1 404 Hittas ej h\xe4r\r\ncontent-length: 2\r\n\r\n{}".to_vec())
}

fn old_http() -> Step {
    Step::Cut(format!("HTTP/1.0 201 Created\r\n\r\n{}", success_body(true, 0)).into_bytes())
}

fn marked() -> Step {
    answer(201, "application/json", format!("\u{feff}{}", success_body(true, 0))).into()
}

/// A success of which one field is another.
fn with(field: &str, value: Value) -> Step {
    let mut body = success_body(false, OLD);
    body["data"]["allocation"][field] = value;
    json_answer(200, &body).into()
}

fn truncated() -> Step {
    let whole = success_body(false, OLD).to_string();
    answer(200, "application/json", &whole[..whole.len() / 2]).into()
}

fn huge() -> Step {
    let mut body = success_body(false, OLD);
    body["padding"] = "x".repeat(64 * 1024).into();
    json_answer(200, &body).into()
}

fn without_prefix() -> Step {
    let mut body = success_body(false, OLD);
    body["data"]["allocation"].as_object_mut().unwrap().remove("prefix");
    json_answer(200, &body).into()
}

pub(crate) fn refused(status: u16) -> Step {
    json_answer(status, &json!({"success": false, "message": "no prefix left"})).into()
}

pub(crate) fn success_updated_now() -> Step {
    let mut body = success_body(false, OLD);
    body["data"]["allocation"]["metadata"]["updatedAt"] = Timestamp::now().to_string().into();
    json_answer(200, &body).into()
}

fn verdict(row: &Value) -> String {
    let word = |name: &str| row[name].as_str().unwrap_or_default();
    let why = if row["outcome"] == "failed" { word("failure") } else { word("basis") };
    format!(
        "{} {why} {} {} {}",
        word("outcome"),
        row["attempts"],
        row["may_have_applied"],
        row["http_status"]
    )
}

#[test]
fn every_trap_has_its_outcome_and_none_touches_another_vm() {
    assert_trapped(Transport::Plain, &[TRAPS, TRAPS_OF_HTTP_1].concat());
}

#[test]
fn every_trap_has_its_outcome_over_http_2_too() {
    assert_trapped(Transport::Http2, TRAPS);
}

fn assert_trapped(transport: Transport, traps: &[Trap]) {
    // Between two VMs in trouble there are three in none, on racks of their own: no breaker has a reason to open.
    let mut inventory = "vmid,rack_id\n".to_owned();
    let mut scripts = HashMap::new();
    for (number, (_, steps, _)) in traps.iter().enumerate() {
        let vmid = 50_000 + number * 10;
        scripts.insert(vmid.to_string(), steps.to_vec());
        for vm in 0..4 {
            writeln!(inventory, "{},rack-{}", vmid + vm, number % 7).unwrap();
        }
    }
    let api = Api::of_scripts(transport, scripts, made);
    let fixture = fixture(&api);
    fixture.write("fleet.csv", inventory);
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "16"];
    let more = ["--max-attempts", "3", "--timeout", "700ms", "-q"];
    let outcome = fixture.run(&[&run[..], &more].concat()).exits(3);
    for (number, (name, _, expected)) in traps.iter().enumerate() {
        let vmid = 50_000 + number * 10;
        let row = outcome.row(&vmid.to_string());
        assert_eq!(verdict(row), *expected, "{name}: {row}");
        let received = api.received_for(&vmid.to_string()).len();
        assert_eq!(row["attempts"], received, "{name}");
        for healthy in vmid + 1..vmid + 4 {
            assert_eq!(verdict(outcome.row(&healthy.to_string())), "created created_flag 1 false 201");
        }
    }
    let summary = outcome.summary();
    assert_eq!((&summary["complete"], &summary["throttled"]), (&true.into(), &0.into()));
    assert_eq!(summary["calls"], api.received().len());
    assert_told_in_the_apis_words(&outcome, traps);
}

fn assert_told_in_the_apis_words(outcome: &Outcome, traps: &[Trap]) {
    let row = |name: &str| {
        let number = traps.iter().position(|trap| trap.0 == name).unwrap();
        outcome.row(&(50_000 + number * 10).to_string())
    };
    assert_eq!(row("400")["error"], "D invalid_request");
    assert_eq!(row("404")["error"], "it is NOT_FOUND");
    assert_eq!(row("404")["request_id"], "r-1");
    assert_eq!(row("success: false")["error"], "no prefix left");
    assert_eq!(row("an error in gzip")["error"], "no such VM; here");
    assert_eq!(row("401 in Latin-1")["error"], "få en nyckel");
    assert_eq!(row("plain text")["error"], "HTTP 400 Bad Request: no such\u{1b}[31m VM");
    assert!(row("brotli")["error"].to_string().contains("encoded as br"));
    assert_eq!(row("another next hop")["next_hop"], "fe80::1%vmbr0");
    assert_eq!(row("a moment that is empty")["warnings"], json!([r#"released_at is "", not a time"#]));
    assert!(row("504 for ever")["error"].as_str().unwrap().contains("504"));
    for name in ["201 with created: false", "200 with created: true"] {
        assert!(row(name)["warnings"].to_string().contains("but the status is 20"), "{}", row(name));
    }
}

#[test]
fn a_call_is_exactly_as_documented() {
    let api = Api::start(|_, _| found());
    for (prefix, action) in [("", "allocate"), ("", "refresh_next_hop"), ("/gateway", "allocate")] {
        let mut fixture = fixture(&api);
        fixture.set("V6FLEET_BASE_URL", &format!("{}{prefix}", api.base_url()));
        fixture.write("fleet.csv", "vmid\n9223372036854775807\n");
        fixture.run(&["run", "fleet.csv", "--action", action]).exits(0);
        let request = api.received().pop().unwrap();
        let line = format!("POST {prefix}/api/vm/9223372036854775807/routed-ipv6 HTTP/1.1");
        assert_eq!(request.request_line, line);
        let body = format!(r#"{{"action":"{action}"}}"#);
        assert_eq!(request.body, body.as_bytes());
        let mut headers = request.headers;
        let url = api.base_url();
        headers.sort();
        let expected = [
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("content-length", &body.len().to_string()),
            ("content-type", "application/json"),
            ("host", url.strip_prefix("http://").unwrap()),
            ("user-agent", concat!("v6fleet/", env!("CARGO_PKG_VERSION"))),
            ("x-api-key", "a-key"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    assert_eq!(api.received().len(), 3);
}

#[test]
fn a_refused_key_is_known_by_json_in_any_encoding_and_however_broken() {
    let utf16 = || {
        let body = r#"{"message":"få en nyckel"}"#.encode_utf16();
        answer(401, "application/json", body.flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
    };
    let control = || answer(401, "application/json", "{\"message\":\"no\nkey\"}");
    let listed = || answer(401, "text/plain", r#"[{"message":"no key"}]"#);
    let broken = || answer(401, "application/json", r#"{"message":"no key",}"#);
    let apis = [|| latin1(401), utf16, control, listed, broken];
    for refuse in apis {
        let api = Api::start(move |_, _| refuse().into());
        let fixture = fixture(&api);
        fixture.write("fleet.csv", crate::fleet::csv(40));
        fixture.run(&["run", "fleet.csv", "--action", "allocate", "--concurrency", "2"]).exits(8);
        assert!(api.received().len() <= 7, "{} calls", api.received().len());
    }
}

#[test]
fn what_an_answer_leaves_unknown_is_no_change_no_drift_and_not_forgotten() {
    let unknown = || {
        let mut body = success_body(false, OLD);
        let allocation = body["data"]["allocation"].as_object_mut().unwrap();
        for field in ["id", "rack_id", "client_id", "account_id", "proxmox_vm_id", "status"] {
            allocation.insert(field.to_owned(), Value::Null);
        }
        json_answer(200, &body)
    };
    let api = Api::start(move |_, nth| if nth == 1 { unknown().into() } else { found() });
    let fixture = fixture(&api);
    fixture.write("fleet.csv", "vmid,account_id\n10000,20000\n");
    let run = ["run", "fleet.csv", "--action", "allocate"];
    fixture.run(&run).exits(0);
    let second = fixture.run(&run).exits(0);
    let row = second.row("10000");
    assert_eq!(verdict(row), "unchanged ledger 1 false 200");
    assert_eq!((&row["changes"], &row["drift"], &row["rack_id"]), (&json!([]), &json!([]), &Value::Null));
    let warnings = row["warnings"].to_string();
    for word in ["rack_id is null", "status is null", "the inventory expects account_id"] {
        assert!(warnings.contains(word), "{warnings}");
    }
    let history = fixture.run(&["history", "10000"]).exits(0);
    history.assert_in_stdout("active, on dc1r28");
    let third = fixture.run(&[&run[..], &["--rack", "dc1r28"]].concat()).exits(0);
    assert_eq!(verdict(third.row("10000")), "unchanged ledger 1 false 200");
    assert_eq!(third.row("10000")["warnings"], json!([]));
}

#[test]
fn a_proxy_of_the_environment_is_never_asked_for_loopback() {
    let api = Api::start(|_, _| found());
    let proxy = Api::start(|_, _| found());
    let mut fixture = fixture(&api);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        fixture.set(name, &proxy.base_url());
    }
    fixture.write("fleet.csv", "vmid\n10000\n");
    fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    fixture.run(&["run", "fleet.csv", "--action", "allocate", "--proxy", &proxy.base_url()]).exits(0);
    assert_eq!((api.received().len(), proxy.received().len()), (2, 0));
}

/// Something else for VM 10003's first call.
fn refused_once(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Api {
    Api::start(move |vmid, nth| match (vmid, nth) {
        ("10003", 0) => answer().into(),
        _ => success(201, true, 0).after(Duration::from_millis(20)).into(),
    })
}

#[test]
fn a_429_is_no_attempt_and_holds_everybody_for_as_long_as_it_says() {
    let an_hour_ahead = |seconds: i64| {
        let at = Timestamp::now() + SignedDuration::from_secs(3_600 + seconds);
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    let bare = || json_answer(429, &json!({"error": "Too Many Requests", "message": "slow down"}));
    let in_seconds = move || bare().header("retry-after", "1");
    let as_date = move || bare().header("date", an_hour_ahead(0)).header("retry-after", an_hour_ahead(1));
    let in_body =
        || json_answer(429, &json!({"error": "Too Many", "message": "slow down", "retryAfter": "1"}));
    let malformed = move || bare().header("retry-after", "soon").header("x-ratelimit-remaining", "0");
    let from_edge = || html(429).header("retry-after", "1");
    let apis = [
        ("seconds", refused_once(in_seconds)),
        ("a date", refused_once(as_date)),
        ("the body", refused_once(in_body)),
        ("nothing that can be read", refused_once(malformed)),
        ("HTML", refused_once(from_edge)),
    ];
    std::thread::scope(|scope| {
        for (name, api) in &apis {
            scope.spawn(move || assert_all_waited(name, api));
        }
    });
}

/// All forms of the 429 ask for a second, or for none, which is a second too.
fn assert_all_waited(name: &str, api: &Api) {
    let fixture = fixture(api);
    let inventory = (10_000..10_040).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
    fixture.write("fleet.csv", inventory);
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "4"];
    let outcome = fixture.run(&run).exits(0);
    assert_eq!(verdict(outcome.row("10003")), "created created_flag 1 false 201", "{name}");
    assert_eq!(outcome.vms_that_are("created").len(), 40, "{name}");
    assert_eq!(
        (&outcome.summary()["throttled"], &outcome.summary()["calls"]),
        (&1.into(), &41.into()),
        "{name}"
    );
    let refused = api.received_for("10003")[0].at;
    // A date has whole seconds, and a call may be under way while the 429 comes back.
    let (grace, pause) = (Duration::from_millis(150), Duration::from_millis(950));
    let during: Vec<Duration> = since(api, refused).filter(|&at| at > grace && at < pause).collect();
    assert!(during.is_empty(), "{name}: calls {during:?} after a 429");
    let after = since(api, refused).filter(|&at| at >= pause).count();
    assert!(after > 20, "{name}: {after} calls came after the pause");
}

fn since(api: &Api, begin: Instant) -> impl Iterator<Item = Duration> {
    api.received().into_iter().map(move |request| request.at.saturating_duration_since(begin))
}

#[test]
fn a_503_that_names_a_wait_holds_that_vm_alone() {
    let api = Api::start(|vmid, nth| match (vmid, nth) {
        ("10000", 0) => error(503, "UPSTREAM").header("retry-after", "1").into(),
        _ => made(),
    });
    let fixture = fixture(&api);
    let inventory = (10_000..10_020).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
    fixture.write("fleet.csv", inventory);
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--rate", "50/s"]).exits(0);
    assert_eq!(outcome.row("10000")["attempts"], 2);
    let calls = api.received_for("10000");
    let waited = calls[1].at - calls[0].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let meanwhile = since(&api, calls[0].at).filter(|&at| at < Duration::from_millis(900)).count();
    assert_eq!(meanwhile, 20, "the others did not wait");
}

#[test]
fn a_429_that_asks_for_more_than_the_run_may_wait_stops_it() {
    let api = refused_once(|| json_answer(429, &json!({"error": "e", "retryAfter": "3600"})));
    let fixture = fixture(&api);
    fixture.write("fleet.csv", "vmid\n10003\n10004\n10005\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "1"];
    let outcome = fixture.run(&[&run[..], &["--max-wait", "1m"]].concat()).exits(5);
    assert_eq!(outcome.summary()["stopped_by"], "max_wait");
    assert_eq!(outcome.row("10003")["failure"], "rate_limited");
    assert_eq!(outcome.row("10005")["failure"], "not_attempted");
    assert_eq!(api.received().len(), 1);
}

#[test]
fn a_wait_beyond_all_reason_stops_the_run_or_fails_its_vm_and_nothing_worse() {
    const NINES: &str = "99999999999999999999999";
    let by_header = || json_answer(429, &json!({"error": "e"})).header("retry-after", NINES);
    let by_body = || json_answer(429, &json!({"error": "e", "retryAfter": NINES}));
    for api in [refused_once(by_header), refused_once(by_body)] {
        let fixture = fixture(&api);
        fixture.write("fleet.csv", "vmid\n10003\n10004\n");
        let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "1"];
        let outcome = fixture.run(&run).exits(5);
        assert_eq!(outcome.summary()["stopped_by"], "max_wait");
    }
    let api = refused_once(|| error(503, "UPSTREAM").header("retry-after", NINES));
    let fixture = self::fixture(&api);
    fixture.write("fleet.csv", "vmid\n10003\n10004\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(3);
    assert_eq!(outcome.vms_that_are("failed"), ["10003"]);
    let api = Api::start(|_, _| error(503, "UPSTREAM").header("retry-after", NINES).into());
    let fixture = self::fixture(&api);
    fixture.write("fleet.csv", crate::fleet::csv(60));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--max-wait", "1s"];
    let outcome = fixture.run(&[&run[..], &["--canary", "0"]].concat()).exits(5);
    assert_eq!(
        outcome.rows().iter().filter(|row| row["failure"] == "server_error").count(),
        api.received().len()
    );
}

#[test]
fn a_failed_vm_says_what_it_had_before() {
    let api = Api::start(|_, nth| match nth {
        0 => made(),
        _ => error(404, "NOT_FOUND").into(),
    });
    let fixture = fixture(&api);
    fixture.write("fleet.csv", "vmid\n10000\n");
    let first = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    let second = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(3);
    let (before, after) = (first.row("10000"), second.row("10000"));
    assert!(before["prefix"].is_string());
    assert_eq!(
        (&after["previous_prefix"], &after["previous_next_hop"]),
        (&before["prefix"], &before["next_hop"])
    );
}

#[test]
fn nobody_there_is_a_failure_to_connect_that_changed_nothing() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fixture = Fixture::new().env("HOSTUP_API_KEY", "a-key");
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    let url = format!("http://127.0.0.1:{port}");
    let run = ["run", "fleet.csv", "--action", "allocate", "--base-url", &url, "--max-attempts", "2"];
    let outcome = fixture.run(&run).exits(3);
    for row in outcome.rows() {
        assert_eq!(verdict(row), "failed connect 2 false null");
    }
}

#[test]
fn the_same_allocation_however_it_is_written_is_unchanged() {
    let api = Api::start(|_, nth| {
        let mut body = success_body(false, OLD);
        let allocation = &mut body["data"]["allocation"];
        match nth {
            0 => {}
            1 => {
                allocation["prefix"] = "2001:DB8::/48".into();
                allocation["next_hop"] = "2001:0db8:0:0::1/128".into();
                allocation["client_id"] = 30_000.into();
            }
            2 => {
                allocation["id"] = "3".into();
                allocation["metadata"] = Value::Null;
                allocation["colour"] = "blue".into();
                allocation["updated_at"] = "yesterday".into();
            }
            _ => allocation["prefix"] = "2001:db8::/56".into(),
        }
        json_answer(200, &body).into()
    });
    let fixture = fixture(&api);
    fixture.write("fleet.csv", "vmid\n10000\n");
    let run = || fixture.run(&["run", "fleet.csv", "--action", "refresh_next_hop"]).exits(0);
    let verdicts: Vec<String> = (0..4).map(|_| verdict(run().row("10000"))).collect();
    assert_eq!(
        verdicts,
        [
            "unchanged server_clock 1 false 200",
            "unchanged ledger 1 false 200",
            "unchanged ledger 1 false 200",
            "updated ledger 1 false 200",
        ]
    );
}

#[test]
fn an_answer_lost_in_one_run_is_told_in_the_next() {
    let api = Api::start(|_, nth| if nth < 2 { Step::Cut(vec![]) } else { success(200, false, 1).into() });
    let fixture = fixture(&api);
    fixture.write("fleet.csv", "vmid\n10000\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--max-attempts", "2"];
    let first = fixture.run(&run).exits(3);
    assert_eq!(verdict(first.row("10000")), "failed malformed_answer 2 true null");
    assert_eq!(verdict(fixture.run(&run).exits(0).row("10000")), "created lost_answer 1 false 200");
    assert_eq!(verdict(fixture.run(&run).exits(0).row("10000")), "unchanged ledger 1 false 200");
}

#[test]
fn a_server_whose_clock_is_wrong_misleads_nobody() {
    let api = Api::start(|vmid, nth| {
        if nth == 0 {
            return Step::Cut(vec![]);
        }
        let ahead = SignedDuration::from_hours(5);
        let mut body = success_body(false, 0);
        body["timestamp"] = (Timestamp::now() + ahead).to_string().into();
        // Made just now on the server's clock, or five hours ago on it: just now on ours.
        let made_at = Timestamp::now() + if vmid == "10000" { ahead } else { SignedDuration::ZERO };
        for name in ["allocated_at", "created_at", "updated_at"] {
            body["data"]["allocation"][name] = made_at.to_string().into();
        }
        body["data"]["allocation"]["metadata"] = Value::Null;
        json_answer(200, &body).into()
    });
    let fixture = fixture(&api);
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    assert_eq!(verdict(outcome.row("10000")), "created lost_answer 2 false 200");
    assert_eq!(verdict(outcome.row("10001")), "unchanged server_clock 2 false 200");
}

#[test]
fn if_the_first_twenty_vms_all_fail_the_run_stops() {
    let api = Api::start(|_, _| error(404, "NOT_FOUND").into());
    let fixture = fixture(&api);
    let inventory = (10_000..10_500).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
    fixture.write("fleet.csv", inventory);
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "4"];
    let outcome = fixture.run(&run).exits(4);
    assert_eq!(outcome.summary()["stopped_by"], "all_failed");
    let calls = api.received().len();
    assert!((20..=40).contains(&calls), "{calls} calls");
    assert_eq!(
        fixture.run(&[&run[..], &["--canary", "0"]].concat()).exits(3).vms_that_are("failed").len(),
        500
    );
}

#[test]
fn vms_that_are_answered_with_one_and_the_same_allocation_are_told_in_recap_and_report() {
    let api = Api::start(|_, _| success(201, true, 0).into());
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
    fixture.write("fleet.csv", "vmid\n10000\n10001\n10002\n10003\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    let told = "4 VMs were answered with one and the same prefix, 2001:db8::/48: 10000, 10001, 10002, …";
    assert_eq!(outcome.summary()["warnings"], json!([told]));
    outcome.assert_in_stdout(&format!("Warning: {told}"));
    assert!(fixture.run(&["report"]).exits(0).stdout.contains(told));
    fixture.run(&["audit", "fleet.csv"]).exits(11);

    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--vmid", "10000"]).exits(0);
    assert_eq!(outcome.summary()["warnings"], json!([]));
}
