//! Where a report goes: a temporary file beside its destination that takes its place when it is whole.
//!
//! What is no regular file (a pipe, a device) cannot be replaced and is written to as it is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tempfile::NamedTempFile;

use super::{Format, ReportError};

/// A path that can hold a report.
#[derive(Debug)]
pub(super) enum Place {
    /// A pipe or a device.
    Direct { path: PathBuf },
    /// A file, there already or not, in a directory that exists. A link is followed, and stays.
    File { destination: PathBuf, directory: PathBuf },
}

impl Place {
    /// Looks at the path of a report, without touching it.
    pub(super) fn of(path: &Path) -> Result<(Format, Self), ReportError> {
        if path == "-" {
            return Err(ReportError::StandardOutput);
        }
        let format = path.to_string_lossy().parse();
        let format = format.map_err(|reason| ReportError::UnknownFormat { path: path.into(), reason })?;
        Ok((format, Self::at(path)?))
    }

    /// Looks at a path whose format is known.
    pub(super) fn at(path: &Path) -> Result<Self, ReportError> {
        let destination = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(ReportError::IsDirectory { path: path.into() }),
            Ok(found) if !found.is_file() => return Ok(Self::Direct { path: path.into() }),
            Ok(_) => fs::canonicalize(path).map_err(ReportError::write(path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(ReportError::write(path)(error)),
        };
        let directory = match destination.parent() {
            Some(parent) if parent != "" => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !directory.is_dir() {
            return Err(ReportError::MissingDirectory { path: path.into(), directory });
        }
        Ok(Self::File { destination, directory })
    }

    /// Whether a report could be written here now.
    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Self::Direct { path } => Ok(access(path, Access::WRITE_OK)?),
            Self::File { directory, .. } => temporary_file(directory)?.close(),
        }
    }

    pub(super) fn open(self) -> io::Result<Output> {
        Ok(match self {
            Self::Direct { path } => {
                Output::Direct(BufWriter::new(OpenOptions::new().write(true).open(path)?))
            }
            Self::File { destination, directory } => {
                Output::Staged { file: BufWriter::new(temporary_file(&directory)?), destination, directory }
            }
        })
    }
}

/// With the rights that the umask gives: whoever may read the directory's other files may read a report.
fn temporary_file(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".v6fleet-")
        .suffix(".tmp")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

/// An open report. Dropped before it is published, a staged one leaves nothing behind.
#[derive(Debug)]
pub(super) enum Output {
    Direct(BufWriter<File>),
    Staged { file: BufWriter<NamedTempFile>, destination: PathBuf, directory: PathBuf },
}

impl Output {
    /// Waits until everything written is on disk.
    pub(super) fn sync(mut self) -> io::Result<Self> {
        self.flush()?;
        match &self {
            Self::Direct(_) => {}
            Self::Staged { file, .. } => file.get_ref().as_file().sync_all()?,
        }
        Ok(self)
    }

    /// Takes the destination's place at once, so that a reader finds the old report or the new one.
    pub(super) fn publish(self) -> io::Result<()> {
        match self {
            Self::Direct(_) => Ok(()),
            Self::Staged { file, destination, directory } => {
                file.into_inner().map_err(io::IntoInnerError::into_error)?.persist(destination)?;
                File::open(directory)?.sync_all()
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(file) => file.write(bytes),
            Self::Staged { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.flush(),
            Self::Staged { file, .. } => file.flush(),
        }
    }
}
