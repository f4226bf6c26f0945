//! The API key, taken out of whatever a server or a proxy says before anything else reads it.
//!
//! It is known as it is (in upper or lower case), in any 8 characters of it in a row, in hex, in base64 at whatever place
//! of a longer text, and through percent-encoding and the escapes of JSON and HTML, whole or in part, one in another.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// What stands for the key, or a part of it.
const STARS: &[u8] = b"***";

/// A shorter key guards nothing, and masked it would make stars of what answers are about: of `2001:db8::`, say.
const SHORTEST_KEY: usize = 8;

/// So much of a key in a row gives it away.
const PART: usize = SHORTEST_KEY;

/// What may begin an escape.
const ESCAPES: [&[u8]; 3] = [b"%", b"\\", b"&"];

/// Escapes within escapes are looked through so deep.
const LAYERS: usize = 4;

/// Finds one key.
#[derive(Clone)]
pub(super) struct Mask {
    forms: AhoCorasick,
    /// Beside them, what may begin an escape: most answers have nothing of either.
    suspects: AhoCorasick,
}

impl Mask {
    pub(super) fn new(key: &SecretString) -> Result<Self, BuildError> {
        let forms = forms(key.expose_secret().as_bytes());
        let escapes = if forms.is_empty() { &[][..] } else { &ESCAPES };
        let suspects: Vec<&[u8]> = forms.iter().map(Vec::as_slice).chain(escapes.iter().copied()).collect();
        Ok(Self { suspects: automaton(&suspects)?, forms: automaton(&forms)? })
    }

    /// What came in, without the key. What is JSON stays JSON.
    fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.suspects.is_match(bytes) {
            return Cow::Borrowed(bytes);
        }
        let mut layer = Layer { bytes: Cow::Borrowed(bytes), origins: None };
        let mut found: Vec<Range<usize>> = Vec::new();
        for _ in 0..LAYERS {
            let matches = self.forms.find_overlapping_iter(&*layer.bytes);
            found.extend(matches.map(|found| layer.origin(found.range())));
            match layer.unescaped() {
                Some(below) => layer = below,
                None => break,
            }
        }
        if found.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned(starred(bytes, found)) }
    }

    pub(super) fn text<'a>(&self, text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
        let text = text.into();
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            Cow::Owned(masked) => String::from_utf8_lossy(&masked).into_owned().into(),
        }
    }

    pub(super) fn headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            if let Cow::Owned(masked) = self.bytes(value.as_bytes()) {
                // Stars make no value unfit that was fit before.
                *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("***"));
            }
        }
    }
}

/// An automaton shows its patterns.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask")
    }
}

fn automaton(patterns: &[impl AsRef<[u8]>]) -> Result<AhoCorasick, BuildError> {
    AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(patterns)
}

/// The texts in which a key gives itself away.
fn forms(key: &[u8]) -> Vec<Vec<u8>> {
    if key.len() < SHORTEST_KEY {
        return Vec::new();
    }
    let hex = key.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    let mut forms = vec![key.to_vec(), hex];
    // Cut off by a character at either end, it is as good as whole.
    forms.extend(key.windows(PART).map(<[u8]>::to_vec));
    for before in 0..3 {
        let core = base64_core(key, before);
        forms.push(core.replace('+', "-").replace('/', "_").into_bytes());
        forms.push(core.into_bytes());
    }
    forms
}

/// What the base64 of any text has in it where the key stands in that text after so many bytes, modulo 3.
fn base64_core(key: &[u8], before: usize) -> String {
    let encoded = BASE64_STANDARD.encode([&[0; 2][..before], key].concat());
    // Six bits a character: those that hold bits of the key's neighbours too are left out.
    encoded[(before * 8).div_ceil(6)..(before + key.len()) * 8 / 6].to_owned()
}

/// Text with some of its escapes undone.
struct Layer<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where each byte's own text began in what came in, and where the last one's ended; `None`: at the same place.
    origins: Option<Vec<usize>>,
}

