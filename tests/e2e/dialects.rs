//! The two dialects of the API, `--api v1` and `--api v2`: whose ids are meant, how each is called, and what is kept apart.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::answers::asked;
use crate::dialect::Dialect::V2;
use crate::fixture::Fixture;
use crate::sandbox::{Sandbox, Transport, asked_twice};
use crate::script::{Answer, Api, Speech, Step};

/// VM 10000 of v1, as the sandbox's v2 calls it.
const VPS: &str = "vps_01hxa3b0000000000000010000";

const ALLOCATE: [&str; 4] = ["--action", "allocate", "--rate", "none"];

fn run<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", file][..], &ALLOCATE, more].concat()
}

fn fixture(sandbox: &Sandbox) -> Fixture {
    let fixture = Fixture::at(sandbox);
    fixture.write("v1.csv", "vmid,rack_id\n10000,dc1r27\n");
    fixture.write("v2.csv", format!("vmid\n{VPS}\n"));
    fixture
}

#[test]
fn an_id_of_the_other_dialect_calls_nobody_and_says_which_it_would_fit() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    fixture.write("ids", format!("{VPS}\n"));
    for (file, options, fits) in [
        ("v2.csv", &[][..], "v2"),
        ("v1.csv", &["--api", "v2"], "v1"),
        ("v1.csv", &["--vmid", VPS], "v2"),
        ("v1.csv", &["--vmid", "!vps_*"], "v2"),
        ("v1.csv", &["--vmid", "@ids"], "v2"),
        ("v2.csv", &["--api", "v2", "--vmid", "10000-10099"], "v1"),
    ] {
        for command in [run(file, options), run(file, &[options, &["--dry-run"]].concat())] {
            let outcome = fixture.run(&command).exits(2);
            assert!(outcome.stderr.contains(&format!("--api {fits}")), "{command:?}: {}", outcome.stderr);
        }
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn ids_that_are_meant_to_do_harm_reach_no_path() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    let long = format!("vps_{}", "0".repeat(10_000));
    for id in
        ["vps_../x", "vps_01hxa3b0000000000000010000/../x", "vps_%2e%2e", &long, "vps_\u{1b}[2J", "1/../2"]
    {
        fixture.write("evil.csv", format!("vmid\n\"{id}\"\n"));
        for api in ["v1", "v2"] {
            let outcome = fixture.run(&run("evil.csv", &["--api", api])).exits(2);
            assert!(!outcome.stderr.contains('\u{1b}') && outcome.stderr.len() < 1_000, "{}", outcome.stderr);
        }
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn what_the_ledger_knows_of_one_dialect_is_nothing_of_the_other() {
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture(&sandbox);
    let basis = |outcome: crate::fixture::Outcome| {
        outcome.exits(0).report()["vms"][0]["basis"].as_str().unwrap().to_owned()
    };
    assert_eq!(basis(fixture.run(&run("v1.csv", &[]))), "created_flag");
    // It is the same VM to the sandbox, and another to everybody else.
    assert_eq!(basis(fixture.run(&run("v2.csv", &["--api", "v2"]))), "server_clock");
    fixture.set("V6FLEET_API", "v2");
    assert_eq!(basis(fixture.run(&run("v2.csv", &[]))), "ledger");
    assert_eq!(basis(fixture.run(&run("v1.csv", &["--api", "v1"]))), "ledger");
    let audit = fixture.run(&["audit", "v2.csv", "--api", "v1"]).exits(2);
    assert!(audit.stderr.contains("--api v2"), "{}", audit.stderr);
    let calls = sandbox.calls();
    let dialects: Vec<&str> = calls.iter().map(|call| call.dialect.as_str()).collect();
    assert_eq!(dialects, ["v1", "v2", "v2", "v1"]);
    for (id, runs) in [("10000", 2), (VPS, 2)] {
        let history = fixture.run(&["history", id, "--format", "json"]).exits(0);
        let history: serde_json::Value = serde_json::from_str(&history.stdout).unwrap();
        assert_eq!(history["runs"].as_array().unwrap().len(), runs, "{id}");
    }
}

#[test]
fn a_run_goes_on_in_the_dialect_that_it_began_in() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    fixture.write("two.csv", format!("vmid\n{VPS}\nvps_01hxa3b0000000000000010001\n"));
    fixture.write("config/v6fleet/config.toml", "api = 'v2'\n");
    fixture.run(&["run", "two.csv", "--action", "allocate", "--deadline", "1ms", "--rate", "1/s"]).exits(5);
    fixture.write("config/v6fleet/config.toml", "");
    let outcome = fixture.resume(&["--rate", "none", "--deadline", "1m"]).exits(0);
    assert_eq!(outcome.report()["run"]["options"]["api"], "v2");
    assert!(sandbox.calls().iter().all(|call| call.dialect == "v2"));
    assert_eq!(outcome.vmids().len(), 2);
}

#[test]
fn a_key_that_may_call_and_not_look_hides_no_lost_answer() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "writer write:network\na-key\n").unwrap();
    let keys = keys.path().to_str().unwrap();
    let sandbox = Sandbox::start(&["--key-file", keys, "--rack-fault", "dc1r27=500-after"]);
    let mut fixture = Fixture::at(&sandbox).speaking(V2);
    fixture.write_fleet("vmid\n10000\n10006\n10020\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
    fixture.set("HOSTUP_API_KEY", "writer");
    let outcome = fixture.run(&run).exits(3);
    assert_eq!(outcome.vms_that_are("failed"), ["10000", "10006"]);
    for row in outcome.rows().iter().filter(|row| row["outcome"] == "failed") {
        assert_eq!((&row["failure"], &row["may_have_applied"]), (&json!("forbidden"), &json!(true)), "{row}");
        assert_eq!((&row["attempts"], &row["http_status"]), (&json!(2), &json!(403)), "{row}");
        assert!(
            row["error"].as_str().unwrap().ends_with("a look needs a key with the scope read:vm"),
            "{row}"
        );
    }
    outcome.assert_in_stdout("read:vm");

    // Under a key that may look, the next run tells what was lost, and calls for none of them again.
    fixture.set("HOSTUP_API_KEY", "a-key");
    sandbox.set_fault("dc1r27", None);
    let verdicts = fixture.run(&run).exits(0).verdicts();
    assert_eq!(
        verdicts,
        ["10000 created lost_answer", "10006 unchanged server_clock", "10020 unchanged ledger"]
    );
    let calls = sandbox.calls();
    assert!(asked_twice(calls.iter().filter(|call| call.vmid != "10020")).is_none(), "{calls:?}");
}

