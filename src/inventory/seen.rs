//! Which VMs the fleet has had so far, and with what contents, so that no VM is called for twice.
//!
//! Memory does not grow with the fleet. A filter of fixed size knows nearly every new VM to be new, and a log keeps
//! what it was. Only when a VM may have been there before is that log made an index, where it can be looked up.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

use super::error::SeenError;
use super::vm::{Action, Vm};
use crate::allocation::{Expected, NextHop, Prefix};
use crate::filter::Filter;

/// In bytes; what is larger is a file.
const IN_MEMORY: usize = 8 << 20;

/// Where a VM's row is: the number of its file, its line, and which element of a list it is, where it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: usize,
    pub(super) line: u64,
    pub(super) row: Option<u64>,
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
    hashes: RandomState,
    log: Log,
    /// Of the log, and of all that came after it.
    index: Option<Index>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { hashes: RandomState::new(), log: Log::new(), index: None }
    }

    /// Notes a VM where it is the first of its id.
    pub(super) fn note(&mut self, vm: &Vm, at: Position) -> Result<Sight, SeenError> {
        // Integers take half the time of the ids' texts; v1 has no other ids.
        let note = Note { vmid: vm.id.as_str().parse()?, contents: digest(vm, &self.hashes), at };
        let index = match &mut self.index {
            Some(index) => index,
            None if self.log.append_new(&note)? => return Ok(Sight::First),
            None => self.index.insert(self.log.index()?),
        };
        Ok(match index.insert(note.words())?.map(Note::of_words) {
            None => Sight::First,
            Some(first) if first.contents == note.contents => Sight::Repeat(first.at),
            Some(first) => Sight::Conflict(first.at),
        })
    }
}

/// A VM, and where it is.
struct Note {
    vmid: i64,
    contents: i64,
    at: Position,
}

type Words = [i64; 5];

fn read_words(from: &mut impl Read) -> io::Result<Words> {
    let mut words = [[0; size_of::<i64>()]; 5];
    from.read_exact(words.as_flattened_mut())?;
    Ok(words.map(i64::from_ne_bytes))
}

fn write_words(to: &mut impl Write, words: Words) -> io::Result<()> {
    to.write_all(words.map(i64::to_ne_bytes).as_flattened())
}

impl Note {
    /// Rows are counted from 1: 0 is none.
    fn words(&self) -> Words {
        let Position { file, line, row } = self.at;
        let row = row.unwrap_or_default().cast_signed();
        [self.vmid, self.contents, file.cast_signed() as i64, line.cast_signed(), row]
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the file's number was a usize"
    )]
    fn of_words([vmid, contents, file, line, row]: Words) -> Self {
        let row = Some(row.cast_unsigned()).filter(|row| *row > 0);
        Self { vmid, contents, at: Position { file: file as usize, line: line.cast_unsigned(), row } }
    }
}

/// VMs of which no two can be the same, in their order.
struct Log {
    filter: Filter,
    words: BufWriter<SpooledTempFile>,
    len: u64,
}

impl Log {
    fn new() -> Self {
        let words = BufWriter::new(SpooledTempFile::new(IN_MEMORY));
        Self { filter: Filter::new(), words, len: 0 }
    }

    /// Appends the VM unless it may be one of the log's. Returns whether it did.
    fn append_new(&mut self, note: &Note) -> io::Result<bool> {
        if !self.filter.insert(note.vmid) {
            return Ok(false);
        }
        write_words(&mut self.words, note.words())?;
        self.len += 1;
        Ok(true)
    }

    fn index(&mut self) -> io::Result<Index> {
        let mut index = Index::with_room_for(self.len)?;
        self.words.rewind()?;
        let mut bytes = BufReader::new(self.words.get_mut());
        for _ in 0..self.len {
            index.insert(read_words(&mut bytes)?)?;
        }
        Ok(index)
    }
}

/// VMs by their ids: a hash table with linear probing, at most half full.
struct Index {
    hashes: RandomState,
    /// Those of zeros are free: no VM has the id 0.
    slots: SpooledTempFile,
    /// A power of two.
    capacity: u64,
    len: u64,
}

