//! Answers that no sandbox gives: every trap of the API and of what lies before it, over a real connection.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Outcome};
use crate::sandbox::Transport;
use crate::script::{
    Answer, Api, Play, Received, Speech, Step, answer, error, html, http_date, json_answer, success,
};

/// So old that no attempt of a test can have made it.
const OLD: i64 = 100_000;

/// A documented success of an allocation that stood there long before.
pub(crate) fn found(api: Dialect) -> Step {
    api.success(200, false, OLD).into()
}

/// The same, of one made this moment: by the attempt before, if that went unanswered.
fn found_new(api: Dialect) -> Step {
    api.success(200, false, 0).into()
}

pub(crate) fn made(api: Dialect) -> Step {
    api.success(201, true, 0).into()
}

/// A problem document, which v1 may answer with as well.
pub(crate) fn problem(status: u16, code: &str) -> Answer {
    crate::script::problem(status, code, &format!("D {code}"))
}

/// What a VM's requests are answered with in turn, and what must be said of it:
/// `outcome basis-or-failure requests may_have_applied http_status`.
///
/// Of the requests, `P` is a call and `G` a look, which v2 makes where an answer was lost. v1 calls in its place; where a look
/// finds nothing, and a call follows it, v1 has made that one.
type Trap = (&'static str, &'static [Play], &'static str);

const TRAPS: &[Trap] = &[
    (
        "a 500, then made",
        &[|api| api.error(500, "INTERNAL").into(), made],
        "created created_flag PGP false 201",
    ),
    (
        "a 500 that acted",
        &[|api| api.error(500, "INTERNAL").into(), found_new],
        "created lost_answer PG false 200",
    ),
    (
        "a 503 that did not",
        &[|_| problem(503, "upstream_unavailable").into(), found],
        "unchanged server_clock PG false 200",
    ),
    ("502 from the edge", &[|_| html(502).into(), found], "unchanged server_clock PG false 200"),
    ("520 from the edge", &[|_| html(520).into(), found], "unchanged server_clock PG false 200"),
    ("504 for ever", &[|_| html(504).into()], "failed server_error PGG true 504"),
    ("501 is final", &[|api| api.error(501, "NOT_IMPLEMENTED").into()], "failed server_error P true 501"),
    ("505 is final", &[|_| html(505).into()], "failed server_error P true 505"),
    ("511 is final", &[|_| html(511).into()], "failed server_error P true 511"),
    ("507, then made", &[|_| html(507).into(), made], "created created_flag PGP false 201"),
    ("525 from the edge", &[|_| html(525).into(), made], "created created_flag PGP false 201"),
    ("530 from the edge", &[|_| html(530).into(), made], "created created_flag PGP false 201"),
    ("599 from a proxy", &[|_| html(599).into(), found_new], "created lost_answer PG false 200"),
    ("304", &[|_| answer(304, "text/html", "").into()], "failed malformed_answer P true 304"),
    ("700", &[|_| answer(700, "text/html", "").into()], "failed malformed_answer P true 700"),
    ("cut off before the answer", &[|_| Step::Cut(vec![]), found_new], "created lost_answer PG false 200"),
    (
        "cut off in the head",
        &[|_| Step::Cut(b"HTTP/1.1 201 Cre".to_vec()), found_new],
        "created lost_answer PG false 200",
    ),
    (
        "cut off in the body",
        &[|api| Step::Cut(api.success(201, true, 0).without(40)), found_new],
        "created lost_answer PG false 200",
    ),
    ("cut off for ever", &[|_| Step::Cut(vec![])], "failed malformed_answer PGG true null"),
    (
        "no HTTP at all",
        &[|_| Step::Cut(b"220 mail.example.com ESMTP\r\n".to_vec())],
        "failed malformed_answer PGG true null",
    ),
    (
        "an empty 200",
        &[|_| answer(200, "application/json", "").into()],
        "failed malformed_answer PGG true 200",
    ),
    ("a 204", &[|_| answer(204, "application/json", "").into()], "failed malformed_answer PGG true 204"),
    ("truncated JSON", &[truncated, found], "unchanged server_clock PG false 200"),
    ("HTML with a 200", &[|_| html(200).into()], "failed malformed_answer PGG true 200"),
    ("a huge success", &[huge], "failed malformed_answer PGG true 200"),
    (
        "a huge error",
        &[|_| answer(400, "text/html", "x".repeat(1 << 20)).into()],
        "failed rejected P false 400",
    ),
    ("no prefix in it", &[without_prefix], "failed malformed_answer PGG true 200"),
    ("success: false", &[|api| refused(api, 200)], "failed refused_by_api P false 200"),
    ("success: false with a 201", &[|api| refused(api, 201)], "failed refused_by_api P false 201"),
    (
        "201 with created: false",
        &[|api| api.success(201, false, OLD).into()],
        "unchanged server_clock P false 201",
    ),
    ("200 with created: true", &[|api| api.success(200, true, 0).into()], "created created_flag P false 200"),
    ("401 for one VM", &[|api| api.error(401, "UNAUTHORIZED").into()], "failed unauthorized P false 401"),
    ("401 from the edge", &[|_| html(401).into(), found], "unchanged server_clock PP false 200"),
    ("403", &[|_| problem(403, "account_inactive").into()], "failed forbidden P false 403"),
    ("403 from the edge", &[|_| html(403).into(), made], "created created_flag PP false 201"),
    ("404", &[|api| api.error(404, "NOT_FOUND").into()], "failed not_found P false 404"),
    ("400", &[|_| problem(400, "invalid_request").into()], "failed rejected P false 400"),
    ("418", &[|_| html(418).into()], "failed rejected P false 418"),
    ("423", &[|api| api.error(423, "LOCKED").into(), made], "created created_flag PP false 201"),
    ("408", &[|api| api.error(408, "TIMEOUT").into(), found_new], "created lost_answer PG false 200"),
    ("425", &[|_| html(425).into(), made], "created created_flag PP false 201"),
    ("not ready yet", &[|_| problem(409, "vps_not_ready").into(), made], "created created_flag PP false 201"),
    (
        "upstream failed",
        &[|_| problem(409, "upstream_failed").into(), found_new],
        "created lost_answer PG false 200",
    ),
    ("another conflict", &[|api| api.error(409, "NO_ALLOCATION").into()], "failed conflict P false 409"),
    ("never an answer", &[|_| Step::Stall(vec![])], "failed timeout PGG true null"),
    ("no answer, but it acted", &[|_| Step::Stall(vec![]), found_new], "created lost_answer PG false 200"),
    (
        "half an answer for ever",
        &[|api| Step::Stall(api.success(201, true, 0).without(40))],
        "failed timeout PGG true 201",
    ),
    (
        "an answer too late",
        &[|api| api.success(201, true, 0).after(Duration::from_secs(2)).into(), found_new],
        "created lost_answer PG false 200",
    ),
    (
        "gzip unasked",
        &[|api| packed(gzip(&api.success_body(true, 0)), "gzip")],
        "created created_flag P false 201",
    ),
    (
        "half of a gzip",
        &[|api| packed(gzip(&api.success_body(true, 0))[..99].to_vec(), "gzip"), found_new],
        "created lost_answer PG false 200",
    ),
    (
        "a gzip that swells",
        &[|api| packed(gzip(&swollen(api)), "gzip")],
        "failed malformed_answer PGG true 201",
    ),
    ("no gzip", &[|_| packed(b"{}".to_vec(), "gzip")], "failed malformed_answer PGG true 201"),
    ("brotli", &[|_| packed(b"\x0b\x02".to_vec(), "br")], "failed malformed_answer PGG true 201"),
    ("an error in gzip", &[error_in_gzip], "failed not_found P false 404"),
    ("401 in Latin-1", &[|_| latin1(401).into()], "failed unauthorized P false 401"),
    ("403 with half a surrogate", &[surrogate], "failed forbidden P false 403"),
    ("a byte order mark", &[marked], "created created_flag P false 201"),
    (
        "another next hop",
        &[|api| with(api, "next_hop", "fe80::1%vmbr0".into())],
        "unchanged server_clock P false 200",
    ),
    (
        "a moment that is empty",
        &[|api| with(api, "released_at", "".into())],
        "unchanged server_clock P false 200",
    ),
    (
        "plain text",
        &[|_| answer(400, "text/plain", "no such\u{1b}[31m VM\nmore").into()],
        "failed rejected P false 400",
    ),
    (
        "times as numbers",
        &[|_| Step::Cut(vec![]), |api| timed_in_numbers(api, 0)],
        "created lost_answer PG false 200",
    ),
    ("old times as numbers", &[|api| timed_in_numbers(api, OLD)], "unchanged server_clock P false 200"),
    ("changed while we called", &[success_updated_now], "updated server_clock P false 200"),
];

/// Those of a state of which v2 leaves out what it likes, and of looks after a 500.
const TRAPS_OF_V2: &[Trap] = &[
    (
        "created unknown, and a 201",
        &[|_| said(201, "created", Value::Null)],
        "created created_flag P false 201",
    ),
    (
        "created unknown, and a 200",
        &[|_| said(200, "created", Value::Null)],
        "unchanged server_clock P false 200",
    ),
    (
        "an unknown next hop",
        &[|api| with(api, "next_hop", Value::Null)],
        "unchanged server_clock P false 200",
    ),
    ("an unknown prefix", &[|api| with(api, "prefix", Value::Null)], "failed malformed_answer PGG true 200"),
    ("no times at all", &[bare], "unchanged none P false 200"),
    ("no allocation", &[|api| api.nothing().into()], "failed refused_by_api P false 200"),
    ("looked for a while", &[failed, |_| html(502).into(), found_new], "created lost_answer PGG false 200"),
    ("looked too seldom", &[failed, |_| html(502).into()], "failed server_error PGG true 502"),
    (
        "looked in time",
        &[failed, |_| html(502).into(), |api| api.nothing().into()],
        "failed server_error PGG false 200",
    ),
    ("failed again", &[failed, |api| api.nothing().into(), failed], "failed server_error PGP true 500"),
    ("a look that is lost", &[failed, |_| Step::Cut(vec![]), found], "unchanged server_clock PGG false 200"),
    ("a look into nonsense", &[failed, without_prefix, found], "unchanged server_clock PGG false 200"),
    (
        "no such VM any more",
        &[failed, |api| api.error(404, "VPS_NOT_FOUND").into()],
        "failed not_found PG true 404",
    ),
    ("no scope to look", &[failed, |api| api.error(403, "FORBIDDEN").into()], "failed forbidden PG true 403"),
    ("found released", &[failed, released, made], "created created_flag PGP false 201"),
    (
        "found cooling down",
        &[failed, |api| with(api, "status", "cooldown".into()), made],
        "created created_flag PGP false 201",
    ),
    (
        "found in an unknown state",
        &[failed, |api| with(api, "status", Value::Null)],
        "unchanged server_clock PG false 200",
    ),
    (
        "found with an unknown next hop",
        &[failed, |api| with(api, "next_hop", Value::Null)],
        "unchanged server_clock PG false 200",
    ),
];

/// Those that HTTP/2 has no way to say.
const TRAPS_OF_HTTP_1: &[Trap] = &[
    ("101", &[|_| answer(101, "text/html", "").into()], "failed malformed_answer P true 101"),
    (
        "folded and broken header lines",
        &[|api| api.success(201, true, 0).header("x-note", "a\r\n\tb").header("no name", "c").into()],
        "created created_flag P false 201",
    ),
    ("a hint before the answer", &[hinted], "created created_flag P false 201"),
    ("a reason in Latin-1", &[odd_reason], "failed not_found P false 404"),
    ("HTTP/1.0, to the connection's end", &[old_http], "created created_flag P false 201"),
];

pub(crate) fn gzip(body: &Value) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body.to_string().as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn packed(body: Vec<u8>, encoding: &str) -> Step {
    answer(201, "application/json", body).header("content-encoding", encoding).into()
}

fn swollen(api: Dialect) -> Value {
    let mut body = api.success_body(true, 0);
    body["padding"] = " ".repeat(1 << 20).into();
    body
}

fn error_in_gzip(_: Dialect) -> Step {
    let body = json!({"error": "Not Found", "message": ["no such VM", "here"]});
    answer(404, "application/json", gzip(&body)).header("content-encoding", "gzip").into()
}

/// JSON, but for its encoding.
fn latin1(status: u16) -> Answer {
    answer(status, "text/html", b"{\"error\":\"Unauthorized\",\"message\":\"f\xe5 en nyckel\"}")
}

fn surrogate(_: Dialect) -> Step {
    answer(403, "application/json", r#"{"message":"not \ud83d yours"}"#).into()
}

/// Seconds in one place, milliseconds in another.
fn timed_in_numbers(api: Dialect, age_s: i64) -> Step {
    let at = Timestamp::now() - SignedDuration::from_secs(age_s);
    let mut body = api.success_body(false, age_s);
    if api == Dialect::V1 {
        body["timestamp"] = Timestamp::now().as_millisecond().into();
    }
    let allocation = api.allocation(&mut body);
    for name in ["allocated_at", "created_at"] {
        allocation[api.field(name)] = at.as_duration().as_secs_f64().into();
    }
    set_updated_at(api, allocation, &at.as_millisecond().into());
    api.says(200, &body).into()
}

/// v1 has it in the metadata as well.
fn set_updated_at(api: Dialect, allocation: &mut Value, at: &Value) {
    match api {
        Dialect::V1 => allocation["metadata"]["updatedAt"] = at.clone(),
        Dialect::V2 => allocation["updatedAt"] = at.clone(),
    }
}

fn hinted(api: Dialect) -> Step {
    let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    Step::Cut([&hint[..], &api.success(201, true, 0).without(0)].concat())
}

fn odd_reason(_: Dialect) -> Step {
    Step::Cut(b"HTTP/1.1 404 Hittas ej h\xe4r\r\ncontent-length: 2\r\n\r\n{}".to_vec())
}

fn old_http(api: Dialect) -> Step {
    Step::Cut(format!("HTTP/1.0 201 Created\r\n\r\n{}", api.success_body(true, 0)).into_bytes())
}

fn marked(api: Dialect) -> Step {
    answer(201, "application/json", format!("\u{feff}{}", api.success_body(true, 0))).into()
}

/// A success of which one field of the allocation is another.
fn with(api: Dialect, field: &str, value: Value) -> Step {
    let mut body = api.success_body(false, OLD);
    api.allocation(&mut body)[api.field(field)] = value;
    api.says(200, &body).into()
}

/// v2's success, of which one field beside the allocation is another.
fn said(status: u16, field: &str, value: Value) -> Step {
    let mut body = Dialect::V2.success_body(false, OLD);
    body[field] = value;
    Dialect::V2.says(status, &body).into()
}

fn failed(api: Dialect) -> Step {
    api.error(500, "INTERNAL_ERROR").into()
}

fn released(api: Dialect) -> Step {
    with(api, "released_at", Timestamp::now().to_string().into())
}

/// Nothing but a prefix.
fn bare(api: Dialect) -> Step {
    said(200, "allocation", json!({"prefix": api.allocation(&mut api.success_body(false, OLD))["prefix"]}))
}

fn truncated(api: Dialect) -> Step {
    let whole = api.success_body(false, OLD).to_string();
    answer(200, "application/json", &whole[..whole.len() / 2]).into()
}

fn huge(api: Dialect) -> Step {
    let mut body = api.success_body(false, OLD);
    body["padding"] = "x".repeat(64 * 1024).into();
    json_answer(200, &body).into()
}

fn without_prefix(api: Dialect) -> Step {
    let mut body = api.success_body(false, OLD);
    api.allocation(&mut body).as_object_mut().unwrap().remove("prefix");
    json_answer(200, &body).into()
}

pub(crate) fn refused(api: Dialect, status: u16) -> Step {
    api.refusal(status, "no prefix left").into()
}

pub(crate) fn success_updated_now(api: Dialect) -> Step {
    let mut body = api.success_body(false, OLD);
    set_updated_at(api, api.allocation(&mut body), &Timestamp::now().to_string().into());
    api.says(200, &body).into()
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
    assert_trapped(Dialect::V1, Transport::Plain, &[TRAPS, TRAPS_OF_HTTP_1].concat());
}

#[test]
fn every_trap_has_its_outcome_in_v2_too() {
    assert_trapped(Dialect::V2, Transport::Plain, &[TRAPS, TRAPS_OF_V2, TRAPS_OF_HTTP_1].concat());
}

#[test]
fn every_trap_has_its_outcome_over_http_2_too() {
    assert_trapped(Dialect::V1, Transport::Http2, TRAPS);
}

#[test]
fn every_trap_has_its_outcome_in_v2_over_http_2_too() {
    assert_trapped(Dialect::V2, Transport::Http2, &[TRAPS, TRAPS_OF_V2].concat());
}

/// What must be said of a trapped VM: as [`verdict`] has it.
fn expected(dialect: Dialect, trap: &Trap) -> String {
    let requests = requests(trap);
    let attempts = match dialect {
        // A look that finds nothing is none of its calls.
        Dialect::V1 => requests.replace("GP", "P").len(),
        Dialect::V2 => requests.len(),
    };
    trap.2.replace(requests, &attempts.to_string())
}

fn requests(trap: &Trap) -> &'static str {
    trap.2.split(' ').nth(2).unwrap()
}

/// How a VM was asked for, in the words of [`Trap`].
pub(crate) fn asked(api: &Api, vmid: &str) -> String {
    api.received_for(vmid).iter().map(|request| if request.is_look() { 'G' } else { 'P' }).collect()
}

fn assert_trapped(dialect: Dialect, transport: Transport, traps: &[Trap]) {
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
    let api = Api::of_scripts(dialect, transport, scripts, made);
    let fixture = api.fixture();
    fixture.write_fleet(inventory);
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "16"];
    let more = ["--max-attempts", "3", "--timeout", "700ms", "-q"];
    let outcome = fixture.run(&[&run[..], &more].concat()).exits(3);
    for (number, trap) in traps.iter().enumerate() {
        let (name, vmid) = (trap.0, 50_000 + number * 10);
        let row = outcome.row(&vmid.to_string());
        assert_eq!(verdict(row), expected(dialect, trap), "{name}: {row}");
        let asked = asked(&api, &vmid.to_string());
        assert_eq!(row["attempts"], asked.len(), "{name}");
        assert!(dialect == Dialect::V1 || asked == requests(trap), "{name}: {asked}");
        for healthy in vmid + 1..vmid + 4 {
            assert_eq!(verdict(outcome.row(&healthy.to_string())), "created created_flag 1 false 201");
        }
    }
    let summary = outcome.summary();
    assert_eq!((&summary["complete"], &summary["throttled"]), (&true.into(), &0.into()));
    assert_eq!(summary["calls"], api.received().len());
    assert_told_in_the_apis_words(dialect, &outcome, traps);
}