impl Layer<'_> {
    fn origin(&self, Range { start, end }: Range<usize>) -> Range<usize> {
        self.place(start)..self.place(end)
    }

    fn place(&self, at: usize) -> usize {
        self.origins.as_ref().map_or(at, |origins| origins[at])
    }

    /// The same with every escape undone once; `None` where there is none.
    fn unescaped(&self) -> Option<Layer<'static>> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut origins = Vec::with_capacity(self.bytes.len() + 1);
        let mut at = 0;
        while let Some(rest @ [first, ..]) = self.bytes.get(at..) {
            let (byte, length) = unescape(rest).unwrap_or((*first, 1));
            bytes.push(byte);
            origins.push(self.place(at));
            at += length;
        }
        origins.push(self.place(at));
        let shorter = bytes.len() < self.bytes.len();
        shorter.then(|| Layer { bytes: bytes.into(), origins: Some(origins) })
    }
}

/// The character that an escape at the beginning stands for, and the escape's length.
fn unescape(bytes: &[u8]) -> Option<(u8, usize)> {
    match *bytes {
        [b'%', a, b, ..] => Some((hex(&[a, b])?, 3)),
        [b'\\', b'u', b'0', b'0', a, b, ..] => Some((hex(&[a, b])?, 6)),
        [b'\\', b'x', a, b, ..] => Some((hex(&[a, b])?, 4)),
        [b'\\', c @ (b'"' | b'\\' | b'/'), ..] => Some((c, 2)),
        [b'&', ref rest @ ..] => {
            let name =
                rest.split(|&byte| byte == b';').next().filter(|name| name.len() < rest.len().min(8))?;
            Some((entity(name)?, name.len() + 2))
        }
        _ => None,
    }
}

