//! Findings in files: JSON, JSON Lines and CSV for programs, written as they come, and HTML for people.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::html::HtmlAudit;
use super::{AuditInfo, AuditSummary};
use crate::audit::{Finding, Other};
use crate::report::error::ReportError;
use crate::report::files::{FileFormat, Files, ReportFile};
use crate::report::json;
use crate::report::output::Output;
use crate::text::cell;

/// What the object's `schema` says.
const SCHEMA: &str = "v6fleet.audit/1";

/// The audit as one JSON object, one finding a line.
#[derive(Debug)]
pub struct JsonAudit<W> {
    to: W,
    between: &'static str,
}

impl<W: Write> JsonAudit<W> {
    pub fn begin(mut to: W, info: &AuditInfo) -> io::Result<Self> {
        write!(to, "{{\"schema\":\"{SCHEMA}\",\n\"audit\":")?;
        json::write(&mut to, info)?;
        to.write_all(b",\n\"findings\":[")?;
        Ok(Self { to, between: "\n" })
    }

    pub fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.to.write_all(self.between.as_bytes())?;
        self.between = ",\n";
        json::write(&mut self.to, finding)
    }

    pub fn finish(mut self, summary: &AuditSummary) -> io::Result<W> {
        self.to.write_all(b"\n],\n\"summary\":")?;
        json::write(&mut self.to, summary)?;
        self.to.write_all(b"}\n")?;
        self.to.flush()?;
        Ok(self.to)
    }
}

const COLUMNS: [&str; 10] =
    ["severity", "kind", "vmid", "name", "rack_id", "expected", "actual", "other_vms", "others", "seen_at"];

#[derive(Debug)]
struct CsvAudit<W: Write>(::csv::Writer<W>);

impl<W: Write> CsvAudit<W> {
    fn begin(to: W) -> io::Result<Self> {
        let mut csv = ::csv::Writer::from_writer(to);
        csv.write_record(COLUMNS)?;
        Ok(Self(csv))
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let Finding { severity, kind, vmid, name, rack_id, expected, actual, other_vms, others, seen_at } =
            finding;
        let text = |text: &Option<String>| cell(text.as_deref().unwrap_or_default()).into_owned();
        let others = others.iter().map(|Other { vmid, prefix, .. }| format!("{vmid}: {prefix}"));
        self.0.write_record([
            severity.as_str(),
            kind.as_str(),
            &cell(vmid),
            &text(name),
            &text(rack_id),
            &text(expected),
            &text(actual),
            &other_vms.to_string(),
            &cell(&others.collect::<Vec<_>>().join("; ")),
            &seen_at.map(|at| format!("{at:.3}")).unwrap_or_default(),
        ])?;
        Ok(())
    }

    fn finish(self) -> io::Result<W> {
        self.0.into_inner().map_err(::csv::IntoInnerError::into_error)
    }
}

#[derive(Debug)]
enum Body {
    Csv(Box<CsvAudit<Output>>),
    Json(JsonAudit<Output>),
    JsonLines(Output),
    Html(HtmlAudit<Output>),
}

impl Body {
    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.finding(finding),
            Self::Json(json) => json.finding(finding),
            Self::JsonLines(to) => {
                json::write(&mut *to, finding)?;
                to.write_all(b"\n")
            }
            Self::Html(html) => {
                html.finding(finding);
                Ok(())
            }
        }
    }

    fn finish(self, summary: &AuditSummary) -> io::Result<Output> {
        match self {
            Self::Csv(csv) => csv.finish(),
            Self::Json(json) => json.finish(summary),
            Self::JsonLines(to) => Ok(to),
            Self::Html(html) => html.finish(summary),
        }
    }
}

/// The formats of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    JsonLines,
    Html,
}

impl FileFormat for Format {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Csv, ".csv"), (Self::Json, ".json"), (Self::JsonLines, ".jsonl"), (Self::Html, ".html")];

    fn unknown(_: &Path, extensions: &str) -> String {
        format!("findings are written to a file whose name ends in one of {extensions}")
    }
}

/// The files of an audit while they are being written.
#[derive(Debug)]
pub struct AuditFiles(Files<Body>);

impl AuditFiles {
    /// Opens every file. An error if one of them cannot be written.
    pub fn create(files: &[ReportFile<Format>], info: &AuditInfo) -> Result<Self, ReportError> {
        let begin = |format, output| match format {
            Format::Csv => Ok(Body::Csv(CsvAudit::begin(output)?.into())),
            Format::Json => Ok(Body::Json(JsonAudit::begin(output, info)?)),
            Format::JsonLines => Ok(Body::JsonLines(output)),
            Format::Html => Ok(Body::Html(HtmlAudit::begin(output, info))),
        };
        Files::create(files, begin).all().map(Self)
    }

    /// Appends one finding to every file; what goes wrong here is told at the end.
    pub fn finding(&mut self, finding: &Finding) {
        self.0.each(|body| body.finding(finding));
    }