/// A row's warnings, but for what v2 never tells.
fn warnings(dialect: Dialect, row: &Value) -> Vec<&str> {
    let rackless = "the inventory expects rack_id, and the answer has none";
    let warnings = row["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap());
    let (racks, others): (Vec<&str>, Vec<&str>) = warnings.partition(|warning| *warning == rackless);
    assert_eq!(racks.len(), usize::from(dialect == Dialect::V2), "{row}");
    others
}

fn assert_told_in_the_apis_words(dialect: Dialect, outcome: &Outcome, traps: &[Trap]) {
    let row = |name: &str| {
        let number = traps.iter().position(|trap| trap.0 == name).unwrap();
        outcome.row(&(50_000 + number * 10).to_string())
    };
    assert_eq!(row("400")["error"], "D invalid_request");
    assert_eq!(row("404")["error"], "it is NOT_FOUND");
    assert_eq!(row("404")["request_id"], "r-1");
    assert!(row("success: false")["error"].as_str().unwrap().ends_with("no prefix left"));
    assert_eq!(row("an error in gzip")["error"], "no such VM; here");
    assert_eq!(row("401 in Latin-1")["error"], "få en nyckel");
    assert_eq!(row("plain text")["error"], "HTTP 400 Bad Request: no such\u{1b}[31m VM");
    assert!(row("brotli")["error"].to_string().contains("encoded as br"));
    assert_eq!(row("another next hop")["next_hop"], "fe80::1%vmbr0");
    let empty = format!(r#"{} is "", not a time"#, dialect.field("released_at"));
    assert_eq!(warnings(dialect, row("a moment that is empty")), [empty]);
    assert!(row("504 for ever")["error"].as_str().unwrap().contains("504"));
    for name in ["201 with created: false", "200 with created: true"] {
        assert!(row(name)["warnings"].to_string().contains("but the status is 20"), "{}", row(name));
    }
    if dialect == Dialect::V2 {
        let unknown = "created is unknown, and taken from the status, 201";
        assert_eq!(warnings(dialect, row("created unknown, and a 201")), [unknown]);
        let scope = row("no scope to look")["error"].as_str().unwrap();
        assert!(scope.contains("it is FORBIDDEN") && scope.contains("read:vm"), "{scope}");
    }
}

/// What a request must say of itself, in the order of names.
fn headers(api: &Api, dialect: Dialect, body: Option<&str>) -> Vec<(String, String)> {
    let (url, length) = (api.base_url(), body.map(|body| body.len().to_string()));
    let mut expected = vec![
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("content-type", "application/json"),
        ("host", url.strip_prefix("http://").unwrap()),
        ("user-agent", concat!("v6fleet/", env!("CARGO_PKG_VERSION"))),
        match dialect {
            Dialect::V1 => ("x-api-key", "a-key"),
            Dialect::V2 => ("authorization", "Bearer a-key"),
        },
    ];
    expected.extend(length.as_deref().map(|length| ("content-length", length)));
    expected.sort_unstable();
    expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn assert_asked_as(request: &Received, line: &str, mut expected: Vec<(String, String)>, body: &str) {
    assert_eq!((request.request_line.as_str(), &*request.body), (line, body.as_bytes()));
    let mut headers = request.headers.clone();
    headers.sort();
    expected.sort();
    assert_eq!(headers, expected, "{line}");
}

#[test]
fn a_call_is_exactly_as_documented() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |_, _| found(dialect));
        let id = dialect.id("9223372036854775807");
        for (prefix, action) in [("", "allocate"), ("", "refresh_next_hop"), ("/gateway", "allocate")] {
            let mut fixture = api.fixture();
            fixture.set("V6FLEET_BASE_URL", &format!("{}{prefix}", api.base_url()));
            fixture.write_fleet("vmid\n9223372036854775807\n");
            fixture.run(&["run", "fleet.csv", "--action", action]).exits(0);
            let vms = if dialect == Dialect::V1 { "vm" } else { "v2/vps" };
            let line = format!("POST {prefix}/api/{vms}/{id}/routed-ipv6 HTTP/1.1");
            let body = format!(r#"{{"action":"{action}"}}"#);
            let expected = headers(&api, dialect, Some(&body));
            assert_asked_as(&api.received().pop().unwrap(), &line, expected, &body);
        }
        assert_eq!(api.received().len(), 3);
    });
}

