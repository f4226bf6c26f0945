//! Whole inventory files, in every format.

use std::fs;
use std::path::PathBuf;

use super::*;

struct Read {
    vms: Vec<Vm>,
    invalid: Vec<String>,
    fleet: Fleet,
}

impl Read {
    fn ids(&self) -> Vec<&str> {
        self.vms.iter().map(|vm| vm.id.as_str()).collect()
    }
}

fn read_all(paths: &[PathBuf], options: &ReadOptions) -> Result<Read, InventoryError> {
    let (mut vms, mut invalid) = (Vec::new(), Vec::new());
    let fleet = read(paths, options, |event| {
        match event {
            Event::Vm(vm) => vms.push(vm),
            Event::Invalid(row) => invalid.push(row.to_string()),
        }
        Ok::<_, InventoryError>(())
    })?;
    Ok(Read { vms, invalid, fleet })
}

fn options(mappings: &[&str]) -> ReadOptions {
    let mappings = mappings.iter().map(|text| text.parse().unwrap()).collect();
    ReadOptions { format: None, mappings, action_given: true }
}

/// Reads one file with this name and content.
fn text(name: &str, content: impl AsRef<[u8]>, options: &ReadOptions) -> Result<Read, InventoryError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let strip = format!("{}/", dir.path().display());
    let mut read = read_all(&[path], options)?;
    read.invalid.iter_mut().for_each(|row| *row = row.replace(&strip, ""));
    Ok(read)
}

#[test]
fn csv_is_read_with_quotes_line_breaks_and_blank_lines_and_lines_are_counted() {
    let csv = "vmid,name,note\n1,a,\"two\nlines\"\n\nx,b,\n\"2\",\"c, d\",\"e\"\"f\"\n3,z";
    let read = text("f.csv", csv, &options(&[])).unwrap();
    assert_eq!(read.ids(), ["1", "2"]);
    assert_eq!(read.vms[0].labels, [("note".to_owned(), "two\nlines".to_owned())]);
    assert_eq!((read.vms[1].name.as_deref(), read.vms[1].labels[0].1.as_str()), (Some("c, d"), "e\"f"));
    let invalid: Vec<&str> = read.invalid.iter().map(|row| &row[..10]).collect();
    assert_eq!(invalid, ["f.csv:5: v", "f.csv:7: r"], "{:?}", read.invalid);
    assert_eq!(read.fleet.label_columns, ["note"]);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let unix = text("f.csv", "vmid,name\n1,a\n2,b\n", &options(&[])).unwrap();
    let windows = text("f.csv", "\u{feff}vmid,name\r\n1,a\r\n2,b\r\n", &options(&[])).unwrap();
    assert_eq!(unix.vms, windows.vms);
    let bad = text("f.csv", "\u{feff}vmid,name\r\n1,a\r\nx,b\r\n", &options(&[])).unwrap();
    assert!(bad.invalid[0].starts_with("f.csv:3: vmid: "), "{:?}", bad.invalid);
    let json = text("f.json", "\u{feff}[{\"vmid\": 1}]", &options(&[])).unwrap();
    assert_eq!(json.ids(), ["1"]);
}

#[test]
fn a_row_that_is_not_utf_8_is_named_and_the_others_are_read() {
    let read = text("f.csv", b"vmid,name\n1,\xff\n2,b\n", &options(&[])).unwrap();
    assert_eq!((read.ids(), &read.invalid[..]), (vec!["2"], &["f.csv:2: name: not UTF-8".to_owned()][..]));
    let read = text("f.jsonl", b"{\"vmid\":1,\"name\":\"\xff\"}\n{\"vmid\":2}\n", &options(&[])).unwrap();
    assert_eq!((read.ids(), &read.invalid[..]), (vec!["2"], &["f.jsonl:1: row: not UTF-8".to_owned()][..]));
}

#[test]
fn json_is_read_from_every_envelope_with_the_line_of_each_vm() {
    let rows =
        "[\n {\"vmid\": 1, \"name\": \"a\"},\n {\"vmid\": \"x\"},\n\n {\"vmid\": \"2\",\n  \"rack\": null}]";
    let envelopes = [
        rows.to_owned(),
        format!("{{\"count\": {{\"a\": [1]}}, \"vms\": {rows}}}"),
        format!("{{\"results\": {rows}, \"next\": null}}"),
        format!("{{\"data\": {rows}}}"),
    ];
    for document in envelopes {
        let read = text("f.json", &document, &options(&[])).unwrap();
        assert_eq!(read.ids(), ["1", "2"], "{document}");
        assert!(read.invalid[0].starts_with("f.json:3: vmid: "), "{:?}", read.invalid);
    }
}

