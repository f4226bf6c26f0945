//! How those are reached who are told of a job.

use crate::api::ProxyUrl;

/// Over the same proxy as the API, and with the same certificates.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    pub proxy: Option<&'a ProxyUrl>,
    pub extra_roots: Option<&'a [u8]>,
}