/// A look that finds an old allocation, but for what `edit` makes of it.
fn looked(edit: fn(&mut Value)) -> Step {
    let mut body = V2.success_body(false, 100_000);
    body["created"] = Value::Null;
    edit(&mut body);
    V2.says(200, &body).into()
}

/// What a look finds after a call whose answer was lost, and whether `allocate` and `refresh_next_hop` are done then.
type Found = (&'static str, fn() -> Step, [bool; 2]);

const FOUND: [Found; 15] = [
    ("what is suggested", || looked(|_| {}), [true, true]),
    ("nothing", || V2.nothing().into(), [false, false]),
    (
        "another next hop",
        || looked(|body| body["allocation"]["nextHop"] = "2001:db8::9".into()),
        [true, false],
    ),
    ("no next hop", || looked(|body| body["allocation"]["nextHop"] = Value::Null), [true, false]),
    ("no suggestion", || looked(|body| body["suggestedNextHop"] = Value::Null), [true, false]),
    (
        "a suggestion that is no address",
        || looked(|body| body["suggestedNextHop"] = "soon".into()),
        [true, false],
    ),
    ("two unknown next hops", || looked(unknown_next_hops), [true, false]),
    (
        "the same in another form",
        || looked(|body| body["suggestedNextHop"] = "2001:0DB8::1/128".into()),
        [true, true],
    ),
    (
        "one that was released",
        || looked(|body| body["allocation"]["releasedAt"] = "2026-02-12T00:00:00Z".into()),
        [false, false],
    ),
    (
        "one that cools down",
        || looked(|body| body["allocation"]["status"] = "cooldown".into()),
        [false, false],
    ),
    (
        "one in a state with a new name",
        || looked(|body| body["allocation"]["status"] = "migrating".into()),
        [false, false],
    ),
    ("one in an unknown state", || looked(|body| body["allocation"]["status"] = Value::Null), [true, true]),
    ("one without a state", || looked(without_status), [true, true]),
    ("one that cannot be had", || looked(|body| body["available"] = false.into()), [true, true]),
    (
        "one that will cool down",
        || looked(|body| body["allocation"]["cooldownUntil"] = "2026-02-12T00:00:00Z".into()),
        [true, true],
    ),
];

fn unknown_next_hops(body: &mut Value) {
    (body["allocation"]["nextHop"], body["suggestedNextHop"]) = (Value::Null, Value::Null);
}

fn without_status(body: &mut Value) {
    body["allocation"].as_object_mut().unwrap().remove("status");
}

#[test]
fn only_what_is_known_to_be_done_is_not_asked_for_again() {
    for (nth, action) in ["allocate", "refresh_next_hop"].into_iter().enumerate() {
        let scripts = (10_000..).zip(FOUND).map(|(vmid, (_, look, _)): (u64, _)| (vmid.to_string(), look));
        let scripts: HashMap<String, fn() -> Step> = scripts.collect();
        let api = Api::speaking(V2, Transport::Plain, move |vmid, nth| match nth {
            0 => V2.error(503, "UPSTREAM_UNAVAILABLE").into(),
            1 => scripts[vmid](),
            _ => V2.success(200, false, 100_000).into(),
        });
        let fixture = api.fixture();
        let vms = (10_000..).take(FOUND.len());
        fixture.write_fleet(vms.fold("vmid\n".to_owned(), |csv, vmid: u64| csv + &format!("{vmid}\n")));
        let run = ["run", "fleet.csv", "--action", action, "--rate", "none", "--canary", "0"];
        let outcome = fixture.run(&run).exits(0);
        for (vmid, (found, _, is_done)) in (10_000..).zip(FOUND) {
            let vmid: &str = &u64::to_string(&vmid);
            let expected = if is_done[nth] { "PG" } else { "PGP" };
            assert_eq!(asked(&api, vmid), expected, "{action}: {found}");
            assert_eq!(outcome.row(vmid)["outcome"], "unchanged", "{action}: {found}");
        }
    }
}

#[test]
fn what_a_look_has_not_found_yet_is_looked_for_in_the_next_run_and_then_asked_for() {
    let api = Api::of(V2, |vmid, nth| match (vmid, nth) {
        (_, 0) => Step::Cut(vec![]),
        (_, 1) => V2.nothing().into(),
        // What was lost has acted in the meantime.
        ("10000", _) => V2.success(200, false, 0).into(),
        _ => V2.success(201, true, 0).into(),
    });
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10000\n10001\n");
    let run = |attempts| {
        let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--max-attempts", attempts];
        fixture.run(&run)
    };
    let first = run("2").exits(3);
    assert_eq!(first.verdicts(), ["10000 failed malformed_answer", "10001 failed malformed_answer"]);
    assert!(first.rows().iter().all(|row| row["may_have_applied"] == false), "{:?}", first.rows());
    // No VM is failed for good because its one attempt was a look.
    assert_eq!(run("1").exits(0).verdicts(), ["10000 created lost_answer", "10001 created created_flag"]);
    assert_eq!([asked(&api, "10000"), asked(&api, "10001")], ["PGG", "PGGP"]);
}

#[test]
fn a_run_that_is_stopped_after_a_look_that_found_nothing_tells_what_its_calls_came_to() {
    // Each answer comes when the run has been told to stop.
    let late = |answer: Answer| answer.after(Duration::from_millis(900)).into();
    let api = Api::of(V2, move |_, nth| match nth {
        0 => late(V2.error(503, "UPSTREAM_UNAVAILABLE")),
        1 => late(V2.error(408, "TIMEOUT")),
        _ => late(V2.nothing()),
    });
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10000\n");
    let begin = ["run", "fleet.csv", "--action", "allocate", "--deadline", "600ms"];
    for (command, requests, failure, may_have_applied) in [
        (&begin[..], "P", "server_error", true),
        (&["resume"], "PG", "rejected", true),
        (&["resume"], "PGG", "rejected", false),
    ] {
        let outcome = fixture.run(command).exits(5);
        let row = outcome.row("10000");
        assert_eq!(asked(&api, "10000"), requests);
        assert_eq!(
            (&row["failure"], &row["may_have_applied"]),
            (&json!(failure), &json!(may_have_applied)),
            "{row}"
        );
        assert_eq!(fixture.report_of("latest").summary()["pending"], 1);
    }
}
