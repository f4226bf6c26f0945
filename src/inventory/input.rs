//! The bytes of an inventory file: hashed, counted and bounded while they are read.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use sha2::{Digest, Sha256};

/// The most bytes from the start of one row to its end; more is no row but an unclosed quote, or an attack.
const ROW_CAP: usize = 4 * 1024 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A file, or standard input for `-`.
pub(super) struct Input {
    source: Box<dyn Read>,
    hash: Rc<Cell<Sha256>>,
    row: Rc<Cell<usize>>,
}

/// Tells an [`Input`] where rows begin, and gives its hash, while somebody else owns it.
#[derive(Clone)]
pub(super) struct Gauge {
    hash: Rc<Cell<Sha256>>,
    row: Rc<Cell<usize>>,
}

impl Input {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let source: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path)?),
        };
        Ok(Self { source, hash: Rc::default(), row: Rc::default() })
    }

    pub(super) fn gauge(&self) -> Gauge {
        Gauge { hash: Rc::clone(&self.hash), row: Rc::clone(&self.row) }
    }

    /// Buffered, and without a byte order mark.
    pub(super) fn into_text(self) -> io::Result<BufReader<Box<dyn Read>>> {
        let mut buffered = BufReader::with_capacity(64 * 1024, self);
        let mut begin = Vec::new();
        buffered.by_ref().take(BOM.len() as u64).read_to_end(&mut begin)?;
        let rest = begin.strip_prefix(BOM).unwrap_or(&begin).to_vec();
        Ok(BufReader::new(Box::new(io::Cursor::new(rest).chain(buffered))))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let mut hash = self.hash.take();
        hash.update(&buffer[..read]);
        self.hash.set(hash);
        self.row.set(self.row.get() + read);
        match self.row.get() > ROW_CAP {
            true => Err(io::Error::other("a row is longer than 4 MiB (an unclosed quote?)")),
            false => Ok(read),
        }
    }
}

impl Gauge {
    pub(super) fn row_begins(&self) {
        self.row.set(0);
    }

    /// Of all that was read, in lower-case hex.
    pub(super) fn sha256(&self) -> String {
        format!("{:x}", self.hash.take().finalize())
    }
}

#[expect(clippy::naive_bytecount, reason = "one byte, or one row, at a time")]
pub(super) fn count_breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Counts the lines that have been read, byte by byte.
pub(super) struct Lines<R> {
    inner: R,
    line: Rc<Cell<u64>>,
}

impl<R: BufRead> Lines<R> {
    /// The line that the next byte stands on, from 1.
    pub(super) fn new(inner: R) -> (Self, Rc<Cell<u64>>) {
        let line = Rc::new(Cell::new(1));
        (Self { inner, line: Rc::clone(&line) }, line)
    }
}

impl<R: BufRead> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.line.set(self.line.get() + count_breaks(&buffer[..read]));
        Ok(read)
    }
}
