//! The invalid inventory rows that a run went on without, as CSV.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::ReportError;
use super::output::{Output, Place};
use crate::ledger::Skipped;
use crate::text::cell;

/// The first line of such a list.
const HEADER: &str = "file,line,column,reason\n";

/// Nobody names this file: one of that name that is no such list is not ours to overwrite.
pub fn check_skipped(path: &Path) -> Result<(), ReportError> {
    let mut begins = String::new();
    let read = File::open(path).and_then(|file| file.take(HEADER.len() as u64).read_to_string(&mut begins));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) if begins == HEADER => Ok(()),
        Ok(_) | Err(_) => Err(ReportError::NotOurs { path: path.to_owned() }),
    }
}

/// The list, as it is written: published in one piece, or not at all.
pub struct SkippedList {
    path: PathBuf,
    csv: csv::Writer<Output>,
    failed: Option<csv::Error>,
}

impl SkippedList {
    /// Begins to write `path`, whose directory exists.
    pub fn create(path: &Path) -> Result<Self, ReportError> {
        check_skipped(path)?;
        let mut csv = csv::Writer::from_writer(Place::of(path)?.open().map_err(ReportError::write(path))?);
        let failed = csv.write_record(HEADER.trim_end().split(',')).err();
        Ok(Self { path: path.to_owned(), csv, failed })
    }

    /// What goes wrong here is told at the end.
    pub fn row(&mut self, Skipped { file, line, column, reason }: &Skipped) {
        if self.failed.is_none() {
            let record = [&*cell(file), &line.to_string(), &*cell(column), &*cell(reason)];
            self.failed = self.csv.write_record(record).err();
        }
    }

    pub fn finish(self) -> Result<PathBuf, ReportError> {
        let written = match self.failed {
            Some(error) => Err(error.into()),
            None => self.csv.into_inner().map_err(csv::IntoInnerError::into_error),
        };
        let written: io::Result<()> = written.and_then(Output::sync).and_then(Output::publish);
        written.map_err(ReportError::write(&self.path)).map(|()| self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_skipped_row_is_listed_with_its_place_and_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skipped.csv");
        let row =
            Skipped { file: "f.csv".into(), line: 3, column: "vmid".into(), reason: "=1, missing".into() };
        let write = |rows: &[Skipped]| {
            let mut list = SkippedList::create(&path)?;
            for row in rows {
                list.row(row);
            }
            list.finish()
        };
        assert_eq!(write(&[row]).unwrap(), path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "file,line,column,reason\nf.csv,3,vmid,\"'=1, missing\"\n");
        write(&[]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), HEADER, "an older list makes room");
    }

    #[test]
    fn a_file_of_that_name_that_is_no_list_of_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skipped.csv");
        for content in [&b""[..], b"vmid\n10000\n", b"file,line,column,reasons\n", b"\xff\xfe", b"file,line"]
        {
            std::fs::write(&path, content).unwrap();
            assert!(matches!(SkippedList::create(&path), Err(ReportError::NotOurs { .. })));
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }
}
