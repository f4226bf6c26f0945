//! Where a ledger lies: its directory, its file, and those beside it by name.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tracing::warn;

use crate::ledger::error::LedgerError;
use crate::ledger::nearest::nearest;
use crate::text::escape_path;

/// The file beside a ledger: `ledger.db` and `.lock` → `ledger.db.lock`.
pub fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The write-ahead log of a ledger that is open; it lies beside the file itself, not beside a link.
pub(super) fn log(path: &Path) -> Result<PathBuf, LedgerError> {
    fs::canonicalize(path).map(|path| beside(&path, "-wal")).map_err(io_error(path))
}

/// What would keep the ledger's file from being made or written, as far as it can be seen without touching anything.
pub(super) fn check_writable(path: &Path) -> Result<(), LedgerError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let there = nearest(dir);
    if !there.is_dir() {
        return Err(io_error(there)(io::ErrorKind::NotADirectory.into()));
    }
    refuse_network_file_systems(there)?;
    let writable = |path: &Path| access(path, Access::WRITE_OK).map_err(|errno| io_error(path)(errno.into()));
    writable(there)?;
    match fs::metadata(path) {
        Ok(file) => {
            refuse_what_is_no_file(path, &file)?;
            refuse_more_names(path, file.nlink())?;
            writable(path)
        }
        Err(_) => Ok(()),
    }
}

/// Makes the ledger's directory (0700) and file (0600) where they are missing.
pub(super) fn create(path: &Path) -> Result<(), LedgerError> {
    let io = io_error(path);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    refuse_network_file_systems(dir)?;
    // Before it is opened: a pipe would be waited for.
    fs::metadata(path).map_or(Ok(()), |found| refuse_what_is_no_file(path, &found))?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    let file = file.metadata().map_err(io)?;
    refuse_more_names(path, file.nlink())?;
    warn_of_others(path, file.mode(), fs::metadata(dir).map_err(io)?.mode());
    Ok(())
}

/// A directory, say, or a device.
pub(super) fn refuse_what_is_no_file(path: &Path, found: &Metadata) -> Result<(), LedgerError> {
    let what = match found.is_dir() {
        _ if found.is_file() => return Ok(()),
        true => "a directory",
        false => "a pipe or a device",
    };
    let reason = format!("is {what}, and a ledger is a file: name one with --ledger");
    Err(LedgerError::Unusable { path: path.to_owned(), reason })
}

/// The lock lies beside the ledger, by name.
fn refuse_more_names(path: &Path, names: u64) -> Result<(), LedgerError> {
    let reason = match names {
        0 | 1 => return Ok(()),
        names => format!(
            "it has {names} names (hard links), and each would have a lock of its own; remove the others"
        ),
    };
    Err(LedgerError::Unusable { path: path.to_owned(), reason })
}

fn warn_of_others(path: &Path, mode: u32, directory_mode: u32) {
    let ledger = escape_path(path);
    if mode & 0o006 != 0 {
        warn!(ledger, "everybody on this machine may read or change the ledger: chmod 600");
    }
    if directory_mode & 0o002 != 0 {
        warn!(
            ledger,
            "everybody on this machine may put files beside the ledger: give it a directory of its own (--ledger)"
        );
    }
}

/// The magic numbers of statfs(2).
fn refuse_network_file_systems(dir: &Path) -> Result<(), LedgerError> {
    let statfs = rustix::fs::statfs(dir).map_err(|errno| io_error(dir)(errno.into()))?;
    let kind = match u32::try_from(statfs.f_type) {
        Ok(0x6969) => "NFS",
        Ok(0x517b | 0xfe53_4d42 | 0xff53_4d42) => "SMB",
        Ok(0x0102_1997) => "9P",
        _ => return Ok(()),
    };
    Err(LedgerError::UnfitFileSystem { path: dir.to_owned(), kind })
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> LedgerError + Copy {
    move |error| LedgerError::Io { path: path.to_owned(), error }
}
