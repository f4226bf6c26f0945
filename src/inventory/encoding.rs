//! From the bytes of a file to its text in UTF-8: unpacked where they are gzip's, decoded where they are in another
//! encoding.
//!
//! What is no text in its encoding becomes a byte that is none in UTF-8 either: whoever reads the row finds it there,
//! and nothing is replaced in silence.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use encoding_rs::{Decoder, DecoderResult, UTF_8};
use flate2::bufread::MultiGzDecoder;

use super::source::Source;
use crate::text::spelled_out;

/// A character encoding by one of the names that the WHATWG's Encoding Standard has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

/// Why a text is not an [`Encoding`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown encoding (such as windows-1252, iso-8859-15, utf-16le or shift_jis: the names of the WHATWG)"
)]
pub struct InvalidEncoding;

impl Encoding {
    pub(super) const UTF_8: Self = Self(UTF_8);

    /// Why bytes are no text, and what helps.
    pub(super) fn refusal(self) -> String {
        match self == Self::UTF_8 {
            true => {
                "not UTF-8: if the file is in another encoding, add --encoding LABEL, such as windows-1252"
                    .into()
            }
            false => format!("not {self}: --encoding says what the file is in"),
        }
    }
}

impl FromStr for Encoding {
    type Err = InvalidEncoding;

    fn from_str(label: &str) -> Result<Self, Self::Err> {
        let encoding = encoding_rs::Encoding::for_label_no_replacement(label.as_bytes());
        encoding.map(Self).ok_or(InvalidEncoding)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// The text of a file, and the encoding that it was in. `is_packed`: its name says that it is gzip's; any other may be.
///
/// A byte order mark goes before `typed`; without either, it is UTF-8.
pub(super) fn decoded<'a>(
    bytes: impl Read + 'a,
    is_packed: bool,
    typed: Option<Encoding>,
) -> io::Result<(Source<'a>, Encoding)> {
    let mut source = unpacked(Source::new(bytes), is_packed)?;
    let head = source.peek(4)?;
    if let Some((_, what)) = NO_TEXT_AT_ALL.into_iter().find(|(begin, _)| head.starts_with(begin)) {
        return Err(invalid(what));
    }
    let (encoding, mark) = match (encoding_rs::Encoding::for_bom(head), typed) {
        (Some((encoding, mark)), _) => (encoding, mark),
        (None, Some(Encoding(typed))) => (typed, 0),
        (None, None) if zeros_alternate(head) => {
            return Err(invalid(
                "looks like UTF-16 without a byte order mark: add --encoding utf-16le, or utf-16be",
            ));
        }
        (None, None) => (UTF_8, 0),
    };
    source.consume(mark);
    Ok((in_utf_8(source, encoding), Encoding(encoding)))
}

/// The text of a file that is in the encoding of its byte order mark, else in UTF-8.
pub(super) fn marked<'a>(bytes: impl Read + 'a) -> io::Result<Source<'a>> {
    let mut source = Source::new(bytes);
    let (encoding, mark) = encoding_rs::Encoding::for_bom(source.peek(3)?).unwrap_or((UTF_8, 0));
    source.consume(mark);
    Ok(in_utf_8(source, encoding))
}

fn in_utf_8<'a>(source: Source<'a>, encoding: &'static encoding_rs::Encoding) -> Source<'a> {
    match encoding == UTF_8 {
        true => source,
        false => Source::new(Decoded::new(source, encoding)),
    }
}

/// How files begin that are not read, and what to do about them.
const NO_TEXT_AT_ALL: [(&[u8], &str); 6] = [
    (b"\xFF\xFE\0\0", "is UTF-32: save it as UTF-8"),
    (b"\0\0\xFE\xFF", "is UTF-32: save it as UTF-8"),
    (b"PK\x03\x04", "is a ZIP archive, as .xlsx and .ods are: save it as CSV"),
    (b"\xD0\xCF\x11\xE0", "is a spreadsheet (.xls): save it as CSV"),
    (b"\x28\xB5\x2F\xFD", "is packed by zstd: unpack it, or pack it with gzip"),
    (b"\xFD7zX", "is packed by xz: unpack it, or pack it with gzip"),
];

