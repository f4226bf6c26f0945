//! The ledger's file: opened, checked, migrated, locked.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// `v6fl`, in the file's header: tells a ledger from any other SQLite database.
const APPLICATION_ID: i32 = 0x7636_666c;

/// The schema that this program writes.
const SCHEMA: u32 = 2;

/// Every step from an empty file to today's schema; a step that was released is never edited.
const MIGRATIONS: [&str; SCHEMA as usize] = [include_str!("schema.sql"), include_str!("schema-2.sql")];

/// How long a reader waits for a writer's short exclusive moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a waiting run looks whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What can be wrong with a ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("{}: there is no ledger yet: nothing has been run", .0.display())]
    Missing(PathBuf),
    #[error("{}: not a v6fleet ledger; name another file with --ledger", .0.display())]
    NotALedger(PathBuf),
    #[error(
        "{}: written by a newer v6fleet (schema {found}, this one knows {}); upgrade, or name another file with --ledger",
        path.display(), SCHEMA
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{}: in use by another run ({holder}); wait for it, or give --lock-timeout", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("{}: {kind} can neither lock nor share memory reliably; keep the ledger on a local disk (--ledger)", path.display())]
    UnfitFileSystem { path: PathBuf, kind: &'static str },
    #[error("{}: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("no run {0:?} in the ledger")]
    UnknownRun(String),
    #[error("{0:?} is the start of more than one run id; write more of it")]
    AmbiguousRun(String),
    #[error("this ledger holds {held}; give {wanted} one of its own with --ledger")]
    Mixed { held: &'static str, wanted: &'static str },
    #[error("the ledger has {found} rows for {expected} selected VMs")]
    Miscounted { expected: u64, found: u64 },
    #[error("the thread that writes the ledger is gone")]
    WriterGone,
    #[error("the VM at position {0} was settled twice, or never claimed")]
    SettledTwice(i64),
}

/// Held while a run writes; the kernel frees it with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    #[expect(dead_code, reason = "the lock lasts as long as the open file")]
    file: File,
}

impl Lock {
    /// Takes the ledger's lock, waiting up to `timeout` for another run to end.
    pub fn take(ledger: &Path, timeout: Duration) -> Result<Self, LedgerError> {
        let path = beside(ledger, ".lock");
        let io = |source| LedgerError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder).map_err(io)?;
                    return Err(LedgerError::Locked { path, holder: holder.trim().to_owned() });
                }
                Err(TryLockError::Error(error)) => {
                    let reason =
                        format!("the file system cannot lock: {error}; keep the ledger on a local disk");
                    return Err(LedgerError::Unusable { path, reason });
                }
            }
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", holder()).map_err(io)?;
        Ok(Self { file })
    }
}

fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("pid {} on {host} since {since}", std::process::id())
}

/// The file beside a ledger: `ledger.db` and `.lock` → `ledger.db.lock`.
pub fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the ledger's directory (0700) and file (0600) where they are missing.
pub(super) fn create(path: &Path) -> Result<(), LedgerError> {
    let io = |source| LedgerError::Io { path: path.to_owned(), source };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    refuse_network_file_systems(dir)?;
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    Ok(())
}

/// The magic numbers of statfs(2).
fn refuse_network_file_systems(dir: &Path) -> Result<(), LedgerError> {
    let statfs = rustix::fs::statfs(dir)
        .map_err(|errno| LedgerError::Io { path: dir.to_owned(), source: errno.into() })?;
    let kind = match u32::try_from(statfs.f_type) {
        Ok(0x6969) => "NFS",
        Ok(0x517b | 0xfe53_4d42 | 0xff53_4d42) => "SMB",
        Ok(0x0102_1997) => "9P",
        _ => return Ok(()),
    };
    Err(LedgerError::UnfitFileSystem { path: dir.to_owned(), kind })
}

