//! Where a run tells how it stands: a line in the file of its lock, which nobody reads who could take the lock.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::ledger::engine::Board;
use crate::ledger::record::Bulletin;

/// Stands before it.
const POSTED: &str = "now ";

/// The file of a lock that is held, not opened for locking.
#[derive(Debug)]
pub(super) struct Notes {
    file: File,
    /// What stands before it.
    head: String,
}

impl Notes {
    /// `None` where the file cannot be written.
    pub(super) fn open(lock: &Path, head: String) -> Option<Self> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(lock).ok()?;
        Some(Self { file, head })
    }
}

impl Board for Notes {
    fn post(&mut self, bulletin: &Bulletin) {
        let Ok(json) = serde_json::to_string(bulletin) else { return };
        let text = format!("{}\n{POSTED}{json}\n", self.head);
        // Whoever reads in between finds the new line whole, or none.
        let _ =
            self.file.write_all_at(text.as_bytes(), 0).and_then(|()| self.file.set_len(text.len() as u64));
    }
}

/// What was posted last in a lock's file, if that is whole.
pub(super) fn read(said: &str) -> Option<Bulletin> {
    let lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let mut posted = lines.filter_map(|line| line.strip_prefix(POSTED));
    posted.find_map(|json| serde_json::from_str(json).ok())
}

/// What stands in a lock's file but for that.
pub(super) fn without(said: &str) -> impl Iterator<Item = &str> {
    // What a longer line left behind has neither beginning.
    said.lines().take_while(|line| !line.starts_with(POSTED))
}