#[test]
fn a_look_is_exactly_as_documented() {
    let api = Api::of(Dialect::V2, |_, nth| if nth == 0 { Step::Cut(vec![]) } else { found(Dialect::V2) });
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10000\n");
    fixture.run(&["run", "fleet.csv", "--action", "refresh_next_hop"]).exits(0);
    let line = format!("GET /api/v2/vps/{}/routed-ipv6 HTTP/1.1", fixture.id(10_000));
    assert_asked_as(&api.received()[1], &line, headers(&api, Dialect::V2, None), "");
    assert_eq!(api.received().len(), 2);
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
    in_each(|dialect| {
        for refuse in apis {
            let api = Api::of(dialect, move |_, _| refuse().into());
            let fixture = api.fixture();
            fixture.write_fleet(crate::fleet::csv(40));
            fixture.run(&["run", "fleet.csv", "--action", "allocate", "--concurrency", "2"]).exits(8);
            assert!(api.received().len() <= 7, "{} calls", api.received().len());
        }
    });
}

/// An answer that knows of neither an id nor a status, as far as its dialect ever does.
fn unknown(api: Dialect) -> Answer {
    let mut body = api.success_body(false, OLD);
    for (name, value) in api.allocation(&mut body).as_object_mut().unwrap() {
        if ["id", "rack_id", "client_id", "account_id", "proxmox_vm_id", "status"].contains(&name.as_str()) {
            *value = Value::Null;
        }
    }
    api.says(200, &body)
}

