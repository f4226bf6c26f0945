//! The bytes of one inventory file: read once, in bounded pieces, hashed as they are on disk.

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};

/// The longest row that is read: a CSV record, a JSON element or a line of JSON Lines.
pub(super) const MAX_ROW_BYTES: usize = 1024 * 1024;

const CHUNK: usize = 64 * 1024;

/// The least room that a read is given.
pub(super) const ROOM: usize = 64;

/// A file's bytes, and the SHA-256 of what was read of them.
pub(super) struct Hashed<R> {
    inner: R,
    digest: Sha256,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, digest: Sha256::new() }
    }

    /// Reads what nobody wanted, for the digest. Lower-case hex.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format!("{:x}", self.digest.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.digest.update(&out[..read]);
        Ok(read)
    }
}

/// Bytes or text on their way in: what comes next can be looked at before it is taken.
pub(super) struct Source<'a> {
    inner: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    /// `buffer[start..end]` was read from `inner` but not from here.
    start: usize,
    end: usize,
    /// The last line that was read ended in a carriage return: a line feed may belong to it.
    returned: bool,
}

/// A line of [`Source::read_line`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole,
    /// Longer than [`MAX_ROW_BYTES`]; what is left of it was skipped.
    Oversized,
    /// There is none: the file is at its end.
    End,
}

impl<'a> Source<'a> {
    pub(super) fn new(inner: impl Read + 'a) -> Self {
        Self { inner: Box::new(inner), buffer: vec![0; CHUNK], start: 0, end: 0, returned: false }
    }

    /// What comes next, without reading past it: at least `wanted` bytes, fewer only where the file ends.
    pub(super) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted && self.fill()? > 0 {}
        Ok(&self.buffer[self.start..self.end])
    }

    /// Reads one line into `line`, without its end: a line feed, a carriage return, or both.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        let mut outcome = Line::End;
        let feed = usize::from(self.returned && self.fill_buf()?.first() == Some(&b'\n'));
        self.consume(feed);
        self.returned = false;
        loop {
            let unread = self.fill_buf()?;
            if unread.is_empty() {
                return Ok(outcome);
            }
            let end = unread.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &unread[..end.unwrap_or(unread.len())];
            if outcome == Line::Oversized || line.len() + part.len() > MAX_ROW_BYTES {
                outcome = Line::Oversized;
            } else {
                outcome = Line::Whole;
                line.extend_from_slice(part);
            }
            let returned = end.is_some_and(|end| unread[end] == b'\r');
            let read = part.len() + usize::from(end.is_some());
            self.consume(read);
            if end.is_some() {
                self.returned = returned;
                return Ok(outcome);
            }
        }
    }

    /// Reads more behind what is unread. 0 is the end of the file.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < ROOM {
            self.buffer.resize(self.buffer.len() + CHUNK, 0);
        }
        let read = loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += read;
        Ok(read)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Hands out one byte at a time, as a slow pipe may.
    pub(in crate::inventory) struct Trickle<'a>(pub(in crate::inventory) &'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let wanted = out.len().min(1);
            self.0.read(&mut out[..wanted])
        }
    }

    #[test]
    fn the_digest_covers_all_bytes_read_or_not() {
        let text = b"abc\ndef";
        let expected = format!("{:x}", Sha256::digest(text));
        let mut bytes = Hashed::new(Trickle(text));
        let mut source = Source::new(&mut bytes);
        assert_eq!(source.peek(2).unwrap(), b"ab");
        let mut line = Vec::new();
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b"abc"[..]));
        drop(source);
        assert_eq!(bytes.finish().unwrap(), expected);
    }

    #[test]
    fn a_line_ends_in_a_line_feed_a_carriage_return_or_both() {
        for text in ["a\n\nb\nc", "a\r\rb\rc", "a\r\n\r\nb\r\nc", "a\r\n\nb\rc\r\n"] {
            let mut source = Source::new(Trickle(text.as_bytes()));
            let (mut line, mut lines) = (Vec::new(), Vec::new());
            while source.read_line(&mut line).unwrap() == Line::Whole {
                lines.push(String::from_utf8(line.clone()).unwrap());
            }
            assert_eq!(lines, ["a", "", "b", "c"], "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole() {
        let text = format!("{}\nshort\n\nlast", "x".repeat(MAX_ROW_BYTES + 1));
        let mut source = Source::new(text.as_bytes());
        let mut line = Vec::new();
        assert_eq!(source.read_line(&mut line).unwrap(), Line::Oversized);
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b"short"[..]));
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b""[..]));
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b"last"[..]));
        assert_eq!(source.read_line(&mut line).unwrap(), Line::End);
    }
}
