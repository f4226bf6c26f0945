//! Several files, one after another, as one fleet.
//!
//! A single pass, because standard input cannot be read twice: the caller gets events as they come and decides at
//! the end whether they make a run.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::columns::{Column, ColumnMap, MAX_COLUMNS};
use super::csv::Table;
use super::delimiter::Delimiter;
use super::document::{Halt, Spot, read_document};
use super::encoding::{self, Encoding};
use super::error::{Fault, FileFault, InvalidRow, InventoryError, WHOLE_ROW};
use super::file::InventoryFile;
use super::format::{Format, is_packed};
use super::inputs::Inputs;
use super::json::{Keys, Lines};
use super::nearest::nearest;
use super::path;
use super::proxmox::Proxmox;
use super::row::Cells;
use super::seen::Seen;
use super::source::{Hashed, Source};
use super::vm::Vm;
use crate::dialect::Dialect;
use crate::seen::{Position, Sight};
use crate::text::spelled_out;
use crate::vm::VmId;

/// How an inventory is to be read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Whose ids the VMs have.
    pub dialect: Dialect,
    /// Of every file; `None` goes by each file's name, and for standard input by its first bytes.
    pub format: Option<Format>,
    /// Of every CSV file.
    pub delimiter: Delimiter,
    /// Of every file that has no byte order mark; `None` is UTF-8.
    pub encoding: Option<Encoding>,
    /// Where in a JSON document the list is; `None` is where lists usually are.
    pub items: Option<path::Path>,
    pub columns: ColumnMap,
    /// An action was typed: rows need none of their own.
    pub action_given: bool,
}

/// A row of one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// Where it starts, counted from 1.
    pub line: u64,
    /// Which element of a JSON list it is, counted from 1: a line may hold them all.
    pub row: Option<u64>,
}

/// One row of the inventory, in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Vm(Vm),
    /// The same VM again, with the same contents: it is one VM.
    Repeat {
        vmid: VmId,
        at: Place,
        first: Place,
    },
    Invalid(InvalidRow),
}

/// What the rows add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    pub files: Vec<InventoryFile>,
    /// Every label column, in the order of first appearance.
    pub label_columns: Vec<String>,
    /// Paths into nested objects, as the first object of each JSON file has them.
    pub paths: Vec<String>,
    pub vms: u64,
    pub repeats: u64,
    pub invalid: u64,
}

impl Reading {
    /// All rows: VMs, repeats and invalid ones.
    pub fn rows(&self) -> u64 {
        self.vms + self.repeats + self.invalid
    }

    /// The names nearest to a label, or a path, that no VM has; `None` where it is a column all the same.
    pub fn nearest(&self, label: &str) -> Option<String> {
        let ours = self.label_columns.iter().chain(&self.paths).map(String::as_str);
        let names = ours.chain(Column::ALL.map(Column::as_str));
        let is_column = self.label_columns.iter().any(|column| column == label);
        (!is_column).then(|| nearest(label, names))
    }
}

/// Reads `files` (`-` is standard input) and gives every row to `on_event`, whose error ends the reading.
///
/// An invalid row is an event like others; an error is a file that cannot be read as an inventory at all. Events
/// may have been given before it.
pub fn read<E: From<InventoryError>>(
    files: &[PathBuf],
    inputs: &mut Inputs,
    options: &ReadOptions,
    on_event: &mut dyn FnMut(Event) -> Result<(), E>,
) -> Result<Reading, E> {
    let is_stdin = |file: &Path| file == Path::new("-");
    if files.iter().filter(|file| is_stdin(file)).count() > 1 {
        return Err(InventoryError::StdinTwice.into());
    }
    let names = files.iter().map(|file| file.display().to_string()).collect();
    let mut fleet = Fleet {
        options,
        on_event,
        names,
        seen: Seen::new(options.dialect),
        labels: HashSet::new(),
        has_action: options.action_given,
        without_action: 0,
        reading: Reading::default(),
    };
    for (index, file) in files.iter().enumerate() {
        let name = &fleet.names[index];
        let format = options.format.or_else(|| Format::of_name(file));
        if format.is_none() && !is_stdin(file) {
            return Err(InventoryError::UnknownFormat { file: name.clone() }.into());
        }
        let opened = inputs.open(file).map_err(|error| FileFault::from(error).of(name))?;
        let digest = fleet.file(index, format, is_packed(file), opened)?;
        let path = fleet.names[index].clone();
        fleet.reading.files.push(InventoryFile { path, sha256: digest });
    }
    match fleet.has_action || fleet.without_action == 0 {
        true => Ok(fleet.reading),
        false => Err(InventoryError::NoAction.into()),
    }
}