fn entity(name: &[u8]) -> Option<u8> {
    match name {
        b"amp" => Some(b'&'),
        b"lt" => Some(b'<'),
        b"gt" => Some(b'>'),
        b"quot" => Some(b'"'),
        b"apos" => Some(b'\''),
        [b'#', b'x' | b'X', digits @ ..] => hex(digits),
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u8> {
    // A sign is a digit for nobody but `from_str_radix`.
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    u8::from_str_radix(digits?, 16).ok()
}

fn starred(bytes: &[u8], mut found: Vec<Range<usize>>) -> Vec<u8> {
    found.sort_unstable_by_key(|range| range.start);
    let (mut starred, mut copied) = (Vec::with_capacity(bytes.len()), 0);
    for Range { start, end } in found {
        if start >= copied {
            starred.extend_from_slice(&bytes[copied..start]);
            starred.extend_from_slice(STARS);
        }
        copied = copied.max(end);
    }
    starred.extend_from_slice(&bytes[copied..]);
    starred
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "hu_live/7f3a+c\\9&e";

    fn mask(key: &str) -> Mask {
        Mask::new(&SecretString::from(key)).unwrap()
    }

    fn masked(text: &str) -> String {
        mask(KEY).text(text).into_owned()
    }

    fn every_byte(escaped: impl Fn(u8) -> String) -> String {
        KEY.bytes().map(escaped).collect()
    }

    fn percent(text: &str, every: usize) -> String {
        let encoded = |(no, byte): (usize, u8)| match no % every {
            0 => format!("%{byte:02x}"),
            _ => char::from(byte).to_string(),
        };
        text.bytes().enumerate().map(encoded).collect()
    }

    #[test]
    fn the_key_is_masked_in_every_form_in_which_a_server_may_say_it() {
        for form in [
            KEY.to_owned(),
            KEY.to_uppercase(),
            percent(KEY, 1),
            percent(KEY, 1).to_uppercase(),
            percent(KEY, 3),
            percent(&percent(KEY, 2), 1),
            every_byte(|byte| format!("\\u{byte:04X}")),
            every_byte(|byte| format!("\\\\u{byte:04x}")),
            every_byte(|byte| format!("&#{byte};")),
            every_byte(|byte| format!("&#x{byte:X};")),
            KEY.replace('&', "&amp;"),
            KEY.replace('\\', "\\\\").replace('/', "\\/"),
            every_byte(|byte| format!("{byte:02X}")),
            KEY[..8].to_owned(),
            KEY[KEY.len() - 8..].to_owned(),
            KEY[..KEY.len() - 1].to_owned(),
            KEY[1..].to_owned(),
            KEY[3..12].to_owned(),
        ] {
            assert_eq!(masked(&form), "***", "{form}");
            assert_eq!(masked(&format!("key {form}: no; {form}")), "key ***: no; ***", "{form}");
        }
    }

    #[test]
    fn the_key_is_masked_in_base64_whatever_stands_beside_it() {
        for before in ["", "a", "ab", "user:", "Bearer ", "X-API-Key: "] {
            for after in ["", "x", "xy", "\r\n"] {
                let text = format!("{before}{KEY}{after}");
                for encoded in [
                    BASE64_STANDARD.encode(&text),
                    BASE64_STANDARD_NO_PAD.encode(&text),
                    BASE64_URL_SAFE.encode(&text),
                    percent(&BASE64_STANDARD.encode(&text), 1),
                ] {
                    let masked = masked(&encoded);
                    assert!(masked.contains("***"), "{text}: {masked}");
                    // What is left are the neighbours, and less than a character of the key at either end.
                    let left =
                        BASE64_STANDARD_NO_PAD.encode(before).len() + BASE64_STANDARD.encode(after).len() + 4;
                    let left = if encoded.contains('%') { 3 * left } else { left };
                    assert!(masked.len() <= left + 3, "{text}: {masked}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_key_stays_as_it_is() {
        for text in
            ["", "hu_liv", "100 % \\ & &; %zz \\u00 %+1 &#999; &nosuch;", "2001:db8::1/48", "å %C3%A5"]
        {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn a_short_key_is_masked_with_its_ends_and_a_shorter_one_not_at_all() {
        assert_eq!(mask("0123456789abcde").text("01234567 0123456789abcde 1234567"), "*** *** 1234567");
        assert_eq!(mask("12345678").text("\"12345678\""), "\"***\"");
        for short in ["", "db8", "2001:db"] {
            assert_eq!(mask(short).text("2001:db8::1/48 %"), "2001:db8::1/48 %");
        }
    }

    #[test]
    fn headers_are_masked_and_stay_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_str(&format!("r-{}", percent(KEY, 2))).unwrap());
        headers
            .insert("content-type", HeaderValue::from_bytes(&[KEY.as_bytes(), b"; \xe5"].concat()).unwrap());
        headers.insert("date", HeaderValue::from_static("Tue, 24 Nov 2026 12:30:00 GMT"));
        mask(KEY).headers(&mut headers);
        let values: Vec<&[u8]> = headers.values().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"r-***"[..], b"***; \xe5", b"Tue, 24 Nov 2026 12:30:00 GMT"]);
    }

    #[test]
    fn nothing_shows_the_key_of_a_mask() {
        assert_eq!(format!("{:?}", mask(KEY)), "Mask");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Each character raw or in any one escape, at any place of any JSON text.
        #[test]
        fn json_stays_json_without_the_key(
            key in "[!-~]{16,40}",
            forms in proptest::collection::vec(0..4_usize, 40),
            around in "[ -~åäö]{0,20}",
        ) {
            let escaped = |c: char| serde_json::Value::from(c.to_string()).to_string().trim_matches('"').to_owned();
            let said: String = key.chars().zip(&forms).map(|(c, form)| match form {
                0 if !matches!(c, '"' | '\\') => c.to_string(),
                1 => format!("%{:02X}", u32::from(c)),
                2 => format!("\\u{:04x}", u32::from(c)),
                _ if c == '"' => "\\\"".to_owned(),
                _ => escaped(c),
            }).collect();
            let around = serde_json::Value::from(around).to_string();
            let around = &around[1..around.len() - 1];
            let json = format!("{{\"message\":\"{around} {said} {around}\"}}");
            let masked = mask(&key).text(json);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&masked).is_ok(), "{masked}");
            prop_assert!(!masked.contains(&said) && masked.contains("***"), "{masked}");
        }
    }
}
