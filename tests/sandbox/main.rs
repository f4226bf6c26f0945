//! The sandbox as a client meets it: over HTTP, and as a process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod client;
mod list;
mod v2;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use ipnet::Ipv6Net;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use v6fleet::sandbox::{
    Keys, Limit, RateLimitHeaders, RetryAfter, Running, Sandbox, Settings, Timestamps, World,
};

use crate::client::{ALLOCATE, Answer, HEADERS, Process, REFRESH, call, get, send};

fn start(settings: Settings) -> Running {
    Sandbox::start(settings, World::built_in()).unwrap()
}

#[test]
fn every_documented_and_every_likely_status_is_answered() {
    let sandbox = start(Settings::default());
    let path = "/api/vm/10000/routed-ipv6";
    let json = "Content-Type: application/json\r\n";
    let large = " ".repeat(100_000);
    for (status, code, method, path, headers, body) in [
        (201, "", "POST", path, HEADERS, ALLOCATE),
        (200, "", "POST", path, HEADERS, ALLOCATE),
        (200, "", "POST", path, HEADERS, REFRESH),
        (
            201,
            "",
            "POST",
            "/api/vm/10001/routed-ipv6",
            &format!("Authorization: Bearer key\r\n{json}"),
            ALLOCATE,
        ),
        (401, "UNAUTHORIZED", "POST", path, json, ALLOCATE),
        (401, "UNAUTHORIZED", "POST", path, &format!("X-API-Key: wrong-key\r\n{json}"), ALLOCATE),
        (400, "INVALID_REQUEST", "POST", "/api/vm/abc/routed-ipv6", HEADERS, ALLOCATE),
        (400, "INVALID_REQUEST", "POST", path, HEADERS, "{"),
        (400, "INVALID_REQUEST", "POST", path, HEADERS, "[]"),
        (400, "INVALID_REQUEST", "POST", path, HEADERS, r#"{"action":"release"}"#),
        (400, "INVALID_REQUEST", "POST", path, HEADERS, r#"{"action":"allocate","x":1}"#),
        (404, "NOT_FOUND", "POST", "/api/vm/10099/routed-ipv6", HEADERS, ALLOCATE),
        (404, "NOT_FOUND", "POST", "/api/vm/10000", HEADERS, ALLOCATE),
        (404, "NOT_FOUND", "GET", "/", "", ""),
        (409, "NO_ALLOCATION", "POST", "/api/vm/10002/routed-ipv6", HEADERS, REFRESH),
        (405, "METHOD_NOT_ALLOWED", "GET", path, HEADERS, ""),
        (405, "METHOD_NOT_ALLOWED", "DELETE", path, HEADERS, ""),
        (415, "UNSUPPORTED_MEDIA_TYPE", "POST", path, "X-API-Key: key\r\n", ALLOCATE),
        (413, "PAYLOAD_TOO_LARGE", "POST", path, HEADERS, &large),
    ] {
        let answer = send(sandbox.address(), method, path, headers, body);
        let shown: String = body.chars().take(50).collect();
        assert_eq!(answer.status, status, "{method} {path} {shown}");
        assert!(answer.headers["date"].ends_with(" GMT"));
        assert_eq!(answer.headers.get("allow").map(String::as_str), (status == 405).then_some("POST"));
        if status >= 400 {
            let body = answer.json();
            let mut names: Vec<&String> = body.as_object().unwrap().keys().collect();
            names.sort();
            assert_eq!(names, ["code", "error", "message", "requestId", "timestamp"]);
            assert!(body.as_object().unwrap().values().all(Value::is_string), "{body}");
            assert_eq!(body["code"], code);
        }
    }
    sandbox.stop().unwrap();
}

#[test]
fn a_success_has_the_documented_types() {
    let sandbox = start(Settings::default());
    for (vmid, created, next_hop) in
        [("10000", true, "2001:db8:1000::1/128"), ("10000", false, "2001:db8:1000::1")]
    {
        let body = call(sandbox.address(), vmid, ALLOCATE).json();
        assert_eq!((&body["success"], &body["data"]["created"]), (&true.into(), &created.into()));
        assert_eq!(body["requestId"].as_str().unwrap().len(), 36);
        let timestamp = body["timestamp"].as_str().unwrap();
        assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
        let allocation = &body["data"]["allocation"];
        assert_eq!(allocation["next_hop"], next_hop);
        assert_ne!(allocation["proxmox_vm_id"], vmid);
        assert!(allocation["id"].is_u64() && allocation["prefix_length"].is_u64());
        for name in ["rack_id", "client_id", "account_id", "proxmox_vm_id", "prefix", "status"] {
            assert!(allocation[name].is_string(), "{name}");
        }
        for name in ["allocated_at", "created_at", "updated_at"] {
            let at = allocation[name].as_str().unwrap();
            assert!(at.len() == 29 && at.ends_with("+00"), "{name}: {at}");
        }
        assert!(allocation["released_at"].is_null() && allocation["cooldown_until"].is_null());
        assert_eq!(allocation["metadata"]["updatedBy"], "1");
    }
}

#[test]
fn a_limit_answers_429_with_the_headers_asked_for() {
    let sandbox = start(Settings {
        limit: Some(Limit::token_bucket("2/h".parse().unwrap(), std::num::NonZeroU32::new(2))),
        retry_after: RetryAfter::Date,
        rate_limit_headers: RateLimitHeaders::Always,
        ..Settings::default()
    });
    let answers: Vec<Answer> = (10_000..10_003).map(|vmid| call(sandbox.address(), vmid, ALLOCATE)).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 201, 429]);
    let remaining: Vec<&str> =
        answers.iter().map(|answer| answer.headers["x-ratelimit-remaining"].as_str()).collect();
    assert_eq!(remaining, ["1", "0", "0"]);
    let body = answers[2].json();
    let mut names: Vec<&String> = body.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["error", "message", "requestId", "retryAfter"]);
    assert!(body["retryAfter"].as_str().unwrap().parse::<u64>().unwrap() > 1_700);
    assert!(answers[2].headers["retry-after"].ends_with(" GMT"));
    assert_eq!(get(sandbox.address(), "/_sandbox/calls").lines()[2]["status"], 429);
}

