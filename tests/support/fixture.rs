//! A place of its own for every test: a directory with a home, inventories, reports and a ledger, and nothing else
//! of this machine's environment.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use crate::dialect::{Dialect, number};
use crate::postgres::Server;
use crate::sandbox::Sandbox;

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(2);

/// Tests that measure time have the machine to themselves; all others share it. Whoever shares it may share it once more
/// while another waits to have it alone: a test may need several places.
static MACHINE: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// In place of how many share the machine.
const ALONE: usize = usize::MAX;

/// Of the machine, as long as the test runs.
struct Share;

impl Share {
    /// `sharers` is what there is then for those who come, once there are none that stand in the way.
    fn take(stand_in_the_way: impl Fn(usize) -> bool, sharers: impl Fn(usize) -> usize) -> Self {
        let (count, changed) = &MACHINE;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let count = changed.wait_while(count, |count| stand_in_the_way(*count));
        let mut count = count.unwrap_or_else(PoisonError::into_inner);
        *count = sharers(*count);
        Self
    }

    fn with_others() -> Self {
        Self::take(|count| count == ALONE, |count| count + 1)
    }

    fn alone() -> Self {
        Self::take(|count| count != 0, |_| ALONE)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let (count, changed) = &MACHINE;
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = if *count == ALONE { 0 } else { *count - 1 };
        changed.notify_all();
    }
}

/// Waits until `done` says so.
pub fn eventually(what: &str, done: impl FnMut() -> bool) {
    within(PATIENCE, what, done);
}

fn within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < patience, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The program, as cargo has built it for the test or the benchmark that asks.
pub fn binary() -> PathBuf {
    assert_cmd::cargo::cargo_bin("v6fleet")
}

/// Where the project lies.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// One for each test, made first.
pub struct Fixture {
    dir: TempDir,
    env: Vec<(String, String)>,
    dialect: Dialect,
    /// Where its ledger is, if not in a file.
    database: Option<Server>,
    #[expect(dead_code, reason = "held as long as the test runs")]
    share: Share,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(Share::with_others())
    }

    /// No other test runs meanwhile.
    pub fn alone() -> Self {
        Self::with(Share::alone())
    }

    fn with(share: Share) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inventories = root().join("inventories");
        std::os::unix::fs::symlink(inventories, dir.path().join("inventories")).unwrap();
        Self { dir, env: vec![], dialect: Dialect::V1, database: None, share }
    }

    /// With its ledger in a database of its own.
    pub fn in_database(self, server: Server) -> Self {
        let fixture = self.env("V6FLEET_LEDGER", &server.url());
        Self { database: Some(server), ..fixture }
    }

    /// The server that its ledger is kept by.
    pub fn database(&mut self) -> &mut Server {
        self.database.as_mut().unwrap()
    }

    /// A fixture whose runs call `sandbox`, with a key that it accepts.
    pub fn at(sandbox: &Sandbox) -> Self {
        let fixture = Self::new().env("V6FLEET_BASE_URL", &sandbox.base_url()).env("HOSTUP_API_KEY", "a-key");
        match sandbox.ca_file() {
            None => fixture,
            Some(path) => fixture.env("V6FLEET_CA_FILE", path.to_str().unwrap()),
        }
    }

    /// From now on every command speaks this dialect, and the fleet's VMs are called by its ids.
    pub fn speaking(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self.env("V6FLEET_API", dialect.name())
    }

    /// Sets a variable of every command's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// `fleet.csv`, of VMs by their numbers, which stand first in each row.
    pub fn write_fleet(&self, csv: impl AsRef<str>) {
        self.write("fleet.csv", self.dialect.inventory(csv.as_ref()));
    }

    /// What the program calls the VM of this number.
    pub fn id(&self, number: impl Display) -> String {
        self.dialect.id(number)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program in an environment with nothing but a path, the fixture's directories and its variables.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.beside(binary());
        command.args(args);
        command
    }

    /// Another program, where the program would run and with its environment.
    pub fn beside(&self, other: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(other);
        command.current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.env("LANG", "C.UTF-8").env("PATH", "/usr/bin:/bin").env("HOME", self.path("home"));
        command.env("XDG_STATE_HOME", self.path("state")).env("XDG_CONFIG_HOME", self.path("config"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn start(&self, args: &[&str]) -> Process {
        self.spawn(self.command(args))
    }

    pub fn spawn(&self, mut command: Command) -> Process {
        let before = self.reports();
        let output = tempfile::Builder::new().prefix("output-").tempdir_in(self.dir.path()).unwrap().keep();
        let file = |name: &str| File::create(output.join(name)).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().unwrap();
        Process { child, output, home: self.dir.path().to_owned(), before }
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.start(args).end()
    }

    /// Goes on with the latest run.
    pub fn resume(&self, options: &[&str]) -> Outcome {
        self.run(&[&["resume"], options].concat())
    }

    fn reports(&self) -> BTreeSet<Written> {
        reports(self.dir.path())
    }

    /// How many runs have a directory of reports.
    pub fn reported_runs(&self) -> usize {
        self.reports().len()
    }

    /// Every file below the fixture's directory, links aside.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => dirs.push(entry.path()),
                    kind if kind.is_file() => files.push(entry.path()),
                    _ => {}
                }
            }
        }
        files
    }
}

