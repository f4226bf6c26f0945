//! What a newcomer does first: the demo fleet, against the embedded sandbox.

use crate::fixture::{Fixture, assert_valid, binary};
use crate::fleet::is_allocated;

const DEMO: [&str; 5] = ["run", "inventories/demo.csv", "--sandbox", "--rate", "none"];

const COLUMNS: &str = "vmid,name,rack_id,action,outcome,basis,prefix,next_hop,status,previous_prefix,\
    previous_next_hop,changes,drift,failure,may_have_applied,http_status,error,attempts,first_sent_at,settled_at,\
    latency_ms,request_id,warnings,label.role,label.owner";

/// What the built-in world makes of each VM of the demo the first time: `vmid outcome basis-or-failure`.
fn first_verdicts(inventory: &str) -> Vec<String> {
    let verdict = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let (vmid, rack, action) = (cells[0].parse::<u64>().unwrap(), cells[2], cells[3]);
        let had_maintenance = rack.ends_with(['0', '2', '4', '6', '8']);
        let verdict = match (action, is_allocated(vmid)) {
            _ if vmid % 100 == 99 => "failed not_found",
            ("allocate", false) => "created created_flag",
            ("refresh_next_hop", false) => "failed conflict",
            ("refresh_next_hop", true) if had_maintenance => "updated server_clock",
            ("allocate" | "refresh_next_hop", true) => "unchanged server_clock",
            (other, _) => panic!("the demo asks for {other}"),
        };
        format!("{vmid} {verdict}")
    };
    inventory.lines().skip(1).map(verdict).collect()
}

#[test]
fn the_demo_shows_all_four_outcomes_and_run_again_it_creates_nothing() {
    let fixture = Fixture::new();
    let expected = first_verdicts(&fixture.read("inventories/demo.csv"));
    let first = fixture.run(&DEMO).exits(3);
    assert_eq!(first.verdicts(), expected);
    for outcome in ["created", "unchanged", "updated", "failed"] {
        assert!(!first.vms_that_are(outcome).is_empty(), "none is {outcome}");
    }
    assert_eq!(first.summary()["complete"], true);

    let second = fixture.run(&DEMO).exits(3);
    let settled = |verdict: &String| match verdict.split_once(' ').unwrap() {
        (_, why) if why.starts_with("failed") => verdict.clone(),
        (vmid, _) => format!("{vmid} unchanged ledger"),
    };
    assert_eq!(second.verdicts(), expected.iter().map(settled).collect::<Vec<_>>());
    for row in second.rows() {
        assert_eq!(row["changes"].as_array().unwrap().len(), 0, "{row}");
    }
}

#[test]
fn the_recap_is_all_of_standard_output_and_names_reports_that_are_there() {
    let fixture = Fixture::new();
    let outcome = fixture.run(&DEMO).exits(3);
    let (first, counts) = outcome.stdout.split_once('\n').unwrap();
    assert_eq!(first, "Complete: 60 VMs, 42 created, 12 unchanged, 4 updated, 2 failed");
    for word in ["not_found: 1 VM: 10099", "conflict: 1 VM: 10031", "dc2r01"] {
        assert!(counts.contains(word), "{word} is not in\n{counts}");
    }
    let id = outcome.report()["run"]["id"].as_str().unwrap();
    for name in ["report.csv", "report.json", "report.html"] {
        let path = format!("reports/{id}/{name}");
        assert!(outcome.stdout.contains(&path), "{path} is not in\n{}", outcome.stdout);
        assert!(fixture.path(&path).is_file());
    }
    let last = outcome.stdout.trim_end().lines().last().unwrap();
    let again = format!("v6fleet run inventories/demo.csv --sandbox --only-failed={id}");
    assert!(last.ends_with(&again), "{last}");
    let words: Vec<&str> = again.split(' ').skip(1).collect();
    assert_eq!(fixture.run(&words).exits(3).vmids(), ["10031", "10099"]);
}

