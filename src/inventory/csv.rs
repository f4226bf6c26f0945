//! CSV as RFC 4180 has it: a header row, delimiters, quoted fields that may span lines.
//!
//! Built on `csv-core`, the parser inside the `csv` crate, because some things are needed that the crate's own reader
//! cannot say: the line where a record really starts, a bound on its size, and quotation marks that are out of place
//! (one that is never closed would make one VM out of all that follow).

use std::borrow::Cow;
use std::io::{self, BufRead};

use csv_core::ReadRecordResult;

use super::columns::{ColumnMap, Header, MAX_COLUMNS};
use super::delimiter::{self, Delimiter};
use super::encoding::Encoding;
use super::error::{Fault, FileFault, Numbered};
use super::lines::LineEnds;
use super::row::Cells;
use super::source::{MAX_ROW_BYTES, Source};

/// A CSV file whose header was read.
pub(super) struct Table<'s, 'a> {
    records: Records<'s, 'a>,
    header: Header,
    encoding: Encoding,
}

impl<'s, 'a> Table<'s, 'a> {
    pub(super) fn open(
        source: &'s mut Source<'a>,
        encoding: Encoding,
        delimiter: Delimiter,
        map: &ColumnMap,
    ) -> Result<Self, FileFault> {
        let mut ends = LineEnds::default();
        let said = skip_said(source, &mut ends)?;
        let delimiter = match (delimiter, said) {
            (Delimiter::Typed(typed), _) => typed,
            (Delimiter::Auto, Some(said)) => said,
            (Delimiter::Auto, None) => delimiter::of_header(&header_line(source)?, map),
        };
        let mut records = Records::new(source, delimiter, ends);
        let (line, names) = match records.next()? {
            Next::Record { line } => (line, records.names(encoding)),
            Next::Stray { line, field } => (line, Err(format!("column {}: {STRAY}", field + 1))),
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
        Ok(Self { records, header, encoding })
    }

    /// The columns that we know nothing of, in order.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.header.labels()
    }

    /// The next row and the line it starts on; `None` at the end.
    pub(super) fn next_row(&mut self) -> Result<Option<Numbered<Cells<'_>>>, FileFault> {
        match self.records.next()? {
            Next::Record { line } => Ok(Some((line, self.cells()))),
            Next::Stray { line, field } => Ok(Some((line, Err(self.fault(field, STRAY))))),
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
        let mut fields = self.records.iter().enumerate();
        for ((name, meaning), (index, field)) in self.header.columns().zip(&mut fields) {
            let text = std::str::from_utf8(field).map_err(|_| self.fault(index, self.encoding.refusal()))?;
            match meaning {
                Some(column) => cells.set(column, Cow::Borrowed(name), Cow::Borrowed(text)),
                None => cells.label(name, text),
            }
        }
        match fields.find(|(_, field)| !field.trim_ascii().is_empty()) {
            Some((index, _)) => Err(self.fault(index, "has no name in the header, and is not empty here")),
            None => Ok(cells),
        }
    }

    fn fault(&self, field: usize, reason: impl Into<String>) -> Fault {
        Fault { column: self.header.name(field), reason: reason.into() }
    }
}

const STRAY: &str = "a quotation mark out of place: a field is quoted whole, and a quotation mark in it doubled, or not at all";

fn unclosed(line: u64) -> FileFault {
    FileFault::Malformed { line, reason: "a quotation mark is opened in this record and never closed".into() }
}

/// Skips Excel's `sep=;`, where that is the first line.
fn skip_said(source: &mut Source<'_>, ends: &mut LineEnds) -> io::Result<Option<u8>> {
    /// With quotation marks and both line ends.
    const LONGEST: usize = 9;
    let head = source.peek(LONGEST)?;
    let line = head.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    let said = if line <= LONGEST { delimiter::said(&head[..line]) } else { None };
    if said.is_some() {
        ends.feed(&head[..line]);
        source.consume(line);
    }
    Ok(said)
}

/// The first line that is more than delimiters, with all the lines that its quoted fields span.
fn header_line(source: &mut Source<'_>) -> io::Result<Vec<u8>> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'"' || delimiter::KNOWN.contains(byte);
    let mut wanted = 1;
    loop {
        let head = source.peek(wanted)?;
        let is_all = head.len() < wanted || head.len() > MAX_ROW_BYTES;
        let text = head.iter().position(|byte| !is_blank(byte)).unwrap_or(head.len());
        let start =
            head[..text].iter().rposition(|byte| matches!(byte, b'\r' | b'\n')).map_or(0, |end| end + 1);
        let mut quoted = false;
        let end = head[start..].iter().position(|byte| {
            quoted ^= *byte == b'"';
            !quoted && matches!(byte, b'\r' | b'\n')
        });
        match end {
            Some(end) if text < head.len() => return Ok(head[start..start + end].to_vec()),
            _ if is_all => return Ok(head[start..].to_vec()),
            _ => wanted = head.len() + 1,
        }
    }
}

