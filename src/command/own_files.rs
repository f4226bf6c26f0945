//! The files that a run has written in a directory of its own: noted with it, and removed when it is deleted.
//!
//! Only what is still as it was written is removed: what others have changed, replaced, linked or moved is theirs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use crate::ledger::WrittenFile;
use crate::text::escape_path;

/// Those of `paths` that lie in the run's own directory, as they are now.
pub(super) fn written(paths: &[PathBuf], directory: &Path) -> Vec<WrittenFile> {
    let own = paths.iter().filter(|path| path.parent() == Some(directory));
    own.filter_map(|path| as_it_is(&absolute(path).ok()?).ok()).collect()
}

/// Removes the files of a run that is deleted, and their directories where nothing else is in them.
pub(super) fn remove(files: &[WrittenFile]) {
    let mut directories: Vec<&Path> =
        files.iter().filter_map(|file| Path::new(&file.path).parent()).collect();
    directories.dedup();
    // Where the directory is a link by now, somebody has moved it elsewhere to keep it.
    directories.retain(|directory| fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir()));
    for file in files {
        let path = Path::new(&file.path);
        if path.parent().is_some_and(|parent| directories.contains(&parent)) {
            remove_file(file, path);
        }
    }
    for directory in directories {
        // It is not empty where anything else is in it.
        let removed = fs::remove_dir(directory).is_ok();
        debug!(directory = escape_path(directory), removed, "reports of a run that is deleted");
    }
}

fn remove_file(file: &WrittenFile, path: &Path) {
    let removed = match as_it_is(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Ok(found) if found == *file => fs::remove_file(path),
        Ok(_) | Err(_) => {
            return warn!(file = escape_path(path), "no longer what the run had written: it stays");
        }
    };
    if let Err(error) = removed {
        warn!(file = escape_path(path), %error, "the report of a run that is deleted cannot be removed");
    }
}

/// An error where it is no regular file, or one with a name that cannot be noted.
fn as_it_is(path: &Path) -> io::Result<WrittenFile> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let name = path.to_str().filter(|_| file.metadata().is_ok_and(|found| found.is_file()));
    let name = name.ok_or(io::ErrorKind::InvalidInput)?;
    let mut digest = Sha256::new();
    let bytes = io::copy(&mut file, &mut digest)?;
    Ok(WrittenFile { path: name.to_owned(), bytes, sha256: format!("{:x}", digest.finalize()) })
}