#[test]
fn what_an_answer_leaves_unknown_is_no_change_no_drift_and_not_forgotten() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |_, nth| match nth {
            1 => unknown(dialect).into(),
            _ => found(dialect),
        });
        let fixture = api.fixture();
        fixture.write_fleet("vmid,account_id\n10000,20000\n");
        let run = ["run", "fleet.csv", "--action", "allocate"];
        fixture.run(&run).exits(0);
        let second = fixture.run(&run).exits(0);
        let row = second.row("10000");
        assert_eq!(verdict(row), "unchanged ledger 1 false 200");
        assert_eq!((&row["changes"], &row["drift"], &row["rack_id"]), (&json!([]), &json!([]), &Value::Null));
        let warnings = row["warnings"].to_string();
        let expected = "the inventory expects account_id, and the answer has none";
        assert!(warnings.contains(expected), "{warnings}");
        let history = fixture.run(&["history", &fixture.id(10_000)]).exits(0);
        // v2 never tells what v1 has to tell.
        let (told, on, rack, third_warnings) = match dialect {
            Dialect::V1 => (true, "active, on dc1r28", &["--rack", "dc1r28"][..], json!([])),
            Dialect::V2 => (false, "active", &[][..], json!([expected])),
        };
        for word in ["rack_id is null", "status is null"] {
            assert_eq!(warnings.contains(word), told, "{warnings}");
        }
        history.assert_in_stdout(on);
        let third = fixture.run(&[&run[..], rack].concat()).exits(0);
        assert_eq!(verdict(third.row("10000")), "unchanged ledger 1 false 200");
        assert_eq!(third.row("10000")["warnings"], third_warnings);
    });
}

