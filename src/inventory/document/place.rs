//! Where in a document the parser is: on which line, and how many bytes may still come in one piece.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};

use crate::inventory::encoding::Encoding;
use crate::inventory::error::FileFault;
use crate::inventory::json::{Element, message};
use crate::inventory::lines::LineEnds;
use crate::inventory::source::{MAX_ROW_BYTES, Source};

/// Where in a document the parser is.
pub(super) struct Place {
    pub(super) ends: Cell<LineEnds>,
    /// The line on which the current element starts.
    pub(super) element: Cell<u64>,
    /// More than white space was read.
    begun: Cell<bool>,
    /// How many bytes may come in one piece, and how many of them still may.
    most: Cell<usize>,
    room: Cell<usize>,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            ends: Cell::default(),
            element: Cell::new(1),
            begun: Cell::new(false),
            most: Cell::new(MAX_ROW_BYTES),
            room: Cell::new(MAX_ROW_BYTES),
        }
    }

    /// Allows so many bytes for what comes next.
    pub(super) fn allow(&self, bytes: usize) {
        self.most.set(bytes);
        self.room.set(bytes);
    }

    pub(super) fn fault(&self, error: serde_json::Error, encoding: Encoding) -> FileFault {
        if self.room.get() == 0 {
            let reason = format!("an element longer than {} KiB", self.most.get() / 1024);
            return FileFault::Malformed { line: self.element.get(), reason };
        }
        if error.is_io() {
            return FileFault::Unreadable(error.into());
        }
        let reason = match message(&error) {
            _ if error.is_eof() && !self.begun.get() => {
                "the file is empty: a list of objects is needed".into()
            }
            message if message == "trailing characters" => {
                "more follows the end of the document (one object a line is JSON Lines: name it .jsonl, \
                 or add --inventory-format jsonl)"
                    .into()
            }
            message if message == "invalid unicode code point" => encoding.refusal(),
            message => message,
        };
        FileFault::Malformed { line: self.ends.get().line(), reason }
    }
}

/// What the parser reads: counts lines and the bytes of an element. The parser asks for one byte at a time.
pub(super) struct Metered<'p, 's, 'a> {
    pub(super) source: &'s mut Source<'a>,
    pub(super) place: &'p Place,
}

impl Read for Metered<'_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Place { ends, begun, room, .. } = self.place;
        if room.get() == 0 {
            return Err(io::Error::other("an element is too long"));
        }
        let wanted = out.len().min(room.get());
        let unread = self.source.fill_buf()?;
        let read = wanted.min(unread.len());
        out[..read].copy_from_slice(&unread[..read]);
        self.source.consume(read);
        let mut fed = ends.get();
        fed.feed(&out[..read]);
        ends.set(fed);
        begun.set(begun.get() || out[..read].iter().any(|byte| !byte.is_ascii_whitespace()));
        room.set(room.get() - read);
        Ok(read)
    }
}

/// An element that notes where it starts: the parser has read its first byte by then, and no more.
pub(super) struct Placed<'p>(pub(super) &'p Place);

impl<'de> DeserializeSeed<'de> for Placed<'_> {
    type Value = Element;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        self.0.element.set(self.0.ends.get().line());
        Element::deserialize(deserializer)
    }
}
