//! The cursors of lists: where the next page begins, and of which list it is one.
//!
//! Opaque to clients: one that was altered, or that is another list's, is none.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};

const TAG: usize = 8;

/// The cursor to what follows the VM `after`, in the list that `filter` makes.
pub(super) fn write(after: u64, filter: &str) -> String {
    BASE64.encode([after.to_be_bytes(), tag(after, filter)].concat())
}

/// Where the page begins.
pub(super) fn read(text: &str, filter: &str) -> Option<u64> {
    let bytes = BASE64.decode(text).ok()?;
    let after = u64::from_be_bytes(*bytes.first_chunk()?);
    (bytes[8..] == tag(after, filter)).then_some(after)
}

fn tag(after: u64, filter: &str) -> [u8; TAG] {
    let digest = Sha256::new_with_prefix("cursor").chain_update(after.to_be_bytes()).chain_update(filter);
    let digest = digest.finalize();
    std::array::from_fn(|place| digest[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_in_its_own_list_and_altered_in_none() {
        for after in [0, 10_000, u64::MAX] {
            let text = write(after, "a");
            assert_eq!(read(&text, "a"), Some(after));
            assert_eq!(read(&text, "b"), None);
            for place in 0..text.len() {
                let other = if text.as_bytes()[place] == b'A' { "B" } else { "A" };
                let mut altered = text.clone();
                altered.replace_range(place..=place, other);
                assert_eq!(read(&altered, "a"), None, "{altered}");
            }
            assert_eq!(read(&text[..text.len() - 1], "a"), None);
            assert_eq!(read(&format!("{text}A"), "a"), None);
        }
        for text in ["", "x", "AAAA", "é", "AAAAAAAAAAA"] {
            assert_eq!(read(text, ""), None, "{text}");
        }
    }
}