/// As they do where UTF-16 has Latin letters.
fn zeros_alternate(head: &[u8]) -> bool {
    let is_zero = |at: usize| head.get(at).map(|byte| *byte == 0);
    let zeros = [0, 1, 2, 3].map(is_zero);
    [[true, false, true, false], [false, true, false, true]].map(|zeros| zeros.map(Some)).contains(&zeros)
}

fn unpacked(mut source: Source<'_>, is_packed: bool) -> io::Result<Source<'_>> {
    let head = source.peek(2)?;
    // RFC 1952, 2.3.1: no text begins so.
    match head.starts_with(b"\x1F\x8B") {
        true => Ok(Source::new(Unpacked(MultiGzDecoder::new(source)))),
        false if is_packed && !head.is_empty() => Err(invalid("is not gzip, as its name says")),
        false => Ok(source),
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// What is in a gzip file, an error of which says so.
struct Unpacked<'a>(MultiGzDecoder<Source<'a>>);

impl Read for Unpacked<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                invalid("the gzip data break off, or something else follows them")
            }
            kind => io::Error::new(kind, format!("gzip: {}", spelled_out(&error.to_string()))),
        })
    }
}

/// Bytes of another encoding as UTF-8.
struct Decoded<'a> {
    bytes: Source<'a>,
    /// `None` at the end.
    decoder: Option<Decoder>,
}

/// Of no character in UTF-8.
const NO_TEXT: u8 = 0xFF;

impl<'a> Decoded<'a> {
    fn new(bytes: Source<'a>, encoding: &'static encoding_rs::Encoding) -> Self {
        Self { bytes, decoder: Some(encoding.new_decoder_without_bom_handling()) }
    }
}

