//! The reports of one run, in each format that was asked for, written in one pass over its rows.

use std::io;
use std::path::Path;

use super::csv::CsvReport;
use super::error::ReportError;
use super::files::{FileFormat, Files, ReportFile, Written};
use super::html::HtmlReport;
use super::json::JsonReport;
use super::jsonl::JsonLinesReport;
use super::junit::JunitReport;
use super::output::Output;
use super::prometheus;
use crate::ledger::{Counts, Row, RunInfo, Summary};

/// The formats of a run's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    JsonLines,
    Html,
    Junit,
    Prometheus,
}

impl FileFormat for Format {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Csv, ".csv"),
        (Self::Json, ".json"),
        (Self::JsonLines, ".jsonl"),
        (Self::Html, ".html"),
        (Self::Junit, ".junit.xml"),
        (Self::Prometheus, ".prom"),
    ];

    const ON_STDOUT: bool = true;

    fn unknown(name: &Path, extensions: &str) -> String {
        match name.to_str() {
            Some("-") => "a report on standard output needs its format, such as csv:-".to_owned(),
            Some(typed) if typed.contains(':') => {
                format!("no known kind of report (of FORMAT:FILE, or with a name that ends in {extensions})")
            }
            _ => format!("no known kind of report (the name must end in {extensions})"),
        }
    }
}

/// The reports of one run while they are being written. One that cannot be written is given up; the others go on.
///
/// Dropped before [`Self::finish`], it takes its temporary files with it and old reports stay as they are.
#[derive(Debug)]
pub struct Reports {
    files: Files<Body>,
    summary: Counts,
    rows: Counts,
}

impl Reports {
    /// Opens every output and writes what stands before the rows.
    pub fn create(outputs: &[ReportFile<Format>], run: &RunInfo, summary: &Summary) -> Self {
        let files = Files::create(outputs, |format, output| Body::begin(format, output, run, summary));
        Self { files, summary: summary.counts, rows: Counts::none(run.kind) }
    }

    /// Appends one VM to every output. Rows come in inventory order.
    pub fn row(&mut self, row: &Row) {
        self.rows.add_vm(row.outcome, row.failure);
        self.files.each(|body| body.row(row));
    }

    /// Puts every output in its place, none of them before all of them are on disk, and says where they are.
    pub fn finish(self) -> Result<Written, ReportError> {
        match self.rows == self.summary {
            true => Ok(self.files.end(Body::finish).publish()),
            false => Err(ReportError::Miscounted { rows: self.rows.into(), summary: self.summary.into() }),
        }
    }
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

impl Body {
    fn begin(format: Format, mut output: Output, run: &RunInfo, summary: &Summary) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(CsvReport::begin(output, run.kind, &run.label_columns)?.into()),
            Format::Json => Self::Json(JsonReport::begin(output, run, summary)?),
            Format::JsonLines => Self::JsonLines(JsonLinesReport::begin(output, run.kind)),
            Format::Html => Self::Html(HtmlReport::begin(output, run, summary).into()),
            Format::Junit => Self::Junit(JunitReport::begin(output, run, summary)?),
            Format::Prometheus => {
                prometheus::write(&mut output, run, summary)?;
                Self::Prometheus(output)
            }
        })
    }

    fn row(&mut self, row: &Row) -> io::Result<()> {
        match self {
            Self::Csv(report) => report.row(row),
            Self::Json(report) => report.row(row),
            Self::JsonLines(report) => report.row(row),
            Self::Html(report) => report.row(row),
            Self::Junit(report) => report.row(row),
            Self::Prometheus(_) => Ok(()),
        }
    }

    /// Writes what stands after the rows.
    fn finish(self) -> io::Result<Output> {
        match self {
            Self::Csv(report) => report.finish(),
            Self::Json(report) => report.finish(),
            Self::JsonLines(report) => Ok(report.finish()),
            Self::Html(report) => report.finish(),
            Self::Junit(report) => report.finish(),
            Self::Prometheus(output) => Ok(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::report::fixtures::{rows, run, summary};

    fn files(directory: &TempDir) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn named(outputs: &[PathBuf]) -> Result<Vec<ReportFile<Format>>, ReportError> {
        outputs.iter().cloned().map(ReportFile::named).collect()
    }

    fn check_outputs(outputs: &[PathBuf]) -> Result<(), ReportError> {
        named(outputs)?.iter().try_for_each(ReportFile::check)
    }

    fn write(outputs: &[PathBuf], rows: &[Row]) -> Written {
        let mut reports = Reports::create(&named(outputs).unwrap(), &run(), &summary(rows));
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
            assert_eq!(Format::of_name(Path::new(name)), Some(format), "{name}");
        }
        for name in ["", "report", "csv", "report.xlsx", "report.xml", "report.csv.gz", "/dev/stdout"] {
            assert_eq!(Format::of_name(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn all_formats_are_written_in_one_pass_and_hold_every_row_but_gauges_which_hold_none() {
        let directory = tempfile::tempdir().unwrap();
        let outputs: Vec<_> = Format::ALL
            .iter()
            .map(|(_, extension)| directory.path().join(format!("report{extension}")))
            .collect();
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
        let mut reports = Reports::create(&named(&outputs).unwrap(), &run(), &summary(&rows));
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
        let mut reports = Reports::create(&named(&outputs).unwrap(), &run(), &summary(&rows));
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
            let outputs = std::slice::from_ref(&path);
            let found = check_outputs(outputs).unwrap_err();
            let met = named(outputs).map(|_| write(outputs, &[]).failed.remove(0));
            for error in [found].into_iter().chain(met) {
                let shown = error.to_string().replace(&directory.path().display().to_string(), "DIR");
                assert_eq!(shown, expected);
            }
        }
        let nowhere = check_outputs(&["-".into()]).unwrap_err().to_string();
        assert_eq!(nowhere, "-: a report on standard output needs its format, such as csv:-");
        let unknown = check_outputs(&["xml:-".into()]).unwrap_err().to_string();
        assert!(unknown.contains("FORMAT:FILE"), "{unknown}");
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
