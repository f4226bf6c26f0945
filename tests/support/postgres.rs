//! A PostgreSQL of a test's own: a cluster in a temporary directory, reached by a socket in it and, unless TLS is its
//! subject, by nothing else. The machine's own server is neither asked nor disturbed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::fixture::eventually;
use crate::skip::skipped_but_on_ci;

/// What a cluster is made with, in the directory `data`.
const LAYOUT: &str = "-D data -A trust -E UTF8 --locale=C --no-sync -U fleet";

/// The user that nobody is: PostgreSQL refuses to be run by root.
const NOBODY: u32 = 65534;

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The port by which the socket is named.
const PORT: u16 = 5432;

/// The role that owns the cluster.
const USER: &str = "fleet";

/// Who may connect over TCP: whoever knows the password, over TLS or not.
const BY_PASSWORD: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// A running server; it is stopped, and all that it kept is removed, when this is dropped.
pub struct Server {
    dir: TempDir,
    process: Child,
    settings: Vec<String>,
    port: u16,
}

impl Server {
    /// One that loses what was written when the machine does, and is fast. `None` where PostgreSQL is not installed: the
    /// test says that it was skipped, and on CI it fails.
    pub fn start() -> Option<Self> {
        let programs = is_installed().then(programs)??;
        let dir = Self::cluster(&programs);
        Some(Self::on(&programs, dir, &["fsync=off", "full_page_writes=off"], PORT))
    }

    /// One that keeps what it says it has written.
    pub fn durable() -> Option<Self> {
        let programs = is_installed().then(programs)??;
        let dir = Self::cluster(&programs);
        Some(Self::on(&programs, dir, &[], PORT))
    }

    /// One that speaks TLS on a port of 127.0.0.1, with this certificate and key (PEM), to whoever knows the password.
    pub fn over_tls(certificate: &str, key: &str, password: &str) -> Option<Self> {
        let programs = is_installed().then(programs)??;
        let dir = Self::cluster(&programs);
        for (file, content) in
            [("server.crt", certificate), ("server.key", key), ("pg_hba.conf", BY_PASSWORD)]
        {
            write_private(&dir.path().join("data").join(file), content);
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let server = Self::on(&programs, dir, &["fsync=off", "listen_addresses=127.0.0.1", "ssl=on"], port);
        server.sql(&format!("ALTER ROLE {USER} PASSWORD '{password}'"));
        Some(server)
    }

    fn on(programs: &Path, dir: TempDir, settings: &[&str], port: u16) -> Self {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let process = start(programs, dir.path(), &settings, port);
        Self { dir, process, settings, port }
    }

    /// A new one that nobody runs yet.
    fn cluster(programs: &Path) -> TempDir {
        let dir = new_dir();
        copy(&template(programs), &dir.path().join("data"));
        dir
    }

    /// Where it is reached over TCP, if it is.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As `--ledger` takes it: the database `postgres`, by the role that owns it.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub fn url_of(&self, database: &str) -> String {
        let directory = self.dir.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://{USER}@{directory}/{database}")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// The process that all others of the server come from.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Lets `psql` carry out a statement, and returns what it says.
    pub fn sql(&self, statement: &str) -> String {
        self.sql_in("postgres", statement)
    }

    pub fn sql_in(&self, database: &str, statement: &str) -> String {
        let programs = programs().unwrap();
        let mut psql = Command::new(programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"]).arg(self.dir.path());
        psql.args(["-p", &self.port.to_string(), "-U", USER, "-d", database, "-c", statement]);
        let output = psql.env_clear().current_dir("/").output().unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// As a crash would stop it: what was not written is lost.
    pub fn crash(&mut self) {
        signal(self.process.id(), "QUIT");
        self.process.wait().unwrap();
    }

    /// Starts it again after [`Self::crash`].
    pub fn start_again(&mut self) {
        self.process = start(&programs().unwrap(), self.dir.path(), &self.settings, self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            signal(self.process.id(), "QUIT");
            let _ = self.process.wait();
        }
    }
}

/// Whether PostgreSQL is installed; where not, the test says that it was skipped, and on CI it fails.
pub fn is_installed() -> bool {
    programs().is_some() || skipped_but_on_ci("PostgreSQL is not installed")
}

/// Where the programs of the newest version are; `None` where there are none.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().filter_map(Result::ok);
    let numbered = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        Some((number, version.path().join("bin")))
    });
    let newest = numbered.filter(|(_, bin)| bin.join("initdb").exists()).max();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|dir| dir.join("initdb").exists())
    };
    newest.map(|(_, bin)| bin).or_else(on_path)
}

fn runs_as_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A program of the server's, by somebody whom it lets run it.
fn unprivileged(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir(dir).stdin(Stdio::null());
    if runs_as_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A directory of the server's own.
fn new_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("pg-").tempdir().unwrap();
    if runs_as_root() {
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    dir
}

/// The cluster that all others are copies of, made by the first test that needs it and kept beside the build: `initdb`
/// takes ten times as long as a copy.
fn template(programs: &Path) -> PathBuf {
    let initdb = programs.join("initdb");
    let version = Command::new(&initdb).arg("--version").output().unwrap().stdout;
    let name = format!("{} {LAYOUT}", String::from_utf8(version).unwrap().trim());
    let kept = std::env::current_exe().unwrap().parent().unwrap().with_file_name("clusters");
    fs::create_dir_all(&kept).unwrap();
    let template = kept.join(name);
    let lock = File::create(kept.join("lock")).unwrap();
    // Freed by the system, also where a test is killed.
    lock.lock().unwrap();
    if !template.exists() {
        initialise(&initdb, &kept, &template);
    }
    template
}

/// It has its name once it is whole.
fn initialise(initdb: &Path, kept: &Path, template: &Path) {
    let dir = new_dir();
    let output = unprivileged(initdb, dir.path()).args(LAYOUT.split(' ')).output().unwrap();
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    let copied = tempfile::tempdir_in(kept).unwrap();
    copy(&dir.path().join("data"), &copied.path().join("data"));
    fs::rename(copied.path().join("data"), template).unwrap();
}

/// A directory with all that is in it, and to whom it belongs.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success(), "{} could not be copied", from.display());
}

/// A file of the server's that nobody else may read.
fn write_private(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    if runs_as_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn start(programs: &Path, dir: &Path, settings: &[String], port: u16) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let mut server = unprivileged(&programs.join("postgres"), dir);
    let port = port.to_string();
    server.args(["-D", "data", "-p", &port, "-k"]).arg(dir).args(["-c", "listen_addresses="]);
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let mut process = server.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let is_ready = |pidfile: String| pidfile.lines().nth(7).is_some_and(|line| line.trim() == "ready");
    eventually("the database takes connections", || {
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "PostgreSQL: {}", fs::read_to_string(dir.join("log")).unwrap());
        let own = |pidfile: &String| pidfile.lines().next() == Some(&process.id().to_string());
        fs::read_to_string(dir.join("data/postmaster.pid")).ok().filter(own).is_some_and(is_ready)
    });
    process
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
}
