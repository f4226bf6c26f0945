//! `v6fleet audit`: every kind of finding is found where it is and nowhere else, and nothing is called for it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use v6fleet::audit::Kind;

use crate::dialect::Dialect::V2;
use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::ledger::settle_pending;
use crate::sandbox::Sandbox;
use crate::script::{Api, json_answer, success_body};

const ALLOCATE: [&str; 4] = ["run", "--action", "allocate", "--rate=none"];
const AUDIT: [&str; 4] = ["audit", "fleet.csv", "--format", "json"];

/// VMs with which nothing is wrong: the sandbox writes host bits for even ids alone.
fn clean_vmids() -> impl Iterator<Item = u64> {
    (10_001..10_020).chain(10_101..10_120).filter(|id| id % 2 == 1 && id % 10 < 6)
}

fn clean_fleet() -> String {
    fleet::csv_of(clean_vmids())
}

fn allocate(fixture: &Fixture, inventory: &str) -> Outcome {
    fixture.run(&[&ALLOCATE[..], &[inventory]].concat()).exits(0)
}

/// What the API says of a VM with which nothing is wrong.
fn allocation(vmid: u64) -> Value {
    let long_ago = "2026-01-05 00:00:00+00";
    json!({
        "id": vmid.to_string(), "rack_id": fleet::rack_of(vmid), "client_id": "30000", "account_id": "20000",
        "proxmox_vm_id": "10048", "prefix": format!("2001:db8:{vmid:x}::/56"), "prefix_length": 56,
        "next_hop": format!("2001:db8::{}", &fleet::rack_of(vmid)[4..]), "status": "active",
        "allocated_at": long_ago, "released_at": null, "cooldown_until": null, "metadata": {},
        "created_at": long_ago, "updated_at": long_ago,
    })
}

/// An API with which nothing is wrong but what `odd` makes of a VM's allocation.
fn api(odd: impl Fn(u64, &mut Value) + Send + Sync + 'static) -> Api {
    Api::start(move |vmid, _| {
        let vmid = vmid.parse().unwrap();
        let mut body = success_body(false, 0);
        body["data"]["allocation"] = allocation(vmid);
        odd(vmid, &mut body["data"]["allocation"]);
        json_answer(200, &body).into()
    })
}

fn fixture_at(api: &Api) -> Fixture {
    Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key")
}

/// Lets a VM be known as one that was seen so many days ago, and never since.
fn seen_days_ago(fixture: &Fixture, vmid: u64, days: i64) {
    fixture.write("old.csv", fleet::csv_of([vmid].into_iter()));
    // Not a call can leave: the run is left as it began.
    fixture.run(&[&ALLOCATE[..], &["old.csv", "--deadline", "1ns"]].concat()).exits(5);
    let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
    settle_pending(fixture, at, |vmid| allocation(vmid.parse().unwrap()));
}

fn prefix_of(fixture: &Fixture, vmid: u64) -> String {
    fixture.last_known(vmid)["allocation"]["prefix"].as_str().unwrap().to_owned()
}

fn findings(outcome: &Outcome) -> Vec<Value> {
    let audit: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(audit["schema"], "v6fleet.audit/1");
    let findings = audit["findings"].as_array().unwrap().clone();
    assert_eq!(audit["summary"]["findings"], findings.len());
    findings
}

/// Each finding as `vmid kind`.
fn told(outcome: &Outcome) -> Vec<String> {
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    findings(outcome).iter().map(|f| format!("{} {}", word(f, "vmid"), word(f, "kind"))).collect()
}

#[test]
fn a_clean_fleet_has_no_finding_and_nothing_is_called_or_written() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", clean_fleet());
    allocate(&fixture, "fleet.csv");
    let ledger = || std::fs::read(fixture.path("state/v6fleet/ledger.db")).unwrap();
    let (calls, before) = (sandbox.calls().len(), ledger());
    let audit = fixture.run(&["audit", "fleet.csv", "--whole-fleet"]).exits(0);
    let url = sandbox.base_url();
    let said = format!("No finding\n12 VMs of the inventory, as last seen at {url}; nothing was called.\n");
    assert_eq!(audit.stdout, said);
    assert_eq!(told(&fixture.run(&[&AUDIT[..], &["--whole-fleet"]].concat()).exits(0)), [""; 0]);
    assert_eq!(sandbox.calls().len(), calls);
    assert!(ledger() == before, "the ledger was written");
}

