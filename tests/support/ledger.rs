//! What a fixture's ledger says: the program is asked, as its users would.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::fixture::{Fixture, Outcome, report};

/// What a report says of a VM whose call is in flight, or was when the process died.
const IN_FLIGHT: &str = "a call for this VM is in flight, or was when the process died";

impl Fixture {
    pub fn ledger(&self) -> PathBuf {
        self.path("state/v6fleet/ledger.db")
    }

    /// Also while a run is on, whose reports are its own.
    fn ask(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Every run, the newest first; none where there is no ledger yet.
    #[track_caller]
    pub fn runs(&self) -> Vec<Value> {
        let output = self.ask(&["runs", "--format", "json"]);
        if String::from_utf8_lossy(&output.stderr).contains("there is no ledger yet") {
            return vec![];
        }
        parsed(&output)["runs"].as_array().unwrap().clone()
    }

    /// The id of the newest run.
    pub fn latest_run(&self) -> String {
        self.runs()[0]["id"].as_str().unwrap().to_owned()
    }

    /// A run's report as it is now; `latest` is that of the newest run.
    #[track_caller]
    pub fn report_of(&self, run: &str) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let output = self.ask(&["report", run, "-o", &file("report.json"), "-o", &file("report.csv")]);
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        let outcome =
            Outcome { code: output.status.code(), stdout, stderr, dir: None, report: None }.exits(0);
        Outcome { report: Some(report(dir.path())), ..outcome }
    }

    /// The reports of all runs, the newest first.
    pub fn reports_of_all(&self) -> Vec<Outcome> {
        self.runs().iter().map(|run| self.report_of(run["id"].as_str().unwrap())).collect()
    }

    /// How often each VM came out like this, over all runs.
    pub fn times_that_vms_were(&self, outcome: &str) -> BTreeMap<String, usize> {
        let reports = self.reports_of_all();
        let vmids = reports.iter().flat_map(|report| report.vms_that_are(outcome));
        vmids.fold(BTreeMap::new(), |mut times, vmid| {
            *times.entry(vmid.to_owned()).or_default() += 1;
            times
        })
    }

    /// What was last seen of a VM at the one base URL that knows it, and when.
    pub fn last_known(&self, vmid: u64) -> Value {
        let history = parsed(&self.ask(&["history", &self.id(vmid), "--format", "json"]));
        let known = history["last_known"].as_array().unwrap();
        assert_eq!(known.len(), 1, "{history}");
        known[0].clone()
    }

    /// What the database itself says of its file: of its pages and indexes, not of what they hold.
    #[track_caller]
    pub fn assert_file_is_sound(&self) {
        let file = Connection::open_with_flags(self.ledger(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

#[track_caller]
fn parsed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Outcome {
    /// The VMs that have come to their outcome: no other will follow.
    pub fn settled(&self) -> impl Iterator<Item = &Value> {
        self.rows().iter().filter(|row| !row["settled_at"].is_null())
    }

    /// The VMs whose call may have left, and whose outcome is not on disk: in flight, about to be, or answered since
    /// the last commit.
    pub fn in_flight(&self) -> Vec<&str> {
        let rows = self.rows().iter().filter(|row| row["error"] == IN_FLIGHT);
        rows.map(|row| row["vmid"].as_str().unwrap()).collect()
    }
}
