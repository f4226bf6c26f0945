//! JSON that is written.

use serde::Serialize;

/// Of types without maps, which always have a JSON form.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