#[test]
fn every_kind_of_finding_is_found_where_it_is_and_nowhere_else() {
    let api = api(|vmid, allocation| match vmid {
        10_003 => allocation["prefix"] = self::allocation(10_001)["prefix"].clone(),
        10_105 => allocation["prefix"] = half_of(10_005).into(),
        10_011 => allocation["status"] = "pending".into(),
        10_013 => allocation["cooldown_until"] = "2026-12-01 00:00:00+00".into(),
        10_015 => allocation["released_at"] = "2026-11-20 00:00:00+00".into(),
        10_101 => allocation["next_hop"] = "2001:db8:2000::9".into(),
        10_002 => allocation["prefix"] = "2001:db8:2712::1/56".into(),
        _ => {}
    });
    let fixture = fixture_at(&api);
    seen_days_ago(&fixture, 10_103, 31);
    seen_days_ago(&fixture, 10_113, 29);
    let lately = clean_vmids().filter(|vmid| ![10_103, 10_113].contains(vmid));
    fixture.write("all.csv", fleet::csv_of(lately.chain([10_002, 10_301, 10_303])));
    allocate(&fixture, "all.csv");
    fixture.write("fleet.csv", plan());

    let calls = api.received().len();
    let files = ["audit.csv", "audit.json", "audit.jsonl", "audit.html"].map(|file| ["-o", file]).concat();
    let whole = fixture.run(&[&AUDIT[..], &["--whole-fleet"], &files].concat()).exits(11);
    let expected = [
        "10001 same_prefix",
        "10003 same_prefix",
        "10005 overlapping_prefix",
        "10011 not_active",
        "10013 cooling_down",
        "10015 released",
        "10101 odd_next_hop",
        "10103 not_seen_lately",
        "10105 overlapping_prefix",
        "10111 prefix_differs",
        "10111 next_hop_differs",
        "10111 rack_differs",
        "10111 account_differs",
        "10111 client_differs",
        "10111 proxmox_vm_differs",
        "10002 host_bits",
        "10305 never_seen",
        "10303 not_in_inventory",
    ];
    assert_eq!(told(&whole), expected);
    let kinds: BTreeSet<&str> = expected.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    // That there is none is known of v2 alone, which can be looked at.
    let of_v1 = Kind::ALL.iter().filter(|kind| **kind != Kind::NoAllocation);
    assert_eq!(kinds, of_v1.map(|kind| kind.as_str()).collect(), "a kind has no example");
    assert_eq!(api.received().len(), calls, "an audit calls nothing");
    assert_evidence(&fixture, &findings(&whole));
    assert_files_tell_the_same(&fixture, &findings(&whole));
    assert_eq!(fixture.read("audit.json"), whole.stdout);
    let page = fixture.read("audit.html");
    let summary: Value = serde_json::from_str(&whole.stdout).unwrap();
    let inventory = &summary["summary"]["inventory"];
    assert_eq!((inventory.as_array().unwrap().len(), &inventory[0]["path"]), (1, &json!("fleet.csv")));
    let sha256 = inventory[0]["sha256"].as_str().unwrap();
    assert!(page.contains(&format!("<dt>Inventory<dd>fleet.csv, SHA-256 <code>{sha256}</code>")), "{page}");
    let mut rows = rows_of_page(&page);
    rows.sort();
    let mut all = expected;
    all.sort_unstable();
    assert_eq!(rows, all);

    // A plan for a part of the fleet says nothing of the rest.
    let part = fixture.run(&AUDIT).exits(11);
    assert_eq!(told(&part), expected[..17]);
}

/// A part of a VM's prefix.
fn half_of(vmid: u64) -> String {
    allocation(vmid)["prefix"].as_str().unwrap().replace("/56", "/57")
}

