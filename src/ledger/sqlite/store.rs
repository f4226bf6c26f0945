//! The ledger's file: opened, checked, migrated.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::StatVfsMountFlags;
use tracing::warn;

use super::column;
use super::lock::Lock;
use crate::inventory::{InventoryFile, PIPE};
use crate::ledger::error::LedgerError;
use crate::ledger::job::fleet;
use crate::text::shown_path;

/// `v6fl`, in the file's header: tells a ledger from any other SQLite database.
const APPLICATION_ID: i32 = 0x7636_666c;

/// The schema that this program writes.
pub(super) const SCHEMA: u32 = 5;

/// Every step from an empty file to today's schema; a step that was released is never edited.
const MIGRATIONS: [&str; SCHEMA as usize] = [
    include_str!("schema.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    concat!(include_str!("schema-3-jobs.sql"), include_str!("schema-4.sql")),
    include_str!("schema-5.sql"),
];

/// What lets a ledger of the schema before each step's be read as one of after it.
const VIEWS: [&str; SCHEMA as usize - 1] = [
    include_str!("schema-1-as-2.sql"),
    include_str!("schema-2-as-3.sql"),
    concat!(include_str!("schema-3-jobs.sql"), include_str!("schema-3-as-4.sql")),
    include_str!("schema-4-as-5.sql"),
];

/// What the views are made of, where a later schema has not changed it: each with the schemas of which it is the table.
const TABLES: [(RangeInclusive<u32>, &str); 3] = [
    (2..=3, "CREATE TEMP VIEW runs_2 AS SELECT * FROM main.runs"),
    (2..=4, "CREATE TEMP VIEW items_4 AS SELECT * FROM main.items"),
    (3..=4, "CREATE TEMP VIEW claims_4 AS SELECT * FROM main.claims"),
];

/// How long a reader waits for a writer's short exclusive moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The length of the write-ahead log at which it is folded into the ledger's file: 16 MiB.
const LOG_PAGES: i64 = 4096;

/// What a writer may keep of the ledger in memory, in KiB.
const WRITER_CACHE: i64 = 8 * 1024;

/// The file beside a ledger: `ledger.db` and `.lock` → `ledger.db.lock`.
pub fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The write-ahead log of a ledger that is open; it lies beside the file itself, not beside a link.
pub(super) fn log(path: &Path) -> Result<PathBuf, LedgerError> {
    fs::canonicalize(path).map(|path| beside(&path, "-wal")).map_err(io_error(path))
}

/// Makes the ledger's directory (0700) and file (0600) where they are missing.
pub(super) fn create(path: &Path) -> Result<(), LedgerError> {
    let io = io_error(path);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    refuse_network_file_systems(dir)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    let file = file.metadata().map_err(io)?;
    refuse_more_names(path, file.nlink())?;
    warn_of_others(path, file.mode(), fs::metadata(dir).map_err(io)?.mode());
    Ok(())
}

/// The lock lies beside the ledger, by name.
pub(super) fn refuse_more_names(path: &Path, names: u64) -> Result<(), LedgerError> {
    let reason = match names {
        0 | 1 => return Ok(()),
        names => format!(
            "it has {names} names (hard links), and each would have a lock of its own; remove the others"
        ),
    };
    Err(LedgerError::Unusable { path: path.to_owned(), reason })
}

fn warn_of_others(path: &Path, mode: u32, directory_mode: u32) {
    let ledger = shown_path(path);
    if mode & 0o006 != 0 {
        warn!(ledger, "everybody on this machine may read or change the ledger: chmod 600");
    }
    if directory_mode & 0o002 != 0 {
        warn!(
            ledger,
            "everybody on this machine may put files beside the ledger: give it a directory of its own (--ledger)"
        );
    }
}

/// The magic numbers of statfs(2).
fn refuse_network_file_systems(dir: &Path) -> Result<(), LedgerError> {
    let statfs = rustix::fs::statfs(dir).map_err(|errno| io_error(dir)(errno.into()))?;
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
    checkpoint_only_when_told(&db).map_err(told(path))?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE).map_err(told(path))?;
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
        migrate(&mut db, version).map_err(told(path))?;
    }
    show_as_todays(&db, SCHEMA).map_err(told(path))?;
    Ok(db)
}

fn migrate(db: &mut Connection, version: u32) -> Result<(), rusqlite::Error> {
    let step = db.transaction()?;
    for migration in &MIGRATIONS[version as usize..] {
        step.execute_batch(migration)?;
    }
    if version < 4 {
        know_by_typed_paths(&step)?;
    }
    step.pragma_update(None, "application_id", APPLICATION_ID)?;
    step.pragma_update(None, "user_version", SCHEMA)?;
    step.commit()
}

