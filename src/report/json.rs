//! The report as one JSON object, for programs: every text exactly as it came, one VM a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::ledger::{Row, RunInfo, Summary};
use crate::text::is_deceptive;

/// What the object's `schema` says: goes up when a reader of the old form would be misled.
pub(super) const SCHEMA: &str = "v6fleet.report/1";

/// A JSON report while it is being written.
#[derive(Debug)]
pub(super) struct JsonReport<W: Write> {
    to: W,
    between: &'static str,
}

impl<W: Write> JsonReport<W> {
    pub(super) fn begin(mut to: W, run: &RunInfo, summary: &Summary) -> io::Result<Self> {
        write!(to, "{{\"schema\":\"{SCHEMA}\",\n\"run\":")?;
        write(&mut to, run)?;
        to.write_all(b",\n\"summary\":")?;
        write(&mut to, summary)?;
        to.write_all(b",\n\"vms\":[")?;
        Ok(Self { to, between: "\n" })
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        self.to.write_all(self.between.as_bytes())?;
        self.between = ",\n";
        write(&mut self.to, row)
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(b"\n]}\n")?;
        Ok(self.to)
    }
}

/// Writes a value on one line.
pub(super) fn write(to: impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::Serializer::with_formatter(to, ForTerminals);
    Ok(value.serialize(&mut json)?)
}

/// Compact JSON that a terminal may show: deceptive characters are `\u` escapes, which read back exactly.
struct ForTerminals;

impl Formatter for ForTerminals {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_deceptive) {
            let (plain, deceptive) = rest.split_at(at);
            to.write_all(plain.as_bytes())?;
            let mut chars = deceptive.chars();
            for unit in chars.next().iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(to, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        to.write_all(rest.as_bytes())
    }
}