#[test]
fn json_lines_are_read_one_by_one() {
    let lines =
        "{\"vmid\": 1}\n\n{\"vmid\": 1.0}\nnonsense\n[2]\n{\"vmid\": 3, \"up\": true, \"disks\": [1, 2]}";
    let read = text("f.jsonl", lines, &options(&[])).unwrap();
    assert_eq!(read.ids(), ["1", "3"]);
    let lines: Vec<&str> = read.invalid.iter().map(|row| &row[..10]).collect();
    assert_eq!(lines, ["f.jsonl:3:", "f.jsonl:4:", "f.jsonl:5:"]);
    let labels = [("disks".to_owned(), "[1,2]".to_owned()), ("up".to_owned(), "true".to_owned())];
    assert_eq!(read.vms[1].labels, labels);
}

#[test]
fn a_document_that_is_no_inventory_is_an_error_with_its_line() {
    for (name, content, word) in [
        ("f.json", "{\"vms\": 1}", "an array"),
        ("f.json", "{\"machines\": []}", "no VMs"),
        ("f.json", "{\"vms\": [], \"data\": []}", "both vms and data"),
        ("f.json", "\"text\"", "an array"),
        ("f.json", "[{\"vmid\": 1}", "f.json:1: EOF"),
        ("f.json", "[{\"vmid\": 1}]\n[]", "f.json:2: trailing"),
        ("f.json", "[{\"vmid\": 1},\n{\"vmid\" 2}]", "f.json:2: "),
        ("f.csv", "name\na\n", "no vmid column"),
        ("f.csv", "", "no vmid column"),
        ("f.txt", "vmid\n1\n", "--inventory-format"),
    ] {
        let error =
            text(name, content, &options(&[])).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(word), "{content}: {error}");
    }
    assert!(read_all(&[PathBuf::from("/nonexistent.csv")], &options(&[])).is_err());
}

#[test]
fn an_unclosed_quote_is_an_error_and_not_the_whole_file_in_memory() {
    let csv = format!("vmid,name\n1,\"{}", "x\n".repeat(2_200_000));
    let error = text("f.csv", csv, &options(&[])).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("unclosed quote"), "{error}");
}

#[test]
fn the_same_vm_twice_is_one_or_an_error_whatever_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a.csv", "b.json"].map(|name| dir.path().join(name));
    fs::write(&a, "vmid,name,role\n1,a,web\n2,b,db\n1,a,web\n").unwrap();
    fs::write(&b, r#"[{"role": "web", "vmid": 1, "name": "a"}, {"vmid": 2, "name": "other", "role": "db"}]"#)
        .unwrap();
    let read = read_all(&[a.clone(), b.clone()], &options(&[])).unwrap();
    assert_eq!((read.ids(), read.fleet.repeats), (vec!["1", "2"], 2));
    assert_eq!(read.invalid.len(), 1);
    let first = format!("2 stands at {}:3 already", a.display());
    assert!(read.invalid[0].contains(&first), "{}", read.invalid[0]);
    assert_eq!(read.fleet.files[0].path, a.display().to_string());
}

#[test]
fn a_files_hash_is_of_all_its_bytes() {
    let read = text("f.csv", "\u{feff}vmid\n1\n", &options(&[])).unwrap();
    let same = text("g.csv", "\u{feff}vmid\n1\n", &options(&[])).unwrap();
    let other = text("f.csv", "vmid\n1\n", &options(&[])).unwrap();
    assert_eq!(read.fleet.files[0].sha256, same.fleet.files[0].sha256);
    assert_ne!(read.fleet.files[0].sha256, other.fleet.files[0].sha256);
}

#[test]
fn a_mapped_column_may_lie_below_another_in_json() {
    let json = r#"[{"id": 7, "vmid": 100, "custom_fields": {"hostup_vmid": 10001, "tier": "gold"}}]"#;
    let mapped = options(&["vmid=custom_fields.hostup_vmid", "proxmox_vm_id=vmid"]);
    let read = text("f.json", json, &mapped).unwrap();
    assert_eq!(read.ids(), ["10001"]);
    assert_eq!(read.vms[0].expected.proxmox_vm_id.as_deref(), Some("100"));
    assert!(read.vms[0].labels.contains(&("id".to_owned(), "7".to_owned())));
}

#[test]
fn without_a_typed_action_every_row_needs_its_own() {
    let untyped = ReadOptions { action_given: false, ..options(&[]) };
    let read = text("f.csv", "vmid,action\n1,allocate\n2,\n3,release\n", &untyped).unwrap();
    assert_eq!((read.ids(), read.invalid.len()), (vec!["1"], 2));
    assert_eq!(read.vms[0].action, Some(Action::Allocate));
}
