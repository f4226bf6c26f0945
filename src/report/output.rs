//! Where a report goes: a temporary file beside its destination that takes its place when it is whole.
//!
//! Standard output gets a report once it is whole. What is no regular file (a pipe, a device) cannot be replaced and is written to as it is; a file that is mounted by
//! itself cannot either, and gets the whole report in the end. What a killed process left behind is swept.

use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags, access};
use tempfile::NamedTempFile;
use tracing::warn;

use super::error::ReportError;
use crate::text::escape_path;

/// Around the random part of a temporary file's name.
const TEMPORARY: (&str, &str) = (".v6fleet-", ".tmp");

/// The most links that are followed, as the kernel has it.
const LINKS: usize = 40;

/// What stands for standard output.
pub(super) const STDOUT: &str = "-";

/// A path that can hold a report.
#[derive(Debug)]
pub(super) enum Place {
    Stdout,
    /// A pipe or a device.
    Direct {
        path: PathBuf,
    },
    /// A file, there already or not, in a directory that exists. A link is followed, and stays.
    File {
        destination: PathBuf,
        directory: PathBuf,
    },
}

impl Place {
    /// Looks at the path of a report, without touching it.
    pub(super) fn of(path: &Path) -> Result<Self, ReportError> {
        let destination = match fs::metadata(path) {
            _ if path == Path::new(STDOUT) => return Ok(Self::Stdout),
            Ok(found) if found.is_dir() => return Err(ReportError::IsDirectory { path: path.into() }),
            Ok(found) if !found.is_file() => return Ok(Self::Direct { path: path.into() }),
            Ok(_) => fs::canonicalize(path).map_err(ReportError::write(path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => destination(path),
            Err(error) => return Err(ReportError::write(path)(error)),
        };
        let directory = directory(&destination).to_owned();
        if !directory.is_dir() {
            return Err(ReportError::MissingDirectory { path: path.into(), directory });
        }
        Ok(Self::File { destination, directory })
    }

    /// Whether a report could be written here now.
    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::Direct { path } => Ok(access(path, Access::WRITE_OK)?),
            Self::File { destination, directory } => staged(destination, directory)?.close(),
        }
    }

    /// The same, as far as it can be told without making a file.
    pub(super) fn look(&self) -> io::Result<()> {
        let writable = |path: &Path| Ok(access(path, Access::WRITE_OK)?);
        match self {
            Self::Stdout => Ok(()),
            Self::Direct { path } => writable(path),
            Self::File { destination, directory } => {
                writable(directory).or_else(|error| writable(destination).map_err(|_| error))
            }
        }
    }

    pub(super) fn open(self) -> io::Result<Output> {
        Ok(match self {
            Self::Stdout => Output::Stdout(BufWriter::new(tempfile::tempfile()?)),
            Self::Direct { path } => {
                Output::Direct(BufWriter::new(OpenOptions::new().write(true).open(path)?))
            }
            Self::File { destination, directory } => {
                let file = BufWriter::new(staged(&destination, &directory)?);
                Output::Staged { file, destination, directory }
            }
        })
    }
}

/// Where a path that leads to no file yet leads to: a link is followed, also one whose target is still to be made.
pub fn destination(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = directory(&path).join(target),
            Err(_) => break,
        }
    }
    path
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != "").unwrap_or(Path::new("."))
}

/// A temporary file beside the destination; where none may be made there, as beside a file that is mounted by itself,
/// in the system's own place for them.
fn staged(destination: &Path, directory: &Path) -> io::Result<NamedTempFile> {
    let beside = temporary_file(directory);
    match &beside {
        Err(error) if is_fixed(error) && access(destination, Access::WRITE_OK).is_ok() => {
            temporary_file(&env::temp_dir()).or(beside)
        }
        _ => beside,
    }
}

/// With the rights that the umask gives: whoever may read the directory's other files may read a report.
fn temporary_file(directory: &Path) -> io::Result<NamedTempFile> {
    sweep(directory);
    let mut new = tempfile::Builder::new();
    new.prefix(TEMPORARY.0).suffix(TEMPORARY.1).permissions(Permissions::from_mode(0o666));
    loop {
        let file = new.tempfile_in(directory)?;
        // It lasts as long as we write, and tells the file from one that was left behind. Where a file system cannot
        // lock, nothing is swept.
        let _ = file.as_file().lock();
        // Before it was locked somebody else may have swept it.
        if file.path().try_exists().unwrap_or(true) {
            return Ok(file);
        }
    }
}

/// Removes the temporary files that nobody writes any more: whoever did was killed.
pub fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let ours =
            name.to_str().is_some_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1));
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            // Kept locked until it is gone: who has only just made it waits for that, and makes another.
            if let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(entry.path())
                && file.try_lock().is_ok()
            {
                // Whoever cannot remove it can write beside it all the same.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether a file's place is not ours to change, though the file may be.
fn is_fixed(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// Puts what is in a temporary file into the destination itself. Whoever reads meanwhile finds a part of it.
fn overwrite(mut file: NamedTempFile, destination: &Path) -> io::Result<()> {
    warn!(
        file = escape_path(destination),
        "cannot be replaced, as where it is mounted by itself: written in place"
    );
    file.rewind()?;
    let mut written = OpenOptions::new().write(true).truncate(true).open(destination)?;
    io::copy(file.as_file_mut(), &mut written)?;
    written.sync_all()
}

/// An open report. Dropped before it is published, a staged one leaves nothing behind.
#[derive(Debug)]
pub(super) enum Output {
    /// Kept in a temporary file until it is whole.
    Stdout(BufWriter<File>),
    Direct(BufWriter<File>),
    Staged {
        file: BufWriter<NamedTempFile>,
        destination: PathBuf,
        directory: PathBuf,
    },
}

impl Output {
    /// Waits until everything written is on disk.
    pub(super) fn sync(mut self) -> io::Result<Self> {
        self.flush()?;
        match &self {
            Self::Stdout(_) | Self::Direct(_) => {}
            Self::Staged { file, .. } => file.get_ref().as_file().sync_all()?,
        }
        Ok(self)
    }

    /// Takes the destination's place at once, so that a reader finds the old report or the new one.
    pub(super) fn publish(self) -> io::Result<()> {
        match self {
            Self::Stdout(kept) => print(kept),
            Self::Direct(_) => Ok(()),
            Self::Staged { file, destination, directory } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                match file.persist(&destination) {
                    Ok(_) => File::open(directory)?.sync_all(),
                    Err(error) if is_fixed(&error.error) && destination.exists() => {
                        overwrite(error.file, &destination)
                    }
                    Err(error) => Err(error.error),
                }
            }
        }
    }
}

/// Copies all that was kept to standard output. A reader that has gone away is no error.
fn print(kept: BufWriter<File>) -> io::Result<()> {
    let mut kept = kept.into_inner().map_err(io::IntoInnerError::into_error)?;
    kept.rewind()?;
    let mut stdout = io::stdout().lock();
    match io::copy(&mut kept, &mut stdout).and_then(|_| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(file) | Self::Direct(file) => file.write(bytes),
            Self::Staged { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(file) | Self::Direct(file) => file.flush(),
            Self::Staged { file, .. } => file.flush(),
        }
    }
}
