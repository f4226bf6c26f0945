//! An answer's body: unpacked where it came packed, and as text in whichever encoding it is.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The largest body of an answer about one VM that is read, in bytes, packed or not; documented ones have less than 1 KiB.
pub(super) const CAP: usize = 64 * 1024;

/// The same of a page with up to 100 VMs, whose names and tags nothing bounds; documented ones have about 30 KiB.
pub(super) const PAGE_CAP: usize = 8 * 1024 * 1024;

/// How a gzip begins, and no JSON, also where no header tells of it.
const GZIP: &[u8] = b"\x1f\x8b";

pub(super) fn too_large(cap: usize) -> String {
    format!("the body is larger than {cap} bytes")
}

/// The body as it was before the server packed it by `Content-Encoding`, unasked; or why it cannot be read.
pub(super) fn unpack(packed: Vec<u8>, encodings: &str, cap: usize) -> Result<Vec<u8>, String> {
    let encodings = match packed.starts_with(GZIP) && encodings.trim().is_empty() {
        true => "gzip",
        false => encodings,
    };
    // The last one was applied last.
    encodings.rsplit(',').map(str::trim).try_fold(packed, |body, encoding| {
        if body.is_empty() {
            return Ok(body);
        }
        let read = match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => return Ok(body),
            "gzip" | "x-gzip" => capped(MultiGzDecoder::new(&*body), cap),
            // Zlib's form by the standard, and without it from some servers.
            "deflate" => {
                capped(ZlibDecoder::new(&*body), cap).or_else(|_| capped(DeflateDecoder::new(&*body), cap))
            }
            _ => return Err(format!("the body is encoded as {encoding}, which was not asked for")),
        };
        let unpacked = read.map_err(|error| format!("the body is no whole {encoding}: {error}"))?;
        if unpacked.len() > cap { Err(too_large(cap)) } else { Ok(unpacked) }
    })
}

/// One byte more than the cap shows that there are more.
fn capped(packed: impl Read, cap: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    packed.take(cap as u64 + 1).read_to_end(&mut body)?;
    Ok(body)
}

/// The body as text, without a byte order mark: UTF-8, else UTF-16 where it is marked or its zeros show it, else
/// Latin-1, which anything can be.
pub(super) fn decode(body: &[u8]) -> Cow<'_, str> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| -> Cow<'_, str> {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units).into()
    };
    match body {
        [0xff, 0xfe, rest @ ..] => return utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return utf16(rest, u16::from_be_bytes),
        [1..=255, 0, 1..=255, 0, ..] => return utf16(body, u16::from_le_bytes),
        [0, 1..=255, 0, 1..=255, ..] => return utf16(body, u16::from_be_bytes),
        _ => {}
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match std::str::from_utf8(body) {
        Ok(text) => text.into(),
        Err(_) => body.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}

/// A text that is to be read as JSON, which allows no bare control character in a string: some servers write them.
pub(super) fn spaced(text: &str) -> Cow<'_, str> {
    match text.bytes().fold(u8::MAX, u8::min) < b' ' {
        true => text.replace(|c: char| c < ' ', " ").into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(body).unwrap();
        packed.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        packed.write_all(body).unwrap();
        packed.finish().unwrap()
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        packed.write_all(body).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_body_is_unpacked_by_every_encoding_that_servers_use_unasked() {
        let body = br#"{"success":true}"#;
        for (packed, encodings) in [
            (body.to_vec(), ""),
            (body.to_vec(), "identity"),
            (gzip(body), "gzip"),
            (gzip(body), ""),
            (gzip(body), " GZip "),
            (gzip(body), "x-gzip"),
            ([gzip(&body[..5]), gzip(&body[5..])].concat(), "gzip"),
            (zlib(body), "deflate"),
            (deflate(body), "deflate"),
            (gzip(&zlib(body)), "deflate, gzip"),
            (gzip(body), "gzip, identity"),
        ] {
            assert_eq!(unpack(packed, encodings, CAP).as_deref(), Ok(&body[..]), "{encodings}");
        }
        assert_eq!(unpack(vec![], "gzip", CAP), Ok(vec![]));
        assert_eq!(unpack(vec![], "br", CAP), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_unpacked_or_is_too_large_unpacked_says_why() {
        let whole = gzip(br#"{"success":true}"#);
        let bomb = gzip(&vec![b' '; CAP + 1]);
        let full = gzip(&vec![b' '; CAP]);
        assert_eq!(unpack(full, "gzip", CAP).map(|body| body.len()), Ok(CAP));
        for (packed, encodings, reason) in [
            (whole[..whole.len() / 2].to_vec(), "gzip", "no whole gzip"),
            (whole[..whole.len() - 4].to_vec(), "gzip", "no whole gzip"),
            (b"{}".to_vec(), "gzip", "no whole gzip"),
            (b"{}".to_vec(), "deflate", "no whole deflate"),
            (bomb, "gzip", "larger than 65536 bytes"),
            (whole.clone(), "br", "encoded as br"),
            (whole, "gzip, zstd", "encoded as zstd"),
        ] {
            let error = unpack(packed, encodings, CAP).unwrap_err();
            assert!(error.contains(reason), "{encodings}: {error}");
        }
    }

    #[test]
    fn a_body_is_text_in_whichever_encoding_it_came() {
        let utf16 = |unit: fn(u16) -> [u8; 2]| "{å}".encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
        for body in [
            "{å}".as_bytes().to_vec(),
            "\u{feff}{å}".as_bytes().to_vec(),
            b"{\xe5}".to_vec(),
            [&[0xff, 0xfe], &little[..]].concat(),
            [&[0xfe, 0xff], &big[..]].concat(),
            little,
            big,
        ] {
            assert_eq!(decode(&body), "{å}", "{body:?}");
        }
        for body in [&b""[..], b"\0", b"\xff\xfe", b"\xff\xfe{", b"\xef\xbb\xbf"] {
            assert!(decode(body).len() <= 1, "{body:?}");
        }
    }

    #[test]
    fn a_bare_control_character_in_json_is_a_space() {
        assert_eq!(spaced("{\"a\":\"b\n\tc\0\"}\r\n"), "{\"a\":\"b  c \"}  ");
        assert!(matches!(spaced("{\"å\": 1}"), Cow::Borrowed(_)));
    }
}