#[test]
fn a_proxy_of_the_environment_is_never_asked_for_loopback() {
    let api = Api::start(|_, _| found(Dialect::V1));
    let proxy = Api::start(|_, _| found(Dialect::V1));
    let mut fixture = api.fixture();
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        fixture.set(name, &proxy.base_url());
    }
    fixture.write("fleet.csv", "vmid\n10000\n");
    fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    fixture.run(&["run", "fleet.csv", "--action", "allocate", "--proxy", &proxy.base_url()]).exits(0);
    assert_eq!((api.received().len(), proxy.received().len()), (2, 0));
}

/// Something else for VM 10003's first call.
fn refused_once(dialect: Dialect, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Api {
    Api::of(dialect, move |vmid, nth| match (vmid, nth) {
        ("10003", 0) => answer().into(),
        _ => dialect.success(201, true, 0).after(Duration::from_millis(20)).into(),
    })
}

#[test]
fn a_429_is_no_attempt_and_holds_everybody_for_as_long_as_it_says() {
    let an_hour_ahead =
        |seconds: i64| http_date(Timestamp::now() + SignedDuration::from_secs(3_600 + seconds));
    let bare = || json_answer(429, &json!({"error": "Too Many Requests", "message": "slow down"}));
    let in_seconds = move || bare().header("retry-after", "1");
    let as_date = move || bare().header("date", an_hour_ahead(0)).header("retry-after", an_hour_ahead(1));
    let in_body =
        || json_answer(429, &json!({"error": "Too Many", "message": "slow down", "retryAfter": "1"}));
    let malformed = move || bare().header("retry-after", "soon").header("x-ratelimit-remaining", "0");
    let from_edge = || html(429).header("retry-after", "1");
    let document = || problem(429, "rate_limited").header("retry-after", "1");
    let (v1, v2) = (Dialect::V1, Dialect::V2);
    let apis = [
        ("seconds", refused_once(v1, in_seconds)),
        ("a date", refused_once(v1, as_date)),
        ("the body", refused_once(v1, in_body)),
        ("nothing that can be read", refused_once(v1, malformed)),
        ("HTML", refused_once(v1, from_edge)),
        ("seconds, in v2", refused_once(v2, document)),
        ("HTML, in v2", refused_once(v2, from_edge)),
    ];
    std::thread::scope(|scope| {
        for (name, api) in &apis {
            scope.spawn(move || assert_all_waited(name, api));
        }
    });
}

/// All forms of the 429 ask for a second, or for none, which is a second too.
fn assert_all_waited(name: &str, api: &Api) {
    let fixture = api.fixture();
    let inventory = (10_000..10_040).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
    fixture.write_fleet(inventory);
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
    in_each(|dialect| {
        let api = Api::of(dialect, move |vmid, nth| match (vmid, nth) {
            ("10000", 0) => dialect.error(503, "UPSTREAM").header("retry-after", "1").into(),
            _ => made(dialect),
        });
        let fixture = api.fixture();
        let inventory = (10_000..10_020).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
        fixture.write_fleet(inventory);
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--rate", "50/s"]).exits(0);
        assert_eq!(asked(&api, "10000"), if dialect == Dialect::V1 { "PP" } else { "PGP" });
        assert_eq!(outcome.row("10000")["attempts"], asked(&api, "10000").len());
        let calls = api.received_for("10000");
        let waited = calls[1].at - calls[0].at;
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
        let meanwhile = since(&api, calls[0].at).filter(|&at| at < Duration::from_millis(900)).count();
        assert_eq!(meanwhile, 20, "the others did not wait");
    });
}

#[test]
fn a_look_that_is_refused_for_its_rate_is_no_attempt_either_and_is_made_again() {
    let api = Api::of(Dialect::V2, |_, nth| match nth {
        0 => failed(Dialect::V2),
        1 => problem(429, "rate_limited").header("retry-after", "1").into(),
        _ => found_new(Dialect::V2),
    });
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10000\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--max-attempts", "2"]).exits(0);
    assert_eq!(verdict(outcome.row("10000")), "created lost_answer 2 false 200");
    assert_eq!((asked(&api, "10000").as_str(), &outcome.summary()["throttled"]), ("PGG", &1.into()));
    let looks = api.received_for("10000");
    assert!(looks[2].at - looks[1].at >= Duration::from_secs(1));
}

#[test]
fn a_429_that_asks_for_more_than_the_run_may_wait_stops_it() {
    in_each(|dialect| {
        let api = refused_once(dialect, || json_answer(429, &json!({"error": "e", "retryAfter": "3600"})));
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10003\n10004\n10005\n");
        let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "1"];
        let outcome = fixture.run(&[&run[..], &["--max-wait", "1m"]].concat()).exits(5);
        assert_eq!(outcome.summary()["stopped_by"], "max_wait");
        assert_eq!(outcome.row("10003")["failure"], "rate_limited");
        assert_eq!(outcome.row("10005")["failure"], "not_attempted");
        assert_eq!(api.received().len(), 1);
    });
}

