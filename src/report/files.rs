//! Files that are filled row by row, each in a format that is known beforehand, and put in their places together.
//!
//! One that cannot be written is given up, and the others go on: whether they are worth anything without it is the
//! caller's to say.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::ReportError;
use super::output::{Output, Place, STDOUT};

/// Other names of standard output: the file that it may be, a log say, must not be replaced by a report.
const STDOUTS: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// The formats of one kind of document, told apart by the end of a file's name where none is named.
pub trait FileFormat: fmt::Debug + Copy + 'static {
    /// Each with the end of such a file's name.
    const ALL: &'static [(Self, &'static str)];

    /// Whether standard output is free for one.
    const ON_STDOUT: bool = false;

    /// Why a name is none of these, where it ends in none of `extensions`.
    fn unknown(name: &Path, extensions: &str) -> String;

    /// The format that a name says, in upper or lower case.
    fn of_name(name: &Path) -> Option<Self> {
        let name = name.to_string_lossy().to_ascii_lowercase();
        Self::ALL.iter().find(|(_, extension)| name.ends_with(extension)).map(|(format, _)| *format)
    }

    /// The format of that word, which is the end of a name without its dot; `junit` will do.
    fn of_word(word: &[u8]) -> Option<Self> {
        let is_called = |extension: &str| {
            let called = extension.trim_start_matches('.');
            [called, called.trim_end_matches(".xml")].iter().any(|called| called.as_bytes() == word)
        };
        Self::ALL.iter().find(|(_, extension)| is_called(extension)).map(|(format, _)| *format)
    }
}

/// A file that is to be written, and in which format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile<F> {
    pub path: PathBuf,
    pub format: F,
}

impl<F: FileFormat> ReportFile<F> {
    /// The file of that name, in the format that the name says; or `FORMAT:FILE`, whatever the name is, where `-` is
    /// standard output.
    pub fn named(path: PathBuf) -> Result<Self, ReportError> {
        match F::of_name(&path) {
            _ if let Some(file) = Self::with_format(&path) => match file.is_stdout() && !F::ON_STDOUT {
                true => Err(Self::unknown(file.path)),
                false => Ok(file),
            },
            Some(format) => Ok(Self { path, format }),
            None => Err(Self::unknown(path)),
        }
    }

    fn unknown(path: PathBuf) -> ReportError {
        let extensions: Vec<_> = F::ALL.iter().map(|(_, extension)| *extension).collect();
        let reason = F::unknown(&path, &extensions.join(", "));
        ReportError::UnknownFormat { path, reason }
    }

    /// The file of `FORMAT:FILE`.
    fn with_format(path: &Path) -> Option<Self> {
        let bytes = path.as_os_str().as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        let (word, name) = (&bytes[..colon], &bytes[colon + 1..]);
        let format = F::of_word(word).filter(|_| !name.is_empty())?;
        let name = Path::new(OsStr::from_bytes(name));
        let is_stdout = F::ON_STDOUT && STDOUTS.iter().any(|stdout| name == Path::new(stdout));
        Some(Self { path: if is_stdout { STDOUT.into() } else { name.to_owned() }, format })
    }

    /// Whether it is standard output.
    pub fn is_stdout(&self) -> bool {
        self.path == Path::new(STDOUT)
    }

    /// Finds, before there is anything to write, what would keep the file from being written then.
    ///
    /// Leaves nothing behind, and does not open pipes and devices.
    pub fn check(&self) -> Result<(), ReportError> {
        Place::of(&self.path)?.check().map_err(ReportError::write(&self.path))
    }

    /// The same, as far as it can be told without making a file.
    pub fn look(&self) -> Result<(), ReportError> {
        Place::of(&self.path)?.look().map_err(ReportError::write(&self.path))
    }
}

/// As it is named: with its format where the name does not say that.
impl<F: FileFormat + PartialEq> fmt::Display for ReportFile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if F::of_name(&self.path) != Some(self.format)
            && let Some((_, extension)) = F::ALL.iter().find(|(format, _)| *format == self.format)
        {
            write!(f, "{}:", extension.trim_start_matches('.'))?;
        }
        self.path.display().fmt(f)
    }
}

/// What became of files that were to be written.
#[derive(Debug, Default)]
pub struct Written {
    pub paths: Vec<PathBuf>,
    pub failed: Vec<ReportError>,
}

impl Written {
    /// The files, if none of them failed.
    pub(super) fn all(self) -> Result<Vec<PathBuf>, ReportError> {
        self.failed.into_iter().next().map_or(Ok(self.paths), Err)
    }
}

/// Files while they are being written, each through a `B`.
///
/// Dropped before [`Self::publish`], it takes its temporary files with it and old ones stay as they are.
#[derive(Debug)]
pub(super) struct Files<B> {
    open: Vec<(PathBuf, B)>,
    failed: Vec<ReportError>,
}

impl<B> Files<B> {
    /// Opens every file; `begin` writes what stands before the rows.
    pub(super) fn create<F: FileFormat>(
        files: &[ReportFile<F>],
        begin: impl Fn(F, Output) -> io::Result<B>,
    ) -> Self {
        Self::of(files.iter().map(|ReportFile { path, format }| {
            let body = Place::of(path)?.open().and_then(|output| begin(*format, output));
            Ok((path.clone(), body.map_err(ReportError::write(path))?))
        }))
    }

    fn of(all: impl Iterator<Item = Result<(PathBuf, B), ReportError>>) -> Self {
        let (mut open, mut failed) = (Vec::new(), Vec::new());
        for file in all {
            match file {
                Ok(file) => open.push(file),
                Err(error) => failed.push(error),
            }
        }
        Self { open, failed }
    }

    /// These files, if none of them had to be given up.
    pub(super) fn all(self) -> Result<Self, ReportError> {
        match self.failed.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(Self { failed: Vec::new(), ..self }),
        }
    }

    /// Writes to every file.
    pub(super) fn each(&mut self, write: impl Fn(&mut B) -> io::Result<()>) {
        let failed = &mut self.failed;
        self.open.retain_mut(|(path, body)| {
            write(body).map_err(|error| failed.push(ReportError::write(path)(error))).is_ok()
        });
    }

    /// `end` writes what stands after the rows; then all of it is on disk.
    pub(super) fn end(self, end: impl Fn(B) -> io::Result<Output>) -> Files<Output> {
        let synced = self.open.into_iter().map(|(path, body)| match end(body).and_then(Output::sync) {
            Ok(output) => Ok((path, output)),
            Err(error) => Err(ReportError::write(&path)(error)),
        });
        let ended = Files::of(synced);
        Files { open: ended.open, failed: self.failed.into_iter().chain(ended.failed).collect() }
    }
}

impl Files<Output> {
    /// Puts every file in its place, and says where they are.
    pub(super) fn publish(self) -> Written {
        let mut written = Written { paths: vec![], failed: self.failed };
        for (path, output) in self.open {
            match output.publish() {
                Ok(()) => written.paths.push(path),
                Err(error) => written.failed.push(ReportError::write(&path)(error)),
            }
        }
        written
    }
}
