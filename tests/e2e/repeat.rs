//! The nightly run and the run after a maintenance: what was done before is known, and only what changed is told.

use std::collections::BTreeSet;

use serde_json::json;

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Outcome};
use crate::sandbox::Sandbox;

const ALLOCATE: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
const REFRESH: [&str; 6] = ["run", "fleet.csv", "--action", "refresh_next_hop", "--rate", "none"];

/// A sandbox in which the demo's VMs are on the racks that the inventory names.
fn sandbox(fixture: &str) -> Sandbox {
    let sandbox = Sandbox::start(&[]);
    for rack in ["dc1r27", "dc1r28", "dc1r29", "dc2r01"] {
        sandbox.place(rack, &on_rack(fixture, rack));
    }
    sandbox
}

/// The VMs that exist and that the demo's inventory has on a rack.
fn on_rack<'a>(inventory: &'a str, rack: &str) -> Vec<&'a str> {
    let cells = inventory.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    cells.filter(|cells| cells[2] == rack && cells[0] != "10099").map(|cells| cells[0]).collect()
}

fn demo() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/inventories/demo.csv")).unwrap()
}

/// Every VM is unchanged as far as the ledger knows, but for the one that does not exist.
fn assert_all_unchanged(outcome: &Outcome) {
    for (row, verdict) in outcome.rows().iter().zip(outcome.verdicts()) {
        let vmid = row["vmid"].as_str().unwrap();
        let expected = if vmid == "10099" { "failed not_found" } else { "unchanged ledger" };
        assert_eq!(verdict, format!("{vmid} {expected}"));
        assert_eq!(row["changes"], json!([]), "{row}");
        assert_eq!(row["previous_prefix"], row["prefix"]);
    }
}

#[test]
fn a_second_allocate_is_all_unchanged_though_its_next_hops_are_written_otherwise() {
    in_each(allocate_twice);
}

fn allocate_twice(dialect: Dialect) {
    let demo = demo();
    let sandbox = sandbox(&demo);
    let fixture = Fixture::at(&sandbox).speaking(dialect);
    fixture.write_fleet(&demo);
    let first = fixture.run(&ALLOCATE).exits(3);
    let created: BTreeSet<String> =
        sandbox.calls().into_iter().filter(|call| call.created).map(|call| call.vmid).collect();
    assert_eq!(first.vms_that_are("created"), created.iter().collect::<Vec<_>>());
    assert_eq!((created.len(), first.vms_that_are("failed")), (43, vec!["10099"]));
    assert_eq!(first.summary()["drifted"], 0);

    let second = fixture.run(&ALLOCATE).exits(3);
    assert_all_unchanged(&second);
    let (before, after) = (first.row("10000"), second.row("10000"));
    assert_eq!(before["next_hop"], format!("{}/128", after["next_hop"].as_str().unwrap()));
    assert_eq!(after["previous_next_hop"], before["next_hop"]);
    assert!(sandbox.calls()[60..].iter().all(|call| !call.took_effect));
}

#[test]
fn after_maintenance_exactly_that_racks_vms_are_updated_with_before_and_after() {
    in_each(refresh_after_maintenance);
}

fn refresh_after_maintenance(dialect: Dialect) {
    let demo = demo();
    let sandbox = sandbox(&demo);
    let fixture = Fixture::at(&sandbox).speaking(dialect);
    fixture.write_fleet(&demo);
    // The built-in world has had maintenance on this rack: now every VM has what its rack gives.
    fixture.run(&ALLOCATE).exits(3);
    fixture.run(&REFRESH).exits(3);
    let before = fixture.run(&REFRESH).exits(3);
    assert_all_unchanged(&before);
    let calls = sandbox.calls().len();

    sandbox.set_next_hop("dc1r28", "2001:db8:2000::9");
    let outcome = fixture.run(&REFRESH).exits(3);
    let on_rack = on_rack(&demo, "dc1r28");
    assert_eq!(outcome.vms_that_are("updated"), on_rack);
    assert_eq!(outcome.vms_that_are("unchanged").len(), 60 - 1 - on_rack.len());
    for vmid in &on_rack {
        let (row, old) = (outcome.row(vmid), before.row(vmid));
        assert_eq!((&row["basis"], &row["rack_id"]), (&"ledger".into(), &"dc1r28".into()));
        let change = json!([{"field": "next_hop", "before": old["next_hop"], "after": "2001:db8:2000::9"}]);
        assert_eq!(row["changes"], change);
        assert_eq!(row["previous_next_hop"], old["next_hop"]);
        assert_eq!((&row["previous_prefix"], &row["prefix"]), (&old["prefix"], &old["prefix"]));
    }
    let moved: BTreeSet<String> = sandbox.calls()[calls..]
        .iter()
        .filter(|call| call.took_effect)
        .map(|call| call.vmid.clone())
        .collect();
    assert_eq!(moved.iter().collect::<Vec<_>>(), on_rack, "what moved is what is called updated");

    let again = fixture.run(&REFRESH).exits(3);
    assert_all_unchanged(&again);
    let csv = outcome.csv();
    let line = csv.iter().find(|cells| cells[0] == fixture.id(on_rack[0])).unwrap();
    let old = before.row(on_rack[0])["next_hop"].as_str().unwrap().to_owned();
    assert_eq!(&line[11], format!("next_hop: {old} → 2001:db8:2000::9"));
}

