//! The report as CSV: one line a VM, for spreadsheets and `join`.
//!
//! Every cell is made safe for a spreadsheet and a terminal, whatever the server or the inventory put in it.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::allocation::{Change, Drift};
use crate::ledger::Row;
use crate::outcome::{Basis, Failure, Kind};
use crate::text::cell;

type Cell = for<'r> fn(&'r Row) -> Cow<'r, str>;

/// Which kind of run a column is for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum For {
    Both,
    One(Kind),
}

const BOTH: For = For::Both;
const RUN: For = For::One(Kind::Run);
const PLAN: For = For::One(Kind::Plan);

/// The columns before the labels: an interface, in this order.
const COLUMNS: [(&str, For, Cell); 25] = [
    ("vmid", BOTH, |row| row.vmid.as_str().into()),
    ("name", BOTH, |row| or_empty(row.name.as_ref())),
    ("rack_id", BOTH, |row| or_empty(row.rack_id.as_ref())),
    ("action", BOTH, |row| row.action.as_str().into()),
    ("outcome", BOTH, |row| row.outcome.as_str().into()),
    ("basis", RUN, |row| row.basis.map_or("", Basis::as_str).into()),
    ("reason", PLAN, |row| or_empty(row.reason())),
    ("prefix", BOTH, |row| or_empty(row.prefix.as_ref())),
    ("next_hop", BOTH, |row| or_empty(row.next_hop.as_ref())),
    ("planned_next_hop", PLAN, |row| or_empty(row.planned_next_hop.as_ref())),
    ("status", BOTH, |row| or_empty(row.status.as_ref())),
    ("previous_prefix", RUN, |row| or_empty(row.previous_prefix.as_ref())),
    ("previous_next_hop", RUN, |row| or_empty(row.previous_next_hop.as_ref())),
    ("changes", RUN, |row| joined(row.changes.iter().map(change))),
    ("drift", BOTH, |row| joined(row.drift.iter().map(drift))),
    ("failure", BOTH, |row| row.failure.map_or("", Failure::as_str).into()),
    ("may_have_applied", RUN, |row| if row.may_have_applied { "true" } else { "false" }.into()),
    ("http_status", BOTH, |row| or_empty(row.http_status.map(|status| status.to_string()))),
    ("error", BOTH, |row| or_empty(row.mishap())),
    ("attempts", BOTH, |row| row.attempts.to_string().into()),
    // To the microsecond: it is the evidence of the pace that was kept.
    ("first_sent_at", BOTH, |row| or_empty(row.first_sent_at.map(|at| format!("{at:.6}")))),
    ("settled_at", BOTH, |row| or_empty(row.settled_at.map(|at| format!("{at:.3}")))),
    ("latency_ms", BOTH, |row| or_empty(row.latency_ms.map(|ms| format!("{ms:.1}")))),
    ("request_id", BOTH, |row| or_empty(row.request_id.as_ref())),
    ("warnings", BOTH, |row| joined(row.warnings.iter().cloned())),
];

fn columns(kind: Kind) -> impl Iterator<Item = (&'static str, Cell)> {
    let is_for = move |(name, whom, cell)| (whom == BOTH || whom == For::One(kind)).then_some((name, cell));
    COLUMNS.into_iter().filter_map(is_for)
}

fn or_empty<'a>(value: Option<impl Into<Cow<'a, str>>>) -> Cow<'a, str> {
    value.map_or(Cow::Borrowed(""), Into::into)
}

fn joined(parts: impl Iterator<Item = String>) -> Cow<'static, str> {
    parts.collect::<Vec<_>>().join("; ").into()
}

pub(super) fn change(Change { field, before, after }: &Change) -> String {
    format!("{}: {before} → {after}", field.as_str())
}

pub(super) fn drift(Drift { field, expected, actual }: &Drift) -> String {
    format!("{}: {expected}, {actual}", field.as_str())
}

/// A CSV report while it is being written.
#[derive(Debug)]
pub(super) struct CsvReport<W: Write> {
    csv: csv::Writer<W>,
    kind: Kind,
    label_columns: Vec<String>,
}

