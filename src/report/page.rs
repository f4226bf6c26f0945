//! What the HTML pages have in common: their style, what they may load, and the words in their templates.

pub(super) mod functions;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

pub(super) const STYLE: &str = include_str!("../../templates/page.css");

/// What a page with the style and this script may load and do: nothing else.
pub(super) fn policy(script: Option<&str>) -> String {
    let style = hash(STYLE);
    let script = script.map(|script| format!(" script-src '{}';", hash(script))).unwrap_or_default();
    format!("default-src 'none'; style-src '{style}';{script} base-uri 'none'; form-action 'none'")
}

/// A style or a script as the policy names it.
fn hash(inline: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(inline)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_as_browsers_read_it() {
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