#[test]
fn a_wait_beyond_all_reason_stops_the_run_or_fails_its_vm_and_nothing_worse() {
    in_each(assert_unreasonable_waits_are_borne);
}

fn assert_unreasonable_waits_are_borne(dialect: Dialect) {
    const NINES: &str = "99999999999999999999999";
    let by_header = || json_answer(429, &json!({"error": "e"})).header("retry-after", NINES);
    let by_body = || json_answer(429, &json!({"error": "e", "retryAfter": NINES}));
    for api in [refused_once(dialect, by_header), refused_once(dialect, by_body)] {
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10003\n10004\n");
        let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "1"];
        let outcome = fixture.run(&run).exits(5);
        assert_eq!(outcome.summary()["stopped_by"], "max_wait");
    }
    let down = move || dialect.error(503, "UPSTREAM").header("retry-after", NINES);
    let api = refused_once(dialect, down);
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10003\n10004\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(3);
    assert_eq!(outcome.vms_that_are("failed"), ["10003"]);
    let api = Api::of(dialect, move |_, _| down().into());
    let fixture = api.fixture();
    fixture.write_fleet(crate::fleet::csv(60));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--max-wait", "1s"];
    let outcome = fixture.run(&[&run[..], &["--canary", "0"]].concat()).exits(5);
    assert_eq!(
        outcome.rows().iter().filter(|row| row["failure"] == "server_error").count(),
        api.received().len()
    );
}

