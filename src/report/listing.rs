//! The account's VMs as an inventory: CSV, JSON or JSON Lines, each as `run` reads it.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::ReportError;
use super::files::{FileFormat, Files, ReportFile};
use super::json;
use super::output::Output;
use crate::text::cell;
use crate::vm::Listed;

/// What the object's `schema` says.
const SCHEMA: &str = "v6fleet.inventory/1";

/// One VM as JSON has it: its fields are the columns of CSV too, in this order.
#[derive(Serialize)]
struct Row<'a> {
    vmid: &'a str,
    name: Option<&'a str>,
    primary_ip: Option<&'a str>,
    service_status: Option<&'a str>,
    power_state: Option<&'a str>,
    os: Option<&'a str>,
    is_payg: Option<bool>,
    tags: Option<&'a [String]>,
    pending_maintenance: Option<bool>,
    pending_maintenance_has_deadline: Option<bool>,
}

const COLUMNS: [&str; 10] = [
    "vmid",
    "name",
    "primary_ip",
    "service_status",
    "power_state",
    "os",
    "is_payg",
    "tags",
    "pending_maintenance",
    "pending_maintenance_has_deadline",
];

impl<'a> Row<'a> {
    fn of(vm: &'a Listed) -> Self {
        Self {
            vmid: vm.id.as_str(),
            name: vm.name.as_deref(),
            primary_ip: vm.primary_ip.as_deref(),
            service_status: vm.service_status.as_deref(),
            power_state: vm.power_state.as_deref(),
            os: vm.os.as_deref(),
            is_payg: vm.is_payg,
            tags: vm.tags.as_deref(),
            pending_maintenance: vm.pending_maintenance,
            pending_maintenance_has_deadline: vm.pending_maintenance_has_deadline,
        }
    }

    /// In the order of [`COLUMNS`].
    fn cells(&self) -> [Cow<'a, str>; 10] {
        let text = |text: Option<&'a str>| cell(text.unwrap_or_default());
        let word = |is: Option<bool>| Cow::Borrowed(is.map_or("", |is| if is { "true" } else { "false" }));
        [
            cell(self.vmid),
            text(self.name),
            text(self.primary_ip),
            text(self.service_status),
            text(self.power_state),
            text(self.os),
            word(self.is_payg),
            Cow::Owned(cell(&self.tags.unwrap_or_default().join("; ")).into_owned()),
            word(self.pending_maintenance),
            word(self.pending_maintenance_has_deadline),
        ]
    }
}

/// The formats of an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    JsonLines,
}

impl FileFormat for Format {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Csv, ".csv"), (Self::Json, ".json"), (Self::JsonLines, ".jsonl")];

    fn unknown(_: &Path, extensions: &str) -> String {
        format!("an inventory is written to a file whose name ends in one of {extensions}")
    }
}

/// An inventory while it is being written.
#[derive(Debug)]
pub struct Listing<W: Write> {
    body: Body<W>,
}

#[derive(Debug)]
enum Body<W: Write> {
    Csv(Box<::csv::Writer<W>>),
    /// With what stands before the next VM.
    Json(W, &'static str),
    JsonLines(W),
}

impl<W: Write> Listing<W> {
    pub fn begin(format: Format, mut to: W) -> io::Result<Self> {
        let body = match format {
            Format::Csv => {
                let mut csv = ::csv::Writer::from_writer(to);
                csv.write_record(COLUMNS)?;
                Body::Csv(csv.into())
            }
            Format::Json => {
                write!(to, "{{\"schema\":\"{SCHEMA}\",\n\"vms\":[")?;
                Body::Json(to, "\n")
            }
            Format::JsonLines => Body::JsonLines(to),
        };
        Ok(Self { body })
    }

    pub fn vm(&mut self, vm: &Listed) -> io::Result<()> {
        let row = Row::of(vm);
        match &mut self.body {
            Body::Csv(csv) => Ok(csv.write_record(row.cells().iter().map(|cell| cell.as_bytes()))?),
            Body::Json(to, between) => {
                to.write_all(between.as_bytes())?;
                *between = ",\n";
                json::write(to, &row)
            }
            Body::JsonLines(to) => {
                json::write(&mut *to, &row)?;
                to.write_all(b"\n")
            }
        }
    }

    pub fn finish(self) -> io::Result<W> {
        match self.body {
            Body::Csv(csv) => csv.into_inner().map_err(::csv::IntoInnerError::into_error),
            Body::Json(mut to, _) => {
                to.write_all(b"\n]}\n")?;
                Ok(to)
            }
            Body::JsonLines(to) => Ok(to),
        }
    }
}

/// Files that each get the whole inventory.
#[derive(Debug)]
pub struct ListingFiles(Files<Listing<Output>>);

impl ListingFiles {
    /// Opens every file. An error if one of them cannot be written.
    pub fn create(files: &[ReportFile<Format>]) -> Result<Self, ReportError> {
        Files::create(files, Listing::begin).all().map(Self)
    }

    /// Appends one VM to every file; what goes wrong here is told at the end.
    pub fn vm(&mut self, vm: &Listed) {
        self.0.each(|listing| listing.vm(vm));
    }

