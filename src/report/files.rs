//! Files that are filled row by row, each in the format that its name says, and put in their places together.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::ReportError;
use super::output::{Output, Place};

/// What is written to such files, and in which forms.
#[derive(Debug)]
pub(super) struct Forms<F: 'static> {
    /// With its verb, for an error.
    pub(super) what: &'static str,
    /// By the end of a file's name.
    pub(super) by_extension: &'static [(&'static str, F)],
}

/// Files while they are being written, each through a `B`.
///
/// Dropped before [`Self::finish`], it takes its temporary files with it and old ones stay as they are.
#[derive(Debug)]
pub(super) struct Files<B> {
    open: Vec<(PathBuf, B)>,
}

impl<F: Copy> Forms<F> {
    /// Finds out beforehand what would keep the files from being written.
    pub(super) fn check(&self, outputs: &[PathBuf]) -> Result<(), ReportError> {
        outputs.iter().try_for_each(|path| {
            let (_, place) = self.place(path)?;
            place.check().map_err(ReportError::write(path))
        })
    }

    fn place(&self, path: &Path) -> Result<(F, Place), ReportError> {
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let form = self.by_extension.iter().find(|(name, _)| name.eq_ignore_ascii_case(extension));
        let Some((_, form)) = form else {
            let extensions = self.by_extension.iter().map(|(name, _)| format!(".{name}"));
            let extensions = extensions.collect::<Vec<_>>().join(", ");
            return Err(ReportError::UnknownForm { path: path.into(), what: self.what, extensions });
        };
        Ok((*form, Place::at(path)?))
    }
}

impl<B> Files<B> {
    pub(super) fn create<F: Copy>(
        outputs: &[PathBuf],
        forms: &Forms<F>,
        begin: impl Fn(F, Output) -> io::Result<B>,
    ) -> Result<Self, ReportError> {
        let open = |path: &PathBuf| {
            let (form, place) = forms.place(path)?;
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
