//! Which VMs the fleet has had so far, and with what contents, so that no VM is called for twice.
//!
//! Kept in a private temporary database, which spills to disk: memory does not grow with the fleet.

use rusqlite::{Connection, Error};
use sha2::{Digest, Sha256};

use super::vm::{InvalidVmId, Vm};
use crate::allocation::Expected;

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

pub(super) struct Seen {
    database: Connection,
    /// For [`digest`], kept for its capacity.
    scratch: Vec<u8>,
}

impl Seen {
    pub(super) fn new() -> rusqlite::Result<Self> {
        let database = Connection::open("")?;
        database.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;
             CREATE TABLE seen (vmid INTEGER PRIMARY KEY, contents INTEGER, file INTEGER, line INTEGER);
             BEGIN",
        )?;
        Ok(Self { database, scratch: Vec::new() })
    }

    /// Notes a VM where it is the first of its id.
    pub(super) fn note(&mut self, vm: &Vm, at: Position) -> rusqlite::Result<Sight> {
        // An integer key makes the whole twice as fast as the id's text; v1 has no other ids.
        let vmid: i64 =
            vm.id.as_str().parse().map_err(|_| Error::ToSqlConversionFailure(InvalidVmId.into()))?;
        let contents = digest(vm, &mut self.scratch);
        let mut insert =
            self.database.prepare_cached("INSERT OR IGNORE INTO seen VALUES (?1, ?2, ?3, ?4)")?;
        if insert.execute((vmid, contents, at.file.cast_signed(), at.line.cast_signed()))? == 1 {
            return Ok(Sight::First);
        }
        let mut select =
            self.database.prepare_cached("SELECT contents, file, line FROM seen WHERE vmid = ?1")?;
        let (first, position): (i64, _) = select.query_row([vmid], |row| {
            let (file, line): (isize, i64) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, Position { file: file.cast_unsigned(), line: line.cast_unsigned() }))
        })?;
        Ok(if first == contents { Sight::Repeat(position) } else { Sight::Conflict(position) })
    }
}

/// Equal for equal contents, whatever the order of the labels and the way an address is written. 64 bits will do:
/// only rows of the same VM are compared.
fn digest(vm: &Vm, scratch: &mut Vec<u8>) -> i64 {
    scratch.clear();
    let mut add = |bytes: Option<&[u8]>| {
        // The length keeps neighbours apart; an absent text is not an empty one.
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        scratch.extend_from_slice(&length.to_le_bytes());
        scratch.extend_from_slice(bytes.unwrap_or_default());
    };
    let Expected { prefix, next_hop, rack_id, account_id, client_id, proxmox_vm_id } = &vm.expected;
    let network = prefix.as_ref().map(|prefix| prefix.network().network().octets());
    let address = next_hop.as_ref().map(|hop| hop.address().octets());
    add(network.as_ref().map(<[u8; 16]>::as_slice));
    add(prefix.as_ref().map(|prefix| [prefix.length()]).as_ref().map(<[u8; 1]>::as_slice));
    add(address.as_ref().map(<[u8; 16]>::as_slice));
    add(vm.action.map(|action| action.as_str().as_bytes()));
    for text in [&vm.name, rack_id, account_id, client_id, proxmox_vm_id] {
        add(text.as_deref().map(str::as_bytes));
    }
    let mut labels: Vec<_> = vm.labels.iter().collect();
    labels.sort_unstable();
    for (name, text) in labels {
        add(Some(name.as_bytes()));
        add(Some(text.as_bytes()));
    }
    let mut short = [0; 8];
    short.copy_from_slice(&Sha256::digest(scratch)[..8]);
    i64::from_le_bytes(short)
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
        let mut seen = Seen::new().unwrap();
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
