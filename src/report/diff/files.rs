//! The comparison for programs: JSON, JSON Lines and CSV, written as the differences come.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{DiffRow, Differences};
use crate::difference::Standing;
use crate::ledger::Overview;
use crate::outcome::{Failure, Kind};
use crate::report::error::ReportError;
use crate::report::files::{FileFormat, Files, ReportFile};
use crate::report::output::Output;
use crate::report::{csv, json};
use crate::text::cell;

/// What the object's `schema` says.
const SCHEMA: &str = "v6fleet.diff/1";

/// The comparison as one JSON object, for programs. Nothing is written before the first row, or the end.
#[derive(Debug)]
pub struct JsonDiff<W> {
    to: W,
    /// What stands before the next row.
    before_row: Vec<u8>,
}

impl<W: Write> JsonDiff<W> {
    pub fn begin(to: W, from: &Overview, until: &Overview) -> io::Result<Self> {
        let mut head = format!("{{\"schema\":\"{SCHEMA}\",\n\"from\":").into_bytes();
        json::write(&mut head, from)?;
        head.extend(b",\n\"to\":");
        json::write(&mut head, until)?;
        head.extend(b",\n\"vms\":[\n");
        Ok(Self { to, before_row: head })
    }

    pub fn row(&mut self, row: &DiffRow<'_>) -> io::Result<()> {
        self.to.write_all(&self.before_row)?;
        self.before_row = b",\n".to_vec();
        json::write(&mut self.to, row)
    }

    pub fn finish(mut self, counts: &Differences) -> io::Result<W> {
        if self.before_row != b",\n" {
            self.to.write_all(&self.before_row)?;
        }
        self.to.write_all(b"],\n\"summary\":")?;
        json::write(&mut self.to, counts)?;
        self.to.write_all(b"}\n")?;
        self.to.flush()?;
        Ok(self.to)
    }
}

type Cell = for<'r> fn(&'r Standing) -> Option<&'r str>;

/// What CSV says of each of the two runs.
const STANDING: [(&str, Cell); 8] = [
    ("outcome", |standing| Some(standing.outcome.as_str())),
    ("failure", |standing| standing.failure.map(Failure::as_str)),
    ("error", |standing| standing.error.as_deref()),
    ("rack_id", |standing| standing.rack_id.as_deref()),
    ("prefix", |standing| standing.prefix.as_deref()),
    ("next_hop", |standing| standing.next_hop.as_deref()),
    ("status", |standing| standing.status.as_deref()),
    (PLANNED, |standing| standing.planned_next_hop.as_deref()),
];

/// The column that plans alone have.
const PLANNED: &str = "planned_next_hop";

fn columns(kind: Kind) -> impl Iterator<Item = (&'static str, Cell)> {
    STANDING.into_iter().filter(move |(name, _)| kind == Kind::Plan || *name != PLANNED)
}

#[derive(Debug)]
struct CsvDiff<W: Write> {
    csv: ::csv::Writer<W>,
    /// Of the two runs.
    kinds: [Kind; 2],
}

impl<W: Write> CsvDiff<W> {
    fn begin(to: W, kinds: [Kind; 2]) -> io::Result<Self> {
        let mut csv = ::csv::Writer::from_writer(to);
        let own = ["vmid", "name", "rack_id", "difference", "changes"].map(str::to_owned);
        let each = |run: &'static str, kind| columns(kind).map(move |(column, _)| format!("{run}_{column}"));
        csv.write_record(own.into_iter().chain(each("before", kinds[0])).chain(each("after", kinds[1])))?;
        Ok(Self { csv, kinds })
    }

    fn row(&mut self, row: &DiffRow<'_>) -> io::Result<()> {
        let changes = row.changes.iter().map(csv::change).collect::<Vec<_>>().join("; ");
        let [name, rack] = [row.name, row.rack_id].map(Option::unwrap_or_default);
        let own = [row.vmid, name, rack, row.difference.as_str(), &changes];
        let cells = |standing: Option<&'_ Standing>, kind| {
            let cell = |text: Cell| standing.and_then(text).map(|text| cell(text).into_owned());
            columns(kind).map(|(_, text)| cell(text).unwrap_or_default()).collect::<Vec<_>>()
        };
        let [before, after] = [cells(row.before, self.kinds[0]), cells(row.after, self.kinds[1])];
        let own = own.into_iter().map(|text| cell(text).into_owned());
        Ok(self.csv.write_record(own.chain(before).chain(after))?)
    }

    fn finish(self) -> io::Result<W> {
        self.csv.into_inner().map_err(::csv::IntoInnerError::into_error)
    }
}

#[derive(Debug)]
enum Body {
    Csv(Box<CsvDiff<Output>>),
    Json(JsonDiff<Output>),
    JsonLines(Output),
}

impl Body {
    fn row(&mut self, row: &DiffRow<'_>) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.row(row),
            Self::Json(json) => json.row(row),
            Self::JsonLines(to) => {
                json::write(&mut *to, row)?;
                to.write_all(b"\n")
            }
        }
    }

    fn finish(self, counts: &Differences) -> io::Result<Output> {
        match self {
            Self::Csv(csv) => csv.finish(),
            Self::Json(json) => json.finish(counts),
            Self::JsonLines(to) => Ok(to),
        }
    }
}

