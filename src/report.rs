//! Reports: every row of a run, in each format that was asked for, and the recap of the whole.
//!
//! A report is a pure function of the ledger's rows and summary: nothing here knows the network or decides an
//! outcome. All outputs are written in one pass in bounded memory, and an old report stays until the new is whole.

mod advice;
pub mod audit;
mod csv;
pub mod diff;
mod files;
#[cfg(test)]
mod fixtures;
pub mod history;
mod html;
mod json;
mod jsonl;
mod junit;
mod output;
mod page;
mod prometheus;
mod racks;
pub mod recap;
pub mod runs;
mod selection;
mod skipped;
#[cfg(test)]
mod tool;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::ledger::{Counts, Row, RunInfo, Summary};
use crate::text::{count, counted, shown_path};

pub use output::{destination, sweep};
pub use skipped::{SkippedList, check_skipped};

use self::csv::CsvReport;
use self::html::HtmlReport;
use self::json::JsonReport;
use self::jsonl::JsonLinesReport;
use self::junit::JunitReport;
use self::output::{Output, Place};

/// The formats of a report, told apart by the name of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    JsonLines,
    Html,
    Junit,
    Prometheus,
}

/// Why a file's name is not that of a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no known kind of report (the name must end in {})", Format::ALL.map(Format::extension).join(", "))]
pub struct UnknownFormat;

impl Format {
    pub const ALL: [Self; 6] =
        [Self::Csv, Self::Json, Self::JsonLines, Self::Html, Self::Junit, Self::Prometheus];

    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => ".csv",
            Self::Json => ".json",
            Self::JsonLines => ".jsonl",
            Self::Html => ".html",
            Self::Junit => ".junit.xml",
            Self::Prometheus => ".prom",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Reads the end of a file's name, in upper or lower case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let name = name.to_ascii_lowercase();
        Self::ALL.into_iter().find(|format| name.ends_with(format.extension())).ok_or(UnknownFormat)
    }
}

/// Why a report could not be written. What the system said is the error's source.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{}: {reason}", shown_path(path))]
    UnknownFormat { path: PathBuf, reason: UnknownFormat },
    #[error("{}: {what} written to a file whose name ends in one of {extensions}", shown_path(path))]
    UnknownForm { path: PathBuf, what: &'static str, extensions: String },
    #[error("-: a report goes to a file; standard output holds the recap alone")]
    StandardOutput,
    #[error("{}: is a directory, not a file", shown_path(path))]
    IsDirectory { path: PathBuf },
    #[error("{}: the directory {} does not exist", shown_path(path), shown_path(directory))]
    MissingDirectory { path: PathBuf, directory: PathBuf },
    #[error(
        "{}: the skipped rows are listed here, and this file is no such list; move it away, or name the first report \
         in another directory",
        shown_path(path)
    )]
    NotOurs { path: PathBuf },
    #[error("{}: cannot be written", shown_path(path))]
    Write { path: PathBuf, source: io::Error },
    /// The rows and the summary tell of different runs: neither can be believed.
    #[error(
        "the rows ({}) do not add up to the summary ({}); no report was written",
        told(rows),
        told(summary)
    )]
    Miscounted { rows: Counts, summary: Counts },
}