/// What [`Records::next`] found, and the line it starts on.
enum Next {
    Record {
        line: u64,
    },
    /// In one of its fields, the first of which is 0, a quotation mark is out of place.
    Stray {
        line: u64,
        field: usize,
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

/// The records of a file, one at a time, but for those in which there is nothing.
struct Records<'s, 'a> {
    source: &'s mut Source<'a>,
    core: csv_core::Reader,
    quotes: Quotes,
    ends: LineEnds,
    /// The current record's fields, without a gap between them.
    bytes: Vec<u8>,
    /// Where each of the fields ends in `bytes`; `ended` of them are valid.
    field_ends: Vec<usize>,
    ended: usize,
}

impl<'s, 'a> Records<'s, 'a> {
    fn new(source: &'s mut Source<'a>, delimiter: u8, ends: LineEnds) -> Self {
        let core = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        let (bytes, field_ends) = (vec![0; 4096], vec![0; MAX_COLUMNS + 1]);
        Self { source, core, quotes: Quotes::new(delimiter), ends, bytes, field_ends, ended: 0 }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.field_ends.iter().copied());
        starts.zip(&self.field_ends[..self.ended]).map(|(start, &end)| &self.bytes[start..end])
    }

    /// The record as a header.
    fn names(&self, encoding: Encoding) -> Result<Vec<String>, String> {
        let names = self.iter().map(|name| std::str::from_utf8(name).map(|name| name.trim().into()));
        names.collect::<Result<_, _>>().map_err(|_| format!("the header is {}", encoding.refusal()))
    }

    fn next(&mut self) -> io::Result<Next> {
        loop {
            match self.any()? {
                Next::Record { .. } if self.iter().all(|field| field.trim_ascii().is_empty()) => {}
                next => return Ok(next),
            }
        }
    }

    /// The next record, though its cells may all be empty.
    fn any(&mut self) -> io::Result<Next> {
        self.skip_line_ends()?;
        let line = self.ends.line();
        let (mut written, mut oversized) = (0, false);
        self.ended = 0;
        self.quotes.begin();
        loop {
            let unread = self.source.fill_buf()?;
            let at_end = unread.is_empty();
            if at_end && self.quotes.are_open() {
                return Ok(Next::Unclosed { line });
            }
            let input = if at_end { b"\n" } else { unread };
            let (result, read, wrote, ended) =
                self.core.read_record(input, &mut self.bytes[written..], &mut self.field_ends[self.ended..]);
            if !at_end {
                self.quotes.feed(&unread[..read]);
                self.ends.feed(&unread[..read]);
                self.source.consume(read);
            }
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
                ReadRecordResult::Record => return Ok(self.record(line)),
                ReadRecordResult::End => return Ok(Next::End),
            }
        }
    }

    fn record(&self, line: u64) -> Next {
        self.quotes.stray().map_or(Next::Record { line }, |field| Next::Stray { line, field })
    }

    /// Skips empty lines and what is left of a CRLF, so that the next record starts where we are.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let input = self.source.fill_buf()?;
            let skipped = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.ends.feed(&input[..skipped]);
            self.source.consume(skipped);
            if skipped == 0 {
                return Ok(());
            }
        }
    }
}

/// Where the quotation marks of a record are: the parser takes them anywhere, and RFC 4180 does not.
struct Quotes {
    delimiter: u8,
    at: Quoting,
    field: usize,
    /// The first field with a quotation mark that is out of place.
    stray: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// At the start of a field.
    Start,
    Plain,
    Open,
    /// Behind a quotation mark in a quoted field: its end, or the first of two.
    Closed,
}

impl Quotes {
    fn new(delimiter: u8) -> Self {
        Self { delimiter, at: Quoting::Start, field: 0, stray: None }
    }