impl<W: Write> CsvReport<W> {
    pub(super) fn begin(to: W, kind: Kind, label_columns: &[String]) -> io::Result<Self> {
        let mut csv = csv::Writer::from_writer(to);
        for (name, _) in columns(kind) {
            csv.write_field(name)?;
        }
        for column in label_columns {
            csv.write_field(&*cell(&format!("label.{column}")))?;
        }
        csv.write_record(None::<&[u8]>)?;
        Ok(Self { csv, kind, label_columns: label_columns.to_vec() })
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        for (_, value) in columns(self.kind) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::fixtures::{any_text, forecasts, rows, run, with_text};
    use crate::text::is_deceptive;

    fn written(rows: &[Row], label_columns: &[String]) -> String {
        of(Kind::Run, rows, label_columns)
    }

    fn of(kind: Kind, rows: &[Row], label_columns: &[String]) -> String {
        let mut report = CsvReport::begin(Vec::new(), kind, label_columns).unwrap();
        for row in rows {
            report.row(row).unwrap();
        }
        String::from_utf8(report.finish().unwrap()).unwrap()
    }

    fn read(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn every_outcome_and_every_failure_has_its_line() {
        insta::assert_snapshot!(written(&rows(), &run().label_columns), @r#"
        vmid,name,rack_id,action,outcome,basis,prefix,next_hop,status,previous_prefix,previous_next_hop,changes,drift,failure,may_have_applied,http_status,error,attempts,first_sent_at,settled_at,latency_ms,request_id,warnings,label.owner,label.tier
        10000,web-1,dc1r28,allocate,created,created_flag,2001:db8::1/48,2001:db8::1,active,,,,,,false,200,,1,2026-11-23T02:15:00.123456Z,2026-11-23T02:15:00.500Z,376.5,2121ae20,,net,1
        10001,web-1,dc1r28,allocate,created,lost_answer,2001:db8::1/48,2001:db8::1,active,,,,,,false,200,,1,2026-11-23T02:15:00.123456Z,2026-11-23T02:15:00.500Z,376.5,2121ae20,,net,1
        10002,web-1,dc1r28,allocate,unchanged,ledger,2001:db8::1/48,2001:db8::1,active,,,,,,false,200,,1,2026-11-23T02:15:00.123456Z,2026-11-23T02:15:00.500Z,376.5,2121ae20,,net,1
        10003,web-1,dc1r28,allocate,updated,ledger,2001:db8:9::1/48,2001:db8::2,active,2001:db8::1/48,2001:db8::1,prefix: 2001:db8::1/48 → 2001:db8:9::1/48; next_hop: 2001:db8::1 → 2001:db8::2,"rack_id: dc1r29, dc1r28; client_id: 1, 30000",,false,200,,1,2026-11-23T02:15:00.123456Z,2026-11-23T02:15:00.500Z,376.5,2121ae20,"status is odd, not active; says ""so""",,'=cmd|' /C calc'!A0
        10004,web-1,dc1r28,allocate,updated,server_clock,2001:db8::1/48,2001:db8::1,active,,,,,,false,200,,1,2026-11-23T02:15:00.123456Z,2026-11-23T02:15:00.500Z,376.5,2121ae20,,net,1
        10005,web-1,dc1r28,allocate,unchanged,none,2001:db8::1/48,2001:db8::1,active,,,,,,false,200,,1,2026-11-23T02:15:00.123456Z,2026-11-23T02:15:00.500Z,376.5,2121ae20,,net,1
        10010,,dc1r29,allocate,failed,,,,,,,,,rejected,false,422,prefix exhausted,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10011,,dc1r29,allocate,failed,,,,,,,,,unauthorized,false,401,invalid key,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10012,,dc1r29,allocate,failed,,,,,,,,,forbidden,false,403,not your VM,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10013,,dc1r29,allocate,failed,,,,,,,,,not_found,false,404,no such VM,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10014,,dc1r29,allocate,failed,,,,,,,,,conflict,false,409,VPS not ready,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10015,,dc1r29,allocate,failed,,,,,,,,,rate_limited,false,429,too many requests,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10016,,dc1r29,allocate,failed,,,,,,,,,server_error,true,503,upstream\nunavailable \u{1b}[31m,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10017,,dc1r29,allocate,failed,,,,,,,,,timeout,true,,no answer within 30 s,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10018,,dc1r29,allocate,failed,,,,,,,,,connect,false,,connection refused,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10019,,dc1r29,allocate,failed,,,,,,,,,tls,false,,certificate expired,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10020,,dc1r29,allocate,failed,,,,,,,,,redirected,false,302,redirected to https://example.net/,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10021,,dc1r29,allocate,failed,,,,,,,,,malformed_answer,true,200,not JSON,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10022,,dc1r29,allocate,failed,,,,,,,,,refused_by_api,false,200,success is false,5,2026-11-23T02:15:01.000000Z,2026-11-23T02:15:06.000Z,,,,,
        10023,,,allocate,failed,,,,,,,,,not_attempted,false,,,0,,,,,,,
        "#);
    }

    #[test]
    fn a_plan_has_columns_of_its_own() {
        insta::assert_snapshot!(of(Kind::Plan, &forecasts(), &[]));
    }

    #[test]
    fn the_header_stands_alone_where_there_is_no_row() {
        assert_eq!(read(&written(&[], &["=own\ner".into()]))[0].last().unwrap(), r"label.=own\ner");
        assert_eq!(written(&[], &[]).lines().count(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_one_cell_that_nothing_obeys(text in any_text()) {
            let row = with_text(&text);
            let columns = vec!["any".to_owned()];
            let read = read(&written(std::slice::from_ref(&row), &columns));
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!(read[1].len(), super::columns(Kind::Run).count() + columns.len());
            for shown in &read[1] {
                prop_assert!(!shown.contains(is_deceptive), "{:?}", shown);
                let formula = shown.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
                prop_assert!(!formula || shown.parse::<f64>().is_ok(), "{:?}", shown);
            }
            let [vmid, name, label] = [0, 1, super::columns(Kind::Run).count()].map(|at| read[1][at].as_str());
            let expected = cell(&text);
            prop_assert_eq!([vmid, name, label], [&*expected; 3]);
        }
    }
}
