//! v2: one VM's routed IPv6, looked at and called for.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::{Answer, HEADERS, Process, call, get, send};

const JSON: &str = "Authorization: Bearer key\r\nContent-Type: application/json\r\n";
const REFRESH: &str = r#"{"action":"refresh_next_hop"}"#;

/// The id that the built-in world makes up.
fn id(vmid: u64) -> String {
    format!("vps_01hxa3b{vmid:019}")
}

fn path(id: &str) -> String {
    format!("/api/v2/vps/{id}/routed-ipv6")
}

fn look(address: SocketAddr, vmid: u64) -> Answer {
    send(address, "GET", &path(&id(vmid)), "Authorization: Bearer key\r\n", "")
}

fn ask(address: SocketAddr, vmid: u64, body: &str) -> Answer {
    send(address, "POST", &path(&id(vmid)), JSON, body)
}

fn change(address: SocketAddr, vmid: u64, profile: &Value) {
    let answer = send(address, "POST", &format!("/_sandbox/vms/{vmid}"), "", &profile.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn allocations(address: SocketAddr) -> String {
    get(address, "/_sandbox/allocations").body
}

/// The names of an object's fields.
fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_look_and_a_call_are_answered_with_all_that_is_documented() {
    let sandbox = Process::start(&[]);
    let address = sandbox.address;
    let seen = look(address, 10_000);
    let rules = json!({
        "available": true, "reason": null, "parentCidr": "2001:db8:1000::/36", "prefixLength": 56,
        "cooldownDays": 7, "maxPerVm": 1, "suggestedNextHop": "2001:db8:1000::1",
        "created": null, "allocation": null,
    });
    assert_eq!((seen.status, seen.json()), (200, rules));

    let made = ask(address, 10_000, "{}");
    let body = made.json();
    assert_eq!((made.status, &body["created"]), (201, &json!(true)));
    let allocation = &body["allocation"];
    assert_eq!(allocation["id"], "ripv6_01hxa3b0000000000000010000");
    assert_eq!(allocation["prefix"], "2001:db8:1027:1000::1/56");
    assert_eq!((&allocation["prefixLength"], &allocation["status"]), (&json!(56), &json!("active")));
    assert_eq!(allocation["nextHop"], "2001:db8:1000::1/128");
    assert_eq!((&allocation["releasedAt"], &allocation["cooldownUntil"]), (&Value::Null, &Value::Null));
    for name in ["allocatedAt", "createdAt", "updatedAt"] {
        let at = allocation[name].as_str().unwrap();
        assert!(at.ends_with('Z') && at.parse::<jiff::Timestamp>().is_ok(), "{name}: {at}");
    }
    assert_eq!(names(allocation).len(), 10);

    let seen = look(address, 10_000).json();
    assert_eq!(
        (&seen["created"], &seen["allocation"]["nextHop"]),
        (&Value::Null, &json!("2001:db8:1000::1"))
    );
    let again = ask(address, 10_000, "");
    assert_eq!((again.status, &again.json()["created"]), (200, &json!(false)));
    assert_eq!(again.json()["allocation"], seen["allocation"]);
}

#[test]
fn a_refresh_sets_what_a_look_suggested() {
    let sandbox = Process::start(&[]);
    let address = sandbox.address;
    let seen = look(address, 10_026).json();
    assert_eq!(seen["suggestedNextHop"], "2001:db8:2000::2");
    assert_eq!(seen["allocation"]["nextHop"], "2001:db8:2000::1");
    let moved = ask(address, 10_026, REFRESH);
    assert_eq!((moved.status, &moved.json()["created"]), (200, &json!(false)));
    assert_eq!(moved.json()["allocation"]["nextHop"], "2001:db8:2000::2");
    assert_eq!(look(address, 10_026).json()["allocation"], moved.json()["allocation"]);
}

#[test]
fn looks_change_nothing_and_the_record_tells_them_from_calls() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let sandbox = Process::start(&["--state", state.to_str().unwrap()]);
    let address = sandbox.address;
    for vmid in [10_000, 10_026] {
        ask(address, vmid, "{}");
    }
    let before = (allocations(address), fs::read(&state).unwrap());
    for vmid in 10_000..10_100 {
        assert_eq!(look(address, vmid).status, if vmid == 10_099 { 404 } else { 200 });
    }
    assert!((allocations(address), fs::read(&state).unwrap()) == before, "a look changed something");
    send(address, "GET", "/api/v2/vps?limit=1", "Authorization: Bearer key\r\n", "");
    call(address, 10_000, crate::client::ALLOCATE);
    let record = get(address, "/_sandbox/calls").lines();
    let kinds: Vec<String> = record
        .iter()
        .map(|line| {
            ["dialect", "kind", "vmid", "action", "took_effect"].map(|name| line[name].to_string()).join(" ")
        })
        .collect();
    assert_eq!(kinds.len(), 104);
    assert_eq!(kinds[0], format!(r#""v2" "call" "{}" "allocate" true"#, id(10_000)));
    assert_eq!(kinds[2], format!(r#""v2" "look" "{}" null false"#, id(10_000)));
    assert_eq!(kinds[102], r#""v2" "list" null null false"#);
    assert_eq!(kinds[103], r#""v1" "call" "10000" "allocate" false"#);
}

#[test]
fn what_one_dialect_made_is_what_the_other_finds() {
    let sandbox = Process::start(&[]);
    let address = sandbox.address;
    let by_v1 = call(address, 10_000, crate::client::ALLOCATE).allocation();
    let by_v2 = ask(address, 10_002, "{}").json()["allocation"].clone();
    let alike = |v1: &Value, v2: &Value| {
        let text = |value: &Value| value.as_str().unwrap().replace("/128", "");
        let moment = |value: &Value| text(value).replace(' ', "T").replace("+00", "Z");
        assert_eq!(text(&v1["prefix"]), text(&v2["prefix"]));
        assert_eq!(text(&v1["next_hop"]), text(&v2["nextHop"]));
        assert_eq!((&v1["prefix_length"], &v1["status"]), (&v2["prefixLength"], &v2["status"]));
        for (v1_name, v2_name) in
            [("allocated_at", "allocatedAt"), ("created_at", "createdAt"), ("updated_at", "updatedAt")]
        {
            assert_eq!(moment(&v1[v1_name]), moment(&v2[v2_name]), "{v1_name}");
        }
    };
    alike(&by_v1, &look(address, 10_000).json()["allocation"]);
    alike(&call(address, 10_002, crate::client::ALLOCATE).allocation(), &by_v2);
    let lines = get(address, "/_sandbox/allocations").lines();
    let ids: Vec<(&Value, &Value)> = lines.iter().map(|line| (&line["vmid"], &line["id"])).collect();
    assert_eq!(ids, [(&json!("10000"), &json!(id(10_000))), (&json!("10002"), &json!(id(10_002)))]);
}

#[test]
fn any_well_formed_id_is_some_vm_and_is_known_again() {
    let sandbox = Process::start(&[]);
    let address = sandbox.address;
    let any = "vps_7zzzzzzzzzzzzzzzzzzzzzzzzz";
    assert_eq!(send(address, "GET", &path(any), JSON, "").status, 200);
    let made = send(address, "POST", &path(any), JSON, "{}").json();
    assert_eq!(get(address, "/_sandbox/allocations").lines()[0]["id"], any);
    let seen = send(address, "GET", &path(any), JSON, "").json();
    assert_eq!(seen["allocation"]["prefix"], made["allocation"]["prefix"]);
}

#[test]
fn every_problem_is_a_document_with_its_code() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    fs::write(&keys, "key\nreader read:vm\n\nwriter write:network\n").unwrap();
    let sandbox = Process::start(&["--key-file", keys.to_str().unwrap()]);
    let address = sandbox.address;
    let change_fault = |fault: Value| {
        let body = json!({"vmid": id(10_003), "fault": fault}).to_string();
        assert_eq!(send(address, "POST", "/_sandbox/faults", "", &body).status, 200);
    };
    change(address, 10_004, &json!({"power_state": "provisioning"}));
    let (known, faulty, unready) = (path(&id(10_000)), path(&id(10_003)), path(&id(10_004)));
    let bearer = |key: &str| format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
    let long_rack = format!(r#"{{"rackId":"{}"}}"#, "r".repeat(51));
    let list = "/api/v2/vps";
    for (status, code, fault, method, path, headers, body) in [
        (401, "unauthorized", "", "GET", &*known, "", ""),
        (401, "unauthorized", "", "GET", &known, &*bearer("other"), ""),
        (401, "unauthorized", "", "POST", &known, HEADERS, "{}"),
        (403, "forbidden", "", "POST", &known, &bearer("reader"), "{}"),
        (403, "forbidden", "", "GET", &known, &bearer("writer"), ""),
        (403, "forbidden", "", "GET", list, &bearer("writer"), ""),
        (403, "account_inactive", "403-inactive", "GET", &faulty, JSON, ""),
        (404, "vps_not_found", "", "GET", &path(&id(10_099)), JSON, ""),
        (404, "vps_not_found", "", "POST", &path(&id(10_099)), JSON, "{}"),
        (404, "not_found", "", "GET", "/api/v2/me", JSON, ""),
        (405, "method_not_allowed", "", "DELETE", &known, JSON, ""),
        (405, "method_not_allowed", "", "POST", list, JSON, "{}"),
        (409, "vps_not_ready", "", "POST", &unready, JSON, "{}"),
        (409, "vps_not_ready", "409-not-ready", "POST", &faulty, JSON, "{}"),
        (409, "upstream_failed", "409-upstream-before", "POST", &faulty, JSON, "{}"),
        (409, "no_allocation", "", "POST", &known, JSON, REFRESH),
        (413, "payload_too_large", "", "POST", &known, JSON, &" ".repeat(10_000)),
        (415, "unsupported_media_type", "", "POST", &known, "Authorization: Bearer key\r\n", "{}"),
        (429, "rate_limit_exceeded", "429-second", "GET", &faulty, JSON, ""),
        (500, "internal_error", "500", "GET", &faulty, JSON, ""),
        (502, "upstream_failed", "502", "POST", &faulty, JSON, "{}"),
        (503, "upstream_unavailable", "503", "GET", &faulty, JSON, ""),
        (504, "gateway_timeout", "504", "GET", &faulty, JSON, ""),
        (400, "invalid_request", "", "GET", &path("10000"), JSON, ""),
        (400, "invalid_request", "", "GET", &path("192.0.2.1"), JSON, ""),
        (400, "invalid_request", "", "GET", &path("VPS_01HXA3B0000000000000010000"), JSON, ""),
        (400, "invalid_request", "", "POST", &known, JSON, "{"),
        (400, "invalid_request", "", "POST", &known, JSON, "[]"),
        (400, "invalid_request", "", "POST", &known, JSON, r#"{"action":"release"}"#),
        (400, "invalid_request", "", "POST", &known, JSON, r#"{"action":null}"#),
        (400, "invalid_request", "", "POST", &known, JSON, r#"{"rackId":3}"#),
        (400, "invalid_request", "", "POST", &known, JSON, &long_rack),
        (400, "invalid_request", "", "POST", &known, JSON, r#"{"rack":"dc1r27"}"#),
        (400, "invalid_request", "", "GET", "/api/v2/vps?limit=101", JSON, ""),
        (400, "invalid_request", "", "GET", "/api/v2/vps?cursor=x", JSON, ""),
    ] {
        if !fault.is_empty() {
            change_fault(json!(fault));
        }
        let answer = send(address, method, path, headers, body);
        let shown: String = body.chars().take(50).collect();
        assert_eq!(answer.status, status, "{method} {path} {shown}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.json();
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{method} {path}");
        assert_eq!(problem["instance"], path.split('?').next().unwrap());
        for name in ["type", "title", "detail", "requestId", "timestamp"] {
            assert!(problem[name].is_string(), "{name}: {problem}");
        }
        assert_eq!(problem["errors"][0]["detail"].is_string(), status == 400, "{problem}");
        let allowed = if path == list { "GET" } else { "GET, POST" };
        assert_eq!(answer.headers.get("allow").map(String::as_str), (status == 405).then_some(allowed));
    }
    assert_eq!(allocations(address), "");
    let accepted = send(address, "POST", &known, JSON, r#"{"rackId":"dc1r28","action":"allocate"}"#);
    assert_eq!((accepted.status, accepted.json()["parentCidr"].as_str()), (201, Some("2001:db8:1000::/36")));
}

#[test]
fn a_limit_holds_for_both_dialects_together() {
    let sandbox = Process::start(&["--limit", "3/h", "--limit-burst", "3", "--rate-limit-headers", "always"]);
    let address = sandbox.address;
    assert_eq!(look(address, 10_000).headers["x-ratelimit-remaining"], "2");
    assert_eq!(call(address, 10_000, crate::client::ALLOCATE).status, 201);
    assert_eq!(send(address, "GET", "/api/v2/vps", JSON, "").status, 200);
    let limited = ask(address, 10_000, "{}");
    assert_eq!((limited.status, &limited.json()["code"]), (429, &json!("rate_limited")));
    assert!(limited.headers["retry-after"].parse::<u64>().unwrap() > 1_000);
    assert!(limited.headers["x-ratelimit-reset"].ends_with('Z'));
    assert_eq!(limited.json().get("retryAfter"), None);
}

#[test]
fn everything_that_may_be_null_can_be_null() {
    let fields = [
        "reason",
        "parentCidr",
        "prefixLength",
        "cooldownDays",
        "maxPerVm",
        "suggestedNextHop",
        "created",
        "allocation.id",
        "allocation.prefix",
        "allocation.prefixLength",
        "allocation.nextHop",
        "allocation.status",
        "allocation.allocatedAt",
        "allocation.releasedAt",
        "allocation.cooldownUntil",
        "allocation.createdAt",
        "allocation.updatedAt",
    ];
    let flags: Vec<&str> = fields.iter().flat_map(|field| ["--null", field]).collect();
    let sandbox = Process::start(&flags);
    let body = ask(sandbox.address, 10_000, "{}").json();
    assert_eq!(body["available"], true);
    let allocation = body["allocation"].as_object().unwrap();
    assert_eq!((names(&body).len(), allocation.len()), (9, 10));
    assert!(allocation.values().all(Value::is_null), "{body}");
    let nulls = body.as_object().unwrap().values().filter(|value| value.is_null()).count();
    assert_eq!(nulls, 7, "{body}");

    let sandbox = Process::start(&[]);
    change(sandbox.address, 10_000, &json!({"null": ["allocation"]}));
    let made = ask(sandbox.address, 10_000, "{}");
    assert_eq!((made.status, &made.json()["allocation"]), (201, &Value::Null));
    assert!(ask(sandbox.address, 10_001, "{}").json()["allocation"].is_object());
    assert_eq!(get(sandbox.address, "/_sandbox/allocations").lines().len(), 2);
}

#[test]
fn a_file_says_which_vms_are_called_what_and_which_cannot_have_routed_ipv6() {
    let directory = tempfile::tempdir().unwrap();
    let world = directory.path().join("world.toml");
    fs::write(
        &world,
        r#"
        [racks.a]
        pool = "2001:db8:a00::/40"
        next_hop = "2001:db8:a00::2"
        previous_next_hop = "2001:db8:a00::1"
        vms = ["1-9"]
        allocated = ["10-19"]
        [racks.full]
        pool = "2001:db8:f00::/55"
        next_hop = "2001:db8:f00::1"
        vms = ["20"]
        allocated = ["21"]
        [vms.1]
        id = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3"
        [vms.2-3]
        reason = "Assign IPv6 to the net0 interface first"
        [vms.12]
        reason = "The VM is suspended"
        [vms.13]
        status = "cooldown"
        "#,
    )
    .unwrap();
    let sandbox = Process::start(&["--world", world.to_str().unwrap()]);
    let address = sandbox.address;
    let named = path("vps_01hxa3b4c5d6e7f8g9h0j1k2m3");
    assert_eq!(send(address, "POST", &named, JSON, "{}").status, 201);
    assert_eq!(call(address, 1, crate::client::ALLOCATE).status, 200);
    for unknown in [id(1), id(99), "vps_7zzzzzzzzzzzzzzzzzzzzzzzzz".into()] {
        assert_eq!(send(address, "GET", &path(&unknown), JSON, "").status, 404, "{unknown}");
    }

    let before = allocations(address);
    for (vmid, reason, has_one) in [
        (2, "Assign IPv6 to the net0 interface first", false),
        (3, "Assign IPv6 to the net0 interface first", false),
        (12, "The VM is suspended", true),
        (20, "The pool of this VM's rack has no prefix left", false),
    ] {
        let seen = look(address, vmid).json();
        assert_eq!((&seen["available"], &seen["reason"]), (&json!(false), &json!(reason)), "{vmid}");
        assert_eq!((seen["allocation"].is_object(), &seen["suggestedNextHop"]), (has_one, &Value::Null));
    }
    for (vmid, created) in [(2, json!(false)), (12, json!(false))] {
        let asked = ask(address, vmid, "{}");
        assert_eq!((asked.status, &asked.json()["created"]), (200, &created), "{vmid}");
        let by_v1 = call(address, vmid, crate::client::ALLOCATE);
        assert_eq!((by_v1.status, &by_v1.json()["success"]), (200, &json!(false)));
        assert_eq!(by_v1.json()["message"], asked.json()["reason"]);
    }
    assert_eq!(ask(address, 20, "{}").json()["code"], "pool_exhausted");
    let cooling = ask(address, 13, REFRESH).json();
    assert_eq!(cooling["allocation"]["status"], "cooldown");
    assert!(
        cooling["allocation"]["releasedAt"].is_string() && cooling["allocation"]["cooldownUntil"].is_string()
    );
    assert_eq!(cooling["allocation"]["nextHop"], "2001:db8:a00::1");
    assert_eq!(call(address, 13, crate::client::ALLOCATE).allocation()["status"], "cooldown");
    assert_eq!(allocations(address), before);

    change(address, 2, &json!({}));
    assert_eq!(look(address, 2).json()["available"], true);
    assert_eq!(ask(address, 2, "{}").status, 201);
    let refused = send(address, "POST", "/_sandbox/vms/3", "", r#"{"id":"vps_01hxa3b4c5d6e7f8g9h0j1k2m4"}"#);
    assert_eq!(refused.status, 400);
    assert_eq!(send(address, "POST", "/_sandbox/vms/99", "", "{}").status, 404);
}

#[test]
fn what_goes_wrong_can_do_so_with_looks_alone() {
    let sandbox = Process::start(&["--fault", "look:503=100%", "--fault", "call:500-after=100%"]);
    let address = sandbox.address;
    assert_eq!(look(address, 10_000).status, 503);
    assert_eq!(ask(address, 10_000, "{}").status, 500);
    assert_eq!(send(address, "GET", "/api/v2/vps", JSON, "").status, 200);
    let lines = get(address, "/_sandbox/calls").lines();
    let faults: Vec<&Value> = lines.iter().map(|line| &line["fault"]).collect();
    assert_eq!(faults, [&json!("503-before"), &json!("500-after"), &Value::Null]);
    assert_eq!(get(address, "/_sandbox/allocations").lines().len(), 1);
}

#[test]
fn phases_and_faults_of_a_vm_hold_for_looks_as_well() {
    let sandbox = Process::start(&["--phase", "0..1=down-503", "--vm-fault", &format!("{}=502", id(10_000))]);
    let address = sandbox.address;
    let answers = [look(address, 10_001), look(address, 10_001), look(address, 10_000)];
    assert_eq!(answers.map(|answer| answer.status), [503, 200, 502]);
    let sandbox = Process::start(&["--fault", "refused-by-api=100%"]);
    let seen = look(sandbox.address, 10_006);
    assert_eq!((seen.status, &seen.json()["available"]), (200, &json!(false)));
    assert!(seen.json()["reason"].is_string());
    let by_v1 = call(sandbox.address, 10_000, crate::client::ALLOCATE);
    assert_eq!((by_v1.status, &by_v1.json()["success"]), (200, &json!(false)));
}
