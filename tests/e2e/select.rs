//! Which VMs of an inventory are called, and in which order: the sandbox's record tells.

use crate::fixture::Fixture;
use crate::fleet;
use crate::sandbox::Sandbox;

const FLEET: &str = "vmid,name,rack_id,role\n\
    10000,a,dc1r27,web\n10001,b,dc1r27,db\n10002,c,dc1r27,web\n\
    10100,d,dc1r28,web\n10101,e,dc1r28,db\n10200,f,dc1r29,web\n10201,g,,db\n";

#[test]
fn exactly_the_selected_vms_are_called() {
    for (options, called) in [
        (&["--rack", "dc1r28"][..], "10100 10101"),
        (&["--rack", "dc1*", "--rack", "!dc1r27"], "10100 10101 10200"),
        (&["--vmid", "10000,10100-10200"], "10000 10100 10101 10200"),
        (&["--vmid", "@ids", "--vmid", "!10002"], "10001 10101"),
        (&["--where", "role=web"], "10000 10002 10100 10200"),
        (&["--where", "role=web", "--rack", "dc1r27"], "10000 10002"),
        (&["--where", "role=web", "--where", "name=[cde]"], "10002 10100"),
        (&["--where", "name=[ac]", "--where", "role=web", "--where", "name=b"], "10000 10002"),
        (&["--where", "role=web", "--where", "role=db", "--where", "!name=[abc]"], "10100 10101 10200 10201"),
        (&["--where", "rack=dc1r2[78]", "--where", "rack_id=dc1r29", "--where", "role=db"], "10001 10101"),
        (&["--where", "!role=web"], "10001 10101 10201"),
        (&["--where", "name=[ag]"], "10000 10201"),
        (&["--limit", "2", "--where", "role=db"], "10001 10101"),
    ] {
        let sandbox = Sandbox::start(&[]);
        let fixture = Fixture::at(&sandbox);
        fixture.write("fleet.csv", FLEET);
        fixture.write("ids", "# maintenance\n10001-10002\n10101 # one more\n");
        let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
        let outcome = fixture.run(&[&run[..], options].concat()).exits(0);
        let mut record = sandbox.called_vmids();
        record.sort();
        assert_eq!(record.join(" "), called, "{options:?}");
        assert_eq!(outcome.vmids().join(" "), called, "{options:?}");
    }
}

#[test]
fn a_rack_or_an_id_that_is_no_vms_is_named_in_log_recap_and_report() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", FLEET);
    fixture.write("ids", "10000-10001\n10003 # gone\n20000-20009\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
    let options = ["--rack", "dc1r27", "--rack", "dc1r72", "--rack", "!dc9*", "--vmid", "@ids"];
    let outcome = fixture.run(&[&run[..], &options].concat()).exits(0);
    assert_eq!(outcome.vmids(), ["10000", "10001"]);
    let warnings = [
        "--rack matches no VM of the inventory: dc1r72, !dc9*",
        "--vmid matches no VM of the inventory: 10003, 20000-20009",
    ];
    assert_eq!(outcome.summary()["warnings"], serde_json::json!(warnings));
    let dry = fixture.run(&[&run[..], &options, &["--dry-run"]].concat()).exits(0);
    for warning in warnings {
        for told in [&outcome.stdout, &outcome.stderr, &dry.stdout] {
            assert!(told.contains(warning), "{told}");
        }
    }
    let roles = ["--where", "role=web", "--where", "role=wbe", "--where", "!role=none", "--where", "name=*"];
    let outcome = fixture.run(&[&run[..], &roles].concat()).exits(0);
    let warning = "--where matches no VM of the inventory: role=wbe";
    assert_eq!(outcome.summary()["warnings"], serde_json::json!([warning]));
    let nothing = fixture.run(&[&run[..], &["--rack", "dc9*"]].concat()).exits(7);
    assert!(
        nothing.stderr.ends_with("\n--rack matches no VM of the inventory: dc9*\n"),
        "{}",
        nothing.stderr
    );
}

