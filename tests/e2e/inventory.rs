//! Inventories of every form, and what happens to rows that are none.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::fixture::Fixture;
use crate::fleet;
use crate::sandbox::Sandbox;

/// Every invalid row of `inventories/bad.csv`.
const BAD_ROWS: &str = r#"inventories/bad.csv:3: vmid: is empty
inventories/bad.csv:4: vmid: "web-3": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)
inventories/bad.csv:5: vmid: "0": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)
inventories/bad.csv:6: vmid: "15001.0": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)
inventories/bad.csv:7: vmid: "9223372036854775808": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)
inventories/bad.csv:8: prefix: "2001:db8:2::/129": not an IPv6 network in CIDR notation such as 2001:db8::/48
inventories/bad.csv:9: prefix: "192.0.2.0/24": not an IPv6 network in CIDR notation such as 2001:db8::/48
inventories/bad.csv:10: next_hop: "gateway": not an IPv6 address such as 2001:db8::1
inventories/bad.csv:11: action: "release": unknown action (allocate or refresh_next_hop)
inventories/bad.csv:12: action: is empty, and no --action was given
inventories/bad.csv:13: row: 4 fields, where the header has 7
inventories/bad.csv:14: row: 8 fields, where the header has 7
inventories/bad.csv:15: name: not UTF-8: if the file is in another encoding, add --encoding LABEL, such as windows-1252
inventories/bad.csv:19: vmid: 15000 is in inventories/bad.csv:2 already, with other contents
inventories/bad.csv:20: vmid: "\u{1b}[2J15011": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)
"#;

#[test]
fn with_bad_rows_each_is_named_with_its_line_and_nothing_is_called() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("report.csv", "yesterday's\n");
    let outcome = fixture.run(&["run", "inventories/bad.csv", "-q", "-o", "report.csv"]).exits(2);
    let begin = "error: 15 invalid rows; nothing was called. Mend the inventory, or go on without them: --skip-invalid\n";
    assert_eq!(outcome.stderr, format!("{begin}{BAD_ROWS}"));
    assert_eq!(outcome.stdout, "");
    assert_eq!(sandbox.called_vmids(), [""; 0]);
    assert_eq!(fixture.runs().len(), 0);
    assert_eq!(fixture.read("report.csv"), "yesterday's\n");
    assert_eq!(fixture.reported_runs(), 0);
}

#[test]
fn without_the_bad_rows_a_run_goes_on_and_lists_them_beside_its_report() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    let outcome = fixture.run(&["run", "inventories/bad.csv", "--skip-invalid"]).exits(3);
    assert_eq!(outcome.vmids(), ["15000", "15010", "15012"]);
    assert_eq!(outcome.summary()["skipped"], 15);
    let mut called = sandbox.called_vmids();
    called.sort();
    assert_eq!(called, ["15000", "15010", "15012"]);

    let path = outcome.dir.as_ref().unwrap().join("skipped.csv");
    let mut csv = csv::Reader::from_path(&path).unwrap();
    assert_eq!(csv.headers().unwrap().iter().collect::<Vec<_>>(), ["file", "line", "column", "reason"]);
    let rows = csv.into_records().map(Result::unwrap);
    let listed = rows.fold(String::new(), |mut listed, row| {
        writeln!(listed, "{}:{}: {}: {}", &row[0], &row[1], &row[2], &row[3]).unwrap();
        listed
    });
    assert_eq!(listed, BAD_ROWS);
    outcome.assert_in_stdout("skipped.csv");
    outcome.assert_in_stdout("15 invalid rows of the inventory were skipped");
}

#[test]
fn skipped_rows_alone_make_the_exit_code_3() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", "vmid\n10000\nweb-1\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--sandbox", "--skip-invalid"];
    let outcome = fixture.run(&run).exits(3);
    assert_eq!(outcome.vms_that_are("created"), ["10000"]);
    assert_eq!((&outcome.summary()["complete"], &outcome.summary()["exit_code"]), (&true.into(), &3.into()));
}

#[test]
fn of_many_bad_rows_the_first_20_are_named_and_the_others_counted() {
    let fixture = Fixture::new();
    let rows = (0..1_033).fold("vmid\n".to_owned(), |rows, i| rows + &format!("bad-{i}\n"));
    fixture.write("fleet.csv", rows);
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--sandbox", "-q"]).exits(2);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines[0].starts_with("error: 1,033 invalid rows; nothing was called."), "{}", lines[0]);
    assert!(lines[1].starts_with("fleet.csv:2: vmid: \"bad-0\": "), "{}", lines[1]);
    assert!(lines[20].starts_with("fleet.csv:21: vmid: \"bad-19\": "), "{}", lines[20]);
    assert_eq!(lines[21..], ["… and 1,013 more rows"]);
}

