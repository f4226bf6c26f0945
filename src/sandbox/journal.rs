//! The sandbox's memory across restarts: a JSON Lines file to which every change is appended.
//!
//! A line is one write, so a killed process leaves at most a torn last line, which the next start ignores.
//! Each start writes the file anew, with one line for each allocation. No fsync: it survives the process, not
//! the machine.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use crate::text::escape_path;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// Why a state file cannot be used. The file is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum InvalidState {
    #[error("cannot use the state file {path}", path = escape_path(path))]
    Io { path: PathBuf, source: io::Error },
    #[error("the state file {path} is in use by another sandbox", path = escape_path(path))]
    InUse { path: PathBuf },
    #[error("{path} is not a state file of the sandbox (line 1 does not say so)", path = escape_path(path))]
    Foreign { path: PathBuf },
    #[error("the state file {path} has version {version}; this program knows {VERSION}", path = escape_path(path))]
    Version { path: PathBuf, version: u32 },
    #[error("{path}:{line}: {reason}", path = escape_path(path))]
    Line { path: PathBuf, line: usize, reason: String },
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Entry {
    /// The first line, and only that.
    Sandbox { version: u32 },
    /// A VM's allocation as it is from here on.
    Allocation {
        vmid: u64,
        id: u64,
        rack: String,
        prefix: String,
        next_hop: Ipv6Addr,
        allocated_at: Timestamp,
        updated_at: Timestamp,
    },
    /// A rack's next hop from here on.
    Rack { name: String, next_hop: Ipv6Addr },
}

/// The file, open at its end and locked.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    length: u64,
}

impl Journal {
    /// Gives every entry of an existing file to `apply`, whose error is what is wrong with that line.
    ///
    /// Returns the file, so that it stays locked until [`Self::rewrite`] has taken its place.
    pub(super) fn read(
        path: &Path,
        apply: impl FnMut(Entry) -> Result<(), String>,
    ) -> Result<Option<File>, InvalidState> {
        let failed = |source| InvalidState::Io { path: path.into(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        lock(&file, path)?;
        if file.metadata().map_err(failed)?.len() > 0 {
            read_lines(path, BufReader::new(&file), apply)?;
        }
        Ok(Some(file))
    }

    /// Writes the file anew, in one step: it is whole or as before.
    pub(super) fn rewrite(path: &Path, entries: impl Iterator<Item = Entry>) -> Result<Self, InvalidState> {
        let failed = |source| InvalidState::Io { path: path.into(), source };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(failed)?;
        lock(file.as_file(), path)?;
        let mut writer = BufWriter::new(file);
        for entry in std::iter::once(Entry::Sandbox { version: VERSION }).chain(entries) {
            writer.write_all(&line(&entry).map_err(failed)?).map_err(failed)?;
        }
        let file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
        let file = file.persist(path).map_err(|error| failed(error.error))?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { file, length })
    }

    /// Appends one line with one write; what a failed write left behind is cut off again.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let line = line(entry)?;
        match self.file.write_all(&line) {
            Ok(()) => self.length += line.len() as u64,
            Err(error) => {
                self.file.set_len(self.length)?;
                io::Seek::seek(&mut self.file, io::SeekFrom::End(0))?;
                return Err(error);
            }
        }
        Ok(())
    }
}

fn lock(file: &File, path: &Path) -> Result<(), InvalidState> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(InvalidState::InUse { path: path.into() }),
        Err(TryLockError::Error(source)) => Err(InvalidState::Io { path: path.into(), source }),
    }
}

fn line(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

fn read_lines(
    path: &Path,
    mut reader: impl BufRead,
    mut apply: impl FnMut(Entry) -> Result<(), String>,
) -> Result<(), InvalidState> {
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        read.map_err(|source| InvalidState::Io { path: path.into(), source })?;
        let torn = bytes.last() != Some(&b'\n');
        let entry = serde_json::from_slice(&bytes);
        match (line, entry) {
            (1, Ok(Entry::Sandbox { version: VERSION })) if !torn => {}
            (1, Ok(Entry::Sandbox { version })) if !torn => {
                return Err(InvalidState::Version { path: path.into(), version });
            }
            (1, _) => return Err(InvalidState::Foreign { path: path.into() }),
            _ if torn => return Ok(()),
            (_, entry) => entry
                .map_err(|error| error.to_string())
                .and_then(&mut apply)
                .map_err(|reason| InvalidState::Line { path: path.into(), line, reason })?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rack(name: &str) -> Entry {
        Entry::Rack { name: name.into(), next_hop: Ipv6Addr::LOCALHOST }
    }

    fn read(path: &Path) -> Result<Vec<Entry>, InvalidState> {
        let mut entries = Vec::new();
        Journal::read(path, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn what_was_appended_is_read_again_but_for_a_torn_last_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert_eq!(read(&path).unwrap(), []);
        let mut journal = Journal::rewrite(&path, [rack("a")].into_iter()).unwrap();
        journal.append(&rack("b")).unwrap();
        drop(journal);
        assert_eq!(read(&path).unwrap(), [rack("a"), rack("b")]);
        let whole = std::fs::read(&path).unwrap();
        let last_line = line(&rack("b")).unwrap().len();
        for cut in 1..=last_line {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(read(&path).unwrap(), [rack("a")], "{cut} bytes cut off");
        }
    }

    #[test]
    fn a_state_file_belongs_to_one_sandbox_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let journal = Journal::rewrite(&path, std::iter::empty()).unwrap();
        assert!(matches!(read(&path), Err(InvalidState::InUse { .. })));
        drop(journal);
        assert!(read(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_no_state_is_refused_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        for (text, expected) in [
            ("vmid,rack\n1,a\n", "is not a state file of the sandbox"),
            ("{\"sandbox\":{\"version\":1}}", "is not a state file of the sandbox"),
            ("{\"sandbox\":{\"version\":2}}\n", "has version 2; this program knows 1"),
            ("{\"sandbox\":{\"version\":1}}\n{\"rack\":{}}\n", "state:2: missing field"),
            ("{\"sandbox\":{\"version\":1}}\n\n{}\n", "state:2: "),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path).unwrap(), []);
    }
}