impl ReportError {
    /// What keeps the report from being written, or its directory from being made.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

fn told(counts: &Counts) -> String {
    let Counts { selected, created, unchanged, updated, .. } = counts;
    let vms = counted(*selected, "VM", "VMs");
    format!("{vms}: {created} created, {unchanged} unchanged, {updated} updated, {}", failed(counts))
}

/// The failed VMs of a run, and how many of them were never called: `8 failed, 7 of them not attempted`.
fn failed(counts: &Counts) -> String {
    match (counts.failed, counts.not_attempted) {
        (failed, 0) => format!("{} failed", count(failed)),
        (failed, not_attempted) => {
            format!("{} failed, {} of them not attempted", count(failed), count(not_attempted))
        }
    }
}

/// Finds, before the first call, what would keep a report from being written after the last one.
///
/// Leaves nothing behind, and does not open pipes and devices.
pub fn check_outputs(outputs: &[PathBuf]) -> Result<(), ReportError> {
    for path in outputs {
        let (_, place) = Place::of(path)?;
        place.check().map_err(ReportError::write(path))?;
    }
    Ok(())
}

/// The reports of one run while they are being written. One that cannot be written is given up; the others go on.
///
/// Dropped before [`Self::finish`], it takes its temporary files with it and old reports stay as they are.
#[derive(Debug)]
pub struct Reports {
    open: Vec<Report>,
    failed: Vec<ReportError>,
    summary: Counts,
    rows: Counts,
}

/// What became of the reports of one run.
#[derive(Debug, Default)]
pub struct Written {
    pub paths: Vec<PathBuf>,
    pub failed: Vec<ReportError>,
}

#[derive(Debug)]
struct Report {
    path: PathBuf,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Csv(Box<CsvReport<Output>>),
    Json(JsonReport<Output>),
    JsonLines(JsonLinesReport<Output>),
    Html(Box<HtmlReport<Output>>),
    Junit(JunitReport<Output>),
    /// Written already: it has nothing of any row.
    Prometheus(Output),
}

impl Reports {
    /// Opens every output and writes what stands before the rows.
    pub fn create(outputs: &[PathBuf], run: &RunInfo, summary: &Summary) -> Self {
        let mut reports =
            Self { open: vec![], failed: vec![], summary: summary.counts, rows: Counts::default() };
        for path in outputs {
            match Report::create(path, run, summary) {
                Ok(report) => reports.open.push(report),
                Err(error) => reports.failed.push(error),
            }
        }
        reports
    }

    /// Appends one VM to every output. Rows come in inventory order.
    pub fn row(&mut self, row: &Row) {
        self.rows.add_vm(row.outcome, row.failure);
        let failed = &mut self.failed;
        self.open.retain_mut(|report| report.row(row).map_err(|error| failed.push(error)).is_ok());
    }

    /// Puts every output in its place, none of them before all of them are on disk, and says where they are.
    pub fn finish(self) -> Result<Written, ReportError> {
        if self.rows != self.summary {
            return Err(ReportError::Miscounted { rows: self.rows, summary: self.summary });
        }
        let mut written = Written { paths: vec![], failed: self.failed };
        let whole: Vec<_> = self.open.into_iter().map(Report::finish).collect();
        for report in whole {
            let published = report.and_then(|(path, output)| {
                output.publish().map_err(ReportError::write(&path)).map(|()| path)
            });
            match published {
                Ok(path) => written.paths.push(path),
                Err(error) => written.failed.push(error),
            }
        }
        Ok(written)
    }
}

impl Report {
    fn create(path: &Path, run: &RunInfo, summary: &Summary) -> Result<Self, ReportError> {
        let (format, place) = Place::of(path)?;
        let body = place.open().and_then(|output| Body::begin(format, output, run, summary));
        Ok(Self { path: path.to_owned(), body: body.map_err(ReportError::write(path))? })
    }

    fn row(&mut self, row: &Row) -> Result<(), ReportError> {
        let written = match &mut self.body {
            Body::Csv(report) => report.row(row),
            Body::Json(report) => report.row(row),
            Body::JsonLines(report) => report.row(row),
            Body::Html(report) => report.row(row),
            Body::Junit(report) => report.row(row),
            Body::Prometheus(_) => Ok(()),
        };
        written.map_err(ReportError::write(&self.path))
    }

