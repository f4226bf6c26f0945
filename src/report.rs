//! Reports: every row of a run, in each format that was asked for, and the recap of the whole.
//!
//! A report is a pure function of the ledger's rows and summary: nothing here knows the network or decides an
//! outcome. All outputs are written in one pass in constant memory, and an old report stays until the new is whole.

mod csv;
#[cfg(test)]
mod fixtures;
mod json;
mod jsonl;
mod output;
pub mod recap;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::ledger::{Counts, Row, RunInfo, Summary};
use crate::text::counted;

use self::csv::CsvReport;
use self::json::JsonReport;
use self::jsonl::JsonLinesReport;
use self::output::{Output, Place};

/// The formats of a report, told apart by the name of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    JsonLines,
}

/// Why a file's name is not that of a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no known kind of report (the name must end in {})", Format::ALL.map(Format::extension).join(", "))]
pub struct UnknownFormat;

impl Format {
    pub const ALL: [Self; 3] = [Self::Csv, Self::Json, Self::JsonLines];

    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => ".csv",
            Self::Json => ".json",
            Self::JsonLines => ".jsonl",
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
    #[error("{}: {reason}", path.display())]
    UnknownFormat { path: PathBuf, reason: UnknownFormat },
    #[error("-: a report goes to a file; standard output holds the recap alone")]
    StandardOutput,
    #[error("{}: is a directory, not a file", path.display())]
    IsDirectory { path: PathBuf },
    #[error("{}: the directory {} does not exist", path.display(), directory.display())]
    MissingDirectory { path: PathBuf, directory: PathBuf },
    #[error("{}: cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The rows and the summary tell of different runs: neither can be believed.
    #[error("the rows ({}) do not add up to the summary ({}); no report was written", told(rows), told(summary))]
    Miscounted { rows: Counts, summary: Counts },
}

impl ReportError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

fn told(counts: &Counts) -> String {
    let Counts { selected, created, unchanged, updated, failed } = counts;
    let vms = counted(*selected, "VM", "VMs");
    format!("{vms}: {created} created, {unchanged} unchanged, {updated} updated, {failed} failed")
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

/// The reports of one run while they are being written.
///
/// Dropped before [`Self::finish`], it takes its temporary files with it and old reports stay as they are.
#[derive(Debug)]
pub struct Reports {
    reports: Vec<Report>,
    summary: Counts,
    rows: Counts,
}

#[derive(Debug)]
struct Report {
    path: PathBuf,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Csv(CsvReport<Output>),
    Json(JsonReport<Output>),
    JsonLines(JsonLinesReport<Output>),
}

impl Reports {
    /// Opens every output and writes what stands before the rows. A directory that is missing is an error.
    pub fn create(outputs: &[PathBuf], run: &RunInfo, summary: &Summary) -> Result<Self, ReportError> {
        let reports = outputs.iter().map(|path| Report::create(path, run, summary)).collect::<Result<_, _>>()?;
        Ok(Self { reports, summary: summary.counts, rows: Counts::default() })
    }

    /// Appends one VM to every output. Rows come in inventory order.
    pub fn row(&mut self, row: &Row) -> Result<(), ReportError> {
        self.rows.selected += 1;
        self.rows.add(row.outcome, 1);
        self.reports.iter_mut().try_for_each(|report| report.row(row))
    }

    /// Puts every output in its place, none of them before all of them are on disk, and says where they are.
    pub fn finish(self) -> Result<Vec<PathBuf>, ReportError> {
        if self.rows != self.summary {
            return Err(ReportError::Miscounted { rows: self.rows, summary: self.summary });
        }
        let whole = self.reports.into_iter().map(Report::finish).collect::<Result<Vec<_>, _>>()?;
        let mut paths = Vec::with_capacity(whole.len());
        for (path, output) in whole {
            output.publish().map_err(ReportError::write(&path))?;
            paths.push(path);
        }
        Ok(paths)
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
        };
        written.map_err(ReportError::write(&self.path))
    }

    /// Writes what stands after the rows, and waits until all of it is on disk.
    fn finish(self) -> Result<(PathBuf, Output), ReportError> {
        let output = match self.body {
            Body::Csv(report) => report.finish(),
            Body::Json(report) => report.finish(),
            Body::JsonLines(report) => Ok(report.finish()),
        };
        match output.and_then(Output::sync) {
            Ok(output) => Ok((self.path, output)),
            Err(error) => Err(ReportError::write(&self.path)(error)),
        }
    }
}

impl Body {
    fn begin(format: Format, output: Output, run: &RunInfo, summary: &Summary) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(CsvReport::begin(output, &run.label_columns)?),
            Format::Json => Self::Json(JsonReport::begin(output, run, summary)?),
            Format::JsonLines => Self::JsonLines(JsonLinesReport::begin(output)),
        })
    }
}