#[test]
fn the_record_tells_every_call_in_order_and_what_came_of_it() {
    let sandbox = start(Settings::default());
    let address = sandbox.address();
    assert_eq!(get(address, "/_sandbox/calls").body, "");
    for (vmid, body) in
        [("10000", ALLOCATE), ("10000", ALLOCATE), ("10106", REFRESH), ("10106", REFRESH), ("x", "{}")]
    {
        call(address, vmid, body);
    }
    get(address, "/nowhere");
    let calls: Vec<String> = get(address, "/_sandbox/calls")
        .lines()
        .iter()
        .map(|call| {
            let at = call["at"].as_str().unwrap();
            assert!(at.len() == 27 && at.parse::<jiff::Timestamp>().is_ok(), "{at}");
            ["vmid", "action", "status", "took_effect", "created"]
                .map(|name| call[name].to_string())
                .join(" ")
        })
        .collect();
    assert_eq!(
        calls,
        [
            r#""10000" "allocate" 201 true true"#,
            r#""10000" "allocate" 200 false false"#,
            r#""10106" "refresh_next_hop" 200 true false"#,
            r#""10106" "refresh_next_hop" 200 false false"#,
            r#""x" null 400 false false"#,
        ]
    );
    let allocations = get(address, "/_sandbox/allocations").lines();
    assert_eq!(allocations.len(), 2);
    assert_eq!(allocations[1]["vmid"], "10106");
    assert_eq!(allocations[1]["allocation"]["rack_id"], "dc1r28");
    assert_eq!(get(address, "/_sandbox/health").json()["status"], "ok");
}

