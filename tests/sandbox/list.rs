//! v2's list of the account's VMs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::{Answer, Process, get, send};

fn list(address: SocketAddr, query: &str) -> Answer {
    send(address, "GET", &format!("/api/v2/vps?{query}"), "Authorization: Bearer key\r\n", "")
}

/// Every page, until there is no next one.
fn pages(address: SocketAddr, query: &str) -> Vec<Value> {
    let mut pages = vec![list(address, query).json()];
    while let Some(cursor) = pages[pages.len() - 1]["nextCursor"].as_str().map(str::to_owned) {
        pages.push(list(address, &format!("{query}&cursor={cursor}")).json());
    }
    pages
}

fn items(pages: &[Value]) -> Vec<&Value> {
    pages.iter().flat_map(|page| page["data"].as_array().unwrap()).collect()
}

fn ids(pages: &[Value]) -> Vec<&str> {
    items(pages).iter().map(|item| item["id"].as_str().unwrap()).collect()
}

fn with_world(text: &str) -> Process {
    let directory = tempfile::tempdir().unwrap();
    let world = directory.path().join("world.toml");
    fs::write(&world, text).unwrap();
    Process::start(&["--world", world.to_str().unwrap()])
}

#[test]
fn twenty_five_thousand_vms_are_listed_each_once() {
    let sandbox = with_world(
        "[racks.a]\npool = \"2001:db8::/32\"\nnext_hop = \"2001:db8::1\"\nvms = [\"10000-34999\"]\n",
    );
    let pages = pages(sandbox.address, "limit=100");
    assert_eq!(pages.len(), 250);
    assert!(pages.iter().all(|page| page["data"].as_array().unwrap().len() == 100));
    assert_eq!(pages[249].get("nextCursor"), Some(&Value::Null));
    let ids = ids(&pages);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 25_000);
    assert_eq!((ids[0], ids[24_999]), ("vps_01hxa3b0000000000000010000", "vps_01hxa3b0000000000000034999"));
    let cursors: BTreeSet<&str> = pages.iter().filter_map(|page| page["nextCursor"].as_str()).collect();
    assert_eq!(cursors.len(), 249);
    assert_eq!(get(sandbox.address, "/_sandbox/allocations").body, "");
}

#[test]
fn a_vm_is_listed_as_documented_and_its_maintenance_only_where_it_is_included() {
    let sandbox = with_world(
        r#"
        [racks.a]
        pool = "2001:db8::/40"
        next_hop = "2001:db8::1"
        vms = ["1-4"]
        [vms.1]
        id = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3"
        name = "Web 1"
        primary_ip = "2001:db8:ffff::7"
        service_status = "suspended"
        power_state = "stopped"
        operating_system = "FreeBSD 14"
        payg = true
        tags = ["prod", "web"]
        pending_maintenance = true
        [vms.3]
        null = ["primaryIp", "powerState", "operatingSystem", "pendingMaintenance"]
        "#,
    );
    let page = list(sandbox.address, "").json();
    assert_eq!(page["nextCursor"], Value::Null);
    let data = page["data"].as_array().unwrap();
    let first = json!({
        "id": "vps_01hxa3b4c5d6e7f8g9h0j1k2m3", "name": "Web 1", "primaryIp": "2001:db8:ffff::7",
        "serviceStatus": "suspended", "powerState": "stopped", "operatingSystem": "FreeBSD 14",
        "billing": {"isPayg": true}, "tags": ["prod", "web"],
    });
    assert_eq!(data[0], first);
    let second = json!({
        "id": "vps_01hxa3b0000000000000000002", "name": "vm-2", "primaryIp": "10.0.0.2",
        "serviceStatus": "active", "powerState": "running", "operatingSystem": "Debian 12",
        "billing": {"isPayg": true}, "tags": [],
    });
    assert_eq!(data[1], second);
    for name in ["primaryIp", "powerState", "operatingSystem"] {
        assert_eq!(data[2].get(name), Some(&Value::Null), "{name}");
    }
    let included = list(sandbox.address, "include=pendingMaintenance&include=pendingMaintenance").json();
    let maintenance = |place: usize| {
        ["pendingMaintenance", "pendingMaintenanceHasDeadline"]
            .map(|name| included["data"][place][name].clone())
    };
    assert_eq!(maintenance(0), [json!(true), json!(true)]);
    assert_eq!(maintenance(1), [json!(false), json!(false)]);
    assert_eq!(maintenance(2), [Value::Null, json!(false)]);
    let address = sandbox.address;
    for (query, found) in [
        ("name=web%201", &["vps_01hxa3b4c5d6e7f8g9h0j1k2m3"][..]),
        ("name=WEB+1", &["vps_01hxa3b4c5d6e7f8g9h0j1k2m3"]),
        ("name=web", &[]),
        ("primaryIp=10.0.0.4", &["vps_01hxa3b0000000000000000004"]),
        ("primaryIp=2001:DB8:FFFF:0::7", &["vps_01hxa3b4c5d6e7f8g9h0j1k2m3"]),
        ("primaryIp=10.0.0.4&name=vm-2", &[]),
    ] {
        assert_eq!(ids(&[list(address, query).json()]), found, "{query}");
    }
}

