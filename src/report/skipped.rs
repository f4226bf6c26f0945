//! The invalid inventory rows that a run went on without, as CSV.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::ReportError;
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

/// Writes `path`, whose directory exists, in one piece.
pub fn write_skipped(path: &Path, rows: &[Skipped]) -> Result<(), ReportError> {
    check_skipped(path)?;
    let (_, place) = Place::of(path)?;
    let written = place.open().and_then(|output| write(output, rows)).and_then(Output::sync);
    written.and_then(Output::publish).map_err(ReportError::write(path))
}

fn write(output: Output, rows: &[Skipped]) -> io::Result<Output> {
    let mut csv = csv::Writer::from_writer(output);
    csv.write_record(HEADER.trim_end().split(','))?;
    for Skipped { file, line, column, reason } in rows {
        csv.write_record([&*cell(file), &line.to_string(), &*cell(column), &*cell(reason)])?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)
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
        write_skipped(&path, &[row]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "file,line,column,reason\nf.csv,3,vmid,\"'=1, missing\"\n");
        write_skipped(&path, &[]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), HEADER, "an older list makes room");
    }

    #[test]
    fn a_file_of_that_name_that_is_no_list_of_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skipped.csv");
        for content in [&b""[..], b"vmid\n10000\n", b"file,line,column,reasons\n", b"\xff\xfe", b"file,line"]
        {
            std::fs::write(&path, content).unwrap();
            assert!(matches!(write_skipped(&path, &[]), Err(ReportError::NotOurs { .. })));
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }
}
