//! The two dialects of the API, `--api v1` and `--api v2`: whose ids are meant, how each is called, and what is kept apart.

use crate::fixture::Fixture;
use crate::sandbox::Sandbox;

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