#[test]
fn maintenance_moves_a_racks_vms_at_their_next_refresh_and_no_other() {
    let sandbox = start(Settings::default());
    let address = sandbox.address();
    let maintain =
        |rack: &str, body: &str| send(address, "POST", &format!("/_sandbox/racks/{rack}"), "", body);
    let before: Vec<Value> = [10_000, 10_200].map(|vmid| call(address, vmid, ALLOCATE).allocation()).into();
    assert_eq!(maintain("dc1r27", r#"{"next_hop":"2001:db8:1000::9"}"#).status, 200);
    let allocated = call(address, 10_000, ALLOCATE).allocation();
    assert_eq!(allocated["next_hop"], "2001:db8:1000::1");
    let refreshed = call(address, 10_000, REFRESH).allocation();
    assert_eq!(refreshed["next_hop"], "2001:db8:1000::9");
    assert_ne!(refreshed["updated_at"], before[0]["updated_at"]);
    assert_eq!(refreshed["allocated_at"], before[0]["allocated_at"]);
    let elsewhere = call(address, 10_200, REFRESH).allocation();
    assert_eq!(elsewhere["updated_at"], before[1]["updated_at"]);
    assert_eq!(call(address, 10_001, ALLOCATE).allocation()["next_hop"], "2001:db8:1000::9/128");
    for body in ["", "[", r#"{"next_hop":"10.0.0.1"}"#, r#"{"nexthop":"fd00::1"}"#] {
        assert_eq!(maintain("dc1r27", body).status, 400, "{body}");
    }
}

#[test]
fn vms_can_be_put_on_a_rack_before_their_first_call() {
    let sandbox = start(Settings::default());
    let address = sandbox.address();
    let put = |body: &str| send(address, "POST", "/_sandbox/racks/fra3-07", "", body).status;
    assert_eq!(put(r#"{"vmids":["10000","10006"]}"#), 200);
    assert_eq!(call(address, 10_000, ALLOCATE).allocation()["rack_id"], "fra3-07");
    assert_eq!(call(address, 10_006, ALLOCATE).allocation()["rack_id"], "fra3-07");
    for vmid in ["10000", "10099", "x"] {
        assert_eq!(put(&format!(r#"{{"vmids":["{vmid}"]}}"#)), 409, "{vmid}");
    }
}

#[test]
fn a_world_from_a_file_knows_its_own_vms_only() {
    let world = World::read(Path::new("inventories/world.toml")).unwrap();
    let sandbox = Sandbox::start(Settings::default(), world).unwrap();
    let address = sandbox.address();
    for (vmid, body, status) in [
        (10_000, ALLOCATE, 201),
        (10_010, ALLOCATE, 200),
        (10_000_000, ALLOCATE, 404),
        (10_300, ALLOCATE, 201),
        (10_301, ALLOCATE, 201),
        (10_302, ALLOCATE, 201),
        (10_303, ALLOCATE, 409),
    ] {
        assert_eq!(call(address, vmid, body).status, status, "{vmid}");
    }
    assert_eq!(send(address, "POST", "/_sandbox/racks/nowhere", "", r#"{"next_hop":"fd00::1"}"#).status, 404);
}

#[test]
fn only_named_keys_are_accepted_where_keys_are_named() {
    let sandbox =
        start(Settings { keys: Keys::Only(vec!["secret".parse().unwrap()]), ..Settings::default() });
    for (key, status) in [("key", 401), ("secret", 201)] {
        let headers = format!("X-API-Key: {key}\r\nContent-Type: application/json\r\n");
        let answer = send(sandbox.address(), "POST", "/api/vm/10000/routed-ipv6", &headers, ALLOCATE);
        assert_eq!(answer.status, status, "{key}");
    }
}

#[test]
fn a_key_that_may_only_read_is_forbidden_to_call() {
    let reader = "key read:vm".parse().unwrap();
    let sandbox = start(Settings { keys: Keys::Only(vec![reader]), ..Settings::default() });
    let answer = call(sandbox.address(), 10_000, ALLOCATE);
    assert_eq!((answer.status, &answer.json()["code"]), (403, &"FORBIDDEN".into()));
    assert_eq!(get(sandbox.address(), "/_sandbox/allocations").body, "");
}

#[test]
fn a_thousand_concurrent_allocates_give_a_thousand_disjoint_prefixes() {
    let sandbox = start(Settings { latency: "1ms..5ms".parse().unwrap(), ..Settings::default() });
    let address = sandbox.address();
    // Ids that end in 0 have no allocation yet; steps of a pool's size make all of a rack's VMs want one place in its pool.
    let vmid = |number: u64| 10 + number * 10 * (1 << 20);
    std::thread::scope(|scope| {
        for thread in 0..50 {
            scope.spawn(move || {
                for number in thread * 20..(thread + 1) * 20 {
                    assert_eq!(call(address, vmid(number), ALLOCATE).status, 201);
                }
            });
        }
    });
    let allocations = get(address, "/_sandbox/allocations").lines();
    assert_eq!(allocations.len(), 1_000);
    let mut prefixes: Vec<Ipv6Net> = allocations
        .iter()
        .map(|line| line["allocation"]["prefix"].as_str().unwrap().parse::<Ipv6Net>().unwrap().trunc())
        .collect();
    prefixes.sort_unstable();
    assert!(prefixes.windows(2).all(|pair| pair[0].broadcast() < pair[1].network()));
    let ids: HashSet<u64> =
        allocations.iter().map(|line| line["allocation"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 1_000);
    assert_eq!(get(address, "/_sandbox/calls").lines().len(), 1_000);
}

/// How far the moment that a text names is ahead of ours, in hours.
fn hours_ahead(text: &Value) -> f64 {
    let at: Timestamp = text.as_str().unwrap().parse().unwrap();
    at.duration_since(Timestamp::now()).as_secs_f64() / 3_600.0
}

#[test]
fn the_clock_that_it_shows_is_wrong_as_asked_for_and_can_be_set() {
    let sandbox = start(Settings { clock: SignedDuration::from_hours(5), ..Settings::default() });
    let near = |text: &Value, hours: f64| {
        let ahead = hours_ahead(text);
        assert!((ahead - hours).abs() < 0.1, "{text}: {ahead}");
    };
    let answer = call(sandbox.address(), 10000, ALLOCATE);
    near(&answer.json()["timestamp"], 5.0);
    near(&answer.allocation()["allocated_at"], 5.0);
    let date =
        Timestamp::strptime("%a, %d %b %Y %H:%M:%S GMT%z", &(answer.headers["date"].clone() + "+0000"));
    near(&date.unwrap().to_string().into(), 5.0);
    near(&get(sandbox.address(), "/_sandbox/calls").lines()[0]["at"], 0.0);

    let set = |step: &str| send(sandbox.address(), "POST", "/_sandbox/clock", "", step).status;
    assert_eq!((set(r#"{"step":"-6h"}"#), set(r#"{"step":"soon"}"#), set("{}")), (200, 400, 400));
    let answer = call(sandbox.address(), 10000, ALLOCATE);
    near(&answer.json()["timestamp"], -1.0);
    near(&answer.allocation()["allocated_at"], 5.0);
}

#[test]
fn answers_name_their_own_moment_or_that_of_the_calls_arrival_or_none() {
    for timestamps in [Timestamps::Answer, Timestamps::Arrival, Timestamps::Never] {
        let latency = "1s".parse().unwrap();
        let sandbox = start(Settings { timestamps, latency, ..Settings::default() });
        let begun = Timestamp::now();
        let answer = call(sandbox.address(), 10000, ALLOCATE);
        let ended = Timestamp::now();
        let body = answer.json();
        let told = body["timestamp"].as_str().map(|at| at.parse::<Timestamp>().unwrap());
        assert_eq!(answer.headers.contains_key("date"), told.is_some(), "{timestamps:?}");
        // They are cut to milliseconds.
        let almost_a_second = SignedDuration::from_millis(999);
        match timestamps {
            Timestamps::Answer => assert!(told.unwrap().duration_since(begun) >= almost_a_second),
            Timestamps::Arrival => assert!(ended.duration_since(told.unwrap()) >= almost_a_second),
            Timestamps::Never => assert_eq!(told, None),
        }
    }
}

#[test]
fn a_call_that_acts_late_does_so_though_its_client_is_gone() {
    let late = std::time::Duration::from_millis(300);
    let faults = vec!["late-effect=100%".parse().unwrap()];
    let sandbox = start(Settings { faults, late, ..Settings::default() });
    let mut stream = TcpStream::connect(sandbox.address()).unwrap();
    let head = format!(
        "POST /api/vm/10000/routed-ipv6 HTTP/1.0\r\n{HEADERS}Content-Length: {}\r\n\r\n",
        ALLOCATE.len()
    );
    stream.write_all((head + ALLOCATE).as_bytes()).unwrap();
    let record = || get(sandbox.address(), "/_sandbox/calls").lines();
    while record().is_empty() {
        std::thread::yield_now();
    }
    drop(stream);
    assert_eq!(record()[0]["created"], false);
    while record()[0]["created"] == false {
        std::thread::yield_now();
    }
    assert_eq!(
        (&record()[0]["answered"], &record()[0]["fault"]),
        (&Value::from(false), &"late-effect".into())
    );
}

#[test]
fn a_call_takes_effect_even_if_its_client_does_not_wait() {
    let sandbox = start(Settings { latency: "1h".parse().unwrap(), ..Settings::default() });
    let address = sandbox.address();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = ALLOCATE.len();
    let head =
        format!("POST /api/vm/10000/routed-ipv6 HTTP/1.1\r\nHost: x\r\n{HEADERS}Content-Length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{ALLOCATE}").as_bytes()).unwrap();
    while get(address, "/_sandbox/calls").lines().is_empty() {
        std::thread::yield_now();
    }
    drop(stream);
    let calls = get(address, "/_sandbox/calls").lines();
    assert_eq!((&calls[0]["status"], &calls[0]["took_effect"]), (&201.into(), &true.into()));
    assert_eq!(get(address, "/_sandbox/allocations").lines().len(), 1);
}

#[test]
fn the_state_file_survives_kill_9_and_a_torn_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let arguments = ["--state", state.to_str().unwrap()];
    let first = Process::start(&arguments);
    let made = call(first.address, 10_000, ALLOCATE);
    assert_eq!(made.status, 201);
    call(first.address, 10_006, ALLOCATE);
    send(first.address, "POST", "/_sandbox/racks/dc1r27", "", r#"{"next_hop":"fd00::9"}"#);
    let before = get(first.address, "/_sandbox/allocations").body;
    drop(first);
    let mut file = std::fs::OpenOptions::new().append(true).open(&state).unwrap();
    file.write_all(br#"{"allocation":{"vmid":100"#).unwrap();

    let second = Process::start(&arguments);
    assert_eq!(get(second.address, "/_sandbox/allocations").body, before);
    let again = call(second.address, 10_000, ALLOCATE);
    assert_eq!((again.status, &again.allocation()["id"]), (200, &made.allocation()["id"]));
    assert_eq!(call(second.address, 10_000, REFRESH).allocation()["next_hop"], "fd00::9");
}

#[test]
fn sigterm_and_sigint_end_it_with_0() {
    for name in ["TERM", "INT"] {
        let mut process = Process::start(&["--latency", "1ms..2ms", "--limit", "100/10s"]);
        let pid = process.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        assert_eq!(process.child.wait().unwrap().code(), Some(0), "SIG{name}");
        let mut rest = String::new();
        process.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one line, and no more");
    }
}

#[test]
fn what_it_cannot_start_with_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (foreign, empty) = (file("fleet.csv", "vmid\n1\n"), file("keys", "\n \n"));
    let scopes = file("scopes", "one\n\ntwo read:vm write:vm\n");
    for (arguments, reason) in [
        (vec!["--listen", "0.0.0.0:0"], "not a loopback address"),
        (vec!["--state", &foreign], "is not a state file of the sandbox"),
        (vec!["--key-file", &empty], "there is no key in"),
        (vec!["--key-file", &scopes], "scopes:3: not a scope (read:vm, read:network or write:network)"),
        (vec!["--null", "available"], "not a field of v2's answers that may be null; there are reason, "),
        (vec!["--fault", "gaze:hang=1%"], "not a fault and its share"),
        (vec!["--vm-fault", "10099=500"], "there is no VM 10099 to go wrong"),
        (vec!["--vm-fault", "vps_x=500"], "there is no VM vps_x to go wrong"),
        (vec!["--world", &foreign], "fleet.csv: "),
        (vec!["--limit", "0/s"], "not a limit such as 100/s"),
        (vec!["--latency", "fast"], "not a latency such as 20ms"),
        (vec!["--limit-burst", "5"], "--limit"),
        (
            vec!["--limit", "1/s", "--limit-kind", "fixed-window", "--limit-burst", "5"],
            "--limit-burst is for --limit-kind token-bucket only",
        ),
    ] {
        let output = Command::new(support::fixture::binary())
            .arg("sandbox")
            .args(&arguments)
            .env("V6FLEET_LISTEN", "127.0.0.1:0")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(reason), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "vmid\n1\n");
}
