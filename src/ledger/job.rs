//! What makes two runs the same job: the base URL, the inventory files, the action and what narrows the inventory, all as
//! typed; and of what can be read only once, the contents.
//!
//! Paths identify files: what is in them may differ from night to night, and the job is the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::error::LedgerError;
use super::record::NewRun;
use super::stored;
use crate::inventory::{InventoryFile, PIPE};
use crate::outcome::Kind;
use crate::vm::Action;

/// The base URL of every rehearsal, whatever its port.
pub const SANDBOX: &str = "sandbox";

/// Refuses to mix rehearsals and real runs in one ledger, where it holds `others` of the other kind.
pub(super) fn refuse_mixing(others: i64, base_url: &str) -> Result<(), LedgerError> {
    match (others, base_url) {
        (0, _) => Ok(()),
        (_, SANDBOX) => Err(LedgerError::Mixed { held: "real runs", wanted: "the rehearsal" }),
        _ => Err(LedgerError::Mixed { held: "rehearsals", wanted: "the real run" }),
    }
}

/// The options that narrow an inventory, in the order in which people are told of them.
pub const NARROWING: [&str; 6] = ["rack", "vmid", "where", "only-failed", "only-planned", "limit"];

/// The [`selection`] of a run that nothing narrowed.
pub(super) const EVERYTHING: &str = "{}";

/// The exit codes of a run of which nothing failed and nothing was skipped: complete, with changes, with drift.
pub(super) const SUCCESSES: &str = "0, 10, 11";

/// What is done, the files and the action.
pub(super) fn fleet(kind: Kind, files: &[String], action: Option<Action>) -> String {
    let mut hash = Sha256::new();
    match kind {
        Kind::Run => {}
        // No file is called so: as the first of them it would be absolute, or a pipe.
        Kind::Plan => hash.update(b"plan\0"),
    }
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
    stored::json(&narrowing.collect::<BTreeMap<_, _>>())
}

impl NewRun {
    /// Whether its files tell only once they are read which job it is.
    pub(crate) fn is_piped(&self) -> bool {
        self.files.iter().any(|file| file == PIPE) || self.id_files.iter().any(|file| file.path == PIPE)
    }

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
            json!({"only-planned": "latest"}),
            json!({"rack": ["a", "b"]}),
        ];
        let different: BTreeSet<_> = all.into_iter().map(of).collect();
        assert_eq!(different.len(), 9);
    }
}
