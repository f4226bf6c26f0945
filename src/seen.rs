//! Which VMs a list has had so far, and with what contents, so that none is taken for two.
//!
//! Memory does not grow with the fleet. A filter of fixed size knows nearly every new VM to be new, and a log keeps
//! what it was. A VM that may have been there before is looked for in that log, which is made an index once there are
//! more than a few of them.

use std::hash::{BuildHasher, Hash, RandomState};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use tempfile::{SpooledData, SpooledTempFile};

use crate::filter::Filter;

/// In bytes; what is larger is a file.
const IN_MEMORY: usize = 8 << 20;

/// So often the log is read through before its index is made, which takes many times as long as one reading.
const DOUBTS: u32 = 16;

/// Where a VM is: the number of its file, its line or its page from 1 on, and which element of a list it is, where it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) file: usize,
    pub(crate) line: u64,
    pub(crate) row: Option<u64>,
}

/// What [`Seen::note`] says of a VM.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    First,
    /// Seen before, there, with the same contents.
    Repeat(Position),
    /// Seen before, there, with other contents.
    Conflict(Position),
}

pub(crate) struct Seen {
    hashes: RandomState,
    log: Log,
    /// VMs that may have been there before.
    doubts: u32,
    /// Of the log, and of all that came after it.
    index: Option<Index>,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { hashes: RandomState::new(), log: Log::new(), doubts: 0, index: None }
    }

    /// Notes a VM where it is the first of its id, which another VM of the list has not. 64 bits of its contents will do:
    /// only those of the same VM are compared.
    pub(crate) fn note(&mut self, vmid: u128, contents: impl Hash, at: Position) -> io::Result<Sight> {
        let note = Note { vmid, contents: self.hashes.hash_one(contents).cast_signed(), at };
        Ok(match self.first_of(note.words())?.map(Note::of_words) {
            None => Sight::First,
            Some(first) if first.contents == note.contents => Sight::Repeat(first.at),
            Some(first) => Sight::Conflict(first.at),
        })
    }

    /// The first VM of that id, where it is not the new one.
    fn first_of(&mut self, new: Words) -> io::Result<Option<Words>> {
        if let Some(index) = &mut self.index {
            return index.insert(new);
        }
        if self.log.is_new(id(new)) {
            return self.log.append(new).map(|()| None);
        }
        self.doubts += 1;
        if self.doubts > DOUBTS {
            return self.index.insert(self.log.index()?).insert(new);
        }
        let first = self.log.find(id(new))?;
        if first.is_none() {
            self.log.append(new)?;
        }
        Ok(first)
    }
}

/// A VM, and where it is.
struct Note {
    vmid: u128,
    contents: i64,
    at: Position,
}

/// The halves of the id, the contents, the file, the line and the row.
type Words = [i64; 6];

/// [`Words`] in a file.
type Bytes = [[u8; size_of::<i64>()]; 6];

/// The halves of an id.
type Id = [i64; 2];

fn id([low, high, ..]: Words) -> Id {
    [low, high]
}

impl Note {
    /// Rows are counted from 1: 0 is none.
    #[expect(clippy::cast_possible_truncation, reason = "each half of the id is a word")]
    fn words(&self) -> Words {
        let Position { file, line, row } = self.at;
        let row = row.unwrap_or_default().cast_signed();
        let (low, high) = (self.vmid as i64, (self.vmid >> 64) as i64);
        [low, high, self.contents, file.cast_signed() as i64, line.cast_signed(), row]
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the file's number was a usize"
    )]
    fn of_words([low, high, contents, file, line, row]: Words) -> Self {
        let vmid = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
        let row = Some(row.cast_unsigned()).filter(|row| *row > 0);
        Self { vmid, contents, at: Position { file: file as usize, line: line.cast_unsigned(), row } }
    }
}

/// The VMs so far, in their order, no two of one id.
struct Log {
    filter: Filter,
    words: BufWriter<SpooledTempFile>,
    len: usize,
}

impl Log {
    fn new() -> Self {
        let words = BufWriter::new(SpooledTempFile::new(IN_MEMORY));
        Self { filter: Filter::new(), words, len: 0 }
    }

    /// Whether no VM of this id can have been there, nor been asked for.
    fn is_new(&mut self, vmid: Id) -> bool {
        self.filter.insert(vmid)
    }

    fn append(&mut self, words: Words) -> io::Result<()> {
        self.len += 1;
        // One by one they fill the buffer to its end: memory that grows by doubling then ends at its limit.
        words.iter().try_for_each(|word| self.words.write_all(&word.to_ne_bytes()))
    }

    fn find(&mut self, vmid: Id) -> io::Result<Option<Words>> {
        self.read(|all| {
            for words in all {
                let words = words?;
                if id(words) == vmid {
                    return Ok(Some(words));
                }
            }
            Ok(None)
        })
    }

