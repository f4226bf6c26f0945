//! Inventories in CSV: a header row, then one VM a record (RFC 4180).

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::columns::{self, Field, Mapping};
use super::input::{Gauge, count_breaks};
use super::read::{FileError, Labels};
use super::row::{Fault, Values};

/// Calls `each` with the line and the values of every record.
pub(super) fn read<E: From<FileError>>(
    text: impl Read,
    gauge: &Gauge,
    mappings: &[Mapping],
    labels: &mut Labels,
    mut each: impl FnMut(u64, Result<Values, Fault>) -> Result<(), E>,
) -> Result<(), E> {
    // The crate counts lines by line feeds: a record ends with one, also the last, and a carriage return before it
    // is cut off below.
    let terminator = Terminator::Any(b'\n');
    let text = text.chain(&b"\n"[..]);
    let mut reader = ReaderBuilder::new().flexible(true).terminator(terminator).from_reader(text);
    let headers = reader.headers().map_err(|error| syntax(&error))?;
    let headers: Vec<String> = headers.iter().map(|header| header.trim().to_owned()).collect();
    let fields = columns::resolve(&headers, mappings).map_err(FileError::Columns)?;
    for (header, _) in headers.iter().zip(&fields).filter(|(_, field)| field.is_none()) {
        labels.note(header);
    }
    let mut record = ByteRecord::new();
    loop {
        gauge.row_begins();
        if !reader.read_byte_record(&mut record).map_err(|error| syntax(&error))? {
            return Ok(());
        }
        if record.len() == 1 && record[0].trim_ascii().is_empty() {
            continue;
        }
        let line = reader.position().line().saturating_sub(count_breaks(record.as_slice()) + 1);
        each(line, values(&record, &headers, &fields))?;
    }
}

fn values(record: &ByteRecord, headers: &[String], fields: &[Option<Field>]) -> Result<Values, Fault> {
    if record.len() != headers.len() {
        let reason = format!("{} fields, where the header has {}", record.len(), headers.len());
        return Err(Fault::new("row", reason));
    }
    let mut values = Values::default();
    for (column, (header, field)) in headers.iter().zip(fields).enumerate() {
        let text = std::str::from_utf8(&record[column]).map_err(|_| Fault::new(header, "not UTF-8"))?;
        let is_last = column + 1 == headers.len();
        let text = text.strip_suffix('\r').filter(|_| is_last).unwrap_or(text);
        values.set(*field, header, text);
    }
    Ok(values)
}

fn syntax(error: &csv::Error) -> FileError {
    let line = error.position().map_or(1, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    FileError::Syntax { line, reason }
}