/// The formats of a comparison.
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
        format!("a comparison is written to a file whose name ends in one of {extensions}")
    }
}

/// The files of a comparison while they are being written.
#[derive(Debug)]
pub struct DiffFiles(Files<Body>);

impl DiffFiles {
    /// Opens every file. An error if one of them cannot be written.
    pub fn create(files: &[ReportFile<Format>], from: &Overview, to: &Overview) -> Result<Self, ReportError> {
        let begin = |format, output| match format {
            Format::Csv => Ok(Body::Csv(CsvDiff::begin(output, [from.kind, to.kind])?.into())),
            Format::Json => Ok(Body::Json(JsonDiff::begin(output, from, to)?)),
            Format::JsonLines => Ok(Body::JsonLines(output)),
        };
        Files::create(files, begin).all().map(Self)
    }

    /// Appends one VM to every file; what goes wrong here is told at the end.
    pub fn row(&mut self, row: &DiffRow<'_>) {
        self.0.each(|body| body.row(row));
    }

    /// Puts every file in its place, none of them unless all of them are on disk, and says where they are.
    pub fn finish(self, counts: &Differences) -> Result<Vec<PathBuf>, ReportError> {
        self.0.end(|body| body.finish(counts)).all()?.publish().all()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::diff::tests::{compare, pairs, runs};

    #[test]
    fn in_csv_every_difference_is_a_line_with_both_sides() {
        let mut csv = CsvDiff::begin(Vec::new(), [Kind::Run; 2]).unwrap();
        compare(&pairs(), |row| csv.row(row).unwrap());
        insta::assert_snapshot!(String::from_utf8(csv.finish().unwrap()).unwrap(), @r"
        vmid,name,rack_id,difference,changes,before_outcome,before_failure,before_error,before_rack_id,before_prefix,before_next_hop,before_status,after_outcome,after_failure,after_error,after_rack_id,after_prefix,after_next_hop,after_status
        1,'=vm\u{1b}-1,dc1r28,newly_failing,,unchanged,,,dc1r28,2001:db8::1/48,2001:db8:1000::1,active,failed,timeout,in words,,,,
        2,'=vm\u{1b}-2,dc1r28,recovered,,failed,timeout,in words,,,,,unchanged,,,dc1r28,2001:db8::1/48,2001:db8:1000::1,active
        3,'=vm\u{1b}-3,dc1r28,changed,next_hop: 2001:db8:1000::1 → 2001:db8:1000::2,unchanged,,,dc1r28,2001:db8::1/48,2001:db8:1000::1,active,unchanged,,,dc1r28,2001:db8::1/48,2001:db8:1000::2,active
        4,'=vm\u{1b}-4,dc1r29,changed,,failed,timeout,in words,,,,,failed,not_found,in words,,,,
        5,'=vm\u{1b}-5,dc1r28,appeared,,,,,,,,,created,,,dc1r28,2001:db8::1/48,2001:db8:1000::1,active
        6,'=vm\u{1b}-6,dc1r29,gone,,failed,not_found,in words,,,,,,,,,,,
        7,'=vm\u{1b}-7,dc1r28,not_attempted,,unchanged,,,dc1r28,2001:db8::1/48,2001:db8:1000::1,active,failed,not_attempted,in words,,,,
        ");
    }

    #[test]
    fn in_json_it_is_one_object_also_where_nothing_differs() {
        let (from, to) = runs();
        for (pairs, vms, same) in [(&pairs()[..], 7, 1), (&pairs()[7..], 0, 1)] {
            let mut json = JsonDiff::begin(Vec::new(), &from, &to).unwrap();
            let counts = compare(pairs, |row| json.row(row).unwrap());
            let read: Value = serde_json::from_slice(&json.finish(&counts).unwrap()).unwrap();
            assert_eq!((&read["schema"], &read["from"]["id"]), (&SCHEMA.into(), &from.id.clone().into()));
            assert_eq!(read["vms"].as_array().unwrap().len(), vms);
            assert_eq!(read["summary"]["same"], same);
        }
    }

    #[test]
    fn files_are_whole_or_not_there_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["diff.csv", "diff.json", "diff.jsonl"].map(|name| dir.path().join(name));
        let named = files.clone().map(|file| ReportFile::named(file).unwrap());
        let (from, to) = runs();
        for finished in [false, true] {
            let mut open = DiffFiles::create(&named, &from, &to).unwrap();
            let counts = compare(&pairs(), |row| open.row(row));
            if finished {
                assert_eq!(open.finish(&counts).unwrap(), files);
            } else {
                drop(open);
            }
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), if finished { 3 } else { 0 });
        }
        let lines = std::fs::read_to_string(&files[2]).unwrap();
        let changes = &serde_json::from_str::<Value>(lines.lines().nth(2).unwrap()).unwrap()["changes"];
        assert_eq!(changes[0]["after"], "2001:db8:1000::2");
        for name in ["diff.html", "diff", "-"] {
            let error = ReportFile::<Format>::named(name.into()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: a comparison is written to a file")), "{error}");
        }
    }
}