/// The inventory: one VM's expectations are not met, one VM was never seen, and 10303 is not in it.
fn plan() -> String {
    let header = "vmid,rack_id,prefix,next_hop,account_id,client_id,proxmox_vm_id\n".to_owned();
    let row = |id: u64| match id {
        10_111 => format!("{id},dc9r99,2001:db8:bad::/48,2001:db8::bad,1,2,3\n"),
        _ => format!("{id},{},,,,,\n", fleet::rack_of(id)),
    };
    std::iter::once(header).chain(clean_vmids().chain([10_002, 10_305, 10_301]).map(row)).collect()
}

fn assert_evidence(fixture: &Fixture, findings: &[Value]) {
    let of = |vmid: &str, kind: &str| {
        findings.iter().find(|finding| finding["vmid"] == vmid && finding["kind"] == kind).unwrap()
    };
    let seen = |vmid: u64| fixture.last_known(vmid)["seen_at"].clone();
    let same = of("10003", "same_prefix");
    assert_eq!((&same["severity"], &same["other_vms"]), (&json!("error"), &json!(1)));
    assert_eq!(
        same["others"],
        json!([{"vmid": "10001", "prefix": allocation(10_001)["prefix"], "seen_at": seen(10_001)}])
    );
    assert_eq!(same["seen_at"], seen(10_003));
    let within = of("10005", "overlapping_prefix");
    assert_eq!(
        within["others"],
        json!([{"vmid": "10105", "prefix": half_of(10_005), "seen_at": seen(10_105)}])
    );
    let odd = of("10101", "odd_next_hop");
    assert_eq!((&odd["actual"], &odd["other_vms"]), (&json!("2001:db8:2000::9"), &json!(5)));
    let differs = of("10111", "prefix_differs");
    assert_eq!(differs["expected"], "2001:db8:bad::/48");
    assert_eq!(differs["actual"], prefix_of(fixture, 10_111));
    let never = of("10305", "never_seen");
    assert_eq!((&never["seen_at"], &never["rack_id"]), (&Value::Null, &json!("dc2r01")));
    let bits = of("10002", "host_bits");
    assert_eq!(bits["severity"], "notice");
    assert_eq!(bits["actual"], prefix_of(fixture, 10_002));
    assert_ne!(bits["expected"], bits["actual"]);
}

fn assert_files_tell_the_same(fixture: &Fixture, findings: &[Value]) {
    let lines = fixture.read("audit.jsonl");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, findings);
    let mut csv = csv::Reader::from_path(fixture.path("audit.csv")).unwrap();
    let header = csv.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = csv.into_records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), findings.len());
    for (row, finding) in rows.iter().zip(findings) {
        for (name, cell) in header.iter().zip(row) {
            match name {
                "other_vms" => assert_eq!(cell, finding[name].to_string()),
                "others" => assert_eq!(cell.is_empty(), finding[name] == json!([])),
                "seen_at" => assert_eq!(cell.is_empty(), finding[name].is_null()),
                _ => assert_eq!(cell, finding[name].as_str().unwrap_or_default()),
            }
        }
    }
}

/// Each row of an audit's page as `vmid kind`.
fn rows_of_page(page: &str) -> Vec<String> {
    let kinds = page.split("<section class=\"kind\" id=\"").skip(1);
    let kinds = kinds.map(|kind| kind.split_once('"').unwrap());
    let rows = kinds
        .flat_map(|(kind, rest)| rest.split("<tr><th scope=\"row\">").skip(1).map(move |row| (kind, row)));
    rows.map(|(kind, row)| format!("{} {kind}", row.split_once("<td").unwrap().0)).collect()
}

