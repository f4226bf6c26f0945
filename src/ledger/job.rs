//! What makes two runs the same job: the base URL, the inventory files, the action and what narrows the inventory, all as
//! typed; and of what can be read only once, the contents.
//!
//! Paths identify files: what is in them may differ from night to night, and the job is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::draft::NewRun;
use super::json;
use super::summary::InventoryFile;
use crate::inventory::Action;

/// The identity of a file that can be read only once: standard input, or a pipe.
pub const PIPE: &str = "-";

/// The options that narrow an inventory, in the order in which people are told of them.
pub const NARROWING: [&str; 5] = ["rack", "vmid", "where", "only-failed", "limit"];

/// The [`selection`] of a run that nothing narrowed.
pub(super) const EVERYTHING: &str = "{}";

/// A run that no newer one of the same job has superseded.
pub(super) const NEWEST_OF_ITS_JOB: &str = "NOT EXISTS (SELECT 1 FROM runs n
    WHERE (n.base, n.fleet, n.selection, n.piped) = (r.base, r.fleet, r.selection, r.piped) AND n.no > r.no)";

/// The files and the action.
pub(super) fn fleet(files: &[String], action: Option<Action>) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.as_bytes());
        hash.update([0]);
    }
    hash.update(action.map_or("", Action::as_str));
    format!("{:x}", hash.finalize())
}

/// What narrows the inventory: the order in which values of one option were typed says nothing.
pub(super) fn selection(options: &Map<String, Value>) -> Option<String> {
    let texts = |value: &Value| match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        value => value.as_str().map(str::to_owned).into_iter().collect::<BTreeSet<_>>(),
    };
    let narrowing = NARROWING.into_iter().filter_map(|name| Some((name, texts(options.get(name)?))));
    json::write(&narrowing.collect::<BTreeMap<_, _>>())
}

/// Knows the files of a ledger's runs by their paths as typed, where those are absolute: until schema 4 by where their
/// links led.
pub(super) fn know_by_typed_paths(db: &Connection) -> Result<(), rusqlite::Error> {
    let mut runs = db.prepare("SELECT no, action, inventory FROM runs")?;
    let runs = runs.query_map([], |row| {
        let action = row.get::<_, Option<String>>(1)?.and_then(|word| word.parse().ok());
        Ok((row.get::<_, i64>(0)?, action, json::read::<Vec<InventoryFile>>(row, 2)?.unwrap_or_default()))
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

impl NewRun {
    /// What was in the files that can be read only once; `inventory` are those read as [`NewRun::files`].
    pub(super) fn piped(&self, inventory: &[InventoryFile]) -> String {
        let inventory = self.files.iter().zip(inventory).filter(|(identity, _)| *identity == PIPE);
        let of_ids = self.id_files.iter().filter(|file| file.path == PIPE);
        let sums: Vec<_> =
            inventory.map(|(_, file)| file).chain(of_ids).map(|file| file.sha256.as_str()).collect();
        sums.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(options: Value) -> Map<String, Value> {
        let Value::Object(options) = options else { panic!("not an object") };
        options
    }

    #[test]
    fn only_what_narrows_the_inventory_is_its_selection_in_whatever_order_it_was_typed() {
        let of = |given: Value| selection(&options(given)).unwrap();
        assert_eq!(of(json!({"rate": "10/s", "canary": "5", "column": "vmid=id"})), EVERYTHING);
        assert_eq!(of(json!({"rack": ["b", "a"], "rate": "1/s"})), of(json!({"rack": ["a", "b"]})));
        let all = [
            json!({"rack": "a"}),
            json!({"rack": "!a"}),
            json!({"vmid": "a"}),
            json!({"where": "a"}),
            json!({"limit": "3"}),
            json!({"limit": "4"}),
            json!({"only-failed": "latest"}),
            json!({"rack": ["a", "b"]}),
        ];
        let different: BTreeSet<_> = all.into_iter().map(of).collect();
        assert_eq!(different.len(), 8);
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
            assert_eq!(job.unwrap(), (selection(&options(given)).unwrap(), "2".to_owned()));
        }
    }
}
