//! Inventories as no one means them: whatever a file holds, the program ends by itself, soon, with an exit code that
//! means something, and takes no other VMs from it than are there.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use v6fleet::inventory::{ColumnMap, Event, Inputs, InventoryError, ReadOptions, read};

use crate::fixture::Fixture;
use crate::rfc4180;
use crate::trouble::{count, is_full, seed};

/// The longest that one file may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the suite tries is the same each time.
const SEED: u64 = 20_261_126;

/// Files to begin with, and the mapping that each needs.
const FILES: [(&str, &[&str]); 10] = [
    ("quoted.csv", &[]),
    ("demo.csv", &[]),
    ("windows.csv", &[]),
    ("excel.csv", &[]),
    ("bad.csv", &[]),
    ("netbox-export.csv", &["vmid=cf_hostup_vmid", "name=Name"]),
    ("fleet.json", &[]),
    ("proxmox.json", &["vmid=hostup.vmid", "proxmox_vm_id=vmid"]),
    ("api.json", &["vmid=custom_fields.hostup_vmid", "name=@key"]),
    ("fleet.jsonl", &[]),
];

/// Pieces that readers stumble over.
const PIECES: [&str; 44] = [
    "\"",
    "\"\"",
    ",",
    ";",
    "\t",
    "|",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{a0}",
    " ",
    "'",
    "\\",
    "\u{1b}[2J",
    "\u{202e}",
    "å",
    "🦀",
    "sep=;\n",
    "SEP=,\r\n",
    "vmid",
    "vm_id",
    "VM ID",
    "rack",
    "name",
    "\"name\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    "null",
    "{\"vmid\":1}",
    "\"next\":1,",
    "\"count\":999,",
    "\"data\":[],",
    "0",
    "-1",
    "9223372036854775807",
    "1e400",
    "allocate",
    "2001:db8::/48",
    "::1",
];

fn chance() -> fastrand::Rng {
    let given = is_full() || std::env::var_os("V6FLEET_TORTURE_SEED").is_some();
    fastrand::Rng::with_seed(if given { seed() } else { SEED })
}

/// One file, and how it is read.
struct Case {
    name: String,
    bytes: Vec<u8>,
    mappings: &'static [&'static str],
    /// As it was before it was packed or encoded.
    text: Vec<u8>,
}

impl Case {
    fn new(chance: &mut fastrand::Rng) -> Self {
        let (file, mappings) = FILES[chance.usize(..FILES.len())];
        let mut text = original(file);
        for _ in 0..[1, 1, 1, 2, 4][chance.usize(..5)] {
            mutate(&mut text, chance);
        }
        let (suffix, bytes) = match chance.u8(..10) {
            0 => (".gz", gzip(&text)),
            1 => ("", utf_16(&text)),
            2 => {
                let mut bytes = gzip(&text);
                mutate(&mut bytes, chance);
                // Each of its bytes may unpack to a thousand, and a build with debug assertions is slow.
                bytes.truncate(16 * 1024);
                text.clear();
                (".gz", bytes)
            }
            _ => ("", text.clone()),
        };
        Self { name: format!("{}{suffix}", file.replace("demo.csv", "demo.txt")), bytes, mappings, text }
    }

    fn is_csv(&self) -> bool {
        self.name.contains(".csv") || self.name.contains(".txt")
    }

    fn vmid_is_mapped(&self) -> Option<&'static str> {
        self.mappings.iter().find_map(|mapping| mapping.strip_prefix("vmid="))
    }

    /// The ids that an independent reader finds; `None` where there is none for such a file.
    fn expected(&self) -> Option<Vec<String>> {
        let mapped = self.vmid_is_mapped();
        let is_vmid = |name: &str| match mapped {
            Some(header) => name == header,
            None => name.replace([' ', '-', '_'], "").eq_ignore_ascii_case("vmid"),
        };
        rfc4180::ids(&self.text, is_vmid)
    }

    fn told(&self) -> String {
        let shown = self.bytes.iter().take(2_000).copied().collect::<Vec<_>>();
        format!("{}, {} bytes: {}", self.name, self.bytes.len(), shown.escape_ascii())
    }
}

