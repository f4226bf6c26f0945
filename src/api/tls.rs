//! Whose certificates are trusted: those of the system's authorities, and those in a file of the user's.
//!
//! We have no certificate to show; that the API asked for one explains what it does next. What it has shown itself is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier as Platform;

use super::base_url::BaseUrl;
use super::certificate::{Shown, is_an_authoritys};
use super::client_error::ClientError;

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: ClientConfig,
    empty_handed: Arc<EmptyHanded>,
    verifier: Arc<Verifier>,
}

impl Tls {
    /// Trusts the PEM certificates of `extra_roots` too; `None` where plain HTTP is spoken.
    pub(super) fn for_url(url: &BaseUrl, extra_roots: Option<&[u8]>) -> Result<Option<Self>, ClientError> {
        let named = extra_roots.map(certificates).transpose()?.unwrap_or_default();
        (!url.is_plain()).then(|| Self::trusting(named)).transpose()
    }

    fn trusting(named: Vec<CertificateDer<'static>>) -> Result<Self, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(named, Arc::clone(&provider)).map_err(ClientError::Verifier)?;
        let verifier = Arc::new(verifier);
        let empty_handed = Arc::<EmptyHanded>::default();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Verifier)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(empty_handed.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config, empty_handed, verifier })
    }

    /// The certificate that was shown last.
    pub(super) fn shown(&self) -> Option<Shown> {
        *self.verifier.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a server has asked for a certificate of ours.
    pub(super) fn was_asked_for_a_certificate(&self) -> bool {
        self.empty_handed.was_asked.load(Ordering::Relaxed)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, PemError>>();
    let certificates = certificates.map_err(ClientError::Pem)?;
    if certificates.is_empty() {
        return Err(ClientError::NoRoots);
    }
    let mut store = RootCertStore::empty();
    certificates
        .iter()
        .try_for_each(|certificate| store.add(certificate.clone()))
        .map_err(ClientError::Root)?;
    Ok(certificates)
}

/// Has no certificate to show.
#[derive(Debug, Default)]
struct EmptyHanded {
    was_asked: AtomicBool,
}

impl ResolvesClientCert for EmptyHanded {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// As the system's, but that a certificate which the user named is trusted for what it is.
#[derive(Debug)]
struct Verifier {
    platform: Platform,
    named: Vec<CertificateDer<'static>>,
    shown: Mutex<Option<Shown>>,
}

impl Verifier {
    fn new(named: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let platform = Platform::new_with_extra_roots(named.iter().cloned(), provider)?;
        Ok(Self { platform, named, shown: Mutex::default() })
    }

    /// A self-signed certificate is mostly made as an authority's, `openssl req -x509` does so; the system takes none
    /// of those from a server. Of such a one, the time has been checked, and the name has not.
    fn or_as_named(
        &self,
        verdict: Result<ServerCertVerified, Error>,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
    ) -> Result<ServerCertVerified, Error> {
        match verdict {
            Err(error) if is_an_authoritys(&error) && self.named.contains(end_entity) => {
                let certificate = rustls::server::ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.platform.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verdict = self.or_as_named(verdict, end_entity, server_name);
        let shown = Shown::of(end_entity, verdict.as_ref().err());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.platform.supported_verify_schemes()
    }
}