#[test]
fn a_csv_that_a_generator_writes_to_standard_input_is_an_inventory() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", fleet::csv(500));
    let mut command = fixture.command(&["run", "-", "--action", "allocate", "--sandbox", "--rate", "none"]);
    command.stdin(File::open(fixture.path("fleet.csv")).unwrap());
    let outcome = fixture.spawn(command).end().exits(0);
    let expected: Vec<String> = fleet::vmids(100_000, 500).map(|id| id.to_string()).collect();
    assert_eq!(outcome.vmids(), expected);
    assert_eq!(outcome.report()["run"]["inventory"][0]["path"], "-");
}

#[test]
fn the_format_of_standard_input_may_be_typed() {
    let fixture = Fixture::new();
    fixture.write("input", "{\"vmid\":10001}\n\n{\"vm_id\":\"10000\"}\n");
    let run = ["run", "-", "--inventory-format", "jsonl", "--action", "allocate", "--sandbox"];
    let mut command = fixture.command(&run);
    command.stdin(File::open(fixture.path("input")).unwrap());
    assert_eq!(fixture.spawn(command).end().exits(0).vmids(), ["10001", "10000"]);
}

#[test]
fn several_files_of_several_formats_make_one_fleet_in_their_order() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("a.jsonl", "{\"vmid\":10004,\"role\":\"db\"}\n{\"vmid\":10001}\n");
    fixture.write("b.csv", "vmid,owner\n10003,ann\n");
    fixture.write("c.json", "{\"vms\":[{\"vmid\":10002}]}");
    fixture.write("d.dat", "vmid\n10000\n");
    let run = ["run", "b.csv", "a.jsonl", "c.json", "--action", "allocate"];
    let outcome = fixture.run(&run).exits(0);
    assert_eq!(outcome.vmids(), ["10003", "10004", "10001", "10002"]);
    assert_eq!(outcome.row("10003")["labels"], serde_json::json!({"owner": "ann"}));
    assert_eq!(outcome.row("10004")["labels"], serde_json::json!({"role": "db"}));
    let paths = outcome.report()["run"]["inventory"].as_array().unwrap().clone();
    let paths: Vec<&str> = paths.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["b.csv", "a.jsonl", "c.json"]);

    fixture.run(&["run", "d.dat", "--action", "allocate"]).exits(2);
    let as_csv = ["run", "d.dat", "--action", "allocate", "--inventory-format", "csv"];
    assert_eq!(fixture.run(&as_csv).exits(0).vmids(), ["10000"]);
}

#[test]
fn a_vm_named_in_two_files_is_one_vm_where_they_agree_and_a_bad_row_where_not() {
    let fixture = Fixture::new();
    fixture.write("a.csv", "vmid,name\n10000,one\n10001,two\n");
    fixture.write("same.csv", "vmid,name\n10001,two\n10000,one\n");
    fixture.write("other.csv", "vmid,name\n10001,zwei\n");
    let run = |second| fixture.run(&["run", "a.csv", second, "--action", "allocate", "--sandbox"]);
    let outcome = run("same.csv").exits(0);
    assert_eq!(outcome.vmids(), ["10000", "10001"]);
    let warnings = outcome.summary()["warnings"].to_string();
    assert!(warnings.contains("2 VMs named more than once"), "{warnings}");
    let outcome = run("other.csv").exits(2);
    let row = "other.csv:2: vmid: 10001 is in a.csv:3 already, with other contents";
    outcome.assert_in_stderr(row);
}

#[test]
fn every_example_inventory_does_what_its_table_says() {
    let fixture = Fixture::new();
    let table = fixture.read("inventories/README.md");
    let is_run = |words: &&str| {
        ["v6fleet run inventories/", "v6fleet plan inventories/"].iter().any(|begin| words.starts_with(begin))
    };
    let commands: Vec<&str> = table.split('`').filter(is_run).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split(' ').skip(1).chain(["--rate", "none"]).collect();
        let outcome = fixture.run(&words);
        let expected = match (command.contains("bad.csv"), command.contains("--skip-invalid")) {
            (true, false) => 2,
            (true, true) => 3,
            (false, _) if command.contains("demo.csv") => 3,
            (false, _) => 0,
        };
        assert_eq!(outcome.code, Some(expected), "{command}\n{}", outcome.stderr);
        assert_eq!(outcome.dir.is_some(), expected != 2, "{command}");
    }
}

