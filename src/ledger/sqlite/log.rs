//! The write-ahead log, folded into the ledger's file at moments of our own.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::engine_error::engine_error;
use super::path::{io_error, log};
use crate::ledger::error::LedgerError;

/// How long a reader waits for a writer's short exclusive moments.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The length of the write-ahead log at which it is folded into the ledger's file: 16 MiB.
const LOG_PAGES: i64 = 4096;

/// A sync that failed must not be tried again: the second one can succeed without what the first one lost. So SQLite
/// may neither fold its log by itself at close, nor keep it to itself in mid-run where that fails.
pub(super) fn checkpoint_only_when_asked(db: &Connection) -> Result<(), rusqlite::Error> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "wal_autocheckpoint", 0)
}

/// After a commit: keeps the write-ahead log short.
pub(super) fn checkpoint_when_long(db: &Connection) -> Result<(), rusqlite::Error> {
    let mut length = db.prepare_cached("PRAGMA main.wal_checkpoint(NOOP)")?;
    match length.query_row([], |row| row.get::<_, i64>(1))? {
        LOG_PAGES.. => checkpoint(db, "PASSIVE").map(drop),
        _ => Ok(()),
    }
}

/// Folds the write-ahead log into the ledger's file, as far as readers let it. Returns whether one did not.
pub(super) fn checkpoint(db: &Connection, mode: &str) -> Result<bool, rusqlite::Error> {
    db.query_row(&format!("PRAGMA main.wal_checkpoint({mode})"), [], |row| row.get(0))
}

/// A log whose sync failed looks whole until the power fails, and nothing may be added to it. So it goes into the file
/// first; where a reader needs it, it is written once more where it is.
pub(super) fn begin_a_new_log(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    db.busy_timeout(Duration::ZERO).map_err(engine_error(path))?;
    let is_needed = checkpoint(db, "TRUNCATE").map_err(engine_error(path))?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(engine_error(path))?;
    match is_needed {
        true => log(path).and_then(|log| write_once_more(&log).map_err(io_error(&log))),
        false => Ok(()),
    }
}

/// Writes a file's bytes in their places again, so that a sync has them to write: one that has failed forgets them.
fn write_once_more(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut part = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut part, at)?;
        if read == 0 {
            return file.sync_all();
        }
        file.write_all_at(&part[..read], at)?;
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::contract::{Disk, Place, begin};

    #[test]
    fn a_reader_that_holds_a_state_does_not_keep_a_run_from_beginning() {
        let disk = Disk::new();
        begin(&disk.open(), &[None]);
        let reader = Connection::open(disk.path()).unwrap();
        let count =
            |db: &Connection| db.query_row("SELECT count(*) FROM runs", [], |row| row.get(0)).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(count(&reader), 1);
        begin(&disk.open(), &[None]);
        // The log is longer now than what the reader needs.
        let begun = std::time::Instant::now();
        let ledger = disk.open();
        begin(&ledger, &[None]);
        assert!(begun.elapsed() < BUSY_TIMEOUT / 2, "{:?}", begun.elapsed());
        assert_eq!((count(&reader), ledger.overviews(None).unwrap().len()), (1, 3));
    }

    #[test]
    fn a_file_that_is_written_once_more_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[0]).collect();
        fs::write(&path, &bytes).unwrap();
        write_once_more(&path).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
    }
}