    fn index(&mut self) -> io::Result<Index> {
        let mut index = Index::with_room_for(self.len)?;
        self.read(|all| {
            for words in all {
                index.insert(words?)?;
            }
            Ok(index)
        })
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut dyn Iterator<Item = io::Result<Words>>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.words.rewind()?;
        let mut file = BufReader::new(self.words.get_mut());
        let mut all = (0..self.len).map(|_| {
            let mut bytes = Bytes::default();
            file.read_exact(bytes.as_flattened_mut())?;
            Ok(bytes.map(i64::from_ne_bytes))
        });
        let result = read(&mut all);
        self.words.seek(SeekFrom::End(0))?;
        result
    }
}

/// VMs by their ids: a hash table with linear probing, at most half full.
struct Index {
    hashes: RandomState,
    /// Those of zeros are free: lines are counted from 1.
    slots: SpooledData,
    /// A power of two.
    capacity: usize,
    len: usize,
}

impl Index {
    const SLOT: usize = size_of::<Words>();

    fn with_room_for(vms: usize) -> io::Result<Self> {
        let capacity = (2 * vms).next_power_of_two();
        let mut slots = SpooledTempFile::new(IN_MEMORY);
        slots.set_len((capacity * Self::SLOT) as u64)?;
        Ok(Self { hashes: RandomState::new(), slots: slots.into_inner(), capacity, len: 0 })
    }

    /// Inserts a VM unless there is one of that id. Returns the one that is there.
    fn insert(&mut self, new: Words) -> io::Result<Option<Words>> {
        if 2 * self.len >= self.capacity {
            self.grow()?;
        }
        let mut slot = self.slot_of(id(new));
        loop {
            match self.read(slot)? {
                [.., 0, _] => break,
                there if id(there) == id(new) => return Ok(Some(there)),
                _ => slot = (slot + 1) % self.capacity,
            }
        }
        self.len += 1;
        self.write(slot, new).map(|()| None)
    }

    fn grow(&mut self) -> io::Result<()> {
        let mut larger = Self::with_room_for(self.capacity)?;
        for slot in 0..self.capacity {
            match self.read(slot)? {
                [.., 0, _] => {}
                words => drop(larger.insert(words)?),
            }
        }
        *self = larger;
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
    fn slot_of(&self, vmid: Id) -> usize {
        self.hashes.hash_one(vmid) as usize % self.capacity
    }

    fn read(&self, slot: usize) -> io::Result<Words> {
        let at = slot * Self::SLOT;
        let mut bytes = Bytes::default();
        let into = bytes.as_flattened_mut();
        match &self.slots {
            SpooledData::InMemory(slots) => into.copy_from_slice(&slots.get_ref()[at..at + Self::SLOT]),
            SpooledData::OnDisk(slots) => slots.read_exact_at(into, at as u64)?,
        }
        Ok(bytes.map(i64::from_ne_bytes))
    }

    fn write(&mut self, slot: usize, words: Words) -> io::Result<()> {
        let at = slot * Self::SLOT;
        let bytes = words.map(i64::to_ne_bytes);
        let from = bytes.as_flattened();
        match &mut self.slots {
            SpooledData::InMemory(slots) => {
                slots.get_mut()[at..at + Self::SLOT].copy_from_slice(from);
                Ok(())
            }
            SpooledData::OnDisk(slots) => slots.write_all_at(from, at as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_outgrows_memory_is_read_and_goes_on() {
        let mut log = Log::new();
        let vm = |id: i64| [id, 7, -id, 0, id, 0];
        for id in 1..=220_000 {
            log.append(vm(id)).unwrap();
        }
        for id in [1, 220_000, 220_001] {
            assert_eq!(log.find([id, 7]).unwrap(), Some(vm(id)).filter(|_| id <= 220_000));
        }
        log.append(vm(220_001)).unwrap();
        assert!(log.words.get_ref().is_rolled());
        assert_eq!(log.find([220_001, 7]).unwrap(), Some(vm(220_001)));
    }

    #[test]
    fn an_index_that_outgrows_memory_forgets_no_vm() {
        let mut index = Index::with_room_for(1).unwrap();
        let vms = (1..=120_000).map(|id| [id % 500, id / 500, -id, 0, id, 0]);
        assert!(vms.clone().all(|vm| index.insert(vm).unwrap().is_none()));
        assert!(matches!(index.slots, SpooledData::OnDisk(_)));
        let changed = |[low, high, ..]: Words| [low, high, 7, 7, 7, 7];
        assert!(vms.clone().all(|vm| index.insert(changed(vm)).unwrap() == Some(vm)));
    }
}