/// Knows the files of a ledger's runs by their paths as typed, where those are absolute: until schema 4 by where their
/// links led.
fn know_by_typed_paths(db: &Connection) -> Result<(), rusqlite::Error> {
    let mut runs = db.prepare("SELECT no, action, inventory FROM runs")?;
    let runs = runs.query_map([], |row| {
        let action = row.get::<_, Option<String>>(1)?.and_then(|word| word.parse().ok());
        Ok((row.get::<_, i64>(0)?, action, column::list::<InventoryFile>(row, 2)?))
    })?;
    let mut know = db.prepare("UPDATE runs SET fleet = ?2 WHERE no = ?1")?;
    for (no, action, files) in runs.collect::<Result<Vec<_>, _>>()? {
        let known = |path: &String| path == PIPE || Path::new(path).is_absolute();
        let files: Vec<String> = files.into_iter().map(|file| file.path).collect();
        if !files.is_empty() && files.iter().all(known) {
            know.execute((no, fleet(&files, action)))?;
        }
    }
    Ok(())
}

/// A sync that failed must not be tried again: the second one can succeed without what the first one lost. So SQLite
/// may neither fold its log by itself at close, nor keep it to itself in mid-run where that fails.
fn checkpoint_only_when_told(db: &Connection) -> Result<(), rusqlite::Error> {
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
fn checkpoint(db: &Connection, mode: &str) -> Result<bool, rusqlite::Error> {
    db.query_row(&format!("PRAGMA main.wal_checkpoint({mode})"), [], |row| row.get(0))
}

/// A log whose sync failed looks whole until the power fails, and nothing may be added to it. So it goes into the file
/// first; where a reader needs it, it is written once more where it is.
fn begin_a_new_log(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    db.busy_timeout(Duration::ZERO).map_err(told(path))?;
    let is_needed = checkpoint(db, "TRUNCATE").map_err(told(path))?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(told(path))?;
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

/// Closes a ledger with which all is well, and leaves one file of it.
pub(super) fn close(db: Connection, path: &Path) -> Result<(), LedgerError> {
    db.busy_timeout(Duration::ZERO).map_err(told(path))?;
    checkpoint(&db, "TRUNCATE").map_err(told(path))?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(told(path))?;
    db.close().map_err(|(_, error)| told(path)(error))
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
    if fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Err(LedgerError::Missing(path.to_owned()));
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
    show_as_todays(&db, version).map_err(told(path))?;
    Ok(db)
}

fn show_as_todays(db: &Connection, version: u32) -> Result<(), rusqlite::Error> {
    let tables = TABLES.iter().filter(|(schemas, _)| schemas.contains(&version)).map(|(_, view)| view);
    tables.chain(&VIEWS[version as usize - 1..]).try_for_each(|view| db.execute_batch(view))?;
    let known = include_str!("known.sql");
    let listed = if version < SCHEMA { "" } else { include_str!("listed.sql") };
    db.execute_batch(&[listed, known].concat())
}

/// Whether the ledger is of an older schema, and shown as one of today's.
pub(super) fn is_old(db: &Connection) -> Result<bool, rusqlite::Error> {
    let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version < SCHEMA)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, LedgerError> {
    let told = told(path);
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(told)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(told)?;
    // A statement is planned once, not anew for every value that is bound to it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(told)?;
    // An outcome is counted once it is on disk: nothing less than FULL waits for that.
    db.pragma_update(None, "synchronous", "FULL").map_err(|e| broken(path, e))?;
    db.execute_batch(include_str!("temp.sql")).map_err(|e| broken(path, e))?;
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
        Ok(found) if id == APPLICATION_ID => {
            Err(LedgerError::Newer { path: path.to_owned(), found, known: SCHEMA })
        }
        _ => Err(LedgerError::NotALedger(path.to_owned())),
    }
}

fn broken(path: &Path, error: rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => LedgerError::NotALedger(path.to_owned()),
        _ => told(path)(error),
    }
}

/// An error of the database, for people.
pub(super) fn told(path: &Path) -> impl Fn(rusqlite::Error) -> LedgerError + Copy {
    move |error| LedgerError::Engine { path: path.to_owned(), told: in_words(&error), error: error.into() }
}

