//! The tables of a ledger's file: those of today, how older ones become them, and how they are read as they are.

use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::Connection;

use super::column;
use super::engine_error::broken;
use crate::inventory::{InventoryFile, PIPE};
use crate::ledger::error::LedgerError;
use crate::ledger::job::fleet;
use crate::outcome::Kind;

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
const TABLES: [(RangeInclusive<u32>, &str); 6] = [
    (1..=4, "CREATE TEMP VIEW bases AS SELECT id, url, 'v1' AS dialect FROM main.bases"),
    (2..=3, "CREATE TEMP VIEW runs_2 AS SELECT * FROM main.runs"),
    (
        4..=4,
        "CREATE TEMP VIEW runs AS SELECT *, 'run' AS kind, NULL AS written, NULL AS workers FROM main.runs",
    ),
    (2..=3, "CREATE TEMP VIEW items_4 AS SELECT *, NULL AS first_sent_clock, NULL AS turn FROM main.items"),
    (4..=4, "CREATE TEMP VIEW items_4 AS SELECT * FROM main.items"),
    (3..=4, "CREATE TEMP VIEW claims_4 AS SELECT * FROM main.claims"),
];

/// The schema that the file has; 0 for an empty one.
pub(super) fn version(db: &Connection, path: &Path) -> Result<u32, LedgerError> {
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

pub(super) fn migrate(db: &mut Connection, version: u32) -> Result<(), rusqlite::Error> {
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
            know.execute((no, fleet(Kind::Run, &files, action)))?;
        }
    }
    Ok(())
}

pub(super) fn show_as_todays(db: &Connection, version: u32) -> Result<(), rusqlite::Error> {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use serde_json::json;

    use super::super::path::create;
    use super::super::store::{open, open_read_only};
    use super::*;
    use crate::ledger::contract::{BASE, Disk, Place, claim, new_run, setback, take};
    use crate::ledger::job::selection;
    use crate::ledger::{Deferred, LastCall, Ledger, Location, NewRun, Tally, stored};

    fn at(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join("state/ledger.db")
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
            let fleet = fleet(Kind::Run, known_as, job.action);
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
            check(&Ledger::open_read_only(&Location::File(path.clone())).unwrap(), known_as == job.files);
            check(&Ledger::open(&Location::File(path), Duration::ZERO).unwrap(), true);
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
                (first_call.at.as_second(), first_call.offset_then),
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

    /// Whether a step of a plan goes through all of a table with a row a VM.
    fn searches_all(step: &str) -> bool {
        let of_few = ["SCAN bases", "SCAN main.bases", "SCAN ru", "SCAN main.runs"];
        step.contains("AUTOMATIC")
            || step.contains("TEMP B-TREE")
            || step.starts_with("SCAN") && !of_few.iter().any(|few| step.starts_with(few))
    }

    #[test]
    fn what_is_known_of_one_vm_is_looked_up_in_a_ledger_of_any_schema_and_not_searched_for() {
        let questions = [
            "SELECT outcome FROM listed WHERE vmid = 1 AND run = 1",
            "SELECT outcome FROM runs ru CROSS JOIN listed i WHERE i.run = ru.no AND vmid = 1",
            "SELECT rack_id, seen_at FROM known WHERE base = 1 AND vmid = 1",
            "SELECT seen_at FROM bases CROSS JOIN known ON known.base = bases.id WHERE vmid = 1",
            "SELECT allocation, seen_at, vmid FROM known WHERE base = 1 ORDER BY vmid",
            "SELECT (SELECT k.rack_id FROM known k WHERE k.base = 1 AND k.vmid = r.rack_id) FROM racks r WHERE run = 1",
        ];
        for (schema, question) in (1..=SCHEMA).flat_map(|schema| questions.map(|question| (schema, question)))
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ledger.db");
            let old = Connection::open(&path).unwrap();
            MIGRATIONS[..schema as usize].iter().for_each(|step| old.execute_batch(step).unwrap());
            old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            old.pragma_update(None, "user_version", schema).unwrap();
            let reader = open_read_only(&path).unwrap();
            let mut plan = reader.prepare(&format!("EXPLAIN QUERY PLAN {question}")).unwrap();
            let steps = plan.query_map([], |row| row.get("detail")).unwrap();
            let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
            let searches = steps.iter().any(|step| searches_all(step));
            assert!(!searches, "schema {schema}: {question}: {steps:#?}");
        }
    }
}
