//! A PostgreSQL of a test's own: a cluster in a temporary directory, reached by a socket in it and, unless TLS is its
//! subject, by nothing else. The machine's own server is neither asked nor disturbed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::fixture::eventually;
use crate::skip::skipped_but_on_ci;
use crate::tmpfs::Tmpfs;

/// What a cluster is made with, in the directory `data`.
const LAYOUT: &str = "-D data -A trust -E UTF8 --locale=C --no-sync -U fleet";

/// The user that nobody is: PostgreSQL refuses to be run by root.
const NOBODY: u32 = 65534;

/// Goes to the directory `$0` and becomes [`NOBODY`].
const AS_NOBODY: &str =
    "cd \"$0\" && exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \"$@\"";

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The port by which the socket is named.
pub(crate) const PORT: u16 = 5432;

/// The role that owns the cluster.
pub(crate) const USER: &str = "fleet";

/// Who may connect over TCP: whoever knows the password, over TLS or not.
const BY_PASSWORD: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// What a part of a cluster on a small disk of its own has for room: a little more than it needs at first.
const SMALL: &str = "size=48m,mode=700,uid=65534,gid=65534";

/// A running server; it is stopped, and all that it kept is removed, when this is dropped.
pub struct Server {
    dir: TempDir,
    process: Child,
    settings: Vec<String>,
    port: u16,
    /// Where a part of it is, if that has a disk of its own.
    disk: Option<Tmpfs>,
}

/// What of a cluster is on a disk of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the log of what was written.
    Data,
    /// That log.
    Log,
}

impl Server {
    /// One that loses what was written when the machine does, and is fast. `None` where PostgreSQL is not installed: the
    /// test says that it was skipped, and on CI it fails.
    pub fn start() -> Option<Self> {
        Self::set(&["fsync=off", "full_page_writes=off"])
    }

    /// One that keeps what it says it has written.
    pub fn durable() -> Option<Self> {
        Self::set(&[])
    }

    /// One with these settings.
    pub fn set(settings: &[&str]) -> Option<Self> {
        let programs = is_installed().then(programs)??;
        let dir = Self::cluster(&programs);
        Some(Self::on(&programs, dir, settings, PORT))
    }

    /// A durable one of which a part is on a disk that can be filled. Only root can make one: others are told that the test
    /// was skipped, and on CI it fails.
    pub fn on_a_small_disk(part: Part) -> Option<Self> {
        let programs = is_installed().then(programs)??;
        if !runs_as_root() {
            skipped_but_on_ci("only root can give a server a disk of its own");
            return None;
        }
        let dir = Self::cluster(&programs);
        let (data, log) = (dir.path().join("data"), dir.path().join("data/pg_wal"));
        if part == Part::Data {
            fs::rename(&log, dir.path().join("log-files")).unwrap();
            symlink(dir.path().join("log-files"), &log).unwrap();
        }
        let of_its_own = if part == Part::Data { data } else { log };
        let disk = Tmpfs::mount_as_root(SMALL, &of_its_own)?;
        copy(&of_its_own.join("."), disk.path());
        Some(Self::running(&programs, dir, &[], PORT, Some(disk)))
    }

    /// One that takes in whatever this one writes, which waits for it from now on.
    pub fn standby(&self) -> Self {
        let programs = programs().unwrap();
        let dir = new_dir();
        let mut copied = unprivileged(&programs.join("pg_basebackup"), dir.path(), None);
        copied
            .args(["-D", "data", "-R", "-X", "stream", "-c", "fast", "-U", USER, "-h"])
            .arg(self.dir.path());
        let output = copied.output().unwrap();
        assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        let standby = Self::on(&programs, dir, &[], PORT);
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        let is_awaited = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        eventually("the standby is waited for", || self.sql(is_awaited) == "1");
        standby
    }