#[test]
fn the_selection_narrows_the_findings_but_not_what_a_vm_is_compared_with() {
    let api = api(|vmid, allocation| match vmid {
        10_103 => allocation["prefix"] = self::allocation(10_001)["prefix"].clone(),
        10_105 => allocation["next_hop"] = "2001:db8::9".into(),
        _ => {}
    });
    let fixture = fixture_at(&api);
    fixture.write("fleet.csv", clean_fleet());
    allocate(&fixture, "fleet.csv");
    for (options, expected) in [
        (&["--rack", "dc1r28"][..], &["10103 same_prefix", "10105 odd_next_hop"][..]),
        (&["--rack", "!dc1r28"], &["10001 same_prefix"]),
        (&["--vmid", "10103"], &["10103 same_prefix"]),
        (&["--where", "name=vm-10105"], &["10105 odd_next_hop"]),
        (&["--limit", "1"], &["10001 same_prefix"]),
    ] {
        assert_eq!(told(&fixture.run(&[&AUDIT[..], options].concat()).exits(11)), expected, "{options:?}");
    }
    // An inventory without racks is selected by those last seen.
    fixture.write("bare.csv", "vmid\n10001\n10103\n10105\n");
    for by_rack in [["--rack", "dc1r28"], ["--where", "rack=dc1r28"]] {
        let audit =
            fixture.run(&[&["audit", "bare.csv", "--format", "json"], &by_rack[..]].concat()).exits(11);
        assert_eq!(told(&audit), ["10103 same_prefix", "10105 odd_next_hop"], "{by_rack:?}");
    }
    fixture.write("part.csv", "vmid\n10003\n");
    let part = ["audit", "part.csv", "--format", "json", "--whole-fleet", "--vmid", "10003-10005"];
    assert_eq!(told(&fixture.run(&part).exits(11)), ["10005 not_in_inventory"]);
    fixture.run(&["audit", "part.csv"]).exits(0);
    let errors = fixture.run(&[&AUDIT[..], &["--min-severity", "error"]].concat()).exits(11);
    assert_eq!(told(&errors), ["10001 same_prefix", "10103 same_prefix"]);
    fixture.run(&["audit", "fleet.csv", "--min-severity", "error", "--vmid", "10105"]).exits(0);
    fixture.run(&["audit", "fleet.csv", "--rack", "nosuch"]).exits(7);
    fixture.run(&["audit", "fleet.csv", "--whole-fleet", "--limit", "1"]).exits(2);
}

#[test]
fn findings_come_in_the_order_of_a_large_inventory_whatever_that_is() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10001\n10003\n");
    allocate(&fixture, "fleet.csv");
    // As many as need more than one batch of lookups, and 7,919 is prime.
    let all = || (0..20_000).map(|vm| 10_001 + vm * 7_919 % 20_000);
    fixture.write("fleet.csv", fleet::csv_of(all()));
    let seen = [10_001, 10_003];
    let never = all().filter(|vmid| !seen.contains(vmid)).map(|vmid| format!("{vmid} never_seen"));
    assert_eq!(told(&fixture.run(&AUDIT).exits(11)), never.collect::<Vec<_>>());
}

#[test]
fn only_what_was_seen_at_the_same_base_url_is_known() {
    let (sandbox, other) = (Sandbox::start(&[]), Sandbox::start(&[]));
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", clean_fleet());
    allocate(&fixture, "fleet.csv");
    let elsewhere =
        fixture.run(&[&AUDIT[..], &["--base-url", &other.base_url(), "--limit", "1"]].concat()).exits(11);
    assert_eq!(told(&elsewhere), ["10001 never_seen"]);
    let warning = format!("the ledger has seen no VM at {}", other.base_url());
    let elsewhere: Value = serde_json::from_str(&elsewhere.stdout).unwrap();
    assert_eq!(elsewhere["summary"]["warnings"], json!([warning]));
    // The other API gives the same prefixes, and that is no conflict.
    fixture.run(&[&ALLOCATE[..], &["fleet.csv", "--base-url", &other.base_url()]].concat()).exits(0);
    fixture.run(&AUDIT).exits(0);
    // The rehearsals' ledger is another, and there is none yet.
    let rehearsal = fixture.run(&[&AUDIT[..], &["--sandbox"]].concat()).exits(2);
    rehearsal.assert_in_stderr("there is no ledger yet");
}