/// A run's directory of reports, and when they were last written: a run that is resumed writes them again.
type Written = (PathBuf, SystemTime);

fn reports(home: &Path) -> BTreeSet<Written> {
    let Ok(runs) = fs::read_dir(home.join("reports")) else { return BTreeSet::new() };
    let written = |run: &Path| fs::metadata(run.join("report.json")).and_then(|report| report.modified());
    runs.map(|run| run.unwrap().path()).filter_map(|run| written(&run).ok().map(|at| (run, at))).collect()
}

/// The program while it runs; killed with the test.
pub struct Process {
    child: Child,
    output: PathBuf,
    home: PathBuf,
    before: BTreeSet<Written>,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(self.output.join("stdout")).unwrap()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.output.join("stderr")).unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "SIG{name} could not be sent");
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end by itself.
    pub fn end(self) -> Outcome {
        self.end_within(PATIENCE)
    }

    pub fn end_within(mut self, patience: Duration) -> Outcome {
        within(patience, "the program ends", || !self.is_running());
        let code = self.child.wait().unwrap().code();
        let text = |name: &str| fs::read_to_string(self.output.join(name)).unwrap();
        let mut new = reports(&self.home).difference(&self.before).cloned().collect::<Vec<_>>();
        assert!(new.len() <= 1, "one run, one directory of reports");
        let dir = new.pop().map(|(dir, _)| dir);
        let report = dir.as_deref().map(report);
        let stdout = text("stdout");
        if stdout.starts_with("{\"schema\":\"v6fleet.audit/") {
            assert_valid(&serde_json::from_str(&stdout).unwrap(), "audit.schema.json");
        }
        Outcome { code, stdout, stderr: text("stderr"), dir, report }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of one command.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Where the run's reports are.
    pub dir: Option<PathBuf>,
    pub report: Option<Value>,
}