    /// Puts every file in its place, none of them unless all of them are on disk, and says where they are.
    pub fn finish(self) -> Result<Vec<PathBuf>, ReportError> {
        self.0.end(Listing::finish).all()?.publish().all()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::report::fixtures::any_text;
    use crate::text::is_deceptive;

    const ID: &str = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";

    /// One VM of which all is known, and one of which nothing is.
    fn vms() -> [Listed; 2] {
        let text = |text: &str| Some(text.to_owned());
        let nothing = Listed::unknown("vps_00000000000000000000000000".into());
        let known = Listed {
            id: ID.into(),
            name: text("=cmd|' /C calc'!A0"),
            primary_ip: text("192.0.2.1"),
            service_status: text("active"),
            power_state: text("running"),
            os: text("Debian \"12\",\n\u{1b}[2J"),
            is_payg: Some(false),
            tags: Some(vec!["prod".into(), "web; db".into()]),
            pending_maintenance: Some(true),
            pending_maintenance_has_deadline: Some(false),
        };
        [known, nothing]
    }

    fn written(format: Format, vms: &[Listed]) -> String {
        let mut listing = Listing::begin(format, Vec::new()).unwrap();
        for vm in vms {
            listing.vm(vm).unwrap();
        }
        String::from_utf8(listing.finish().unwrap()).unwrap()
    }

    #[test]
    fn each_format_has_every_column_and_nothing_where_nothing_is_known() {
        insta::assert_snapshot!(written(Format::Csv, &vms()), @r#"
        vmid,name,primary_ip,service_status,power_state,os,is_payg,tags,pending_maintenance,pending_maintenance_has_deadline
        vps_01hxa3b4c5d6e7f8g9h0j1k2m3,'=cmd|' /C calc'!A0,192.0.2.1,active,running,"Debian ""12"",\n\u{1b}[2J",false,prod; web; db,true,false
        vps_00000000000000000000000000,,,,,,,,,
        "#);
        insta::assert_snapshot!(written(Format::Json, &vms()), @r#"
        {"schema":"v6fleet.inventory/1",
        "vms":[
        {"vmid":"vps_01hxa3b4c5d6e7f8g9h0j1k2m3","name":"=cmd|' /C calc'!A0","primary_ip":"192.0.2.1","service_status":"active","power_state":"running","os":"Debian \"12\",\n\u001b[2J","is_payg":false,"tags":["prod","web; db"],"pending_maintenance":true,"pending_maintenance_has_deadline":false},
        {"vmid":"vps_00000000000000000000000000","name":null,"primary_ip":null,"service_status":null,"power_state":null,"os":null,"is_payg":null,"tags":null,"pending_maintenance":null,"pending_maintenance_has_deadline":null}
        ]}
        "#);
        let lines = written(Format::JsonLines, &vms());
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let json: Value = serde_json::from_str(&written(Format::Json, &vms())).unwrap();
        assert_eq!(json["vms"], Value::Array(lines));
        // Most readers of JSON have an object's fields in another order than they are written in.
        let fields: Vec<&String> = json["vms"][0].as_object().unwrap().keys().collect();
        assert!(
            fields.len() == COLUMNS.len() && fields.iter().all(|field| COLUMNS.contains(&field.as_str()))
        );
    }

    #[test]
    fn an_account_without_vms_is_an_empty_inventory() {
        assert_eq!(written(Format::Csv, &[]), format!("{}\n", COLUMNS.join(",")));
        let json: Value = serde_json::from_str(&written(Format::Json, &[])).unwrap();
        assert_eq!((&json["schema"], &json["vms"]), (&SCHEMA.into(), &Value::Array(vec![])));
        assert_eq!(written(Format::JsonLines, &[]), "");
    }

    #[test]
    fn files_are_whole_or_not_there_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["fleet.csv", "fleet.json", "fleet.JSONL"].map(|name| dir.path().join(name));
        let named = files.clone().map(|file| ReportFile::named(file).unwrap());
        for finished in [false, true] {
            let mut open = ListingFiles::create(&named).unwrap();
            for vm in &vms() {
                open.vm(vm);
            }
            if finished {
                assert_eq!(open.finish().unwrap(), files);
            } else {
                drop(open);
            }
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), if finished { files.len() } else { 0 });
        }
        for (file, format) in files.iter().zip([Format::Csv, Format::Json, Format::JsonLines]) {
            assert_eq!(std::fs::read_to_string(file).unwrap(), written(format, &vms()));
        }
        for name in ["fleet.html", "fleet", "-"] {
            let error = ReportFile::<Format>::named(name.into()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: an inventory is written to a file")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_cell_that_nothing_obeys_and_exact_in_json(text in any_text()) {
            let [known, _] = vms();
            let (name, tags) = (Some(text.clone()), Some(vec![text.clone()]));
            let vm = Listed { name, os: Some(text.clone()), tags, ..known };
            let csv = written(Format::Csv, std::slice::from_ref(&vm));
            let row = ::csv::Reader::from_reader(csv.as_bytes()).into_records().next().unwrap().unwrap();
            for place in [1, 5, 7] {
                prop_assert_eq!(&row[place], &*cell(&text));
            }
            let json = written(Format::JsonLines, std::slice::from_ref(&vm));
            prop_assert!(!json.trim_end_matches('\n').contains(is_deceptive), "{:?}", json);
            let read: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!([&read["name"], &read["os"], &read["tags"][0]], [&*text; 3]);
        }
    }
}