#[test]
fn invalid_rows_end_an_audit_before_anything_is_shown_unless_they_are_skipped() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10001\n10003\n");
    allocate(&fixture, "fleet.csv");
    fixture.write("fleet.csv", "vmid,prefix\n10001,2001:db8:bad::/48\n10003,no prefix\n");
    let refused = fixture.run(&[&AUDIT[..], &["-o", "audit.csv"]].concat()).exits(2);
    refused.assert_in_stderr("fleet.csv:3: prefix: ");
    assert!(refused.stdout.is_empty() && !fixture.path("audit.csv").exists(), "{}", refused.stdout);
    let skipped = fixture.run(&[&AUDIT[..], &["--skip-invalid"]].concat()).exits(3);
    assert_eq!(told(&skipped), ["10001 prefix_differs"]);
    skipped.assert_in_stderr("skipped fleet.csv:3");
    let whole = fixture.run(&[&AUDIT[..], &["--skip-invalid", "--whole-fleet"]].concat()).exits(2);
    whole.assert_in_stderr("--whole-fleet needs every row");
    for (output, why) in
        [("audit.xml", "findings are written to a file whose name"), ("fleet.csv", "fleet.csv")]
    {
        let refused = fixture.run(&["audit", "fleet.csv", "--skip-invalid", "-o", output]).exits(2);
        refused.assert_in_stderr(why);
    }
}

#[test]
fn findings_that_cannot_be_kept_until_all_are_there_are_no_fault_of_what_was_asked_for() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10001\n");
    allocate(&fixture, "fleet.csv");
    let fixture = fixture.env("TMPDIR", "/nosuch");
    let lost = fixture.run(&AUDIT).exits(1);
    assert!(lost.stderr.contains("temporary file") && lost.stdout.is_empty(), "{}", lost.stderr);
    fixture.run(&AUDIT[..2]).exits(0);
}

#[test]
fn an_audit_works_while_a_run_is_on() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", clean_fleet());
    allocate(&fixture, "fleet.csv");
    let calls = sandbox.calls().len();
    let mut run = fixture.start(&["run", "fleet.csv", "--action", "refresh_next_hop", "--rate", "1/m"]);
    sandbox.await_calls(calls + 1);
    fixture.run(&["audit", "fleet.csv"]).exits(0);
    assert!(run.is_running());
    run.kill();
}

#[test]
fn the_files_columns_hold_for_an_audit_too_but_not_what_narrows_or_writes_a_runs_report() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).env("V6FLEET_VMID", "99");
    let config = "column = 'vmid=hostup'\nrack = 'nosuch'\noutput = 'run.csv'\n";
    fixture.write("config/v6fleet/config.toml", config);
    fixture.write("fleet.csv", "hostup,rack_id\n10001,dc1r27\n10003,dc1r27\n");
    fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(7);
    let all = ["--rack", "*", "--vmid", "1-99999", "-o", "ran.csv"];
    fixture.run(&[&ALLOCATE[..], &["fleet.csv"], &all].concat()).exits(0);
    let audit = fixture.run(&["audit", "fleet.csv"]).exits(0);
    audit.assert_in_stdout("\n2 VMs of the inventory");
    assert!(!fixture.path("run.csv").exists());
}

/// VMs of the built-in world, in v2: the last one has an allocation.
const LIVE: &str = "vmid\n10001\n10003\n10007\n";

fn live<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&AUDIT[..], &["--live", "--rate=none"], options].concat()
}

#[test]
fn a_live_audit_looks_first_and_tells_what_is_there_now() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "planner read:vm\na-key\n").unwrap();
    let sandbox = Sandbox::start(&["--key-file", keys.path().to_str().unwrap()]);
    let mut fixture = Fixture::at(&sandbox).speaking(V2);
    fixture.write_fleet(LIVE);
    fixture.set("HOSTUP_API_KEY", "planner");
    let audited = fixture.run(&live(&[])).exits(11);
    let found: Value = serde_json::from_str(&audited.stdout).unwrap();
    let kinds: Vec<_> =
        found["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].clone()).collect();
    assert_eq!(kinds, ["no_allocation", "no_allocation"]);
    assert_eq!(found["audit"]["plan"], fixture.latest_run());
    let run = &fixture.runs()[0];
    assert_eq!((&run["kind"], &run["create"], &run["keep"]), (&json!("plan"), &json!(2), &json!(1)));
    assert_eq!(fixture.reported_runs(), 0);
    assert!(sandbox.calls().iter().all(|call| call.kind == "look"));

    // What it has seen is there for others: the run after it, and an audit that does not look.
    fixture.set("HOSTUP_API_KEY", "a-key");
    fixture.run(&["audit", "fleet.csv"]).exits(11).assert_in_stdout("as last seen at");
    let called = allocate(&fixture, "fleet.csv");
    assert_eq!(
        called.verdicts(),
        ["10001 created created_flag", "10003 created created_flag", "10007 unchanged ledger"]
    );
    let text = fixture.run(&["audit", "fleet.csv", "--live"]).exits(0);
    text.assert_in_stdout(&format!("looked at by plan {} at ", fixture.latest_run()));
    text.assert_in_stdout("; nothing was changed.");
}

