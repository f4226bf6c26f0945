//! The bytes of one inventory file: read once, in bounded pieces, hashed on the way.

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};

/// The longest row that is read: a CSV record, a JSON element or a line of JSON Lines.
pub(super) const MAX_ROW_BYTES: usize = 1024 * 1024;

const CHUNK: usize = 64 * 1024;

/// A file that is being read, and the SHA-256 of what was read of it.
pub(super) struct Source<'a> {
    inner: Box<dyn Read + 'a>,
    digest: Sha256,
    buffer: Vec<u8>,
    /// `buffer[start..end]` was read from `inner` but not from here.
    start: usize,
    end: usize,
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
    pub(super) fn new(inner: Box<dyn Read + 'a>) -> Self {
        Self { inner, digest: Sha256::new(), buffer: vec![0; CHUNK], start: 0, end: 0 }
    }

    /// What comes next, without reading past it: at least `wanted` bytes, fewer only where the file ends.
    pub(super) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted && self.fill()? > 0 {}
        Ok(&self.buffer[self.start..self.end])
    }

    /// Skips a UTF-8 byte order mark; a file in UTF-16 is refused.
    pub(super) fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        match self.peek(3)? {
            [0xEF, 0xBB, 0xBF, ..] => self.consume(3),
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "is UTF-16: save it as UTF-8"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads one line into `line`, without its line feed.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        let mut outcome = Line::End;
        loop {
            let unread = self.fill_buf()?;
            if unread.is_empty() {
                return Ok(outcome);
            }
            let feed = unread.iter().position(|&byte| byte == b'\n');
            let part = &unread[..feed.unwrap_or(unread.len())];
            if outcome == Line::Oversized || line.len() + part.len() > MAX_ROW_BYTES {
                outcome = Line::Oversized;
            } else {
                outcome = Line::Whole;
                line.extend_from_slice(part);
            }
            let read = part.len() + usize::from(feed.is_some());
            self.consume(read);
            if feed.is_some() {
                return Ok(outcome);
            }
        }
    }

    /// Reads what nobody wanted, for the digest. Lower-case hex.
    pub(super) fn finish(mut self) -> io::Result<String> {
        while !self.fill_buf()?.is_empty() {
            self.start = self.end;
        }
        Ok(format!("{:x}", self.digest.finalize()))
    }

    /// Reads more behind what is unread. 0 is the end of the file.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() + CHUNK, 0);
        }
        let read = loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.digest.update(&self.buffer[self.end..self.end + read]);
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
        let text = b"\xEF\xBB\xBFabc\ndef";
        let expected = format!("{:x}", Sha256::digest(text));
        let mut source = Source::new(Box::new(Trickle(text)));
        source.skip_byte_order_mark().unwrap();
        assert_eq!(source.peek(2).unwrap(), b"ab");
        let mut line = Vec::new();
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b"abc"[..]));
        assert_eq!(source.finish().unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole() {
        let text = format!("{}\nshort\n\nlast", "x".repeat(MAX_ROW_BYTES + 1));
        let mut source = Source::new(Box::new(text.as_bytes()));
        let mut line = Vec::new();
        assert_eq!(source.read_line(&mut line).unwrap(), Line::Oversized);
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b"short"[..]));
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b""[..]));
        assert_eq!((source.read_line(&mut line).unwrap(), line.as_slice()), (Line::Whole, &b"last"[..]));
        assert_eq!(source.read_line(&mut line).unwrap(), Line::End);
    }

    #[test]
    fn utf_16_is_refused_with_the_remedy() {
        let error = Source::new(Box::new(&b"\xFF\xFEv\0m\0"[..])).skip_byte_order_mark().unwrap_err();
        assert_eq!(error.to_string(), "is UTF-16: save it as UTF-8");
    }
}
