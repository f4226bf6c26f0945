//! How people are told which API it was.

use crate::dialect::Dialect;

/// The base URL, with the dialect where it is not the usual one: `https://cloud.hostup.se (v2)`.
pub(super) fn api(base_url: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::V1 => base_url.to_owned(),
        Dialect::V2 => format!("{base_url} ({dialect})"),
    }
}