/// SQLite's words for it, its number, and what to do where that is known.
fn in_words(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make room on the ledger's disk",
        Some(ErrorCode::SystemIoFailure) => {
            "what was written may not have reached the disk: look for its errors in the system's log, and for room on it"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            "the ledger, its directory and the -wal and -shm files beside it must be writable"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "the ledger is damaged: put a backup in its place, or save what there is with `sqlite3 LEDGER .recover`"
        }
        _ => return error.to_string(),
    };
    let number = error.sqlite_extended_error_code().unwrap_or_default();
    format!("{error} (SQLite {number}); {advice}")
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> LedgerError + Copy {
    move |error| LedgerError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;
    use crate::ledger::contract::{BASE, Disk, Place, begin, claim, new_run, setback, take};
    use crate::ledger::job::selection;
    use crate::ledger::{Deferred, LastCall, Ledger, NewRun, Tally, stored};

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
    fn a_ledger_of_schema_1_is_read_as_it_is_and_brought_up_to_date_by_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = at(&dir);
        create(&path).unwrap();
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO bases (url) VALUES ('https://a.example');
             INSERT INTO runs (id, base, tool_version, fleet, inventory, label_columns, options, timeout_us, warnings,
                started_at) VALUES ('r', 1, '0.1.0', 'f', '[]', '[]', '{}', 1, '[]', 1);
             INSERT INTO racks (run, no) VALUES (1, 0);
             INSERT INTO items (run, position, vmid, rack, rack_expected, action, state, claimed_at)
                VALUES (1, 0, '1', 0, 0, 'allocate', 1, 7)",
        )
        .unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        let read = |db: &Connection| {
            let runs = "SELECT pinned, inventory_vms, ids, vmid
                FROM listed i JOIN runs ON runs.no = i.run";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            db.query_row(runs, [], row).unwrap()
        };
        let expected: (bool, Option<i64>, Option<String>, String) = (false, None, None, "1".into());
        let reader = open_read_only(&path).unwrap();
        assert_eq!((read(&reader), version(&reader, &path).unwrap()), (expected.clone(), 1));
        let in_flight: bool = reader.query_row("SELECT in_flight FROM listed", [], |row| row.get(0)).unwrap();
        assert!(in_flight, "what a crash left claimed is seen");
        let writer = open(&path).unwrap();
        assert_eq!((read(&writer), version(&writer, &path).unwrap()), (expected, SCHEMA));
        let claim = "SELECT run, since, claimed_at, positions FROM claims";
        let claim: (i64, i64, i64, String) = writer
            .query_row(claim, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap();
        assert_eq!(claim, (1, 0, 7, "[0]".into()), "what a crash left claimed stays so");
    }

    #[test]
    fn the_job_of_a_run_in_an_older_ledger_is_known_before_and_after_it_is_brought_up_to_date() {
        let options = |limit: &str| [("limit".to_owned(), limit.into())].into_iter().collect();
        let job =
            NewRun { files: vec!["/fleet.csv".into(), PIPE.into()], options: options("3"), ..new_run(BASE) };
        let inventory =
            ["/fleet.csv", PIPE].map(|path| InventoryFile { path: path.into(), sha256: "7".into() });
        // Until schema 4, a file was known by where its links led.
        let linked = ["/mnt/..7/fleet.csv".to_owned(), PIPE.to_owned()];
        for (schema, known_as) in (1..4_u32).flat_map(|schema| [(schema, &job.files[..]), (schema, &linked)])
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ledger.db");
            let old = Connection::open(&path).unwrap();
            MIGRATIONS[..schema as usize].iter().for_each(|step| old.execute_batch(step).unwrap());
            let insert = "INSERT INTO bases (url) VALUES (?1)";
            old.execute(insert, [BASE]).unwrap();
            let insert = "INSERT INTO runs (id, base, tool_version, action, fleet, inventory, label_columns, options,
                    timeout_us, warnings, started_at) VALUES ('r', 1, '0.1.0', 'allocate', ?1, ?2, '[]', ?3, 1, '[]', 1)";
            let fleet = fleet(known_as, job.action);
            let (files, limit) = (stored::write_list(&inventory), stored::json(&job.options));
            old.execute(insert, (fleet, files, limit)).unwrap();
            let pending = "INSERT INTO racks (run, no) VALUES (1, 0);
                 INSERT INTO items (run, position, vmid, rack, rack_expected, action) VALUES (1, 0, '1', 0, 0, 'allocate')";
            old.execute_batch(pending).unwrap();
            old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            old.pragma_update(None, "user_version", schema).unwrap();
            drop(old);
            let found = |ledger: &Ledger, job: &NewRun, inventory: &[InventoryFile]| {
                ledger.unfinished(job, inventory).unwrap().map(|unfinished| unfinished.run.id)
            };
            let other = inventory.clone().map(|file| InventoryFile { sha256: "8".into(), ..file });
            let narrowed = NewRun { options: options("4"), ..job.clone() };
            let check = |ledger: &Ledger, is_found: bool| {
                let expected = is_found.then_some("r");
                assert_eq!(found(ledger, &job, &inventory).as_deref(), expected, "{schema} {known_as:?}");
                assert_eq!(found(ledger, &narrowed, &inventory), None, "{schema}");
                assert_eq!(found(ledger, &job, &other), None, "{schema}: other contents of standard input");
            };
            check(&Ledger::open_read_only(&path).unwrap(), known_as == job.files);
            check(&Ledger::open(&path, Duration::ZERO).unwrap(), true);
        }
    }

    #[test]
    fn what_earlier_schemas_recorded_tells_the_same_selection() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE runs (no INTEGER PRIMARY KEY, options TEXT, inventory TEXT)").unwrap();
        db.execute_batch(include_str!("schema-3-jobs.sql")).unwrap();
        for (no, given) in (1..).zip([
            json!({}),
            json!({"rate": "10/s", "limit": "3"}),
            json!({"where": ["role=\"å\\\"", "team=a/b", "!x=\u{1}\n"], "rack": ["b", "a", "b"]}),
            json!({"vmid": ["10-20", "@ids"], "only-failed": "20261123T", "rack": "[a"}),
        ]) {
            let inventory = r#"[{"path":"a.csv","sha256":"1"},{"path":"-","sha256":"2"}]"#;
            let insert = "INSERT INTO runs VALUES (?1, ?2, ?3)";
            db.execute(insert, (no, given.to_string(), inventory)).unwrap();
            let job = db.query_row("SELECT selection, piped FROM jobs WHERE no = ?1", [no], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            });
            assert_eq!(job.unwrap(), (selection(given.as_object().unwrap()).unwrap(), "2".to_owned()));
        }
    }

    #[test]
    fn what_a_vm_has_been_through_in_an_older_ledger_is_known_also_where_it_was_the_first_of_all() {
        let disk = Disk::new();
        let old = Connection::open(disk.path()).unwrap();
        MIGRATIONS[..4].iter().for_each(|step| old.execute_batch(step).unwrap());
        old.execute_batch(
            "INSERT INTO bases (url) VALUES ('https://cloud.hostup.se');
             INSERT INTO runs (id, base, tool_version, fleet, inventory, label_columns, options, timeout_us, warnings,
                started_at, ended_at, stopped_by) VALUES ('r', 1, '0.1.0', 'f', '[]', '[]', '{}', 1, '[]', 1, 2, 'deadline');
             INSERT INTO racks (run, no) VALUES (1, 0);
             INSERT INTO items (run, position, vmid, rack, rack_expected, action, attempts, throttled, first_sent_at, failure)
                VALUES (1, 0, '1', 0, 0, 'refresh_next_hop', 2, 1, 7000000, 'server_error')",
        )
        .unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 4).unwrap();
        drop(old);
        let run = disk.open().find_run("r").unwrap();
        for attempts in [2, 3] {
            let mut writer = disk.open().write(&run).unwrap();
            let item = claim(&mut writer, take(0, 1)).remove(0);
            assert_eq!((item.tally.attempts, item.tally.throttled), (attempts, 1));
            let first_call = item.first_call.unwrap();
            assert_eq!(
                (first_call.at.as_second(), first_call.told),
                (7, None),
                "by the time of day, as it was told"
            );
            writer.defer(Deferred {
                position: item.position,
                vm: item.vm,
                tally: Tally { attempts: item.tally.attempts + 1, ..item.tally },
                unanswered: vec![],
                last: LastCall::default(),
                setback: setback(),
            });
            drop(writer.close());
        }
    }

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

    #[test]
    fn what_became_of_a_vm_is_looked_up_in_an_older_ledger_and_not_searched_for() {
        for schema in 1..SCHEMA {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ledger.db");
            let old = Connection::open(&path).unwrap();
            MIGRATIONS[..schema as usize].iter().for_each(|step| old.execute_batch(step).unwrap());
            old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            old.pragma_update(None, "user_version", schema).unwrap();
            let reader = open_read_only(&path).unwrap();
            let plan = "EXPLAIN QUERY PLAN SELECT outcome FROM listed i WHERE vmid = ?1 AND run = ?2";
            let mut plan = reader.prepare(plan).unwrap();
            let steps = plan.query_map(["1", "1"], |row| row.get("detail")).unwrap();
            let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
            let is_look_up = |step: &String| step.starts_with("SEARCH") || step.starts_with("CORRELATED");
            assert!(steps.iter().all(is_look_up), "schema {schema}: {steps:#?}");
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
}
