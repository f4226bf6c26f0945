//! What is to stand on standard output, kept in a temporary file until it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use super::failure::Broken;
use super::stdout::Stdout;

#[derive(Debug)]
pub(super) struct Spool(BufWriter<File>);

impl Spool {
    pub(super) fn begin() -> io::Result<Self> {
        Ok(Self(BufWriter::new(tempfile::tempfile()?)))
    }

    /// Copies all that was kept to standard output.
    pub(super) fn print(self) -> Result<(), Broken> {
        let mut kept = self.0.into_inner().map_err(|error| Self::failed(error.into_error()))?;
        kept.rewind().map_err(Self::failed)?;
        let mut stdout = Stdout::lock();
        io::copy(&mut kept, &mut stdout).and_then(|_| stdout.flush()).map_err(Stdout::failed)
    }

    pub(super) fn failed(error: io::Error) -> Broken {
        Broken::new(anyhow::Error::new(error).context("temporary file"))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