#[test]
fn a_cursor_that_was_altered_or_is_another_lists_is_refused() {
    let sandbox = Process::start(&[]);
    let address = sandbox.address;
    let page = list(address, "limit=7").json();
    let cursor = page["nextCursor"].as_str().unwrap();
    assert_eq!(
        list(address, &format!("limit=9&cursor={cursor}")).json()["data"].as_array().unwrap().len(),
        9
    );
    let altered = |place: usize| {
        let other = if cursor.as_bytes()[place] == b'A' { "B" } else { "A" };
        let mut altered = cursor.to_owned();
        altered.replace_range(place..=place, other);
        altered
    };
    let mut refused: Vec<String> =
        (0..cursor.len()).map(|place| format!("cursor={}", altered(place))).collect();
    refused.extend([format!("cursor={cursor}&name=vm-10000"), format!("cursor={cursor}x"), "cursor=".into()]);
    for query in refused {
        let answer = list(address, &query);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("invalid_request")), "{query}");
        assert_eq!(answer.json()["errors"][0]["pointer"], "cursor");
    }
}

#[test]
fn the_built_in_world_lists_the_demo_fleet_and_what_was_put_on_its_racks() {
    let sandbox = Process::start(&[]);
    let address = sandbox.address;
    let before = pages(address, "limit=25");
    assert_eq!((before.len(), ids(&before).len()), (3, 60));
    let other = "vps_7zzzzzzzzzzzzzzzzzzzzzzzzz";
    let body = json!({"vmids": [other, "20000"]}).to_string();
    assert_eq!(send(address, "POST", "/_sandbox/racks/fra3-07", "", &body).status, 200);
    let after = pages(address, "limit=25");
    let added: BTreeSet<&str> = ids(&after).into_iter().filter(|id| !ids(&before).contains(id)).collect();
    assert_eq!(added, BTreeSet::from([other, "vps_01hxa3b0000000000000020000"]));
}

#[test]
fn a_page_can_lead_to_itself_or_share_an_item_with_the_next_one() {
    let second = |fault: &str| {
        let sandbox = Process::start(&["--fault", fault]);
        let first = list(sandbox.address, "limit=10").json();
        let cursor = first["nextCursor"].as_str().unwrap();
        (first.clone(), list(sandbox.address, &format!("limit=10&cursor={cursor}")).json())
    };
    let (first, again) = second("same-cursor=100%");
    assert_eq!(first, again);
    for (fault, same_contents) in [("doubled-item=100%", true), ("moved-item=100%", false)] {
        let (first, next) = second(fault);
        let (last, begin) = (&first["data"][9], &next["data"][0]);
        assert_eq!((&last["id"], last == begin), (&begin["id"], same_contents), "{fault}");
    }
}

#[test]
fn a_page_meets_the_faults_that_calls_meet() {
    let sandbox = Process::start(&["--fault", "list:500=30%", "--fault", "list:429-zero=30%"]);
    let statuses: Vec<u16> = (0..100).map(|_| list(sandbox.address, "limit=1").status).collect();
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for status in statuses {
        *counts.entry(status).or_default() += 1;
    }
    assert!([200, 429, 500].iter().all(|status| counts[status] > 10), "{counts:?}");
    let lines = get(sandbox.address, "/_sandbox/calls").lines();
    assert!(lines.len() == 100 && lines.iter().all(|line| line["kind"] == "list" && line["vmid"].is_null()));
}