/// Opens for writing; the schema is brought up to date.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let mut db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let sqlite = sqlite(path);
    let mode: String =
        db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(|e| broken(path, e))?;
    if mode != "wal" {
        let reason = "the file system cannot share memory; keep the ledger on a local disk".to_owned();
        return Err(LedgerError::Unusable { path: path.to_owned(), reason });
    }
    let version = version(&db, path)?;
    if version < SCHEMA {
        let step = db.transaction().map_err(sqlite)?;
        for migration in &MIGRATIONS[version as usize..] {
            step.execute_batch(migration).map_err(sqlite)?;
        }
        step.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        step.pragma_update(None, "user_version", SCHEMA).map_err(sqlite)?;
        step.commit().map_err(sqlite)?;
    }
    Ok(db)
}

/// Opens for reading, also while a run writes.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    if fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Err(LedgerError::Missing(path.to_owned()));
    }
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match version(&db, path)? {
        0 => Err(LedgerError::Missing(path.to_owned())),
        _ => Ok(db),
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, LedgerError> {
    let sqlite = sqlite(path);
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sqlite)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    // An outcome is counted once it is on disk: nothing less than FULL waits for that.
    db.pragma_update(None, "synchronous", "FULL").map_err(|e| broken(path, e))?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// The schema that the file has; 0 for an empty one.
fn version(db: &Connection, path: &Path) -> Result<u32, LedgerError> {
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let id = pragma("application_id").map_err(|e| broken(path, e))?;
    let version = pragma("user_version").map_err(|e| broken(path, e))?;
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|e| broken(path, e))?;
    match u32::try_from(version) {
        _ if id == 0 && tables == 0 => Ok(0),
        Ok(version) if id == APPLICATION_ID && version <= SCHEMA => Ok(version),
        Ok(found) if id == APPLICATION_ID => Err(LedgerError::Newer { path: path.to_owned(), found }),
        _ => Err(LedgerError::NotALedger(path.to_owned())),
    }
}

fn broken(path: &Path, source: rusqlite::Error) -> LedgerError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => LedgerError::NotALedger(path.to_owned()),
        _ => LedgerError::Sqlite { path: path.to_owned(), source },
    }
}

pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> LedgerError + Copy {
    move |source| LedgerError::Sqlite { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join("state/ledger.db")
    }

    #[test]
    fn a_new_ledger_is_private_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = at(&dir);
        create(&path).unwrap();
        drop(open(&path).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(open(&path).is_ok() && open_read_only(&path).is_ok());
    }

    #[test]
    fn a_newer_schema_is_refused_clearly() {
        let dir = tempfile::tempdir().unwrap();
        let path = at(&dir);
        create(&path).unwrap();
        open(&path).unwrap().pragma_update(None, "user_version", SCHEMA + 1).unwrap();
        for result in [open(&path), open_read_only(&path)] {
            assert!(matches!(result, Err(LedgerError::Newer { found, .. }) if found == SCHEMA + 1));
        }
    }

    #[test]
    fn other_files_are_not_taken_for_ledgers() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("notes.txt");
        fs::write(&text, "not a database, but long enough to have a header of its own".repeat(10)).unwrap();
        let other = dir.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        for path in [&text, &other] {
            assert!(matches!(open(path), Err(LedgerError::NotALedger(_))), "{}", path.display());
        }
        assert!(matches!(open_read_only(&dir.path().join("none.db")), Err(LedgerError::Missing(_))));
    }

    #[test]
    fn the_second_holder_of_the_lock_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = at(&dir);
        create(&path).unwrap();
        let lock = Lock::take(&path, Duration::ZERO).unwrap();
        let Err(LedgerError::Locked { holder, .. }) = Lock::take(&path, Duration::ZERO) else {
            panic!("taken twice")
        };
        assert!(holder.starts_with(&format!("pid {} on ", std::process::id())), "{holder}");
        drop(lock);
        assert!(Lock::take(&path, Duration::ZERO).is_ok());
    }
}
