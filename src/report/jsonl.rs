//! The report as JSON Lines: one VM an object, one object a line, for streams and `jq`.

use std::io::{self, Write};

use crate::ledger::Row;

use super::json;

/// A JSON Lines report while it is being written.
#[derive(Debug)]
pub(super) struct JsonLinesReport<W: Write> {
    to: W,
}

impl<W: Write> JsonLinesReport<W> {
    pub(super) fn begin(to: W) -> Self {
        Self { to }
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        json::write(&mut self.to, row)?;
        self.to.write_all(b"\n")
    }

    pub(super) fn finish(self) -> W {
        self.to
    }
}
