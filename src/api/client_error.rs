//! Why there is no client of the API: its key, its certificates or its proxy is no use.

use super::proxy::InvalidVariable;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the API key has a character that no HTTP header can carry")]
    Key,
    #[error("the API key cannot be searched for in answers: {0}")]
    Mask(#[source] aho_corasick::BuildError),
    #[error("the CA file holds no usable PEM certificate: {0}")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("the CA file holds a certificate that cannot be used: {0}")]
    Root(#[source] rustls::Error),
    #[error("the CA file holds no PEM certificate")]
    NoRoots,
    #[error(transparent)]
    Proxy(#[from] InvalidVariable),
    #[error("the proxy cannot be used: {0}")]
    UnfitProxy(#[source] reqwest::Error),
    #[error("cannot set up TLS (are CA certificates installed? see --ca-file): {0}")]
    Verifier(#[source] rustls::Error),
    #[error("cannot set up HTTP: {0}")]
    Client(#[source] reqwest::Error),
}
