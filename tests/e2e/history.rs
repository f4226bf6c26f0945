//! What is there to look back on: lists of runs, one VM's past, two runs compared, and what a run makes of it.

use serde_json::{Value, json};

use crate::dialect::Dialect::V2;
use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::script::{Api, Step, error, success};

/// Two racks of the built-in world, and a VM that does not exist.
const FLEET: &str = "vmid,name,rack_id,role\n\
    10000,a,dc1r27,web\n10001,b,dc1r27,db\n10099,none,dc1r27,web\n\
    10100,c,dc1r28,web\n10101,d,dc1r28,db\n";

fn run<'a>(action: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&["run", "fleet.csv", "--rate", "none", "--action", action], options].concat()
}

fn id(outcome: &Outcome) -> String {
    outcome.report()["run"]["id"].as_str().unwrap().to_owned()
}

fn parsed(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// The ids of the runs that `runs` lists.
fn listed(fixture: &Fixture) -> Vec<String> {
    let list = parsed(&fixture.run(&["runs", "--format", "json"]).exits(0));
    assert_eq!(list["schema"], "v6fleet.runs/1");
    list["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

/// A night, a rack's maintenance, and the refresh before and after it; the ids of the two refreshes.
fn maintained(sandbox: &Sandbox) -> (Fixture, [String; 2]) {
    let fixture = Fixture::at(sandbox);
    fixture.write("fleet.csv", FLEET);
    fixture.run(&run("allocate", &[])).exits(3);
    let before = id(&fixture.run(&run("refresh_next_hop", &[])).exits(3));
    sandbox.set_next_hop("dc1r28", "2001:db8:2000::9");
    let after = id(&fixture.run(&run("refresh_next_hop", &[])).exits(3));
    (fixture, [before, after])
}

/// Two nights, and a refresh that its canary stopped; their ids.
fn nights(sandbox: &Sandbox) -> (Fixture, [String; 3]) {
    let fixture = Fixture::at(sandbox);
    fixture.write("fleet.csv", FLEET);
    let [first, second] = [(); 2].map(|()| id(&fixture.run(&run("allocate", &[])).exits(3)));
    let canary = ["--vmid", "10099-10101", "--canary", "1"];
    let stopped = fixture.run(&run("refresh_next_hop", &canary)).exits(4);
    (fixture, [first, second, id(&stopped)])
}

#[test]
fn after_a_maintenance_the_difference_is_that_racks_next_hop_and_nothing_else() {
    let sandbox = Sandbox::start(&[]);
    let (fixture, [before, after]) = maintained(&sandbox);
    let diff = |options: &[&str]| fixture.run(&[&["diff", &before, "latest"], options].concat());

    let found = parsed(&diff(&["--format", "json"]).exits(10));
    assert_eq!((&found["from"]["id"], &found["to"]["id"]), (&json!(before), &json!(after)));
    let counts = json!({"newly_failing": 0, "recovered": 0, "changed": 2, "appeared": 0, "gone": 0,
        "not_attempted": 0, "same": 3});
    assert_eq!(found["summary"], counts);
    for (vm, vmid) in found["vms"].as_array().unwrap().iter().zip(["10100", "10101"]) {
        let (old, new) = (&vm["before"]["next_hop"], "2001:db8:2000::9");
        assert_eq!(
            (&vm["vmid"], &vm["difference"], &vm["rack_id"]),
            (&json!(vmid), &json!("changed"), &json!("dc1r28"))
        );
        assert_eq!(vm["changes"], json!([{"field": "next_hop", "before": old, "after": new}]));
        assert!(
            old.is_string() && vm["after"]["next_hop"] == new && vm["after"]["proxmox_vm_id"].is_string()
        );
    }

    let text = diff(&["-o", "diff.csv", "-o", "diff.json"]).exits(10).stdout;
    assert!(
        text.starts_with("2 of 5 VMs differ\n")
            && text.contains("\nChanged: 2 VMs\n  10100 on dc1r28: next_hop: ")
    );
    assert_eq!(fixture.read("diff.csv").lines().count(), 3);
    assert_eq!(serde_json::from_str::<Value>(&fixture.read("diff.json")).unwrap(), found);
    fixture.run(&["diff", &after, &after]).exits(0);
}

#[test]
fn a_comparison_can_be_narrowed_like_a_run() {
    let sandbox = Sandbox::start(&[]);
    let (fixture, [before, after]) = maintained(&sandbox);
    let diff = |options: &[&str]| fixture.run(&[&["diff", &before, &after], options].concat());
    for (options, code, verdict) in [
        (&["--rack", "dc1r27"][..], 0, "No difference: 3 VMs"),
        (&["--rack", "dc1r28"], 10, "2 of 2 VMs differ"),
        (&["--rack", "!dc1r28"], 0, "No difference: 3 VMs"),
        (&["--vmid", "10099-10100"], 10, "1 of 2 VMs differ"),
        (&["--where", "role=db"], 10, "1 of 2 VMs differ"),
        (&["--where", "role=db", "--limit", "1"], 0, "No difference: 1 VM,"),
    ] {
        let text = diff(options).exits(code).stdout;
        assert!(text.starts_with(verdict), "{options:?}: {text}");
    }
    let nothing = diff(&["--rack", "dc9*", "--format", "json", "-o", "diff.csv"]).exits(7);
    assert_eq!(nothing.stdout, "");
    assert!(!fixture.path("diff.csv").exists());
    diff(&["-o", "diff.html"]).exits(2);
    fixture.run(&["diff", &before, "20000101"]).exits(2);
}

#[test]
fn the_history_of_a_vm_is_every_run_that_had_it_and_what_it_changed() {
    let sandbox = Sandbox::start(&[]);
    let (fixture, [_, after]) = maintained(&sandbox);
    let history = parsed(&fixture.run(&["history", "10100", "--format", "json"]).exits(0));
    let runs = history["runs"].as_array().unwrap();
    let outcomes: Vec<_> = runs.iter().map(|run| (run["action"].as_str(), run["outcome"].as_str())).collect();
    let refreshed = |outcome| (Some("refresh_next_hop"), Some(outcome));
    assert_eq!(outcomes, [refreshed("updated"), refreshed("unchanged"), (Some("allocate"), Some("created"))]);
    assert_eq!(runs[0]["run"], after);
    assert_eq!(runs[0]["changes"][0]["after"], "2001:db8:2000::9");
    assert_eq!(runs[0]["changes"][0]["before"], runs[1]["next_hop"]);
    assert_eq!(history["last_known"][0]["allocation"]["next_hop"], "2001:db8:2000::9");

    let text = fixture.run(&["history", "10100"]).exits(0).stdout;
    assert!(text.contains(&format!("updated: refresh_next_hop, run {after}\n")), "{text}");
    assert!(text.contains("\n    changed: next_hop: "), "{text}");
    let failed = fixture.run(&["history", "10099"]).exits(0).stdout;
    assert_eq!(failed.matches("    not_found: ").count(), 3, "{failed}");
    let unknown = fixture.run(&["history", "424242"]).exits(7);
    unknown.assert_in_stderr("VM 424242 is in no run");
}

#[test]
fn a_run_ends_with_what_fails_newly_and_what_has_recovered_since_the_last_complete_one() {
    // Each VM's answers, night after night: 1 succeeds, 0 fails.
    let api = Api::start(|vmid, night| {
        let nights: &[u8] = match vmid {
            "1" => &[1, 0, 0, 1],
            "2" => &[0, 1, 1],
            _ => &[1, 1, 1],
        };
        let answer =
            if nights[night] == 1 { success(200, false, 100_000) } else { error(404, "VPS_NOT_FOUND") };
        Step::from(answer)
    });
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
    fixture.write("fleet.csv", "vmid\n1\n2\n3\n");
    let first = fixture.run(&run("allocate", &[])).exits(3);
    assert!(!first.stdout.contains("since") && first.summary().get("since").is_none());
    let first = id(&first);

    let second = fixture.run(&run("allocate", &[])).exits(3);
    let lines = format!("\nNewly failing since {first}: 1 VM: 1\nRecovered since {first}: 1 VM: 2\n");
    second.assert_in_stdout(&lines);
    let since = json!({"run": first, "newly_failing": {"vms": 1, "examples": ["1"]},
        "recovered": {"vms": 1, "examples": ["2"]}});
    assert_eq!(second.summary()["since"], since);
    assert_eq!(
        fixture.run(&["report"]).exits(0).stdout.matches(&first).count(),
        2,
        "the report says so again"
    );

    // Stopped before the turn of 2 and 3: of these nothing can be concluded, and the run is no one to compare with.
    let stopped = fixture.run(&run("allocate", &["--canary", "1", "--concurrency", "1"])).exits(4);
    let since = &stopped.summary()["since"];
    assert_eq!((&since["run"], &since["recovered"]["vms"]), (&json!(id(&second)), &json!(0)));
    let diff = fixture.run(&["diff", &id(&second), "latest", "--format", "json"]).exits(10);
    assert_eq!(parsed(&diff)["summary"]["not_attempted"], 2);

    let recap = fixture.run(&run("allocate", &["--format", "json"])).exits(0);
    let since = parsed(&recap)["summary"]["since"].clone();
    assert_eq!((&since["run"], &since["recovered"]["examples"]), (&json!(id(&second)), &json!(["1"])));
    assert_eq!(since["newly_failing"], json!({"vms": 0, "examples": []}));
}

#[test]
fn what_has_failed_before_makes_a_run_fail_again_only_where_that_is_wanted() {
    // Each VM's answers, night after night: 1 succeeds, 0 fails.
    let api = Api::start(|vmid, night| {
        let nights: &[u8] = match vmid {
            "1" => &[0, 0, 0, 1],
            "2" => &[1, 1, 0, 1],
            "4" => &[0],
            _ => &[1, 1, 1, 1, 1],
        };
        match nights.get(night) {
            Some(1) => success(200, false, 100_000).into(),
            _ => error(404, "VPS_NOT_FOUND").into(),
        }
    });
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
    fixture.write("fleet.csv", "vmid\n1\n2\n3\n");
    let night = |fail_on: &str, code| fixture.run(&run("allocate", &["--fail-on", fail_on])).exits(code);
    let new = |outcome: &Outcome| outcome.summary()["since"]["newly_failing"]["examples"].clone();

    night("new", 3).assert_in_stdout("1 failed");
    let known = night("new", 0);
    known.assert_in_stdout("\nFailed\n  not_found: 1 VM: 1\n");
    assert_eq!((new(&known), &known.summary()["exit_code"]), (json!([]), &json!(0)));

    let worse = night("new", 3);
    let newly = worse.stdout.find("\nNewly failing since").unwrap();
    assert!(newly < worse.stdout.find("\nFailed\n").unwrap(), "what is new comes first: {}", worse.stdout);
    assert_eq!(new(&worse), json!(["2"]));
    assert_eq!(worse.vms_that_are("failed"), ["1", "2"]);

    fixture.write("fleet.csv", "vmid\n1\n2\n3\n4\n");
    assert_eq!(new(&night("new", 3)), json!(["4"]), "a VM that was not there before fails newly");
    fixture.write("fleet.csv", "vmid\n3\n4\nten\n");
    let skipping = |fail_on| fixture.run(&run("allocate", &["--skip-invalid", "--fail-on", fail_on]));
    skipping("none").exits(3).assert_in_stdout("1 invalid row of the inventory was skipped");
    fixture.write("fleet.csv", "vmid\n4\n");
    night("none", 0).assert_in_stdout("1 failed");
}

#[test]
fn runs_are_listed_with_their_counts_and_how_they_ended() {
    let sandbox = Sandbox::start(&[]);
    let (fixture, [first, second, stopped]) = nights(&sandbox);
    assert_eq!(listed(&fixture), [&*stopped, &*second, &*first]);

    let text = fixture.run(&["runs"]).exits(0).stdout;
    let line = |id: &str| text.lines().find(|line| line.contains(id)).unwrap().to_owned();
    assert!(line(&stopped).ends_with("stopped: canary"), "{text}");
    assert!(line(&second).contains("allocate fleet.csv") && line(&second).ends_with("complete"), "{text}");

    let limited = parsed(&fixture.run(&["runs", "--limit", "2", "--format", "json"]).exits(0));
    assert_eq!(limited["runs"].as_array().unwrap().len(), 2);
    let night_before = &limited["runs"][1];
    assert_eq!(
        (&night_before["selected"], &night_before["unchanged"], &night_before["failed"]),
        (&json!(5), &json!(4), &json!(1))
    );
    assert_eq!(
        (&night_before["complete"], &night_before["exit_code"], &night_before["inventory_vms"]),
        (&json!(true), &json!(3), &json!(5))
    );
}

#[test]
fn old_runs_go_but_for_pinned_and_resumable_ones_and_what_was_last_seen_stays() {
    let sandbox = Sandbox::start(&[]);
    let (fixture, [first, second, stopped]) = nights(&sandbox);
    let night = |options: &[&str]| fixture.run(&run("allocate", options)).exits(3);
    let pinned = fixture.run(&["runs", "--pin", &first]).exits(0);
    pinned.assert_in_stdout("complete, pinned");
    let last = night(&["--keep-runs", "1"]);
    assert_eq!(last.vms_that_are("unchanged").len(), 4);
    let last = id(&last);
    assert_eq!(listed(&fixture), [&*last, &*stopped, &*first], "the second has gone");
    fixture.run(&["report", &second]).exits(2);
    fixture.run(&["report", &first]).exits(0);

    fixture.run(&["runs", "--unpin", &first]).exits(0);
    // A newer run of its job supersedes the stopped one: of the nights before, last-known allocations alone are left.
    fixture.run(&run("refresh_next_hop", &["--vmid", "10101", "--keep-runs", "1"])).exits(0);
    assert_eq!(listed(&fixture).len(), 2, "another selection is another job");
    fixture.run(&run("refresh_next_hop", &["--vmid", "10099-10101", "--keep-runs", "1"])).exits(3);
    assert_eq!(listed(&fixture).len(), 1);
    let history = parsed(&fixture.run(&["history", "10000", "--format", "json"]).exits(0));
    assert_eq!(
        (history["runs"].as_array().unwrap().len(), &history["last_known"][0]["allocation"]["status"]),
        (0, &json!("active"))
    );
    let again = night(&[]);
    assert_eq!(again.verdicts().iter().filter(|verdict| verdict.ends_with("unchanged ledger")).count(), 4);
}

#[test]
fn an_inventory_that_has_lost_too_much_is_not_run() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    let inventory = |vms: u64| fixture.write("fleet.csv", fleet::csv_of(10_000..10_000 + vms));
    let guarded = |action: &str, options: &[&str]| {
        fixture.run(&run(action, &[&["--max-shrink", "20%"], options].concat()))
    };
    inventory(10);
    let first = id(&guarded("allocate", &[]).exits(0));
    inventory(8);
    guarded("allocate", &["--vmid", "10000", "--dry-run"]).exits(0);
    inventory(7);
    // What is tried by hand, of a part of the fleet, is not what the fleet is compared with.
    fixture.run(&run("allocate", &["--limit", "1"])).exits(0);
    let calls = sandbox.calls().len();
    for options in [&[][..], &["--vmid", "10000"], &["--vmid", "99"], &["--dry-run"]] {
        for action in ["allocate", "refresh_next_hop"] {
            let refused = guarded(action, options).exits(4);
            let words = format!(
                "the inventory has 7 VMs, and had 10 at its last complete run ({first}): 3 (30.0%) are gone"
            );
            assert!(
                refused.stderr.contains(&words) && refused.stderr.contains("--max-shrink 100%"),
                "{}",
                refused.stderr
            );
        }
    }
    inventory(0);
    guarded("allocate", &[]).exits(2);
    assert_eq!((sandbox.calls().len(), listed(&fixture).len()), (calls, 2));

    inventory(7);
    fixture.run(&run("allocate", &["--max-shrink", "100%"])).exits(0);
    guarded("allocate", &[]).exits(0);
    fixture.run(&run("allocate", &["--max-shrink", "20"])).exits(2);
}

#[test]
fn looking_back_needs_a_ledger_and_makes_none() {
    let fixture = Fixture::new();
    for args in
        [&["runs"][..], &["runs", "--pin", "latest"], &["history", "1"], &["diff", "latest", "latest"]]
    {
        let refused = fixture.run(args).exits(2);
        assert!(refused.stderr.contains("there is no ledger yet"), "{args:?}: {}", refused.stderr);
    }
    assert!(!fixture.path("state").exists());
}

#[test]
fn looking_back_is_possible_while_a_run_is_on_and_pinning_waits_its_turn() {
    let sandbox = Sandbox::start(&["--latency", "100ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(1_000));
    let mut on = fixture.start(&run("allocate", &["--concurrency", "2"]));
    sandbox.await_calls(6);
    assert!(fixture.run(&["runs"]).exits(0).stdout.contains(" running"));
    let failed = fixture.run(&["runs", "--failed"]).exits(0);
    assert_eq!(failed.stdout, "No run.\n", "what has no outcome yet has not failed");
    fixture.run(&["history", "100000"]).exits(0);
    fixture.run(&["diff", "latest", "latest"]).exits(0);
    fixture.run(&["runs", "--pin", "latest"]).exits(6);
    assert!(on.is_running());
    on.signal("TERM");
    on.end().exits(143);
    fixture.run(&["runs", "--pin", "latest", "--lock-timeout", "1m"]).exits(0);
}

#[test]
fn what_narrows_or_writes_a_runs_report_by_configuration_does_not_touch_a_comparison() {
    let sandbox = Sandbox::start(&[]);
    let (mut fixture, [before, after]) = maintained(&sandbox);
    fixture.write(
        "config/v6fleet/config.toml",
        "rack = 'dc1r27'\noutput = 'night.csv'\nformat = 'json'\nlimit = 1\n",
    );
    fixture.set("V6FLEET_VMID", "10000");
    let diff = fixture.run(&["diff", &before, &after]).exits(10);
    assert_eq!(parsed(&diff)["summary"]["changed"], 2, "in JSON, as configured");
    assert!(!fixture.path("night.csv").exists());
    assert_eq!(listed(&fixture).len(), 3);
}

#[test]
fn a_plan_compares_with_the_run_after_it_and_with_another_plan_and_is_told_again_to_the_byte() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).speaking(V2);
    fixture.write_fleet("vmid,name,rack_id\n10000,a,dc1r27\n10001,b,dc1r27\n10100,c,dc1r28\n");
    let plan = |action| fixture.run(&["plan", "fleet.csv", "--rate", "none", "--action", action]).exits(0);
    let diff = |from: &str, to: &str, code| fixture.run(&["diff", from, to]).exits(code);

    let planned = plan("allocate");
    let first = id(&planned);
    planned.assert_in_stdout("; nothing was changed\n");
    planned.assert_in_stdout(&format!("--api v2 --action allocate --only-planned={first}\n"));
    let ran = id(&fixture.run(&run("allocate", &[])).exits(0));
    diff(&first, &ran, 0).assert_in_stdout("No difference: 3 VMs, as planned\n");

    let kept = id(&plan("refresh_next_hop"));
    diff(&ran, &kept, 0);
    sandbox.set_next_hop("dc1r28", "2001:db8:2000::9");
    let moved = id(&plan("refresh_next_hop"));
    let told = diff(&kept, &moved, 10);
    told.assert_in_stdout("1 of 3 VMs differ\n");
    told.assert_in_stdout("keep → update (next hop 2001:db8:2000::9");
    fixture.run(&["diff", &kept, &moved, "-o", "diff.csv"]).exits(10);
    let header = fixture.read("diff.csv").lines().next().unwrap().to_owned();
    assert!(
        header.contains("before_planned_next_hop") && header.ends_with("after_planned_next_hop"),
        "{header}"
    );

    let runs = parsed(&fixture.run(&["runs", "--format", "json"]).exits(0));
    let kinds: Vec<&Value> = runs["runs"].as_array().unwrap().iter().map(|run| &run["kind"]).collect();
    assert_eq!(kinds, ["plan", "plan", "run", "plan"]);
    assert!(runs["runs"].as_array().unwrap().iter().all(|run| run["api"] == "v2"));
    let past = fixture.run(&["history", &fixture.id(10_100)]).exits(0);
    past.assert_in_stdout("a call would update it, next hop 2001:db8:2000::2");
    let formats = ["csv", "json", "jsonl", "html", "junit.xml", "prom"];
    let again = |name: &str| {
        let files: Vec<String> = formats.iter().map(|format| format!("{name}.{format}")).collect();
        let outputs = files.iter().flat_map(|file| ["-o", file]);
        fixture.run(&["report", &first].into_iter().chain(outputs).collect::<Vec<_>>()).exits(0);
        files.iter().map(|file| fixture.read(file)).collect::<Vec<_>>()
    };
    let written = again("one");
    assert_eq!(written, again("two"));
    let dir = planned.dir.as_ref().unwrap();
    for (format, report) in ["csv", "json"].iter().zip(&written) {
        assert_eq!(&std::fs::read_to_string(dir.join(format!("report.{format}"))).unwrap(), report);
    }
    for line in written[2].lines() {
        crate::fixture::assert_valid(&serde_json::from_str(line).unwrap(), "forecast.schema.json");
    }
}

#[test]
fn the_list_of_runs_is_narrowed_to_those_that_are_meant() {
    let api = Api::start(|vmid, _| match vmid {
        "9" => error(404, "VPS_NOT_FOUND").into(),
        _ => success(200, false, 100_000).into(),
    });
    let mut fixture = api.fixture();
    fixture.write("fleet.csv", "vmid\n1\n9\n");
    let good = id(&fixture.run(&run("allocate", &["--vmid", "1"])).exits(0));
    let failed = id(&fixture.run(&run("allocate", &[])).exits(3));
    let again = id(&fixture.run(&run("allocate", &["--timeout", "9s"])).exits(3));
    let refreshed = id(&fixture.run(&run("refresh_next_hop", &["--vmid", "1"])).exits(0));
    let url = api.base_url();
    fixture.set("V6FLEET_BASE_URL", "https://elsewhere.example");
    for (options, expected) in [
        (&[][..], vec![&refreshed, &again, &failed, &good]),
        (&["--failed"], vec![&again, &failed]),
        (&["--failed", "--limit", "1"], vec![&again]),
        (&["--action", "allocate"], vec![&again, &failed, &good]),
        (&["--action", "allocate", "--limit", "2"], vec![&again, &failed]),
        (&["--job", &failed], vec![&again, &failed]),
        (&["--job", "latest"], vec![&refreshed]),
        (&["--job", "latest", "--failed"], vec![]),
        (&["--base-url", &url], vec![&refreshed, &again, &failed, &good]),
        (&["--base-url", "https://elsewhere.example"], vec![]),
    ] {
        let list = fixture.run(&[&["runs", "--format", "json"], options].concat()).exits(0);
        let list = parsed(&list)["runs"].as_array().unwrap().clone();
        let ids: Vec<&str> = list.iter().map(|run| run["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{options:?}");
    }
    fixture.run(&["runs", "--job", "2000"]).exits(2);
    assert_eq!(fixture.run(&["runs", "--job", "latest", "--failed"]).exits(0).stdout, "No run.\n");
}

#[test]
fn a_vm_is_known_by_its_name_where_it_is_the_only_one_called_so() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid,name\n10000,web-1\n10001,twin\n10002,twin\n10003,10000\n");
    fixture.run(&run("allocate", &[])).exits(0);
    let by_id = fixture.run(&["history", "10000"]).exits(0).stdout;
    assert_eq!(fixture.run(&["history", "web-1"]).exits(0).stdout, by_id);
    for (typed, code, told) in [
        ("twin", 2, "twin is the name of 2 VMs: 10001, 10002; ask for one by its id: v6fleet history 10001"),
        (
            "web",
            7,
            "VM web is in no run of the ledger, neither as an id nor as a name; names like it: web-1 (10000)",
        ),
    ] {
        let refused = fixture.run(&["history", typed]).exits(code);
        assert!(refused.stdout.is_empty() && refused.stderr.contains(told), "{}", refused.stderr);
    }
}

#[test]
fn a_resumed_run_tells_its_calls_and_those_since_its_resume_apart() {
    let api = Api::start(|vmid, _| match vmid {
        "9" => error(404, "VPS_NOT_FOUND").into(),
        _ => success(200, false, 100_000).into(),
    });
    let fixture = api.fixture();
    fixture.write("fleet.csv", "vmid\n9\n1\n2\n3\n");
    let stopped = fixture.run(&run("allocate", &["--canary", "1", "--concurrency", "1"])).exits(4);
    let of = |outcome: &Outcome| ["calls", "calls_in_duration"].map(|name| outcome.summary()[name].clone());
    assert_eq!(of(&stopped), [1, 1]);
    let resumed = fixture.resume(&["--canary", "0", "--rate", "none"]).exits(3);
    assert_eq!(of(&resumed), [4, 3]);
    let told = "4 calls in all, 0 retries, 0 answered 429; since the last resume 3 calls in ";
    assert!(resumed.stdout.contains(told), "{}", resumed.stdout);
    for name in ["started_at", "ended_at"] {
        let at = resumed.report()["run"][name].as_str().unwrap().to_owned();
        assert_eq!(at.len(), "2026-11-23T02:15:00.000000Z".len(), "{at}");
    }
}