impl Outcome {
    /// Goes on only if the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn assert_in_stdout(&self, text: &str) {
        assert!(self.stdout.contains(text), "{text:?} is not in\n{}", self.stdout);
    }

    #[track_caller]
    pub fn assert_in_stderr(&self, text: &str) {
        assert!(self.stderr.contains(text), "{text:?} is not in\n{}", self.stderr);
    }

    pub fn report(&self) -> &Value {
        self.report.as_ref().unwrap()
    }

    pub fn summary(&self) -> &Value {
        &self.report()["summary"]
    }

    pub fn rows(&self) -> &[Value] {
        self.report()["vms"].as_array().unwrap()
    }

    #[track_caller]
    pub fn row(&self, vmid: &str) -> &Value {
        self.rows().iter().find(|row| row["vmid"] == vmid).unwrap()
    }

    pub fn vmids(&self) -> Vec<&str> {
        self.rows().iter().map(|row| row["vmid"].as_str().unwrap()).collect()
    }

    /// The VMs with an outcome.
    pub fn vms_that_are(&self, outcome: &str) -> Vec<&str> {
        let rows = self.rows().iter().filter(|row| row["outcome"] == outcome);
        rows.map(|row| row["vmid"].as_str().unwrap()).collect()
    }

    /// Each VM as `vmid outcome basis`, or `vmid failed failure`.
    pub fn verdicts(&self) -> Vec<String> {
        let word = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let verdict = |row: &Value| {
            let why = word(row, if row["outcome"] == "failed" { "failure" } else { "basis" });
            format!("{} {} {why}", word(row, "vmid"), word(row, "outcome"))
        };
        self.rows().iter().map(verdict).collect()
    }

    /// The lines of report.csv, the header first.
    pub fn csv(&self) -> Vec<csv::StringRecord> {
        let path = self.dir.as_ref().unwrap().join("report.csv");
        let csv = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
        csv.into_records().map(Result::unwrap).collect()
    }
}

/// Checks a report, an audit, or a row of one, against its schema in docs/.
#[track_caller]
pub fn assert_valid(json: &Value, schema: &str) {
    let path = root().join("docs").join(schema);
    let schema = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let options = jsonschema::options().should_validate_formats(true);
    let schema = options.with_base_uri(format!("file://{}", path.display())).build(&schema).unwrap();
    let faults: Vec<String> =
        schema.iter_errors(json).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new());
}

/// What a run says of its VMs, and what a plan does.
const OUTCOMES: [&[&str]; 2] =
    [&["created", "unchanged", "updated", "failed"], &["create", "update", "keep", "blocked", "failed"]];

/// Reads a run's report, and checks what holds for every one: one row a VM, and sums that are right. Its VMs are called
/// by their numbers.
pub fn report(dir: &Path) -> Value {
    let mut report: Value = serde_json::from_slice(&fs::read(dir.join("report.json")).unwrap()).unwrap();
    assert_valid(&report, "report.schema.json");
    let is_plan = report["run"]["kind"] == "plan";
    let rows = report["vms"].as_array().unwrap();
    let count = |outcome: &str| rows.iter().filter(|row| row["outcome"] == outcome).count();
    let summary = &report["summary"];
    let outcomes = OUTCOMES[usize::from(is_plan)];
    for outcome in outcomes {
        assert_eq!(summary[outcome], count(outcome), "{outcome}");
    }
    let sum: usize = outcomes.iter().map(|outcome| count(outcome)).sum();
    assert_eq!((&summary["selected"], sum), (&rows.len().into(), rows.len()));
    let vmids: BTreeSet<&str> = rows.iter().map(|row| row["vmid"].as_str().unwrap()).collect();
    assert_eq!(vmids.len(), rows.len(), "a VM has two rows");
    for row in rows {
        let failed = row["outcome"] == "failed";
        let found = (row["basis"].is_null(), row["failure"].is_string());
        assert_eq!(found, (failed || is_plan, failed), "{row}");
    }
    let csv = csv::Reader::from_path(dir.join("report.csv")).unwrap();
    let csv: Vec<csv::StringRecord> = csv.into_records().map(Result::unwrap).collect();
    let same = csv.iter().zip(rows).all(|(cells, row)| row["vmid"] == cells[0] && row["outcome"] == cells[4]);
    assert!(csv.len() == rows.len() && same, "report.csv and report.json differ");
    for row in report["vms"].as_array_mut().unwrap() {
        row["vmid"] = number(row["vmid"].as_str().unwrap()).into();
    }
    report
}