#[test]
fn a_failed_vm_says_what_it_had_before() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |_, nth| match nth {
            0 => made(dialect),
            _ => dialect.error(404, "NOT_FOUND").into(),
        });
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10000\n");
        let first = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
        let second = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(3);
        let (before, after) = (first.row("10000"), second.row("10000"));
        assert!(before["prefix"].is_string());
        assert_eq!(
            (&after["previous_prefix"], &after["previous_next_hop"]),
            (&before["prefix"], &before["next_hop"])
        );
    });
}

#[test]
fn nobody_there_is_a_failure_to_connect_that_changed_nothing() {
    in_each(|dialect| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let fixture = Fixture::new().speaking(dialect).env("HOSTUP_API_KEY", "a-key");
        fixture.write_fleet("vmid\n10000\n10001\n");
        let url = format!("http://127.0.0.1:{port}");
        let run = ["run", "fleet.csv", "--action", "allocate", "--base-url", &url, "--max-attempts", "2"];
        let outcome = fixture.run(&run).exits(3);
        for row in outcome.rows() {
            assert_eq!(verdict(row), "failed connect 2 false null");
        }
    });
}

/// The same allocation four times, and but for the last time the same network.
fn written_otherwise(api: Dialect, nth: usize) -> Answer {
    let mut body = api.success_body(false, OLD);
    let allocation = api.allocation(&mut body);
    match nth {
        0 => {}
        1 => {
            allocation["prefix"] = "2001:DB8::/48".into();
            allocation[api.field("next_hop")] = "2001:0db8:0:0::1/128".into();
            allocation[api.field("client_id")] = 30_000.into();
        }
        2 => {
            allocation["id"] = allocation["id"].as_str().unwrap_or("3").into();
            allocation["metadata"] = Value::Null;
            allocation["colour"] = "blue".into();
            allocation[api.field("updated_at")] = "yesterday".into();
        }
        _ => allocation["prefix"] = "2001:db8::/56".into(),
    }
    api.says(200, &body)
}

