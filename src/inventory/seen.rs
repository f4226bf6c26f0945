//! Which VMs an inventory has named already. The memory it needs does not grow with the fleet.

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::vm::Vm;

/// The VMs read so far, in a temporary database of SQLite's own.
pub(super) struct Seen {
    db: Connection,
}

/// What an earlier row said of a VM.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    First,
    /// The same in every column.
    Again,
    /// Something else, at this place.
    Otherwise {
        file: usize,
        line: u64,
    },
}

impl Seen {
    pub(super) fn new() -> Result<Self, rusqlite::Error> {
        // An empty name is a temporary file that is deleted when it is closed.
        let db = Connection::open("")?;
        db.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA cache_size = -4096;
             CREATE TABLE seen (vmid TEXT PRIMARY KEY, contents INTEGER, file INTEGER, line INTEGER)
                STRICT, WITHOUT ROWID;
             BEGIN",
        )?;
        Ok(Self { db })
    }

    /// Notes that a VM stands at `line` of file number `file`.
    pub(super) fn note(&self, vm: &Vm, file: usize, line: u64) -> Result<Sight, rusqlite::Error> {
        let contents = contents(vm);
        let line_no = i64::try_from(line).unwrap_or(i64::MAX);
        let file_no = i64::try_from(file).unwrap_or(i64::MAX);
        let mut insert = self.db.prepare_cached(
            "INSERT INTO seen (vmid, contents, file, line) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?;
        if insert.execute(params![vm.id.as_str(), contents, file_no, line_no])? == 1 {
            return Ok(Sight::First);
        }
        let mut first = self.db.prepare_cached("SELECT contents, file, line FROM seen WHERE vmid = ?1")?;
        let first = first.query_row([vm.id.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        match first.optional()? {
            Some((earlier, _, _)) if earlier == contents => Ok(Sight::Again),
            Some((_, file, line)) => Ok(Sight::Otherwise {
                file: usize::try_from(file).unwrap_or_default(),
                line: line.unsigned_abs(),
            }),
            None => Ok(Sight::First),
        }
    }
}

/// A fingerprint of everything a row says but its id, whatever the order of its labels.
fn contents(vm: &Vm) -> i64 {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    let Vm { id: _, name, action, expected, labels } = vm;
    add(name.as_deref().unwrap_or_default());
    add(action.map_or("", |action| action.as_str()));
    add(&serde_json::to_string(expected).unwrap_or_default());
    let mut labels: Vec<_> = labels.iter().filter(|(_, value)| !value.is_empty()).collect();
    labels.sort();
    for (name, value) in labels {
        add(name);
        add(value);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::Expected;

    fn vm(id: &str, labels: &[(&str, &str)]) -> Vm {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Vm { id: id.parse().unwrap(), name: None, action: None, expected: Expected::default(), labels }
    }

    #[test]
    fn the_same_contents_are_one_vm_and_others_are_a_contradiction() {
        let seen = Seen::new().unwrap();
        let both = [("a", "1"), ("b", "2")];
        assert_eq!(seen.note(&vm("1", &both), 0, 2).unwrap(), Sight::First);
        assert_eq!(seen.note(&vm("2", &both), 0, 3).unwrap(), Sight::First);
        assert_eq!(seen.note(&vm("1", &[("b", "2"), ("a", "1")]), 0, 4).unwrap(), Sight::Again);
        let other = Sight::Otherwise { file: 0, line: 2 };
        assert_eq!(seen.note(&vm("1", &[("a", "12")]), 1, 2).unwrap(), other);
        assert_eq!(seen.note(&vm("1", &[("a", "1b"), ("2", "")]), 1, 3).unwrap(), other);
    }
}
