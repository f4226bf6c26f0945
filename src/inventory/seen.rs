//! Which VMs the fleet has had so far, and with what contents, so that no VM is called for twice.
//!
//! Kept in a private temporary database, which spills to disk: memory does not grow with the fleet.

use std::hash::{BuildHasher, RandomState};

use rusqlite::{Connection, Error, Statement};

use super::vm::{Action, InvalidVmId, Vm};
use crate::allocation::{Expected, NextHop, Prefix};

/// Where a VM's row is: the number of its file, and its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: usize,
    pub(super) line: u64,
}

/// What [`Seen::note`] says of a VM.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    First,
    /// Seen before, there, with the same contents.
    Repeat(Position),
    /// Seen before, there, with other contents.
    Conflict(Position),
}

pub(super) struct Seen<'d> {
    insert: Statement<'d>,
    select: Statement<'d>,
    hashes: RandomState,
}

/// A database for [`Seen`].
pub(super) fn database() -> rusqlite::Result<Connection> {
    let database = Connection::open("")?;
    database.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;
         CREATE TABLE seen (vmid INTEGER PRIMARY KEY, contents INTEGER, file INTEGER, line INTEGER);
         BEGIN",
    )?;
    Ok(database)
}

impl<'d> Seen<'d> {
    pub(super) fn new(database: &'d Connection) -> rusqlite::Result<Self> {
        let insert = database.prepare("INSERT OR IGNORE INTO seen VALUES (?1, ?2, ?3, ?4)")?;
        let select = database.prepare("SELECT contents, file, line FROM seen WHERE vmid = ?1")?;
        Ok(Self { insert, select, hashes: RandomState::new() })
    }

    /// Notes a VM where it is the first of its id.
    pub(super) fn note(&mut self, vm: &Vm, at: Position) -> rusqlite::Result<Sight> {
        // An integer key makes the whole twice as fast as the id's text; v1 has no other ids.
        let vmid: i64 =
            vm.id.as_str().parse().map_err(|_| Error::ToSqlConversionFailure(InvalidVmId.into()))?;
        let contents = digest(vm, &self.hashes);
        if self.insert.execute((vmid, contents, at.file.cast_signed(), at.line.cast_signed()))? == 1 {
            return Ok(Sight::First);
        }
        let (first, position): (i64, _) = self.select.query_row([vmid], |row| {
            let (file, line): (isize, i64) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, Position { file: file.cast_unsigned(), line: line.cast_unsigned() }))
        })?;
        Ok(if first == contents { Sight::Repeat(position) } else { Sight::Conflict(position) })
    }
}

/// Equal for equal contents, whatever the order of the labels and the way an address is written. 64 bits will do:
/// only rows of the same VM are compared.
fn digest(vm: &Vm, hashes: &RandomState) -> i64 {
    let Expected { prefix, next_hop, rack_id, account_id, client_id, proxmox_vm_id } = &vm.expected;
    let network = prefix.as_ref().map(Prefix::network);
    let address = next_hop.as_ref().map(NextHop::address);
    let texts = [&vm.name, rack_id, account_id, client_id, proxmox_vm_id];
    let mut labels: Vec<_> = vm.labels.iter().collect();
    labels.sort_unstable();
    hashes.hash_one((network, address, vm.action.map(Action::as_str), texts, labels)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(edit: impl FnOnce(&mut Vm)) -> Vm {
        let expected = Expected { prefix: "2001:db8::1/48".parse().ok(), ..Expected::default() };
        let labels = [("role", "db"), ("owner", "ann")].map(|(name, text)| (name.into(), text.into())).into();
        let mut vm = Vm { id: "1".parse().unwrap(), name: None, action: None, expected, labels };
        edit(&mut vm);
        vm
    }

    fn at(file: usize, line: u64) -> Position {
        Position { file, line }
    }

    #[test]
    fn a_vm_is_first_once_and_then_a_repeat_or_a_conflict() {
        let database = database().unwrap();
        let mut seen = Seen::new(&database).unwrap();
        assert_eq!(seen.note(&vm(|_| ()), at(0, 2)).unwrap(), Sight::First);
        let same = vm(|vm| {
            vm.labels.reverse();
            vm.expected.prefix = "2001:0DB8::/48".parse().ok();
        });
        assert_eq!(seen.note(&same, at(1, 3)).unwrap(), Sight::Repeat(at(0, 2)));
        let edits: [fn(&mut Vm); 6] = [
            |vm| vm.name = Some(String::new()),
            |vm| vm.action = Some(super::super::Action::Allocate),
            |vm| vm.expected.prefix = None,
            |vm| vm.expected.next_hop = "2001:db8::1".parse().ok(),
            |vm| vm.expected.client_id = Some("3".into()),
            |vm| vm.labels[0].1 = "web".into(),
        ];
        for edit in edits {
            assert_eq!(seen.note(&vm(edit), at(1, 4)).unwrap(), Sight::Conflict(at(0, 2)));
        }
        assert_eq!(seen.note(&vm(|vm| vm.id = "2".parse().unwrap()), at(1, 5)).unwrap(), Sight::First);
    }
}
