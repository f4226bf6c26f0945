//! A pooler in front of a database: each transaction gets a connection of the server's that others have as well.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::fixture::eventually;
use crate::postgres::{PORT, Server, USER, new_dir, unprivileged};
use crate::skip::skipped_but_on_ci;

/// Where Debian keeps it.
const PGBOUNCER: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];

/// A running pgbouncer; it ends when this is dropped.
pub struct Pooler {
    dir: TempDir,
    process: Child,
}

impl Pooler {
    /// One that has so few connections to the server. `None` where pgbouncer is not installed: the test says that it was
    /// skipped, and on CI it fails.
    pub fn to(server: &Server, connections: u32) -> Option<Self> {
        let Some(program) = PGBOUNCER.into_iter().map(Path::new).find(|program| program.exists()) else {
            skipped_but_on_ci("pgbouncer is not installed");
            return None;
        };
        let dir = new_dir();
        let (ours, theirs) = (dir.path().display(), server.dir().display());
        let settings = format!(
            "[databases]\npostgres = host={theirs} port={PORT} user={USER}\n[pgbouncer]\nlisten_port = {PORT}\n\
             unix_socket_dir = {ours}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {connections}\n"
        );
        fs::write(dir.path().join("pgbouncer.ini"), settings).unwrap();
        let mut pooler = unprivileged(program, dir.path(), None);
        let process =
            pooler.args(["-q", "pgbouncer.ini"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pooler = Self { dir, process };
        eventually("the pooler takes connections", || UnixStream::connect(pooler.socket()).is_ok());
        Some(pooler)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join(format!(".s.PGSQL.{PORT}"))
    }

    /// As `--ledger` takes it.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@{}/postgres", self.dir.path().to_str().unwrap().replace('/', "%2F"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
