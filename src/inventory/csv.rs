//! CSV as RFC 4180 has it: a header row, commas, quoted fields that may span lines.
//!
//! Built on `csv-core`, the parser inside the `csv` crate, because three things are needed that the crate's own
//! reader cannot say: the line where a record really starts, a bound on its size, and a quote that is never closed
//! (which would make one VM out of all that follow).

use std::borrow::Cow;
use std::io::{self, BufRead};

use csv_core::ReadRecordResult;

use super::columns::{ColumnMap, Header, MAX_COLUMNS};
use super::error::{Fault, FileFault, Numbered};
use super::row::Cells;
use super::source::{MAX_ROW_BYTES, Source};

/// A CSV file whose header was read.
pub(super) struct Table<'s, 'a> {
    records: Records<'s, 'a>,
    header: Header,
}

impl<'s, 'a> Table<'s, 'a> {
    pub(super) fn open(source: &'s mut Source<'a>, map: &ColumnMap) -> Result<Self, FileFault> {
        let mut records = Records::new(source);
        let (line, names) = match records.next()? {
            Next::Record { line } => {
                let names =
                    records.iter().map(|name| std::str::from_utf8(name).map(|name| name.trim().into()));
                (
                    line,
                    names.collect::<Result<Vec<String>, _>>().map_err(|_| "the header is not UTF-8".into()),
                )
            }
            Next::Oversized { line } => (
                line,
                Err(format!(
                    "the header is longer than {} KiB or {MAX_COLUMNS} columns",
                    MAX_ROW_BYTES / 1024
                )),
            ),
            Next::Unclosed { line } => return Err(unclosed(line)),
            Next::End => {
                (1, Err("the file is empty: a header row such as vmid,name,rack_id is needed".into()))
            }
        };
        let header = names.and_then(|names| Header::new(names, map));
        let header = header.map_err(|reason| FileFault::Malformed { line, reason })?;
        Ok(Self { records, header })
    }

    /// The columns that we know nothing of, in order.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.header.labels()
    }

    /// The next row and the line it starts on; `None` at the end.
    pub(super) fn next_row(&mut self) -> Result<Option<Numbered<Cells<'_>>>, FileFault> {
        match self.records.next()? {
            Next::Record { line } => Ok(Some((line, self.cells()))),
            Next::Oversized { line } => Ok(Some((line, Err(Fault::oversized())))),
            Next::Unclosed { line } => Err(unclosed(line)),
            Next::End => Ok(None),
        }
    }

    fn cells(&self) -> Result<Cells<'_>, Fault> {
        let (fields, columns) = (self.records.ended, self.header.len());
        if fields != columns {
            let plural = if fields == 1 { "" } else { "s" };
            return Err(Fault::of_row(format!("{fields} field{plural}, where the header has {columns}")));
        }
        let mut cells = Cells::default();
        for (index, ((name, meaning), field)) in self.header.columns().zip(self.records.iter()).enumerate() {
            let text = std::str::from_utf8(field)
                .map_err(|_| Fault::in_column(self.header.name(index), "not UTF-8"))?;
            match meaning {
                Some(column) => cells.set(column, Cow::Borrowed(name), Cow::Borrowed(text)),
                None => cells.label(name, text),
            }
        }
        Ok(cells)
    }
}

fn unclosed(line: u64) -> FileFault {
    FileFault::Malformed { line, reason: "a quotation mark is opened in this record and never closed".into() }
}

/// What [`Records::next`] found, and the line it starts on.
enum Next {
    Record {
        line: u64,
    },
    /// Longer than [`MAX_ROW_BYTES`] or wider than [`MAX_COLUMNS`]; it was skipped.
    Oversized {
        line: u64,
    },
    /// The file ended within quotes.
    Unclosed {
        line: u64,
    },
    End,
}

/// The records of a file, one at a time.
struct Records<'s, 'a> {
    source: &'s mut Source<'a>,
    core: csv_core::Reader,
    /// The current record's fields, without a gap between them.
    bytes: Vec<u8>,
    /// Where each of the fields ends in `bytes`; `ended` of them are valid.
    ends: Vec<usize>,
    ended: usize,
}