    /// Takes the place of the one that it has followed.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t");
    }

    /// Where this one or, if that is the one that can be written to, another one is reached.
    pub fn url_with(&self, other: &Self) -> String {
        let [ours, theirs] = [self, other].map(Self::host);
        format!("postgres://{USER}@{ours},{theirs}/postgres?target_session_attrs=read-write")
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
        Self::running(programs, dir, settings, port, None)
    }

    fn running(programs: &Path, dir: TempDir, settings: &[&str], port: u16, disk: Option<Tmpfs>) -> Self {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let process = start(programs, dir.path(), &settings, port, disk.as_ref());
        Self { dir, process, settings, port, disk }
    }

    /// The disk that a part of it has for itself.
    pub fn disk(&self) -> &Tmpfs {
        self.disk.as_ref().unwrap()
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
        format!("postgres://{USER}@{}/{database}", self.host())
    }

    fn host(&self) -> String {
        self.dir.path().to_str().unwrap().replace('/', "%2F")
    }

    /// Where it is, and its socket.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
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

    /// The same of one that may fail, with the server itself.
    pub fn try_sql(&self, statement: &str) {
        let _ = self.psql("postgres", statement).output().unwrap();
    }

    pub fn sql_in(&self, database: &str, statement: &str) -> String {
        let output = self.psql(database, statement).output().unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Lets a statement lock what it asks for, until [`Self::unlock`] or the server's end.
    pub fn lock(&self, statement: &str) -> Lock {
        self.lock_until(statement, "SELECT pg_sleep(600)")
    }

    /// The same until `meanwhile` is through, which sleeps at first.
    pub fn lock_until(&self, statement: &str, meanwhile: &str) -> Lock {
        let locked = format!("BEGIN; {statement}; {meanwhile}; COMMIT");
        let psql =
            self.psql("postgres", &locked).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let sleeping = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        eventually("it is locked", || !self.sql(sleeping).is_empty());
        Lock { psql }
    }

    /// Ends what holds a lock.
    pub fn unlock(&self, lock: Lock) {
        drop(lock);
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    }

    /// Waits until a statement that `is_like` this waits for a lock.
    pub fn await_waiting(&self, is_like: &str) {
        let waiting = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{is_like}'"
        );
        eventually("it waits for a lock", || self.sql(&waiting) == "t");
    }

    fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = Command::new(programs().unwrap().join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"]).arg(self.dir.path());
        psql.args(["-p", &self.port.to_string(), "-U", USER, "-d", database, "-c", statement]);
        psql.env_clear().current_dir("/");
        psql
    }

    /// As a crash would stop it: what was not written is lost.
    pub fn crash(&mut self) {
        signal(self.process.id(), "QUIT");
        self.process.wait().unwrap();
    }

    /// Starts it again after [`Self::crash`].
    pub fn start_again(&mut self) {
        let disk = self.disk.as_ref();
        self.process = start(&programs().unwrap(), self.dir.path(), &self.settings, self.port, disk);
    }
}

/// What holds a lock.
pub struct Lock {
    psql: Child,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
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

/// A program of the server's, by somebody whom it lets run it, where it sees `disk`.
pub(crate) fn unprivileged(program: &Path, dir: &Path, disk: Option<&Tmpfs>) -> Command {
    let mut command = match disk.map(Tmpfs::entered) {
        None => Command::new(program),
        Some(enter) => {
            let mut command = Command::new(&enter[0]);
            command.args(&enter[1..]).args(["sh", "-c", AS_NOBODY]).arg(dir).arg(program);
            command
        }
    };
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir(dir).stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin");
    if runs_as_root() && disk.is_none() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A directory of the server's own.
pub(crate) fn new_dir() -> TempDir {
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
    let output = unprivileged(initdb, dir.path(), None).args(LAYOUT.split(' ')).output().unwrap();
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

fn start(programs: &Path, dir: &Path, settings: &[String], port: u16, disk: Option<&Tmpfs>) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let mut server = unprivileged(&programs.join("postgres"), dir, disk);
    let port = port.to_string();
    server.args(["-D", "data", "-p", &port, "-k"]).arg(dir).args(["-c", "listen_addresses="]);
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let mut process = server.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let is_ready = |pidfile: String| {
        pidfile.lines().nth(7).is_some_and(|line| ["ready", "standby"].contains(&line.trim()))
    };
    let on_disk = disk.map(|disk| disk.path().join("postmaster.pid"));
    let pidfile = || {
        let found = on_disk.as_ref().and_then(|path| fs::read_to_string(path).ok());
        found.or_else(|| fs::read_to_string(dir.join("data/postmaster.pid")).ok())
    };
    eventually("the database takes connections", || {
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "PostgreSQL: {}", fs::read_to_string(dir.join("log")).unwrap());
        let own = |pidfile: &String| pidfile.lines().next() == Some(&process.id().to_string());
        pidfile().filter(own).is_some_and(is_ready)
    });
    process
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
}