    /// Puts every file in its place, none of them unless all of them are on disk, and says where they are.
    pub fn finish(self, summary: &AuditSummary) -> Result<Vec<PathBuf>, ReportError> {
        self.0.end(|body| body.finish(summary)).all()?.publish().all()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::audit::tests::{findings, info, summary};

    #[test]
    fn in_csv_every_finding_is_a_line_that_no_spreadsheet_runs() {
        let mut csv = CsvAudit::begin(Vec::new()).unwrap();
        for finding in findings() {
            csv.finding(&finding).unwrap();
        }
        insta::assert_snapshot!(String::from_utf8(csv.finish().unwrap()).unwrap(), @r"
        severity,kind,vmid,name,rack_id,expected,actual,other_vms,others,seen_at
        error,same_prefix,10000,'=vm\u{1b},dc1r28,,2001:db8::/56,4,20000: 2001:db8::/48,2026-11-23T02:15:01.000Z
        error,overlapping_prefix,10001,'=vm\u{1b},dc1r28,,2001:db8::/56,4,20000: 2001:db8::/48,2026-11-23T02:15:01.000Z
        error,prefix_differs,10002,'=vm\u{1b},dc1r28,2001:db8::/48,2001:db8::1/48,0,,2026-11-23T02:15:01.000Z
        error,next_hop_differs,10003,'=vm\u{1b},dc1r28,2001:db8::1,2001:db8::9,0,,2026-11-23T02:15:01.000Z
        error,rack_differs,10004,'=vm\u{1b},dc1r28,dc1r28,dc1r29,0,,2026-11-23T02:15:01.000Z
        error,released,10005,'=vm\u{1b},dc1r28,,2026-11-20 00:00:00+00,0,,2026-11-23T02:15:01.000Z
        error,never_seen,10006,'=vm\u{1b},dc1r28,,,0,,
        error,no_allocation,10007,'=vm\u{1b},dc1r28,,,0,,2026-11-23T02:15:01.000Z
        warning,not_active,10008,'=vm\u{1b},dc1r28,active,'=odd\u{1b},0,,2026-11-23T02:15:01.000Z
        warning,cooling_down,10009,'=vm\u{1b},dc1r28,,2026-11-20 00:00:00+00,0,,2026-11-23T02:15:01.000Z
        warning,odd_next_hop,10010,'=vm\u{1b},dc1r28,2001:db8::1,2001:db8::9,12,,2026-11-23T02:15:01.000Z
        warning,account_differs,10011,'=vm\u{1b},dc1r28,1,2,0,,2026-11-23T02:15:01.000Z
        warning,client_differs,10012,'=vm\u{1b},dc1r28,1,2,0,,2026-11-23T02:15:01.000Z
        warning,proxmox_vm_differs,10013,'=vm\u{1b},dc1r28,1,2,0,,2026-11-23T02:15:01.000Z
        warning,not_in_inventory,10014,,dc1r28,,2001:db8::/56,0,,2026-11-23T02:15:01.000Z
        notice,not_seen_lately,10015,'=vm\u{1b},dc1r28,,,0,,2026-11-23T02:15:01.000Z
        notice,host_bits,10016,'=vm\u{1b},dc1r28,2001:db8::/48,2001:db8::1/48,0,,2026-11-23T02:15:01.000Z
        ");
    }

    #[test]
    fn in_json_it_is_one_object_also_where_nothing_is_found() {
        for found in [&findings()[..], &[]] {
            let mut json = JsonAudit::begin(Vec::new(), &info()).unwrap();
            for finding in found {
                json.finding(finding).unwrap();
            }
            let read: Value = serde_json::from_slice(&json.finish(&summary(found)).unwrap()).unwrap();
            assert_eq!((&read["schema"], &read["audit"]["max_age_days"]), (&SCHEMA.into(), &30.into()));
            assert_eq!(read["findings"], serde_json::to_value(found).unwrap());
            assert_eq!(read["summary"]["findings"], found.len());
        }
    }

    #[test]
    fn the_json_summary_counts_by_kind_and_by_severity() {
        insta::assert_json_snapshot!(summary(&findings()), @r#"
        {
          "inventory": [
            {
              "path": "fleet.csv",
              "sha256": "abababababababababababababababababababababababababababababababab"
            }
          ],
          "selected": 60,
          "skipped": 0,
          "vms_with_findings": 17,
          "findings": 17,
          "severities": {
            "notice": 2,
            "warning": 7,
            "error": 8
          },
          "kinds": {
            "same_prefix": 1,
            "overlapping_prefix": 1,
            "prefix_differs": 1,
            "next_hop_differs": 1,
            "rack_differs": 1,
            "released": 1,
            "never_seen": 1,
            "no_allocation": 1,
            "not_active": 1,
            "cooling_down": 1,
            "odd_next_hop": 1,
            "account_differs": 1,
            "client_differs": 1,
            "proxmox_vm_differs": 1,
            "not_in_inventory": 1,
            "not_seen_lately": 1,
            "host_bits": 1
          },
          "warnings": []
        }
        "#);
    }

    #[test]
    fn files_are_whole_or_not_there_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files =
            ["audit.csv", "audit.json", "audit.jsonl", "audit.html"].map(|name| dir.path().join(name));
        let named = files.clone().map(|file| ReportFile::named(file).unwrap());
        for finished in [false, true] {
            let mut open = AuditFiles::create(&named, &info()).unwrap();
            for finding in findings() {
                open.finding(&finding);
            }
            if finished {
                assert_eq!(open.finish(&summary(&findings())).unwrap(), files);
            } else {
                drop(open);
            }
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), if finished { files.len() } else { 0 });
        }
        let lines = std::fs::read_to_string(&files[2]).unwrap();
        let kinds = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone());
        assert_eq!(kinds.collect::<Vec<_>>(), findings().iter().map(|f| f.kind.as_str()).collect::<Vec<_>>());
        for name in ["audit.xml", "audit", "-"] {
            let error = ReportFile::<Format>::named(name.into()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: findings are written to a file")), "{error}");
        }
    }
}
