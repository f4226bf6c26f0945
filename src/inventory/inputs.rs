//! Where the bytes of the inventory files come from.
//!
//! What can be read only once, standard input or a pipe, is copied where its contents must be known before it is read.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::error::{FileFault, InventoryError};
use super::file::{InventoryFile, is_pipe, is_stdin};
use super::source::Hashed;

/// Opens the files of an inventory.
pub struct Inputs {
    stdin: Box<dyn Read>,
    /// Copies of what cannot be read again.
    copies: Vec<(PathBuf, File)>,
}

impl Default for Inputs {
    fn default() -> Self {
        Self::with_stdin(io::stdin())
    }
}

impl Inputs {
    /// `stdin` is what `-` names.
    pub fn with_stdin(stdin: impl Read + 'static) -> Self {
        Self { stdin: Box::new(stdin), copies: Vec::new() }
    }

    /// What is in the files, before they are read as an inventory.
    pub fn digests(&mut self, files: &[PathBuf]) -> Result<Vec<InventoryFile>, InventoryError> {
        let digest = |file: &PathBuf| {
            let path = file.display().to_string();
            let sha256 = self.digest(file).map_err(|error| FileFault::from(error).of(&path))?;
            Ok(InventoryFile { path, sha256 })
        };
        files.iter().map(digest).collect()
    }

    fn digest(&mut self, file: &Path) -> io::Result<String> {
        if is_pipe(file) && self.copy_of(file).is_none() {
            let mut copy = tempfile::tempfile()?;
            io::copy(&mut self.open(file)?, &mut copy)?;
            self.copies.push((file.to_owned(), copy));
        }
        Hashed::new(self.open(file)?).finish()
    }

    pub(super) fn open(&mut self, file: &Path) -> io::Result<Box<dyn Read + '_>> {
        if let Some(copy) = self.copy_of(file) {
            let mut copy = copy.try_clone()?;
            copy.rewind()?;
            return Ok(Box::new(copy));
        }
        Ok(match is_stdin(file) {
            true => Box::new(&mut self.stdin),
            false => Box::new(File::open(file)?),
        })
    }

    fn copy_of(&self, file: &Path) -> Option<&File> {
        self.copies.iter().find(|(path, _)| path == file).map(|(_, copy)| copy)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(inputs: &mut Inputs, file: &Path) -> String {
        let mut text = String::new();
        inputs.open(file).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_was_looked_at_beforehand_is_read_all_the_same_a_pipe_too() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a file").unwrap();
        let (pipe, mut end) = io::pipe().unwrap();
        end.write_all(b"a pipe").unwrap();
        drop(end);
        let named = PathBuf::from(format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe)));
        let files = [PathBuf::from("-"), file.path().to_owned(), named];
        let mut inputs = Inputs::with_stdin(&b"standard input"[..]);
        let looked = inputs.digests(&files).unwrap();
        let again = inputs.digests(&files).unwrap();
        assert_eq!(looked, again);
        let texts = files.each_ref().map(|file| read(&mut inputs, file));
        assert_eq!(texts, ["standard input", "a file", "a pipe"]);
        let sum = |text: &str| Hashed::new(text.as_bytes()).finish().unwrap();
        assert_eq!(
            looked.into_iter().map(|file| file.sha256).collect::<Vec<_>>(),
            texts.map(|text| sum(&text))
        );
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_named() {
        let error = Inputs::default().digests(&["no/such.csv".into()]).unwrap_err();
        assert!(error.to_string().starts_with("no/such.csv: "), "{error}");
    }
}