#[test]
fn over_proxmoxs_own_list_nothing_is_called_and_the_mapping_to_type_is_told() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("own.jsonl", "{\"id\":\"qemu/100\",\"vmid\":100}\n{\"id\":\"lxc/101\",\"vmid\":101}\n");
    fixture.write("own.csv", "id,vmid,name\nqemu/100,100,web\nlxc/101,101,db\n");
    for (file, field) in
        [("inventories/proxmox.json", "hostup.vmid"), ("own.jsonl", "FIELD"), ("own.csv", "FIELD")]
    {
        for options in [&[][..], &["--skip-invalid"], &["--dry-run"]] {
            let refused = fixture.run(&[&["run", file, "--action", "allocate"], options].concat()).exits(2);
            let mapping = format!("--column vmid={field} --column proxmox_vm_id=vmid\n");
            assert!(refused.stderr.ends_with(&mapping), "{}", refused.stderr);
        }
    }
    assert_eq!((sandbox.called_vmids(), fixture.reported_runs()), (vec![], 0));
}

#[test]
fn other_systems_ids_are_never_called() {
    for (args, vmids, racks) in [
        (
            &["inventories/netbox-export.csv", "--column", "vmid=cf_hostup_vmid"][..],
            12_000..12_014,
            &[] as &[&str],
        ),
        (
            &["inventories/proxmox.json", "--column", "vmid=hostup.vmid", "--column", "proxmox_vm_id=vmid"],
            13_000..13_008,
            &["--column", "rack_id=hostup.rack"],
        ),
    ] {
        let sandbox = Sandbox::start(&[]);
        let fixture = Fixture::at(&sandbox);
        let run = ["run", "--action", "allocate", "--rate", "none"];
        fixture.run(&[&run[..], args, racks].concat()).exits(0);
        let mut called = sandbox.called_vmids();
        called.sort();
        let expected: Vec<String> = vmids.map(|id| id.to_string()).collect();
        assert_eq!(called, expected, "{args:?}");
    }
}

#[test]
fn a_file_from_windows_reads_as_any_other() {
    let fixture = Fixture::new();
    let outcome = fixture.run(&["run", "inventories/windows.csv", "--sandbox", "--rate", "none"]).exits(0);
    assert_eq!(outcome.vmids(), ["14000", "14001", "14002", "14003", "14004", "14005"]);
    let row = outcome.row("14003");
    assert_eq!((&row["name"], &row["rack_id"]), (&"filserver4".into(), &"dc2r01".into()));
    let label = row["labels"]["anmärkning"].as_str().unwrap();
    assert_eq!(label.lines().collect::<Vec<_>>(), ["två", "rader"]);
    assert_eq!(outcome.row("14005")["labels"]["anmärkning"], "Örebro");
}

#[test]
fn hostile_names_reach_neither_terminal_nor_spreadsheet() {
    let fixture = Fixture::new();
    fixture.write(
        "fleet.jsonl",
        "{\"vmid\":10000,\"name\":\"=cmd()\",\"rack\":\"r\\u001b[2J\",\"note\":\"@SUM(A1)\\r\\n\\u202e\",\
         \"due\":\"2026-11-24\"}\n",
    );
    let outcome = fixture.run(&["run", "fleet.jsonl", "--action", "allocate", "--sandbox"]).exits(0);
    let csv = std::fs::read_to_string(outcome.dir.as_ref().unwrap().join("report.csv")).unwrap();
    let json = std::fs::read_to_string(outcome.dir.as_ref().unwrap().join("report.json")).unwrap();
    for (what, text) in
        [("stdout", &outcome.stdout), ("stderr", &outcome.stderr), ("csv", &csv), ("json", &json)]
    {
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{what}: {text:?}");
    }
    let csv = outcome.csv();
    let cells = ["'=cmd()", r"'@SUM(A1)\r\n\u{202e}", "'2026-11-24"];
    assert_eq!([1, 23, 24].map(|column| &csv[1][column]), cells);
    let row = outcome.row("10000");
    assert_eq!((&row["name"], &row["labels"]["note"]), (&"=cmd()".into(), &"@SUM(A1)\r\n\u{202e}".into()));
}