    /// Writes what stands after the rows, and waits until all of it is on disk.
    fn finish(self) -> Result<(PathBuf, Output), ReportError> {
        let output = match self.body {
            Body::Csv(report) => report.finish(),
            Body::Json(report) => report.finish(),
            Body::JsonLines(report) => Ok(report.finish()),
            Body::Html(report) => report.finish(),
            Body::Junit(report) => report.finish(),
            Body::Prometheus(output) => Ok(output),
        };
        match output.and_then(Output::sync) {
            Ok(output) => Ok((self.path, output)),
            Err(error) => Err(ReportError::write(&self.path)(error)),
        }
    }
}

impl Body {
    fn begin(format: Format, mut output: Output, run: &RunInfo, summary: &Summary) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(CsvReport::begin(output, &run.label_columns)?.into()),
            Format::Json => Self::Json(JsonReport::begin(output, run, summary)?),
            Format::JsonLines => Self::JsonLines(JsonLinesReport::begin(output)),
            Format::Html => Self::Html(HtmlReport::begin(output, run, summary).into()),
            Format::Junit => Self::Junit(JunitReport::begin(output, run, summary)?),
            Format::Prometheus => {
                prometheus::write(&mut output, run, summary)?;
                Self::Prometheus(output)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::fixtures::{rows, run, summary};
    use super::*;

    fn files(directory: &TempDir) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn write(outputs: &[PathBuf], rows: &[Row]) -> Written {
        let mut reports = Reports::create(outputs, &run(), &summary(rows));
        for row in rows {
            reports.row(row);
        }
        reports.finish().unwrap()
    }

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        for (name, format) in [
            ("report.csv", Format::Csv),
            ("a.b.JSON", Format::Json),
            ("/tmp/x.jsonl", Format::JsonLines),
            ("x.html", Format::Html),
            ("vms.junit.xml", Format::Junit),
            ("v6fleet.prom", Format::Prometheus),
        ] {
            assert_eq!(name.parse(), Ok(format), "{name}");
        }
        for name in ["", "report", "csv", "report.xlsx", "report.xml", "report.csv.gz", "/dev/stdout"] {
            assert_eq!(name.parse::<Format>(), Err(UnknownFormat), "{name}");
        }
        assert_eq!(
            UnknownFormat.to_string(),
            "no known kind of report (the name must end in .csv, .json, .jsonl, .html, .junit.xml, .prom)"
        );
    }

    #[test]
    fn all_formats_are_written_in_one_pass_and_hold_every_row_but_gauges_which_hold_none() {
        let directory = tempfile::tempdir().unwrap();
        let outputs =
            Format::ALL.map(|format| directory.path().join(format!("report{}", format.extension())));
        let rows = rows();
        check_outputs(&outputs).unwrap();
        assert_eq!(files(&directory), Vec::<String>::new());
        assert_eq!(write(&outputs, &rows).paths, outputs);
        assert_eq!(
            files(&directory),
            ["report.csv", "report.html", "report.json", "report.jsonl", "report.junit.xml", "report.prom"]
        );
        let json = "{\"vmid\":\"@\",";
        let vms = ["\n@,", json, json, "<th scope=\"row\">@<td>", "<testcase name=\"@\""];
        for (output, vm) in outputs.iter().zip(vms) {
            let report = fs::read_to_string(output).unwrap();
            for row in &rows {
                let lines = report.matches(&vm.replace('@', &row.vmid)).count();
                assert_eq!(lines, 1, "{} in {}", row.vmid, output.display());
            }
        }
    }

    #[test]
    fn a_report_has_the_rights_of_any_other_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let [report, other] = ["report.csv", "other"].map(|name| directory.path().join(name));
        write(std::slice::from_ref(&report), &[]);
        fs::write(&other, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(report), mode(other));
    }