fn original(file: &str) -> Vec<u8> {
    match file {
        "fleet.jsonl" => {
            b"{\"vmid\": 1, \"rack\": \"r1\", \"tags\": [\"a\"]}\n{\"vmid\": 2, \"name\": \"b\"}\n".repeat(9)
        }
        "quoted.csv" => {
            let row = |n| format!("\"{n}\";\"a;\"\"{n}\"\"\";\"b\r\nc\";;\r\n");
            let rows: Vec<String> = (10_000..10_020).map(row).collect();
            format!("\"VM ID\";note;\"more; \"\"notes\"\"\";;\r\n;;;;\r\n{}", rows.concat()).into_bytes()
        }
        _ => fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories").join(file)).unwrap(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn utf_16(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let units = std::iter::once(0xFEFF).chain(text.trim_start_matches('\u{feff}').encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

/// Changes a file in one place, or everywhere in one way.
fn mutate(bytes: &mut Vec<u8>, chance: &mut fastrand::Rng) {
    let at = chance.usize(..=bytes.len());
    let end = (at + chance.usize(..40)).min(bytes.len());
    let piece = PIECES[chance.usize(..PIECES.len())].as_bytes();
    match chance.u8(..12) {
        0 if at < bytes.len() => bytes[at] = chance.u8(..),
        1 if at < bytes.len() => bytes[at] ^= 1 << chance.u8(..8),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        4 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        5 => drop(bytes.splice(at..at, piece.repeat(1 + chance.usize(..3)))),
        6 => drop(bytes.splice(at..end, piece.iter().copied())),
        7 => {
            // Longer than a width, a name, a label, or a row may be.
            let long = [300, 300, 1_100, 1_100, 40_000, 70_000, 70_000, 1_100_000][chance.usize(..8)];
            let unit = [&b"x"[..], b"9", b",", b"\"\"", b"[", "å".as_bytes()][chance.usize(..6)];
            bytes.splice(at..at, unit.repeat(long / unit.len()));
        }
        8 => {
            let pairs = [
                (b',', b';'),
                (b',', b'\t'),
                (b',', b'|'),
                (b'\n', b'\r'),
                (b';', b','),
                (b'"', b' '),
                (b'\r', b' '),
            ];
            let (old, new) = pairs[chance.usize(..pairs.len())];
            bytes.iter_mut().filter(|byte| **byte == old).for_each(|byte| *byte = new);
        }
        9 => {
            let line = bytes.split(|byte| *byte == b'\n').nth(chance.usize(..5)).unwrap_or_default().to_vec();
            let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            bytes.splice(start..start, [&line[..], b"\n"].concat());
        }
        10 => {
            let other = original(FILES[chance.usize(..FILES.len())].0);
            bytes.splice(at..at, other);
        }
        _ => drop(bytes.splice(0..0, piece.iter().copied())),
    }
}

/// Reads a file as a run would. Returns the ids that it takes, and whether it takes all of the rows.
fn taken(case: &Case, path: &Path) -> Result<(Vec<String>, bool), InventoryError> {
    let mappings = case.mappings.iter().map(|mapping| mapping.parse().unwrap());
    let columns = ColumnMap::new(mappings).unwrap();
    let items = case.name.starts_with("api").then(|| "data.virtual_machines".parse().unwrap());
    let encoding = case.name.starts_with("excel").then(|| "windows-1252".parse().unwrap());
    let options = ReadOptions { columns, items, encoding, action_given: true, ..ReadOptions::default() };
    let (mut ids, mut is_whole) = (Vec::new(), true);
    read(&[path.to_owned()], &mut Inputs::default(), &options, &mut |event| {
        match event {
            Event::Vm(vm) => ids.push(vm.id.to_string()),
            Event::Repeat { .. } => {}
            Event::Invalid(_) => is_whole = false,
        }
        Ok::<(), InventoryError>(())
    })?;
    Ok((ids, is_whole))
}

#[test]
fn whatever_an_inventory_holds_it_is_read_or_refused_and_no_other_vms_are_taken_from_it() {
    let mut chance = chance();
    let dir = tempfile::tempdir().unwrap();
    let (mut whole, mut compared) = (0, 0);
    for nth in 0..count(3_000, 20_000) {
        let case = Case::new(&mut chance);
        let path: PathBuf = dir.path().join(&case.name);
        fs::write(&path, &case.bytes).unwrap();
        let begun = Instant::now();
        let taken = catch_unwind(AssertUnwindSafe(|| taken(&case, &path)));
        assert!(begun.elapsed() < PATIENCE, "case {nth} takes too long: {}", case.told());
        let Ok(taken) = taken else { panic!("case {nth}: {}", case.told()) };
        let Ok((ids, true)) = taken else { continue };
        whole += 1;
        // An empty text is one that cannot be known; Windows-1252 is not the other reader's.
        if case.is_csv() && !case.text.is_empty() && std::str::from_utf8(&case.text).is_ok() {
            compared += 1;
            assert_eq!(Some(ids), case.expected(), "case {nth}: {}", case.told());
        }
    }
    println!("{whole} files were taken whole, of which {compared} were compared");
    assert!(compared > 100, "{compared} were compared");
}

#[test]
fn whatever_an_inventory_holds_the_program_ends_with_an_exit_code_that_means_something() {
    let mut chance = chance();
    let fixture = Fixture::new();
    for nth in 0..count(100, 2_000) {
        let case = Case::new(&mut chance);
        fixture.write(&case.name, &case.bytes);
        let mut args = vec!["run", &case.name, "--action", "allocate", "--sandbox", "--rate", "none", "-q"];
        args.extend(case.mappings.iter().flat_map(|mapping| ["--column", mapping]));
        args.extend(
            case.name
                .starts_with("api")
                .then_some(["--items", "data.virtual_machines"])
                .into_iter()
                .flatten(),
        );
        args.extend(chance.bool().then_some("--skip-invalid"));
        args.extend((chance.u8(..5) > 0).then_some("--dry-run"));
        let begun = Instant::now();
        let outcome = fixture.run(&args);
        assert!(
            matches!(outcome.code, Some(0 | 2 | 3 | 7)) && begun.elapsed() < PATIENCE,
            "case {nth}: exit code {:?} after {:?}\n{}\n{}",
            outcome.code,
            begun.elapsed(),
            outcome.stderr,
            case.told(),
        );
    }
}