#[test]
fn the_same_allocation_however_it_is_written_is_unchanged() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |_, nth| written_otherwise(dialect, nth).into());
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10000\n");
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
    });
}

#[test]
fn an_answer_lost_in_one_run_is_told_in_the_next() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |_, nth| match nth {
            ..2 => Step::Cut(vec![]),
            _ => dialect.success(200, false, 1).into(),
        });
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10000\n");
        let run = ["run", "fleet.csv", "--action", "allocate", "--max-attempts", "2"];
        let first = fixture.run(&run).exits(3);
        assert_eq!(verdict(first.row("10000")), "failed malformed_answer 2 true null");
        assert_eq!(verdict(fixture.run(&run).exits(0).row("10000")), "created lost_answer 1 false 200");
        assert_eq!(verdict(fixture.run(&run).exits(0).row("10000")), "unchanged ledger 1 false 200");
        // The run after it looks first, too.
        assert_eq!(asked(&api, "10000"), if dialect == Dialect::V1 { "PPPP" } else { "PGGP" });
    });
}

/// A success of a server whose clock is so far ahead, of an allocation made this moment by its clock or by ours.
fn of_a_clock_ahead(api: Dialect, ahead: SignedDuration, by_its_clock: bool) -> Answer {
    let (mut body, theirs) = (api.success_body(false, 0), Timestamp::now() + ahead);
    let made_at = if by_its_clock { theirs } else { Timestamp::now() };
    let allocation = api.allocation(&mut body);
    for name in ["allocated_at", "created_at", "updated_at"] {
        allocation[api.field(name)] = made_at.to_string().into();
    }
    match api {
        Dialect::V1 => {
            allocation["metadata"] = Value::Null;
            body["timestamp"] = theirs.to_string().into();
            json_answer(200, &body)
        }
        Dialect::V2 => json_answer(200, &body).header("date", http_date(theirs)),
    }
}

#[test]
fn a_server_whose_clock_is_wrong_misleads_nobody() {
    in_each(|dialect| {
        let api = Api::of(dialect, move |vmid, nth| match nth {
            0 => Step::Cut(vec![]),
            _ => of_a_clock_ahead(dialect, SignedDuration::from_hours(5), vmid == "10000").into(),
        });
        let fixture = api.fixture();
        fixture.write_fleet("vmid\n10000\n10001\n");
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
        assert_eq!(verdict(outcome.row("10000")), "created lost_answer 2 false 200");
        assert_eq!(verdict(outcome.row("10001")), "unchanged server_clock 2 false 200");
    });
}

#[test]
fn if_the_first_twenty_vms_all_fail_the_run_stops() {
    let api = Api::start(|_, _| error(404, "NOT_FOUND").into());
    let fixture = api.fixture();
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
    let fixture = api.fixture();
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