impl<'s, 'a> Records<'s, 'a> {
    fn new(source: &'s mut Source<'a>) -> Self {
        let (bytes, ends) = (vec![0; 4096], vec![0; MAX_COLUMNS + 1]);
        Self { source, core: csv_core::Reader::new(), bytes, ends, ended: 0 }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends[..self.ended]).map(|(start, &end)| &self.bytes[start..end])
    }

    fn next(&mut self) -> io::Result<Next> {
        self.skip_line_ends()?;
        let line = self.core.line();
        let (mut written, mut oversized) = (0, false);
        self.ended = 0;
        loop {
            let unread = self.source.fill_buf()?;
            let at_end = unread.is_empty();
            // The parser does not say that a quote is open, but a line end is content only there.
            let input = if at_end { b"\n" } else { unread };
            let (result, read, wrote, ended) =
                self.core.read_record(input, &mut self.bytes[written..], &mut self.ends[self.ended..]);
            if at_end && wrote > 0 {
                return Ok(Next::Unclosed { line });
            }
            self.source.consume(if at_end { 0 } else { read });
            written += wrote;
            self.ended += ended;
            match result {
                ReadRecordResult::InputEmpty if at_end => return Ok(Next::End),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.bytes.len() < MAX_ROW_BYTES => {
                    self.bytes.resize(self.bytes.len() * 2, 0);
                }
                // From here on the record is only read to find its end.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (written, self.ended, oversized) = (0, 0, true);
                }
                ReadRecordResult::Record if oversized => return Ok(Next::Oversized { line }),
                ReadRecordResult::Record => return Ok(Next::Record { line }),
                ReadRecordResult::End => return Ok(Next::End),
            }
        }
    }

    /// Skips empty lines and what is left of a CRLF, so that the next record starts where we are.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let input = self.source.fill_buf()?;
            let ends = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
            let (skipped, feeds) =
                ends.fold((0, 0), |(skipped, feeds), &byte| (skipped + 1, feeds + u64::from(byte == b'\n')));
            self.core.set_line(self.core.line() + feeds);
            self.source.consume(skipped);
            if skipped == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::Trickle;
    use super::*;

    /// Each row as `line: vmid/label`, or its fault.
    fn rows(text: &[u8]) -> Result<Vec<String>, FileFault> {
        let mut source = Source::new(Box::new(Trickle(text)));
        let mut table = Table::open(&mut source, &ColumnMap::default())?;
        let mut rows = Vec::new();
        while let Some((line, cells)) = table.next_row()? {
            let vm = cells.and_then(|cells| cells.into_vm(true));
            rows.push(match vm {
                Ok(vm) => format!("{line}: {} {:?}", vm.id, vm.labels.first().map(|(_, text)| text.as_str())),
                Err(fault) => format!("{line}: {}: {}", fault.column, fault.reason),
            });
        }
        Ok(rows)
    }

    fn malformed(text: &[u8]) -> (u64, String) {
        match rows(text) {
            Err(FileFault::Malformed { line, reason }) => (line, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_named_by_the_line_it_starts_on() {
        for end in ["\n", "\r\n"] {
            let text = ["vmid,note", "1,a", "", "", "2,\"b", "", "c\"", "3,", "x,d"].join(end);
            let expected = [
                "2: 1 Some(\"a\")".to_owned(),
                format!("5: 2 Some({:?})", format!("b{end}{end}c")),
                "8: 3 None".to_owned(),
                "9: vmid: \"x\": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)"
                    .to_owned(),
            ];
            assert_eq!(rows(text.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn quotes_commas_and_the_missing_last_line_end_are_as_in_rfc_4180() {
        let rows = rows(b" vmid ,note\n\"1\",\"say \"\"hi\"\", twice\"\n2,\"\"").unwrap();
        assert_eq!(rows, ["2: 1 Some(\"say \\\"hi\\\", twice\")", "3: 2 None"]);
    }

    #[test]
    fn a_bad_row_does_not_hide_the_next() {
        let rows = rows(b"vmid,note\n1\n2,a,b\n3,\xFF\n4,d\n").unwrap();
        assert_eq!(
            rows,
            [
                "2: row: 1 field, where the header has 2",
                "3: row: 3 fields, where the header has 2",
                "4: note: not UTF-8",
                "5: 4 Some(\"d\")",
            ]
        );
    }

    #[test]
    fn a_record_too_long_or_too_wide_is_skipped_and_named() {
        let long = "x".repeat(MAX_ROW_BYTES + 1);
        let wide = ",".repeat(3 * MAX_COLUMNS);
        let text = format!("vmid,note\n1,{long}\n{wide}\n3,c\n");
        let mut source = Source::new(Box::new(text.as_bytes()));
        let mut table = Table::open(&mut source, &ColumnMap::default()).unwrap();
        for line in [2, 3] {
            let (at, row) = table.next_row().unwrap().unwrap();
            assert_eq!((at, row.unwrap_err()), (line, Fault::oversized()));
        }
        assert_eq!(table.next_row().unwrap().unwrap().0, 4);
        assert!(table.next_row().unwrap().is_none());
    }

    #[test]
    fn an_open_quote_is_not_one_long_field() {
        let reason = "a quotation mark is opened in this record and never closed";
        assert_eq!(malformed(b"vmid,note\n1,a\n2,\"b\n3,c\n"), (3, reason.into()));
        assert_eq!(rows(b"vmid,note\n1,\"a\"").unwrap(), ["2: 1 Some(\"a\")"]);
    }

    #[test]
    fn a_file_without_a_usable_header_is_refused() {
        assert_eq!(malformed(b"").0, 1);
        assert_eq!(malformed(b"\n\n\xFF,vmid\n"), (3, "the header is not UTF-8".into()));
        assert!(malformed(b"ID,Name\n1,a\n").1.ends_with("the columns are: ID, Name"));
        assert_eq!(rows(b"vmid\n").unwrap(), [""; 0]);
    }
}
