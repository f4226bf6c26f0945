//! The invalid inventory rows that a run went on without, as CSV.

use std::io;
use std::path::Path;

use super::ReportError;
use super::output::{Output, Place};
use crate::ledger::Skipped;
use crate::text::cell;

/// Writes `path`, whose directory exists, in one piece.
pub fn write_skipped(path: &Path, rows: &[Skipped]) -> Result<(), ReportError> {
    let (_, place) = Place::of(path)?;
    let written = place.open().and_then(|output| write(output, rows)).and_then(Output::sync);
    written.and_then(Output::publish).map_err(ReportError::write(path))
}

fn write(output: Output, rows: &[Skipped]) -> io::Result<Output> {
    let mut csv = csv::Writer::from_writer(output);
    csv.write_record(["file", "line", "column", "reason"])?;
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
    }
}