#[test]
fn what_a_rehearsal_is_told_to_type_next_is_a_rehearsal_however_its_ledger_was_named() {
    let fixture = Fixture::new();
    fixture.run(&DEMO).exits(3);
    let report = fixture.run(&["report", "--ledger", "state/v6fleet/sandbox.db"]).exits(0);
    let again = report.stdout.lines().find(|line| line.starts_with("Retry failed:")).unwrap();
    assert!(again.contains(" --sandbox --only-failed="), "{again}");
    for command in ["status", "runs", "report"] {
        let unsaid = fixture.run(&[command]).exits(2);
        unsaid.assert_in_stderr("nothing has been run but rehearsals, which --sandbox shows");
    }
}

#[test]
fn the_csv_report_has_the_documented_columns_and_the_inventorys_labels() {
    let fixture = Fixture::new();
    let outcome = fixture.run(&DEMO).exits(3);
    let csv = outcome.csv();
    assert_eq!(csv[0].iter().collect::<Vec<_>>().join(","), COLUMNS);
    assert_eq!(csv.len(), 61);
    let web = &csv[1];
    assert_eq!([&web[0], &web[1], &web[2], &web[4]], ["10000", "web01", "dc1r27", "created"]);
    assert_eq!([&web[7], &web[8], &web[15], &web[17]], ["2001:db8:1000::1/128", "active", "201", "1"]);
    assert_eq!([&web[23], &web[24]], ["web", "ann"]);
}

#[test]
fn other_reports_are_written_where_they_are_asked_for_and_hold_the_same_rows() {
    let fixture = Fixture::new();
    let more = ["--output-dir", "none", "-o", "a.jsonl", "-o", "b.json", "-o", "c.csv", "-o", "d.html"];
    let outcome = fixture.run(&[&DEMO[..], &more[..]].concat()).exits(3);
    assert!(outcome.dir.is_none() && !fixture.path("none").exists());
    outcome.assert_in_stdout("\nRetry failed: v6fleet run inventories/demo.csv --output-dir none --sandbox ");
    let lines: Vec<serde_json::Value> =
        fixture.read("a.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let whole: serde_json::Value = serde_json::from_str(&fixture.read("b.json")).unwrap();
    assert_eq!(whole["vms"].as_array().unwrap(), &lines);
    assert_eq!(lines.len(), 60);
    for line in &lines {
        assert_valid(line, "row.schema.json");
    }
    assert_eq!(fixture.read("c.csv").lines().next(), Some(COLUMNS));

    fixture.run(&["report", "--sandbox", "-o", "again.csv"]).exits(0);
    assert_eq!(fixture.read("again.csv"), fixture.read("c.csv"));
    let shown = fixture.run(&["report", "--sandbox"]).exits(0);
    assert_eq!(shown.stderr, "", "no report was written, and none is spoken of");
}

#[test]
fn the_demo_of_v2_lists_plans_runs_and_audits_and_then_nothing_is_left() {
    let fixture = Fixture::new();
    let mut demo = fixture.beside("sh");
    demo.args(["inventories/demo-v2.sh", binary().to_str().unwrap(), "demo"]);
    let demo = fixture.spawn(demo).end().exits(0);
    let of_nothing_left = demo.stdout.rsplit_once("--detailed-exitcode").unwrap().1;
    for (told, text) in [
        ("60 VMs, 36 created, 0 unchanged, 0 updated, 0 failed", demo.stdout.as_str()),
        ("60 VMs, 0 to create, 0 to update, 60 to keep, 0 blocked, 0 failed", of_nothing_left),
        ("No finding", of_nothing_left),
    ] {
        assert!(text.contains(told), "{told} is not in\n{}", demo.stdout);
    }
}

#[test]
fn the_inventory_of_v2_shows_what_can_be_planned_and_nothing_that_fails() {
    let fixture = Fixture::new();
    let v2 = ["inventories/demo-v2.csv", "--api", "v2", "--sandbox", "--rate", "none"];
    let plan = fixture.run(&[&["plan"], &v2[..]].concat()).exits(0);
    for outcome in ["create", "update", "keep"] {
        assert!(!plan.vms_that_are(outcome).is_empty(), "none is {outcome}");
    }
    let run = fixture.run(&[&["run", "--only-planned"], &v2[..]].concat()).exits(0);
    let planned = ["create", "update"].map(|outcome| plan.vms_that_are(outcome).len());
    assert_eq!(["created", "updated"].map(|outcome| run.vms_that_are(outcome).len()), planned);
}