#[test]
fn standard_input_and_rows_with_and_without_actions_are_looked_at_and_audited() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).speaking(V2);
    fixture.write_fleet("vmid,action\n10001,allocate\n10007,refresh_next_hop\n10008,\n");
    let binary = crate::fixture::binary();
    let line = format!("{} audit - --live --inventory-format csv < fleet.csv", binary.display());
    let mut shell = fixture.beside("sh");
    shell.args(["-c", &line]);
    let audited = fixture.spawn(shell).end().exits(11);
    audited.assert_in_stdout("error: no_allocation: 1 VM\n");
    assert_eq!(sandbox.calls().len(), 3);
    assert!(!audited.stderr.contains("another action"), "{}", audited.stderr);
}

#[test]
fn vms_that_could_not_be_looked_at_are_told_and_audited_as_last_seen() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).speaking(V2);
    fixture.write_fleet("vmid\n10007\n10099\n");
    let audited = fixture.run(&["audit", "fleet.csv", "--live"]).exits(3);
    let run = fixture.latest_run();
    audited.assert_in_stdout(&format!(
        "Warning: 1 VM could not be looked at, and what is said of these is older: v6fleet report {run}"
    ));
    audited.assert_in_stdout("error: never_seen: 1 VM\n");
}

#[test]
fn where_the_looks_do_not_come_to_their_end_nothing_is_audited_and_they_can_be_gone_on_with() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "another-key\n").unwrap();
    let sandbox = Sandbox::start(&["--key-file", keys.path().to_str().unwrap()]);
    let mut fixture = Fixture::at(&sandbox).speaking(V2);
    fixture.write_fleet(LIVE);
    fixture.write("old.csv", "an earlier audit");
    let audited = fixture.run(&live(&["-o", "old.csv"])).exits(8);
    assert_eq!((audited.stdout.as_str(), fixture.read("old.csv").as_str()), ("", "an earlier audit"));
    let resume = format!("v6fleet resume {}", fixture.latest_run());
    audited.assert_in_stderr("nothing was audited");
    audited.assert_in_stderr(&resume);
    fixture.set("HOSTUP_API_KEY", "another-key");
    let words: Vec<&str> = resume.split(' ').skip(1).collect();
    fixture.run(&words).exits(0);
    assert_eq!(fixture.reported_runs(), 0, "an audit's looks have no reports of their own");
    fixture.run(&AUDIT).exits(11);
    let calls = sandbox.calls().len();
    for (options, code, why) in [
        (&["--api", "v1"][..], 2, "audit --live need"),
        (&["-o", "no/such/dir.csv"], 2, "no/such/dir.csv"),
        (&["--vmid", "vps_01hxa3b9999999999999999999"], 7, "nothing selected"),
    ] {
        fixture.run(&live(options)).exits(code).assert_in_stderr(why);
    }
    assert_eq!(sandbox.calls().len(), calls);
}

#[test]
fn a_live_audit_waits_for_no_other_run_and_overlaps_none() {
    let sandbox = Sandbox::start(&["--latency", "300ms"]);
    let fixture = Fixture::at(&sandbox).speaking(V2);
    fixture.write_fleet(LIVE);
    let process = fixture.start(&[&ALLOCATE[..], &["fleet.csv", "--concurrency", "1"]].concat());
    sandbox.await_calls(1);
    fixture.run(&live(&[])).exits(6);
    process.end().exits(0);
    fixture.run(&live(&["--concurrency", "3"])).exits(0);
}