#[test]
fn an_allocation_whose_answer_was_lost_in_a_run_that_gave_up_is_created_in_the_next() {
    in_each(give_up_on_lost_answers);
}

fn give_up_on_lost_answers(dialect: Dialect) {
    let sandbox = Sandbox::start(&["--rack-fault", "dc1r27=reset-after"]);
    let fixture = Fixture::at(&sandbox).speaking(dialect);
    fixture.write_fleet("vmid,rack_id\n10000,dc1r27\n10006,dc1r27\n10020,dc1r28\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--max-attempts", "1"];
    let gave_up = fixture.run(&run).exits(3);
    let failed = "failed malformed_answer";
    let verdicts =
        [format!("10000 {failed}"), format!("10006 {failed}"), "10020 created created_flag".into()];
    assert_eq!(gave_up.verdicts(), verdicts);
    assert!(["10000", "10006"].iter().all(|vmid| gave_up.row(vmid)["may_have_applied"] == true));
    let lost: Vec<_> = sandbox.calls().into_iter().filter(|call| call.created && !call.answered).collect();
    assert_eq!((lost.len(), lost[0].vmid.as_str()), (1, "10000"));
    assert_eq!(lost[0].fault.as_deref(), Some("reset-after"));

    sandbox.set_fault("dc1r27", None);
    let next = fixture.run(&run).exits(0).verdicts();
    assert_eq!(next, ["10000 created lost_answer", "10006 unchanged server_clock", "10020 unchanged ledger"]);
    let later = fixture.run(&run).exits(0).verdicts();
    assert!(later.iter().all(|verdict| verdict.ends_with("unchanged ledger")), "{later:?}");
}

#[test]
fn what_a_run_reports_is_what_the_sandbox_holds() {
    in_each(compare_with_the_sandbox);
}

fn compare_with_the_sandbox(dialect: Dialect) {
    let demo = demo();
    let sandbox = sandbox(&demo);
    let fixture = Fixture::at(&sandbox).speaking(dialect);
    fixture.write_fleet(&demo);
    fixture.run(&ALLOCATE).exits(3);
    let outcome = fixture.run(&REFRESH).exits(3);
    let allocations = sandbox.allocations();
    assert_eq!(allocations.len(), 59);
    for line in &allocations {
        let row = outcome.row(line["vmid"].as_str().unwrap());
        for name in ["prefix", "next_hop", "rack_id", "status"] {
            assert_eq!(row[name], line["allocation"][name], "{name} of {}", line["vmid"]);
        }
    }
}

#[test]
fn what_the_inventory_expects_is_drift_and_never_an_outcome() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write(
        "fleet.csv",
        "vmid,rack_id,prefix,next_hop,account_id,proxmox_vm_id\n\
         10006,dc1r27,2001:db8:9::/48,2001:0DB8:1000::1/128,20000,10054\n\
         10007,dc9r99,,2001:db8::7,20001,10007\n",
    );
    for _ in 0..2 {
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
        assert_eq!(outcome.vms_that_are("unchanged"), ["10006", "10007"]);
        let drifted = |vmid: &str| {
            let drift = outcome.row(vmid)["drift"].as_array().unwrap().clone();
            drift.iter().map(|drift| drift["field"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
        };
        assert_eq!(drifted("10006"), ["prefix"].map(str::to_owned).into());
        let all = ["rack_id", "next_hop", "account_id", "proxmox_vm_id"];
        assert_eq!(drifted("10007"), all.map(str::to_owned).into());
        assert_eq!(outcome.summary()["drifted"], 2);
    }
    fixture.run(&["run", "fleet.csv", "--action", "allocate", "--detailed-exitcode"]).exits(11);
}