#[test]
fn a_file_is_read_as_people_have_it_whatever_its_delimiter_encoding_and_packing() {
    let fixture = Fixture::new();
    let latin: &[u8] = b"vmid;name\n10000;v\xE4xj\xF6\n";
    let utf_16: Vec<u8> =
        "\u{feff}VMID\tName\n10000\tväxjö\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all("vmid|name\n10000|växjö\n".as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for (file, content, options) in [
        ("a.csv", latin, &["--encoding", "windows-1252"][..]),
        ("b.tsv", &utf_16, &[]),
        ("c.txt.gz", &packed, &[]),
        ("d.csv", "sep=;\r\nvmid;name\r\n10000;växjö\r\n;\r\n".as_bytes(), &[]),
        (
            "e.csv",
            "vmid,x;hostname\n10000;växjö\n".as_bytes(),
            &["--delimiter", ";", "--column", "vmid=vmid,x"],
        ),
        (
            "f.json",
            r#"{"a": {"b.c": [{"id": {"x": 10000}, "name": "växjö"}]}}"#.as_bytes(),
            &["--items", "a.\"b.c\"", "--column", "vmid=id.x"],
        ),
    ] {
        fixture.write(file, content);
        let run = ["run", file, "--action", "allocate", "--sandbox"];
        let outcome = fixture.run(&[&run[..], options].concat()).exits(0);
        assert_eq!(outcome.row("10000")["name"], "växjö", "{file}");
        let sha256 = format!("{:x}", Sha256::digest(content));
        assert_eq!(outcome.report()["run"]["inventory"][0]["sha256"], sha256, "{file}: of its bytes on disk");
    }
    let outcome = fixture.run(&["run", "a.csv", "--action", "allocate", "--sandbox"]).exits(2);
    outcome.assert_in_stderr("add --encoding LABEL, such as windows-1252");
}

#[test]
fn how_a_file_is_read_may_be_set_once_and_for_all_and_is_repeated_where_its_failures_are() {
    let fixture = Fixture::new()
        .env("V6FLEET_DELIMITER", "|")
        .env("V6FLEET_ITEMS", "x.y")
        .env("V6FLEET_CONFIG", "v6fleet.toml");
    fixture.write("v6fleet.toml", "encoding = \"latin1\"\n");
    fixture.write("fleet.csv", b"vmid|name;a,b\n99999|v\xE4xj\xF6\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--sandbox", "--world", "inventories/world.toml"];
    let outcome = fixture.run(&run).exits(3);
    assert_eq!(outcome.row("99999")["labels"]["name;a,b"], "växjö");
    let again = "run fleet.csv --delimiter '|' --encoding latin1 --items x.y --world inventories/world.toml";
    outcome.assert_in_stdout(again);
    fixture.run(&["audit", "fleet.csv", "--sandbox"]).exits(11);
}

#[test]
fn an_empty_inventory_is_told_from_one_of_which_nothing_is_selected() {
    let fixture = Fixture::new();
    for (file, content) in [
        ("a.csv", ""),
        ("b.csv", "vmid,name\n"),
        ("c.csv", "vmid,name\n,\n\"\",\" \"\n"),
        ("d.json", "[]"),
        ("e.json", "{\"data\": []}"),
        ("f.json", ""),
        ("g.jsonl", "\n\n"),
    ] {
        fixture.write(file, content);
        for command in [&["run", file, "--sandbox", "--action", "allocate"][..], &["run", file, "--dry-run"]]
        {
            let outcome = fixture.run(command).exits(2);
            assert!(outcome.stderr.contains("empty"), "{file}: {}", outcome.stderr);
        }
    }
    fixture.write("one.csv", "vmid,role\n1,web\n");
    let run = ["run", "one.csv", "--action", "allocate", "--sandbox", "--where", "rol=web"];
    let outcome = fixture.run(&run).exits(7);
    outcome.assert_in_stderr("nothing selected");
    outcome.assert_in_stderr("--where rol: no VM has such a column; the nearest: role");
}

#[test]
fn without_an_action_anywhere_one_line_says_what_to_add() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", fleet::csv(5_000));
    let outcome = fixture.run(&["run", "fleet.csv", "--sandbox", "-q"]).exits(2);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    outcome.assert_in_stderr("add --action allocate or --action refresh_next_hop");
}

#[test]
fn a_rack_is_never_so_long_that_it_breaks_a_table() {
    let fixture = Fixture::new();
    let long = "r".repeat(70_000);
    fixture.write("fleet.csv", format!("vmid,rack_id\n10000,{long}\n10001,{}\n", &long[..255]));
    let run = ["run", "fleet.csv", "--action", "allocate", "--sandbox"];
    let outcome = fixture.run(&[&run[..], &["--dry-run"]].concat()).exits(2);
    outcome.assert_in_stderr("fleet.csv:2: rack_id: longer than 255 characters");
    for more in [&["--dry-run"][..], &[]] {
        let outcome = fixture.run(&[&run[..], &["--skip-invalid"], more].concat()).exits(3);
        assert!(outcome.stdout.lines().all(|line| line.chars().count() < 250), "{}", outcome.stdout);
    }
}