impl Read for Decoded<'_> {
    /// `out` has room for more than one character: [`Source`] sees to that.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some((spare, room)) = out.split_last_mut() else { return Ok(0) };
        while let Some(decoder) = &mut self.decoder {
            let unread = self.bytes.fill_buf()?;
            let is_last = unread.is_empty();
            let (result, read, mut written) =
                decoder.decode_to_utf8_without_replacement(unread, room, is_last);
            self.bytes.consume(read);
            match result {
                DecoderResult::Malformed(..) => {
                    *room.get_mut(written).unwrap_or(spare) = NO_TEXT;
                    written += 1;
                }
                DecoderResult::InputEmpty if is_last => self.decoder = None,
                DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::source::tests::Trickle;
    use super::*;

    /// The same, whether the bytes come one by one or all at once.
    fn read(bytes: &[u8], is_packed: bool, typed: Option<&str>) -> Result<(Vec<u8>, String), String> {
        let typed = typed.map(|label| label.parse().unwrap());
        let read = |bytes: Box<dyn Read + '_>| {
            let (mut source, encoding) = decoded(bytes, is_packed, typed)?;
            let mut text = Vec::new();
            source.read_to_end(&mut text)?;
            Ok((text, encoding.to_string()))
        };
        let of = |read: io::Result<_>| read.map_err(|error| error.to_string());
        let [slow, quick] = [of(read(Box::new(Trickle(bytes)))), of(read(Box::new(bytes)))];
        assert_eq!(slow, quick);
        quick
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn text_is_read_in_the_encoding_that_its_mark_or_its_label_says() {
        let text = "vmid,namn\n1,Ångström 🦀\n";
        let latin: &[u8] = b"vmid,namn\n1,\xC5ngstr\xF6m\n";
        let cases: [(Vec<u8>, Option<&str>, &str, &str); 9] = [
            (text.into(), None, text, "UTF-8"),
            (format!("\u{feff}{text}").into(), None, text, "UTF-8"),
            (format!("\u{feff}{text}").into(), Some("latin1"), text, "UTF-8"),
            (utf_16(&format!("\u{feff}{text}"), u16::to_le_bytes), None, text, "UTF-16LE"),
            (utf_16(&format!("\u{feff}{text}"), u16::to_be_bytes), None, text, "UTF-16BE"),
            (utf_16(text, u16::to_be_bytes), Some("UTF-16BE"), text, "UTF-16BE"),
            (latin.into(), Some(" Latin1 "), "vmid,namn\n1,Ångström\n", "windows-1252"),
            (b"\x93\x8C\x8B\x9E".into(), Some("sjis"), "東京", "Shift_JIS"),
            (vec![], Some("koi8-r"), "", "KOI8-R"),
        ];
        for (bytes, typed, expected, encoding) in cases {
            let (text, of) = read(&bytes, false, typed).unwrap();
            assert_eq!((String::from_utf8(text).unwrap().as_str(), of.as_str()), (expected, encoding));
        }
    }

    #[test]
    fn what_is_no_text_in_its_encoding_is_none_in_utf_8_and_hides_nothing_else() {
        for (bytes, typed, expected) in [
            (&b"a\xFFb"[..], None, &b"a\xFFb"[..]),
            (b"\xFF\xFEa\0\0\xD8b\0", None, b"a\xFFb"),
            (b"\xFF\xFEa\0b", None, b"a\xFF"),
            (b"a\x81\xFFb\x81", Some("shift_jis"), b"a\xFFb\xFF"),
        ] {
            let (text, _) = read(bytes, false, typed).unwrap();
            assert_eq!(text.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }

    #[test]
    fn long_text_is_decoded_whole() {
        let text = "åäö🦀\r\n".repeat(30_000);
        let bytes = utf_16(&format!("\u{feff}{text}"), u16::to_le_bytes);
        assert_eq!(read(&bytes, false, None).unwrap().0, text.as_bytes());
        assert_eq!(read(&gzip(&bytes), true, None).unwrap().0, text.as_bytes());
    }

    #[test]
    fn gzip_is_unpacked_whatever_the_name_and_in_several_members() {
        let members = [gzip(b"vmid\n"), gzip(b"1\n")].concat();
        for is_packed in [true, false] {
            assert_eq!(read(&members, is_packed, None).unwrap().0, b"vmid\n1\n");
        }
        assert_eq!(read(b"", true, None).unwrap().0, b"");
    }

    #[test]
    fn what_cannot_be_read_as_text_is_refused_with_the_remedy() {
        let whole = gzip(b"vmid\n1\n");
        let mut spoilt = whole.clone();
        let checksum = spoilt.len() - 8;
        spoilt[checksum] ^= 1;
        let cases: [(&[u8], bool, &str); 8] = [
            (b"PK\x03\x04\x14\0", false, "is a ZIP archive, as .xlsx and .ods are: save it as CSV"),
            (b"\x28\xB5\x2F\xFD\x04", false, "is packed by zstd: unpack it, or pack it with gzip"),
            (b"vmid\n1\n", true, "is not gzip, as its name says"),
            (&whole[..whole.len() - 3], true, "the gzip data break off, or something else follows them"),
            (&spoilt, false, "gzip: corrupt gzip stream does not have a matching checksum"),
            (b"\xFF\xFE\0\0v\0\0\0", false, "is UTF-32: save it as UTF-8"),
            (b"v\0m\0i\0d\0", false, "looks like UTF-16 without a byte order mark: add --encoding utf-16le"),
            (b"\0v\0m\0i\0d", false, "looks like UTF-16 without a byte order mark"),
        ];
        for (bytes, is_packed, expected) in cases {
            let error = read(bytes, is_packed, None).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_encoding_is_known_by_the_names_of_the_web() {
        for (label, name) in [("utf8", "UTF-8"), ("cp1252", "windows-1252"), ("UTF-16", "UTF-16LE")] {
            assert_eq!(label.parse::<Encoding>().unwrap().to_string(), name);
        }
        assert_eq!("utf-16be".parse(), Ok(Encoding(encoding_rs::UTF_16BE)));
        assert_eq!("unicode".parse(), Ok(Encoding(encoding_rs::UTF_16LE)));
        for label in ["", "ebcdic", "hz-gb-2312", "utf-32"] {
            assert_eq!(label.parse::<Encoding>(), Err(InvalidEncoding), "{label}");
        }
    }
}