impl Index {
    fn with_room_for(vms: u64) -> io::Result<Self> {
        let capacity = (2 * vms).next_power_of_two();
        let mut slots = SpooledTempFile::new(IN_MEMORY);
        slots.set_len(capacity * size_of::<Words>() as u64)?;
        Ok(Self { hashes: RandomState::new(), slots, capacity, len: 0 })
    }

    /// Inserts a VM unless there is one of that id. Returns the one that is there.
    fn insert(&mut self, new: Words) -> io::Result<Option<Words>> {
        if 2 * self.len >= self.capacity {
            self.grow()?;
        }
        let mut slot = self.hashes.hash_one(new[0]);
        loop {
            self.seek(slot)?;
            match read_words(&mut self.slots)? {
                [0, ..] => break,
                there if there[0] == new[0] => return Ok(Some(there)),
                _ => slot = slot.wrapping_add(1),
            }
        }
        self.seek(slot)?;
        write_words(&mut self.slots, new)?;
        self.len += 1;
        Ok(None)
    }

    fn grow(&mut self) -> io::Result<()> {
        let mut larger = Self::with_room_for(self.capacity)?;
        self.slots.rewind()?;
        let mut slots = BufReader::new(&mut self.slots);
        for _ in 0..self.capacity {
            match read_words(&mut slots)? {
                [0, ..] => {}
                words => drop(larger.insert(words)?),
            }
        }
        *self = larger;
        Ok(())
    }

    fn seek(&mut self, slot: u64) -> io::Result<u64> {
        self.slots.seek(SeekFrom::Start(slot % self.capacity * size_of::<Words>() as u64))
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
    use std::collections::HashMap;
    use std::collections::hash_map::Entry;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn vm(edit: impl FnOnce(&mut Vm)) -> Vm {
        let expected = Expected { prefix: "2001:db8::1/48".parse().ok(), ..Expected::default() };
        let labels = [("role", "db"), ("owner", "ann")].map(|(name, text)| (name.into(), text.into())).into();
        let mut vm = Vm { id: "1".parse().unwrap(), name: None, action: None, expected, labels };
        edit(&mut vm);
        vm
    }

    fn at(file: usize, line: u64) -> Position {
        Position { file, line, row: (line > 3).then_some(line * 2) }
    }

    #[test]
    fn a_vm_is_first_once_and_then_a_repeat_or_a_conflict() {
        let mut seen = Seen::new();
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

    #[test]
    fn an_index_that_outgrows_memory_forgets_no_vm() {
        let mut index = Index::with_room_for(1).unwrap();
        let vms = (1..=120_000).map(|id| [id * id, -id, 0, id, 0]);
        assert!(vms.clone().all(|vm| index.insert(vm).unwrap().is_none()));
        assert!(index.slots.is_rolled());
        let changed = |[vmid, ..]: Words| [vmid, 7, 7, 7, 7];
        assert!(vms.clone().all(|vm| index.insert(changed(vm)).unwrap() == Some(vm)));
    }

    proptest! {
        #[test]
        fn every_vm_is_told_where_it_was_first(rows in vec((1..40_i64, 0..3_u8), 0..60)) {
            let mut seen = Seen::new();
            let mut firsts = HashMap::new();
            for (line, (id, name)) in (2..).zip(rows) {
                let row = vm(|vm| {
                    vm.id = id.to_string().parse().unwrap();
                    vm.name = Some(name.to_string());
                });
                let expected = match firsts.entry(id) {
                    Entry::Vacant(vacant) => {
                        vacant.insert((name, at(1, line)));
                        Sight::First
                    }
                    Entry::Occupied(first) if first.get().0 == name => Sight::Repeat(first.get().1),
                    Entry::Occupied(first) => Sight::Conflict(first.get().1),
                };
                prop_assert_eq!(seen.note(&row, at(1, line)).unwrap(), expected);
            }
        }
    }
}