#[test]
fn only_what_failed_before_is_called_again() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10000\n10099\n10001\n10199\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
    let first = fixture.run(&run).exits(3);
    let id = first.report()["run"]["id"].as_str().unwrap().to_owned();
    fixture.run(&[&run[..], &["--vmid", "10000"]].concat()).exits(0);
    let nothing = "nothing selected: of the VMs that failed in run ";
    for (option, code, called, says) in [
        ("--only-failed", 7, &[][..], nothing),
        (&format!("--only-failed={id}"), 3, &["10099", "10199"], ""),
        ("--only-failed", 3, &["10099", "10199"], ""),
    ] {
        let before = sandbox.calls().len();
        fixture.run(&[&run[..], &[option]].concat()).exits(code).assert_in_stderr(says);
        let mut record = sandbox.called_vmids().split_off(before);
        record.sort();
        assert_eq!(record, called, "{option}");
    }
}

#[test]
fn a_vm_without_a_rack_is_selected_by_the_one_in_which_it_was_last_seen() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10000\n10100\n");
    fixture.write("moved.csv", "vmid,rack_id\n10000,dc1r27\n10100,dc1r29\n");
    fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    let refresh = |file| fixture.run(&["run", file, "--action", "refresh_next_hop", "--rack", "dc1r28"]);
    assert_eq!(refresh("fleet.csv").exits(0).vmids(), ["10100"]);
    assert_eq!(sandbox.called_vmids()[2..], ["10100"]);
    refresh("moved.csv").exits(7);
    let both = ["run", "moved.csv", "--action", "refresh_next_hop", "--rack", "dc1r28", "--rack", "dc1r27"];
    let outcome = fixture.run(&both).exits(0);
    assert_eq!(outcome.vmids(), ["10000"]);
    let warnings = outcome.summary()["warnings"].to_string();
    assert!(warnings.contains("1 VM last seen in a selected rack"), "{warnings}");
}

#[test]
fn racks_are_called_in_turn_and_each_in_inventory_order() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    let rack = |first| fleet::vmids(first, 6).collect::<Vec<_>>();
    let racks = [rack(10_000), rack(10_100), rack(10_200)];
    fixture.write("fleet.csv", fleet::csv_of(racks.iter().flatten().copied()));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "1"];
    fixture.run(&run).exits(0);
    let in_turn = (0..6).flat_map(|i| racks.iter().map(move |rack| rack[i].to_string()));
    assert_eq!(sandbox.called_vmids(), in_turn.collect::<Vec<_>>());
}

#[test]
fn a_typed_action_holds_for_every_vm_and_rows_that_say_otherwise_are_counted() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid,action\n10000,allocate\n10001,refresh_next_hop\n10002,\n");
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    assert!(sandbox.calls().iter().all(|call| call.action == "allocate"));
    let warning = "1 VM with another action in the inventory than --action";
    assert_eq!(outcome.summary()["warnings"], serde_json::json!([warning]));
    fixture.run(&["run", "fleet.csv"]).exits(2);
}

#[test]
fn a_part_of_the_fleet_is_never_told_as_the_whole_of_it() {
    let fixture = Fixture::new();
    let run =
        ["run", "inventories/demo.csv", "--sandbox", "--rate", "none", "--rack", "dc1r27", "--limit", "3"];
    let outcome = fixture.run(&run).exits(0);
    assert!(outcome.stdout.starts_with("Complete: 3 of 60 VMs, "), "{}", outcome.stdout);
    let selection = "3 of 60 VMs: --rack dc1r27 --limit 3";
    outcome.assert_in_stdout(selection);
    assert_eq!(outcome.report()["run"]["inventory_vms"], 60);
    let page = std::fs::read_to_string(outcome.dir.as_ref().unwrap().join("report.html")).unwrap();
    assert!(page.contains("<title>Complete: 3 of 60 VMs, ") && page.contains(selection), "{page}");
    for command in
        [&["runs", "--sandbox"][..], &["report", "--sandbox"], &["diff", "latest", "latest", "--sandbox"]]
    {
        let told = fixture.run(command).exits(0).stdout;
        assert!(told.contains(selection), "{command:?}: {told}");
    }
}
