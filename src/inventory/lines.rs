//! Which line of a file is being read, however its lines end.

/// Line ends that were read: line feeds, carriage returns, and both as one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LineEnds {
    ends: u64,
    /// The last byte was a carriage return: a line feed belongs to it.
    returned: bool,
}

impl LineEnds {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let is_end = byte == b'\r' || (byte == b'\n' && !self.returned);
            self.ends += u64::from(is_end);
            self.returned = byte == b'\r';
        }
    }

    /// The line that the next byte is on, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.ends + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_counts_once() {
        for (text, line) in
            [("", 1), ("a", 1), ("a\n", 2), ("a\r", 2), ("a\r\n", 2), ("\r\r\n\n\r", 5), ("\n\r\n\n", 4)]
        {
            let mut ends = LineEnds::default();
            text.as_bytes().iter().for_each(|&byte| ends.feed(&[byte]));
            assert_eq!(ends.line(), line, "{text:?}");
        }
    }
}
