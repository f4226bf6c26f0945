//! The ledger's file, opened and closed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::StatVfsMountFlags;

use super::engine_error::{broken, engine_error};
use super::lock::Lock;
use super::log::{BUSY_TIMEOUT, begin_a_new_log, checkpoint, checkpoint_only_when_asked};
use super::path::{io_error, log, refuse_what_is_no_file};
use super::schema::{SCHEMA, migrate, show_as_todays, version};
use crate::ledger::error::LedgerError;

/// What a writer may keep of the ledger in memory, in KiB.
const WRITER_CACHE: i64 = 8 * 1024;

/// Opens for writing; the schema is brought up to date.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let mut db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    checkpoint_only_when_asked(&db).map_err(engine_error(path))?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE).map_err(engine_error(path))?;
    // Before anything is written: what is no ledger of ours is left as it is.
    let version = version(&db, path)?;
    let mode: String =
        db.query_row("PRAGMA main.journal_mode = WAL", [], |row| row.get(0)).map_err(|e| broken(path, e))?;
    if mode != "wal" {
        let reason = "the file system cannot share memory; keep the ledger on a local disk".to_owned();
        return Err(LedgerError::Unusable { path: path.to_owned(), reason });
    }
    begin_a_new_log(&db, path)?;
    if version < SCHEMA {
        migrate(&mut db, version).map_err(engine_error(path))?;
    }
    show_as_todays(&db, SCHEMA).map_err(engine_error(path))?;
    Ok(db)
}

/// Closes a ledger with which all is well, and leaves one file of it.
pub(super) fn close(db: Connection, path: &Path) -> Result<(), LedgerError> {
    db.busy_timeout(Duration::ZERO).map_err(engine_error(path))?;
    checkpoint(&db, "TRUNCATE").map_err(engine_error(path))?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(engine_error(path))?;
    db.close().map_err(|(_, error)| engine_error(path)(error))
}

fn is_on_read_only_media(path: &Path) -> Result<bool, LedgerError> {
    let flags = rustix::fs::statvfs(path).map_err(|errno| io_error(path)(errno.into()))?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

/// The address of a file that cannot change, as SQLite takes it: it needs no files beside it.
fn immutable(path: &Path) -> Result<PathBuf, LedgerError> {
    if fs::metadata(log(path)?).is_ok_and(|log| log.len() > 0) {
        let reason = "it was not closed, and lies on a read-only file system: copy it, and the files beside it, to where \
                      they can be written";
        return Err(LedgerError::Unusable { path: path.to_owned(), reason: reason.to_owned() });
    }
    let path = fs::canonicalize(path).map_err(io_error(path))?;
    let escaped: Vec<u8> = path
        .as_os_str()
        .as_bytes()
        .iter()
        .flat_map(|byte| match byte {
            b'%' | b'?' | b'#' => format!("%{byte:02x}").into_bytes(),
            byte => vec![*byte],
        })
        .collect();
    let address = [b"file:", &*escaped, b"?immutable=1"].concat();
    Ok(OsString::from_vec(address).into())
}

/// Opens for reading, also while a run writes.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    match fs::metadata(path) {
        Ok(found) => refuse_what_is_no_file(path, &found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LedgerError::Missing(path.to_owned()));
        }
        // It is told by the engine, as it meets it.
        Err(_) => {}
    }
    // Elsewhere it may be mounted to be written: by a run that is on.
    let db = match is_on_read_only_media(path)? && Lock::held_for(path)?.is_none() {
        true => connect(&immutable(path)?, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?,
        false => connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
    };
    let version = version(&db, path)?;
    if version == 0 {
        return Err(LedgerError::Missing(path.to_owned()));
    }
    show_as_todays(&db, version).map_err(engine_error(path))?;
    Ok(db)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, LedgerError> {
    let engine_error = engine_error(path);
    let db =
        Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(engine_error)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(engine_error)?;
    // A statement is planned once, not anew for every value that is bound to it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(engine_error)?;
    // An outcome is counted once it is on disk: nothing less than FULL waits for that.
    db.pragma_update(None, "synchronous", "FULL").map_err(|e| broken(path, e))?;
    db.execute_batch(include_str!("temp.sql")).map_err(|e| broken(path, e))?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::path::{check_writable, create};
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
            let before = fs::read(path).unwrap();
            assert!(matches!(open(path), Err(LedgerError::NotALedger(_))), "{}", path.display());
            assert!(fs::read(path).unwrap() == before, "{} was changed", path.display());
        }
        assert!(matches!(open_read_only(&dir.path().join("none.db")), Err(LedgerError::Missing(_))));
    }

    #[test]
    fn a_directory_a_device_and_a_pipe_are_no_ledgers_and_nobody_waits_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        std::os::unix::fs::symlink("unmounted", dir.path().join("disk")).unwrap();
        assert!(check_writable(&dir.path().join("disk/ledger.db")).is_err());
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for path in [dir.path(), Path::new("/dev/null"), &pipe] {
            for refused in [create(path), check_writable(path), open_read_only(path).map(drop)] {
                let told = refused.unwrap_err().to_string();
                assert!(told.ends_with("and a ledger is a file: name one with --ledger"), "{told}");
            }
        }
    }
}
