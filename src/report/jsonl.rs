//! The report as JSON Lines: one VM an object, one object a line, for streams and `jq`.

use std::io::{self, Write};

use crate::ledger::Row;

use super::json::{self, JsonRow};
use crate::outcome::Kind;

/// A JSON Lines report while it is being written.
#[derive(Debug)]
pub(super) struct JsonLinesReport<W: Write> {
    to: W,
    kind: Kind,
}

impl<W: Write> JsonLinesReport<W> {
    pub(super) fn begin(to: W, kind: Kind) -> Self {
        Self { to, kind }
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        json::write(&mut self.to, &JsonRow::of(self.kind, row))?;
        self.to.write_all(b"\n")
    }

    pub(super) fn finish(self) -> W {
        self.to
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::fixtures::rows;

    #[test]
    fn each_line_is_one_vm_as_the_json_report_has_it() {
        let rows = rows();
        let mut report = JsonLinesReport::begin(Vec::new(), Kind::Run);
        for row in &rows {
            report.row(row).unwrap();
        }
        let written = String::from_utf8(report.finish()).unwrap();
        let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(
            lines.iter().all(|line| line.get("planned_next_hop").is_none() && line["changes"].is_array())
        );
        let expected: Vec<Value> = rows.iter().map(|row| serde_json::to_value(row).unwrap()).collect();
        assert_eq!(lines, expected);
    }
}