/// The fleet as far as it was read.
struct Fleet<'a, E> {
    options: &'a ReadOptions,
    on_event: &'a mut dyn FnMut(Event) -> Result<(), E>,
    names: Vec<String>,
    seen: Seen,
    /// [`Reading::label_columns`] again, to look names up in.
    labels: HashSet<String>,
    /// An action was typed, or some row has one.
    has_action: bool,
    /// Rows that lack nothing but an action.
    without_action: u64,
    reading: Reading,
}

impl<E: From<InventoryError>> Fleet<'_, E> {
    /// Reads one file to its end. Returns the SHA-256 of its bytes.
    fn file(
        &mut self,
        file: usize,
        format: Option<Format>,
        is_packed: bool,
        bytes: impl Read,
    ) -> Result<String, E> {
        let mut bytes = Hashed::new(bytes);
        let result = self
            .contents(file, format, is_packed, &mut bytes)
            .and_then(|()| Ok(bytes.finish().map_err(FileFault::from)?));
        result.map_err(|halt| match halt {
            Halt::File(fault) => fault.of(&self.names[file]).into(),
            Halt::Caller(error) => error,
        })
    }

    fn contents(
        &mut self,
        file: usize,
        format: Option<Format>,
        is_packed: bool,
        bytes: impl Read,
    ) -> Result<(), Halt<E>> {
        let (mut source, encoding) = encoding::decoded(bytes, is_packed, self.options.encoding)?;
        let format = match format {
            Some(format) => format,
            None => self.sniffed(&mut source)?,
        };
        match format {
            Format::Csv => self.csv(file, &mut source, encoding),
            Format::Json => self.json(file, &mut source, encoding),
            Format::Jsonl => self.jsonl(file, &mut source, encoding),
        }
    }

    /// A path into a document was typed for one: what else looks like JSON is none.
    fn sniffed(&self, source: &mut Source<'_>) -> Result<Format, FileFault> {
        match Format::of_content(source, &self.options.columns)? {
            Format::Jsonl if self.options.items.is_some() => Ok(Format::Json),
            format => Ok(format),
        }
    }

    fn csv(&mut self, file: usize, source: &mut Source<'_>, encoding: Encoding) -> Result<(), Halt<E>> {
        let mut table = Table::open(source, encoding, self.options.delimiter, &self.options.columns)?;
        self.add_labels(table.labels()).map_err(|fault| FileFault::Columns(fault.reason))?;
        let mut proxmox = Proxmox::default();
        while let Some((line, cells)) = table.next_row()? {
            if let Ok(cells) = &cells {
                proxmox.note(cells, &self.options.columns);
            }
            self.row(Position { file, line, row: None }, cells).map_err(Halt::Caller)?;
        }
        Ok(proxmox.refuse(&[])?)
    }

    fn json(&mut self, file: usize, source: &mut Source<'_>, encoding: Encoding) -> Result<(), Halt<E>> {
        let mut keys = Keys::new(&self.options.columns);
        let items = self.options.items.as_ref();
        let mut each = |Spot { line, row }, element| {
            self.row(Position { file, line, row: Some(row) }, keys.cells(element))
        };
        read_document(source, encoding, items, &mut each)?;
        self.reading.paths.extend_from_slice(keys.nested());
        Ok(keys.finish()?)
    }

    fn jsonl(&mut self, file: usize, source: &mut Source<'_>, encoding: Encoding) -> Result<(), Halt<E>> {
        let mut keys = Keys::new(&self.options.columns);
        let mut lines = Lines::new(source, encoding);
        while let Some((line, element)) = lines.next_element()? {
            let cells = element.and_then(|element| keys.cells(element));
            self.row(Position { file, line, row: None }, cells).map_err(Halt::Caller)?;
        }
        self.reading.paths.extend_from_slice(keys.nested());
        Ok(keys.finish()?)
    }

    fn row(&mut self, at: Position, cells: Result<Cells<'_>, Fault>) -> Result<(), E> {
        let vm = match cells.and_then(|cells| self.vm(cells)) {
            Ok(vm) => vm,
            Err(fault) => return self.invalid(at, fault),
        };
        match self.seen.note(&vm, at).map_err(InventoryError::from)? {
            Sight::First => {
                self.reading.vms += 1;
                (self.on_event)(Event::Vm(vm))
            }
            Sight::Repeat(first) => {
                self.reading.repeats += 1;
                let (at, first) = (self.place(at), self.place(first));
                (self.on_event)(Event::Repeat { vmid: vm.id, at, first })
            }
            Sight::Conflict(first) => {
                let Place { file, line, row } = self.place(first);
                let row = row.map(|row| format!(" (row {row})")).unwrap_or_default();
                let file = spelled_out(&file);
                let reason = format!("{} is in {file}:{line}{row} already, with other contents", vm.id);
                self.invalid(at, Fault::in_column("vmid", reason))
            }
        }
    }

    /// Checks a row.
    fn vm(&mut self, cells: Cells<'_>) -> Result<Vm, Fault> {
        let no_action = if self.options.action_given { None } else { cells.no_action() };
        self.has_action |= no_action.is_none();
        let vm = cells.into_vm(self.options.dialect)?;
        if let Some(fault) = no_action {
            self.without_action += 1;
            return Err(fault);
        }
        self.add_labels(vm.labels.iter().map(|(name, _)| name.as_str()))?;
        Ok(vm)
    }

    fn invalid(&mut self, at: Position, fault: Fault) -> Result<(), E> {
        self.reading.invalid += 1;
        let Place { file, line, row } = self.place(at);
        let Fault { column, reason } = fault;
        let column = match (row, column.as_str()) {
            (None, _) => column,
            (Some(row), WHOLE_ROW) => format!("row {row}"),
            (Some(row), _) => format!("row {row}: {column}"),
        };
        (self.on_event)(Event::Invalid(InvalidRow { file, line, column, reason }))
    }

    fn place(&self, Position { file, line, row }: Position) -> Place {
        Place { file: self.names[file].clone(), line, row }
    }

    /// Notes label columns that are new. Their number is bounded: each is a column of every report.
    fn add_labels<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Result<(), Fault> {
        for name in names {
            if self.labels.contains(name) {
                continue;
            }
            if self.labels.len() == MAX_COLUMNS {
                let reason = format!("one label column too many: the fleet has {MAX_COLUMNS} others already");
                return Err(Fault::in_column(name, reason));
            }
            self.labels.insert(name.to_owned());
            self.reading.label_columns.push(name.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, Write};

    use super::super::Mapping;
    use super::*;
    use crate::vm::Action;

    /// What a reading gave: the VMs, the repeats as text, the invalid rows as text, and the sum.
    #[derive(Debug, Default)]
    struct Given {
        vms: Vec<Vm>,
        repeats: Vec<String>,
        invalid: Vec<String>,
        reading: Reading,
    }

    fn options(pairs: &[&str], action_given: bool) -> ReadOptions {
        let mappings = pairs.iter().map(|pair| pair.parse::<Mapping>().unwrap());
        let columns = ColumnMap::new(mappings).unwrap();
        ReadOptions { columns, action_given, ..ReadOptions::default() }
    }

    fn reading(files: &[&Path], stdin: &str, options: &ReadOptions) -> Result<Given, InventoryError> {
        let mut given = Given::default();
        let files: Vec<PathBuf> = files.iter().map(|&file| file.into()).collect();
        let mut inputs = Inputs::with_stdin(Cursor::new(stdin.to_owned()));
        given.reading = read(&files, &mut inputs, options, &mut |event| {
            match event {
                Event::Vm(vm) => given.vms.push(vm),
                Event::Repeat { vmid, at, first } => {
                    given.repeats.push(format!("{vmid} at {} as at {}", at.line, first.line));
                }
                Event::Invalid(row) => given.invalid.push(row.to_string()),
            }
            Ok::<(), InventoryError>(())
        })?;
        let reading = &given.reading;
        let counted = (given.vms.len(), given.repeats.len(), given.invalid.len());
        let sum =
            [reading.vms, reading.repeats, reading.invalid].map(|count| usize::try_from(count).unwrap());
        assert_eq!(counted, (sum[0], sum[1], sum[2]));
        assert_eq!(reading.rows(), reading.vms + reading.repeats + reading.invalid);
        Ok(given)
    }

    fn example(name: &str, options: &ReadOptions) -> Given {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories").join(name);
        reading(&[&file], "", options).unwrap()
    }

    fn piped(text: &str, options: &ReadOptions) -> Result<Given, InventoryError> {
        reading(&[Path::new("-")], text, options)
    }

    fn file(suffix: &str, text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn rack(vm: &Vm) -> &str {
        vm.expected.rack_id.as_deref().unwrap_or_default()
    }

    #[test]
    fn the_demo_has_an_action_in_every_row_and_sixty_vms_on_four_racks() {
        let demo = example("demo.csv", &options(&[], false));
        assert_eq!((demo.vms.len(), demo.reading.rows()), (60, 60));
        let racks: HashSet<_> = demo.vms.iter().map(rack).collect();
        assert_eq!(racks, HashSet::from(["dc1r27", "dc1r28", "dc1r29", "dc2r01"]));
        let refreshed = demo.vms.iter().filter(|vm| vm.action == Some(Action::RefreshNextHop)).count();
        assert_eq!(refreshed, 5);
        assert_eq!(demo.reading.label_columns, ["role", "owner"]);
    }

    #[test]
    fn the_json_fleet_is_read_from_under_vms() {
        let fleet = example("fleet.json", &options(&[], true));
        assert_eq!((fleet.vms.len(), fleet.reading.rows()), (12, 12));
        assert!(fleet.vms.iter().all(|vm| vm.expected.account_id.as_deref() == Some("20000")));
        assert_eq!(fleet.vms.iter().filter(|vm| vm.expected.prefix.is_some()).count(), 1);
        assert_eq!(fleet.vms.iter().filter(|vm| vm.name.is_none()).count(), 1);
        assert_eq!(fleet.reading.label_columns, ["env", "tags", "monitored"]);
        assert_eq!(fleet.vms[1].labels[1], ("tags".into(), r#"["shop","eu"]"#.into()));
    }

    #[test]
    fn a_netbox_export_needs_its_custom_field_mapped() {
        let pairs = ["vmid=cf_hostup_vmid", "rack_id=cf_hostup_rack", "name=Name"];
        let export = example("netbox-export.csv", &options(&pairs, true));
        assert_eq!((export.vms.len(), export.reading.rows()), (14, 14));
        let (first, third) = (&export.vms[0], &export.vms[2]);
        assert_eq!(
            (first.id.as_str(), rack(first), first.name.as_deref()),
            ("12000", "dc1r27", Some("crm-app01"))
        );
        assert!(first.labels.contains(&("ID".into(), "301".into())), "NetBox's own id is but a label");
        assert!(third.labels.iter().any(|(name, text)| name == "Comments" && text.contains('\n')));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories/netbox-export.csv");
        let unmapped = reading(&[&file], "", &options(&[], true)).unwrap_err().to_string();
        assert!(unmapped.contains("netbox-export.csv:1: no column is named vmid (or vm_id)"), "{unmapped}");
        assert!(
            unmapped.contains("--column vmid=NAME") && unmapped.ends_with("cf_hostup_vmid"),
            "{unmapped}"
        );
    }

    #[test]
    fn proxmoxs_own_vmid_is_an_expectation() {
        let pairs = ["vmid=hostup.vmid", "proxmox_vm_id=vmid", "rack_id=hostup.rack"];
        let resources = example("proxmox.json", &options(&pairs, true));
        assert_eq!((resources.vms.len(), resources.reading.rows()), (8, 8));
        let last = resources.vms.last().unwrap();
        assert_eq!((last.id.as_str(), last.expected.proxmox_vm_id.as_deref()), ("13007", Some("108")));
        assert_eq!(rack(last), "dc1r28");
    }

    #[test]
    fn a_file_from_windows_keeps_its_byte_order_mark_and_line_ends() {
        let windows = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories/windows.csv");
        let bytes = std::fs::read(&windows).unwrap();
        assert!(bytes.starts_with(b"\xEF\xBB\xBFvmid") && bytes.windows(2).any(|pair| pair == b"\r\n"));
        let given = example("windows.csv", &options(&[], false));
        assert_eq!((given.vms.len(), given.reading.rows()), (6, 6));
        assert_eq!((given.vms[0].name.as_deref(), rack(&given.vms[0])), (Some("filserver1"), "dc1r29"));
        assert_eq!(given.vms[3].labels, [("anmärkning".to_owned(), "två\r\nrader".to_owned())]);
    }

    #[test]
    fn every_bad_row_of_the_bad_example_is_named_with_its_line() {
        let bad = example("bad.csv", &options(&[], false));
        let ids: Vec<_> = bad.vms.iter().map(|vm| vm.id.as_str()).collect();
        assert_eq!(ids, ["15000", "15010", "15012"]);
        assert_eq!(bad.repeats, ["15000 at 18 as at 2"]);
        let id = "not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)";
        let cidr = "not an IPv6 network in CIDR notation such as 2001:db8::/48";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories/bad.csv").display().to_string();
        let expected = [
            "3: vmid: is empty".to_owned(),
            format!("4: vmid: \"web-3\": {id}"),
            format!("5: vmid: \"0\": {id}"),
            format!("6: vmid: \"15001.0\": {id}"),
            format!("7: vmid: \"9223372036854775808\": {id}"),
            format!("8: prefix: \"2001:db8:2::/129\": {cidr}"),
            format!("9: prefix: \"192.0.2.0/24\": {cidr}"),
            "10: next_hop: \"gateway\": not an IPv6 address such as 2001:db8::1".to_owned(),
            "11: action: \"release\": unknown action (allocate or refresh_next_hop)".to_owned(),
            "12: action: is empty, and no --action was given".to_owned(),
            "13: row: 4 fields, where the header has 7".to_owned(),
            "14: row: 8 fields, where the header has 7".to_owned(),
            format!("15: name: {}", Encoding::UTF_8.refusal()),
            format!("19: vmid: 15000 is in {path}:2 already, with other contents"),
            format!("20: vmid: \"\\u{{1b}}[2J15011\": {id}"),
        ];
        assert_eq!(bad.invalid, expected.map(|row| format!("{path}:{row}")));
        assert_eq!(example("bad.csv", &options(&[], true)).invalid.len(), 14, "one only lacks an action");
    }

    #[test]
    fn several_files_and_standard_input_are_one_fleet() {
        let csv = file(".csv", "vmid,role\n1,web\n2,db\n");
        let jsonl = file(".jsonl", "{\"vm_id\": 2, \"role\": \"db\"}\n{\"vmid\": 3, \"owner\": \"ann\"}\n");
        let stdin = "[{\"vmid\": 1, \"role\": \"mail\"}, {\"vmid\": 4}]";
        let files = [csv.path(), Path::new("-"), jsonl.path()];
        let fleet = reading(&files, stdin, &options(&[], true)).unwrap();
        let ids: Vec<_> = fleet.vms.iter().map(|vm| vm.id.as_str()).collect();
        assert_eq!(ids, ["1", "2", "4", "3"]);
        assert_eq!(fleet.repeats, ["2 at 1 as at 3"]);
        let first = csv.path().display();
        assert_eq!(
            fleet.invalid,
            [format!("-:1: row 1: vmid: 1 is in {first}:2 already, with other contents")]
        );
        assert_eq!(fleet.reading.label_columns, ["role", "owner"]);
        let paths: Vec<_> = fleet.reading.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, files.map(|file| file.to_str().unwrap()));
    }

    #[test]
    fn each_files_sha_256_is_taken_of_all_its_bytes() {
        // As `printf '\xEF\xBB\xBFvmid\n1\n' | sha256sum` has it.
        let given = piped("\u{feff}vmid\n1\n", &options(&[], true)).unwrap();
        let expected = "01432f0a0f9128511715e29da5df52e4861a228f0f985d4af5d15713e5590826";
        assert_eq!(given.reading.files[0].sha256, expected);
    }

    #[test]
    fn the_format_said_holds_for_all_files_and_a_name_that_says_none_is_refused() {
        let odd = file(".dat", "vmid\n1\n");
        let error = reading(&[odd.path()], "", &options(&[], true)).unwrap_err().to_string();
        assert!(error.ends_with("add --inventory-format csv, json or jsonl"), "{error}");
        let csv = ReadOptions { format: Some(Format::Csv), ..options(&[], true) };
        assert_eq!(reading(&[odd.path()], "", &csv).unwrap().vms.len(), 1);
        let jsonl = ReadOptions { format: Some(Format::Jsonl), ..options(&[], true) };
        assert_eq!(piped("{\"vmid\": 1, \"data\": [1]}\n", &jsonl).unwrap().vms.len(), 1);
    }

    #[test]
    fn what_is_no_inventory_is_an_error_that_names_the_file() {
        let pairs = options(&["name=Label"], true);
        for (suffix, text, options, expected) in [
            (".csv", "", options(&[], true), ":1: the file is empty"),
            (".csv", "vmid\n1\n", pairs.clone(), ":1: no column is named Label"),
            (".json", "[{\"vmid\": 1}]", pairs.clone(), ": no column is named Label"),
            (".jsonl", "{\"vmid\": 1}", pairs, ": no column is named Label"),
            (".json", "{\"vmid\": 1}\n", options(&[], true), ":1: an object without a list of VMs"),
            (
                ".json",
                "[{\"id\": 1}, {\"id\": 2}]",
                options(&[], true),
                ": no column is named vmid (or vm_id)",
            ),
            (".jsonl", "{\"cf\": {\"vmid\": 1}}", options(&[], true), ": no column is named vmid (or vm_id)"),
            (
                ".json",
                "[{\"cf\": {\"hostup_id\": 1}}]",
                options(&["vmid=hostup_id"], true),
                ": no column is named hostup_id (--column vmid=hostup_id); the nearest: cf.hostup_id; the columns are: cf, cf.hostup_id",
            ),
            (".csv", "vmid\n\"1\n2\n", options(&[], true), ":2: a quotation mark is opened"),
        ] {
            let file = file(suffix, text);
            let error = reading(&[file.path()], "", &options).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}{expected}", file.path().display())), "{error}");
        }
        let absent = reading(&[Path::new("no/such.csv")], "", &options(&[], true)).unwrap_err().to_string();
        assert!(absent.starts_with("no/such.csv: "), "{absent}");
        let twice = reading(&[Path::new("-"), Path::new("-")], "", &options(&[], true));
        assert!(matches!(twice, Err(InventoryError::StdinTwice)));
    }

    #[test]
    fn rows_of_a_json_list_are_told_by_their_numbers_where_one_line_holds_them_all() {
        let text = r#"[{"vmid": 1}, {"vmid": "x"}, 7, {"vmid": 1, "name": "a"}]"#;
        let given = piped(text, &options(&[], true)).unwrap();
        assert_eq!(
            given.invalid,
            [
                "-:1: row 2: vmid: \"x\": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)",
                "-:1: row 3: a number, where an object is needed",
                "-:1: row 4: vmid: 1 is in -:1 (row 1) already, with other contents",
            ]
        );
    }

    #[test]
    fn the_dialect_says_which_ids_rows_may_have() {
        let vps = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";
        let text =
            format!("vmid,name\n10000,a\n{vps},b\n{vps},b\n{vps},c\nvps_../x,d\n{},e\n", "9".repeat(10_000));
        let given = |dialect| piped(&text, &ReadOptions { dialect, ..options(&[], true) }).unwrap();
        let [v1, v2] = Dialect::EACH.map(given);
        assert_eq!((v1.vms.len(), v1.vms[0].id.as_str(), v1.invalid.len()), (1, "10000", 5));
        assert!(v1.invalid[0].ends_with("such as 10000); with --api v2 it is one"), "{}", v1.invalid[0]);
        assert_eq!((v2.vms.len(), v2.vms[0].id.as_str()), (1, vps));
        assert_eq!(v2.repeats, [format!("{vps} at 4 as at 3")]);
        assert!(v2.invalid[0].ends_with("; with --api v1 it is one"), "{}", v2.invalid[0]);
        assert_eq!(v2.invalid[1], format!("-:5: vmid: {vps} is in -:3 already, with other contents"));
        assert!(v2.invalid[2].starts_with("-:6: vmid: \"vps_../x\": not a HostUp VM id (vps_ and 26 "));
        assert!(v2.invalid[3].len() < 300, "{}", v2.invalid[3]);
    }

    #[test]
    fn where_no_row_has_an_action_that_is_one_error() {
        let csv = file(".csv", "vmid,name\n1,a\n2,b\n");
        let with_action = file(".csv", "vmid,action\n3,allocate\n");
        let error = reading(&[csv.path()], "", &options(&[], false)).unwrap_err().to_string();
        assert!(error.starts_with("no row of the inventory has an action: add --action allocate"), "{error}");
        assert!(piped("[{\"vmid\": 1, \"action\": \"\"}]", &options(&[], false)).is_err());
        let given = reading(&[csv.path(), with_action.path()], "", &options(&[], false)).unwrap();
        assert_eq!((given.vms.len(), given.invalid.len()), (1, 2));
        assert_eq!(piped("vmid,action\nx,\n", &options(&[], false)).unwrap().invalid.len(), 1);
        assert_eq!(piped("vmid,action\n1,\n2,release\n", &options(&[], false)).unwrap().invalid.len(), 2);
    }

    #[test]
    fn the_list_of_a_piped_document_is_where_the_path_says() {
        let text = r#"{"data": {"servers": {"web1": {"id": {"hostup": 1}}, "web2": {"id": {"hostup": 2}}}}}"#;
        let map = options(&["vmid=id.hostup", "name=@key"], true);
        let given = piped(text, &ReadOptions { items: Some("data.servers".parse().unwrap()), ..map.clone() });
        let given = given.unwrap();
        let vms: Vec<_> = given.vms.iter().map(|vm| (vm.id.as_str(), vm.name.as_deref())).collect();
        assert_eq!(vms, [("1", Some("web1")), ("2", Some("web2"))]);
        assert_eq!(given.reading.paths, ["id.hostup"]);
        let unknown = piped(text, &options(&[], true)).unwrap_err().to_string();
        assert!(unknown.contains("add --items PATH; lists are at: data.servers, "), "{unknown}");
    }

    #[test]
    fn a_label_that_no_vm_has_is_answered_with_those_nearest_to_it() {
        let reading = Reading {
            label_columns: vec!["role".into(), "status".into()],
            paths: vec!["status.value".into()],
            ..Reading::default()
        };
        for (label, nearest) in [
            ("role", None),
            ("status.valeu", Some("status.value")),
            ("Role", Some("role")),
            ("stauts", Some("status")),
            ("value", Some("status.value")),
            ("environment", Some("")),
        ] {
            assert_eq!(reading.nearest(label).as_deref(), nearest, "{label}");
        }
    }

    #[test]
    fn labels_are_bounded_because_each_is_a_column_of_every_report() {
        let lines: Vec<_> =
            (0..=MAX_COLUMNS).map(|n| format!("{{\"vmid\": {}, \"l{n}\": 1}}", n + 1)).collect();
        let given = piped(&lines.join("\n"), &options(&[], true)).unwrap();
        assert_eq!(given.vms.len(), MAX_COLUMNS);
        assert_eq!(
            given.invalid,
            ["-:1001: l1000: one label column too many: the fleet has 1000 others already"]
        );
    }

    #[test]
    fn the_callers_error_ends_the_reading_in_every_format() {
        #[derive(Debug)]
        struct Enough;
        impl From<InventoryError> for Enough {
            fn from(error: InventoryError) -> Self {
                panic!("{error}")
            }
        }
        for text in ["vmid\n1\n2\n", "[{\"vmid\": 1}, {\"vmid\": 2}]", "{\"vmid\": 1}\n{\"vmid\": 2}\n"] {
            let mut events = 0;
            let mut inputs = Inputs::with_stdin(text.as_bytes());
            let result: Result<Reading, Enough> =
                read(&["-".into()], &mut inputs, &options(&[], true), &mut |_| {
                    events += 1;
                    Err(Enough)
                });
            assert!(result.is_err() && events == 1, "{text}");
        }
    }

    #[test]
    fn a_file_that_breaks_off_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        for text in ["vmid\n1\n", "[{\"vmid\": 1}", "{\"vmid\": 1}\n"] {
            let mut stdin = Inputs::with_stdin(Cursor::new(text.to_owned()).chain(Broken));
            let result: Result<Reading, InventoryError> =
                read(&["-".into()], &mut stdin, &options(&[], true), &mut |_| Ok(()));
            assert_eq!(result.unwrap_err().to_string(), "-: the disk is gone", "{text}");
        }
    }
}