    fn begin(&mut self) {
        *self = Self::new(self.delimiter);
    }

    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.at = match (self.at, byte) {
                (Quoting::Open, b'"') => Quoting::Closed,
                (Quoting::Start | Quoting::Closed, b'"') | (Quoting::Open, _) => Quoting::Open,
                (_, byte) if byte == self.delimiter => {
                    self.field += 1;
                    Quoting::Start
                }
                (Quoting::Start | Quoting::Closed, b'\r' | b'\n') => Quoting::Start,
                (Quoting::Closed, _) | (Quoting::Plain, b'"') => {
                    self.stray.get_or_insert(self.field);
                    Quoting::Plain
                }
                (Quoting::Start | Quoting::Plain, _) => Quoting::Plain,
            };
        }
    }

    fn are_open(&self) -> bool {
        self.at == Quoting::Open
    }

    fn stray(&self) -> Option<usize> {
        self.stray
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::Trickle;
    use super::*;
    use crate::dialect::Dialect;

    fn open<'s, 'a>(source: &'s mut Source<'a>) -> Result<Table<'s, 'a>, FileFault> {
        Table::open(source, Encoding::UTF_8, Delimiter::Auto, &ColumnMap::default())
    }

    /// Each row as `line: vmid/label`, or its fault.
    fn rows(text: &[u8]) -> Result<Vec<String>, FileFault> {
        let mut source = Source::new(Trickle(text));
        let mut table = open(&mut source)?;
        let mut rows = Vec::new();
        while let Some((line, cells)) = table.next_row()? {
            let vm = cells.and_then(|cells| cells.into_vm(Dialect::V1));
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
        for end in ["\n", "\r\n", "\r"] {
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
                "4: note: not UTF-8: if the file is in another encoding, add --encoding LABEL, such as windows-1252",
                "5: 4 Some(\"d\")",
            ]
        );
    }

    #[test]
    fn a_record_too_long_or_too_wide_is_skipped_and_named() {
        let long = "x".repeat(MAX_ROW_BYTES + 1);
        let wide = ",".repeat(3 * MAX_COLUMNS);
        let text = format!("vmid,note\n1,{long}\n{wide}\n3,c\n");
        let mut source = Source::new(text.as_bytes());
        let mut table = open(&mut source).unwrap();
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
        assert_eq!(
            malformed(b"\n\n\xFF,vmid\n"),
            (3, format!("the header is {}", Encoding::UTF_8.refusal()))
        );
        assert!(malformed(b"ID,Name\n1,a\n").1.ends_with("the columns are: ID, Name"));
        assert_eq!(rows(b"vmid\n").unwrap(), [""; 0]);
    }

    #[test]
    fn a_quotation_mark_out_of_place_makes_a_bad_row_and_hides_no_other() {
        let text = "vmid,note\n\"100\"00,a\n 10,\"a\nb\"\n1, \"a\"\n2,5\" disk\n3,\"a\" \n\"4\",\"a\"\"b\"\n\"\"5,\n6,\"\"\"\"\n7,";
        let rows: Vec<_> = rows(text.as_bytes()).unwrap();
        let starts = [
            "2: vmid: a quotation",
            "3: 10",
            "5: note: a q",
            "6: note: a q",
            "7: note: a q",
            "8: 4 Some(\"a\\\"b\")",
            "9: vmid: a q",
            "10: 6 Some(\"\\\"\")",
            "11: 7 None",
        ];
        assert_eq!(rows.len(), starts.len(), "{rows:#?}");
        for (row, start) in rows.iter().zip(starts) {
            assert!(row.starts_with(start), "{row}");
        }
        assert!(malformed(b"vmid,no\"te\n1,a\n").1.starts_with("column 2: a quotation mark"));
        assert_eq!(malformed(b"vmid,note\n1, \"a\n2,\"b\n").0, 3);
    }

    #[test]
    fn rows_and_columns_without_anything_are_none() {
        let rows = rows(b" ;; ;\n\nvmid;note;;\n;;;\n1;a;;\n\"\";; ;\n;\n2;b; ;\n3;c;d;\n;;;x\n").unwrap();
        assert_eq!(
            rows,
            [
                "5: 1 Some(\"a\")",
                "8: 2 Some(\"b\")",
                "9: column 3: has no name in the header, and is not empty here",
                "10: column 4: has no name in the header, and is not empty here",
            ]
        );
    }

    #[test]
    fn a_delimiter_is_typed_said_or_told() {
        for (text, typed, first) in [
            ("vmid;note\n1;a,b\n", "auto", "2: 1 Some(\"a,b\")"),
            ("vmid\tnote\n1\ta;b\n", "auto", "2: 1 Some(\"a;b\")"),
            ("vmid|note\n1|a\n", "auto", "2: 1 Some(\"a\")"),
            ("sep=;\r\nvmid;note\r\n1;a\r\n", "auto", "3: 1 Some(\"a\")"),
            ("sep=^\nvmid^note\n1^a\n", "auto", "3: 1 Some(\"a\")"),
            ("sep=,\nvmid;note\n1;a\n", ";", "3: 1 Some(\"a\")"),
            ("\"note, and;\nmore|\";vmid\na;1\n", "auto", "3: 1 Some(\"a\")"),
            ("vmid,note;x\n1,a\n", ",", "2: 1 Some(\"a\")"),
        ] {
            let mut source = Source::new(Trickle(text.as_bytes()));
            let typed = typed.parse().unwrap();
            let mut table = Table::open(&mut source, Encoding::UTF_8, typed, &ColumnMap::default()).unwrap();
            let (line, cells) = table.next_row().unwrap().unwrap();
            let vm = cells.unwrap().into_vm(Dialect::V1).unwrap();
            assert_eq!(
                format!("{line}: {} {:?}", vm.id, vm.labels.first().map(|(_, text)| text)),
                first,
                "{text}"
            );
        }
    }
}
