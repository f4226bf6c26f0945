//! Files that are filled row by row, each in the format that its name says, and put in their places together.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::ReportError;
use super::output::{Output, Place};

/// The formats of such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Csv,
    Json,
    JsonLines,
}

/// Files while they are being written, each through a `B`.
///
/// Dropped before [`Self::finish`], it takes its temporary files with it and old ones stay as they are.
#[derive(Debug)]
pub(super) struct Files<B> {
    open: Vec<(PathBuf, B)>,
}

/// Finds out beforehand what would keep the files from being written. `what` is written there, for the error.
pub(super) fn check(outputs: &[PathBuf], what: &'static str) -> Result<(), ReportError> {
    outputs.iter().try_for_each(|path| {
        let (_, place) = place(path, what)?;
        place.check().map_err(ReportError::write(path))
    })
}

impl<B> Files<B> {
    pub(super) fn create(
        outputs: &[PathBuf],
        what: &'static str,
        begin: impl Fn(Form, Output) -> io::Result<B>,
    ) -> Result<Self, ReportError> {
        let open = |path: &PathBuf| {
            let (form, place) = place(path, what)?;
            let body = place.open().and_then(|output| begin(form, output));
            Ok((path.clone(), body.map_err(ReportError::write(path))?))
        };
        Ok(Self { open: outputs.iter().map(open).collect::<Result<_, ReportError>>()? })
    }

    /// Writes to every file.
    pub(super) fn each(&mut self, write: impl Fn(&mut B) -> io::Result<()>) -> Result<(), ReportError> {
        self.open.iter_mut().try_for_each(|(path, body)| write(body).map_err(ReportError::write(path)))
    }

    /// Puts every file in its place, none of them before all of them are on disk, and says where they are.
    pub(super) fn finish(self, end: impl Fn(B) -> io::Result<Output>) -> Result<Vec<PathBuf>, ReportError> {
        let sync = |(path, body): (PathBuf, B)| match end(body).and_then(Output::sync) {
            Ok(output) => Ok((path, output)),
            Err(error) => Err(ReportError::write(&path)(error)),
        };
        let publish = |(path, output): (PathBuf, Output)| {
            output.publish().map_err(ReportError::write(&path))?;
            Ok(path)
        };
        let whole: Vec<_> = self.open.into_iter().map(sync).collect::<Result<_, _>>()?;
        whole.into_iter().map(publish).collect()
    }
}

fn place(path: &Path, what: &'static str) -> Result<(Form, Place), ReportError> {
    let form = match path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => Form::Csv,
        Some("json") => Form::Json,
        Some("jsonl") => Form::JsonLines,
        _ => return Err(ReportError::UnknownForm { path: path.into(), what }),
    };
    Ok((form, Place::at(path)?))
}