    #[test]
    fn until_it_is_finished_the_old_report_stays_and_afterwards_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let report = directory.path().join("report.json");
        fs::write(&report, "old").unwrap();
        let outputs = [report.clone()];
        let rows = rows();
        let mut reports = Reports::create(&outputs, &run(), &summary(&rows));
        reports.row(&rows[0]);
        assert_eq!(files(&directory).len(), 2);
        drop(reports);
        assert_eq!(files(&directory), ["report.json"]);
        assert_eq!(fs::read_to_string(&report).unwrap(), "old");
        write(&outputs, &rows);
        assert_eq!(files(&directory), ["report.json"]);
        assert!(fs::read_to_string(&report).unwrap().starts_with("{\"schema\":\"v6fleet.report/1\","));
    }

    #[test]
    fn rows_that_do_not_add_up_to_the_summary_are_no_report() {
        let directory = tempfile::tempdir().unwrap();
        let outputs = [directory.path().join("report.csv")];
        let rows = rows();
        let mut reports = Reports::create(&outputs, &run(), &summary(&rows));
        reports.row(&rows[2]);
        assert_eq!(
            reports.finish().unwrap_err().to_string(),
            "the rows (1 VM: 0 created, 1 unchanged, 0 updated, 0 failed) do not add up to the summary \
             (20 VMs: 2 created, 2 unchanged, 2 updated, 14 failed, 1 of them not attempted); no report was written"
        );
        assert_eq!(files(&directory), Vec::<String>::new());
    }

    #[test]
    fn a_report_that_cannot_be_written_does_not_keep_the_others_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        symlink("/dev/full", path("full.jsonl")).unwrap();
        let outputs = ["a.csv", "full.jsonl", "missing/b.csv", "c.json"].map(path);
        let written = write(&outputs, &rows());
        assert_eq!(written.paths, [path("a.csv"), path("c.json")]);
        let failed: Vec<String> = written.failed.iter().map(ToString::to_string).collect();
        for (error, name) in failed.iter().zip(["missing/b.csv", "full.jsonl"]) {
            assert!(error.starts_with(&path(name).display().to_string()), "{error}");
        }
        assert_eq!(
            (failed.len(), files(&directory)),
            (2, ["a.csv", "c.json", "full.jsonl"].map(Into::into).into())
        );
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let [latest, target] = ["latest.csv", "report.csv"].map(|name| directory.path().join(name));
        fs::write(&target, "old").unwrap();
        symlink("report.csv", &latest).unwrap();
        write(std::slice::from_ref(&latest), &[]);
        assert!(fs::symlink_metadata(&latest).unwrap().is_symlink());
        assert!(fs::read_to_string(&target).unwrap().starts_with("vmid,"));
    }

    #[test]
    fn a_link_whose_target_is_not_there_yet_is_followed_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("there")).unwrap();
        symlink("second.csv", path("first.csv")).unwrap();
        symlink("there/report.csv", path("second.csv")).unwrap();
        let outputs = [path("first.csv")];
        check_outputs(&outputs).unwrap();
        assert_eq!(write(&outputs, &[]).paths, outputs);
        assert!(fs::read_to_string(path("there/report.csv")).unwrap().starts_with("vmid,"));
        for link in ["first.csv", "second.csv"] {
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link} stays");
        }
        symlink("nowhere/report.csv", path("astray.csv")).unwrap();
        let error = check_outputs(&[path("astray.csv")]).unwrap_err();
        assert!(matches!(error, ReportError::MissingDirectory { .. }), "{error}");
    }

    #[test]
    fn a_pipe_is_written_to_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe.jsonl");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let outputs = [pipe.clone()];
        check_outputs(&outputs).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write(&outputs, &rows());
        assert_eq!(reader.join().unwrap().lines().count(), rows().len());
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert_eq!(files(&directory), ["pipe.jsonl"]);
    }

    #[test]
    fn what_cannot_hold_a_report_is_found_beforehand_and_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        fs::create_dir(directory.path().join("directory.csv")).unwrap();
        for (name, reason) in [
            (
                "report.xlsx",
                "no known kind of report (the name must end in .csv, .json, .jsonl, .html, .junit.xml, .prom)",
            ),
            ("directory.csv", "is a directory, not a file"),
            ("missing/report.csv", "the directory DIR/missing does not exist"),
            ("file/report.csv", "cannot be written"),
        ] {
            let path = directory.path().join(name);
            let expected = format!("DIR/{name}: {reason}");
            for error in [
                check_outputs(std::slice::from_ref(&path)).unwrap_err(),
                write(std::slice::from_ref(&path), &[]).failed.remove(0),
            ] {
                let shown = error.to_string().replace(&directory.path().display().to_string(), "DIR");
                assert_eq!(shown, expected);
            }
        }
        let nowhere = check_outputs(&["-".into()]).unwrap_err().to_string();
        assert_eq!(nowhere, "-: a report goes to a file; standard output holds the recap alone");
        assert_eq!(files(&directory), ["directory.csv", "file"]);
    }

    #[test]
    fn a_directory_that_takes_no_file_is_found_beforehand() {
        let error = check_outputs(&["/proc/report.csv".into()]).unwrap_err();
        assert_eq!(error.to_string(), "/proc/report.csv: cannot be written");
    }

    #[test]
    fn no_output_at_all_is_no_report() {
        assert_eq!(write(&[], &rows()).paths, Vec::<PathBuf>::new());
    }
}
