//! The report as CSV: one line a VM, for spreadsheets and `join`.
//!
//! Every cell is made safe for a spreadsheet and a terminal, whatever the server or the inventory put in it.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::allocation::{Change, Drift};
use crate::ledger::Row;
use crate::outcome::{Basis, Failure};
use crate::text::cell;

type Cell = for<'r> fn(&'r Row) -> Cow<'r, str>;

/// The columns before the labels: an interface, in this order.
const COLUMNS: [(&str, Cell); 23] = [
    ("vmid", |row| row.vmid.as_str().into()),
    ("name", |row| text(row.name.as_ref())),
    ("rack_id", |row| text(row.rack_id.as_ref())),
    ("action", |row| row.action.as_str().into()),
    ("outcome", |row| row.outcome.as_str().into()),
    ("basis", |row| row.basis.map_or("", Basis::as_str).into()),
    ("prefix", |row| text(row.prefix.as_ref())),
    ("next_hop", |row| text(row.next_hop.as_ref())),
    ("status", |row| text(row.status.as_ref())),
    ("previous_prefix", |row| text(row.previous_prefix.as_ref())),
    ("previous_next_hop", |row| text(row.previous_next_hop.as_ref())),
    ("changes", |row| joined(row.changes.iter().map(change))),
    ("drift", |row| joined(row.drift.iter().map(drift))),
    ("failure", |row| row.failure.map_or("", Failure::as_str).into()),
    ("may_have_applied", |row| row.may_have_applied.to_string().into()),
    ("http_status", |row| shown(row.http_status)),
    ("error", |row| text(row.error.as_ref())),
    ("attempts", |row| row.attempts.to_string().into()),
    // To the microsecond: it is the evidence of the pace that was kept.
    ("first_sent_at", |row| shown(row.first_sent_at.map(|at| format!("{at:.6}")))),
    ("settled_at", |row| shown(row.settled_at.map(|at| format!("{at:.3}")))),
    ("latency_ms", |row| shown(row.latency_ms.map(|ms| format!("{ms:.1}")))),
    ("request_id", |row| text(row.request_id.as_ref())),
    ("warnings", |row| joined(row.warnings.iter().cloned())),
];

fn text(value: Option<&String>) -> Cow<'_, str> {
    value.map_or(Cow::Borrowed(""), Cow::from)
}

fn shown(value: Option<impl ToString>) -> Cow<'static, str> {
    value.map_or(Cow::Borrowed(""), |value| value.to_string().into())
}

fn joined(parts: impl Iterator<Item = String>) -> Cow<'static, str> {
    parts.collect::<Vec<_>>().join("; ").into()
}

fn change(Change { field, before, after }: &Change) -> String {
    format!("{}: {before} → {after}", field.as_str())
}

fn drift(Drift { field, expected, actual }: &Drift) -> String {
    format!("{}: {expected}, {actual}", field.as_str())
}

/// A CSV report while it is being written.
#[derive(Debug)]
pub(super) struct CsvReport<W: Write> {
    csv: csv::Writer<W>,
    label_columns: Vec<String>,
}

impl<W: Write> CsvReport<W> {
    pub(super) fn begin(to: W, label_columns: &[String]) -> io::Result<Self> {
        let mut csv = csv::Writer::from_writer(to);
        for (name, _) in COLUMNS {
            csv.write_field(name)?;
        }
        for column in label_columns {
            csv.write_field(&*cell(&format!("label.{column}")))?;
        }
        csv.write_record(None::<&[u8]>)?;
        Ok(Self { csv, label_columns: label_columns.to_vec() })
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        for (_, value) in COLUMNS {
            self.csv.write_field(&*cell(&value(row)))?;
        }
        for column in &self.label_columns {
            let label = row.labels.iter().find(|(name, _)| name == column);
            self.csv.write_field(&*cell(label.map_or("", |(_, value)| value)))?;
        }
        Ok(self.csv.write_record(None::<&[u8]>)?)
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.csv.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}
