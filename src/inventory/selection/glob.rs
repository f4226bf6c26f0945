//! What patterns of all kinds have in common: a leading `!`, and globs.

use globset::{Glob, GlobMatcher};

use super::error::InvalidPattern;

/// Splits off a leading `!`.
pub(super) fn exclusion(text: &str) -> (bool, &str) {
    text.strip_prefix('!').map_or((false, text), |rest| (true, rest))
}

/// Case counts, and `*` matches any text, a `/` too.
pub(super) fn glob(text: &str) -> Result<GlobMatcher, InvalidPattern> {
    let glob = Glob::new(text).map_err(|error| InvalidPattern::Glob(error.kind().to_string()))?;
    Ok(glob.compile_matcher())
}
