//! Whose certificates are trusted when a database is spoken to, by libpq's `sslmode`.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier as Platform;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The name of the protocol, which servers ask for that expect TLS from the first byte on.
const ALPN: &[u8] = b"postgresql";

/// How much is asked of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// TLS is not spoken.
    Disable,
    /// It is spoken where the server can; to whomever it may be.
    Prefer,
    /// To whomever it may be.
    Require,
    /// To somebody with a certificate of a trusted authority.
    VerifyCa,
    /// To the host that was named.
    VerifyFull,
}

/// Why a text is no [`Mode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("none of disable, prefer, require, verify-ca and verify-full")]
pub(super) struct InvalidMode;

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(InvalidMode),
        }
    }
}

/// Why certificates cannot be checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("no PEM certificate in it")]
    Pem,
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Roots(#[from] rustls::client::VerifierBuilderError),
}

/// TLS in a mode; the authorities of `roots` are trusted and no others, without it those of the system.
pub(super) fn connector(mode: Mode, roots: Option<&Path>) -> Result<MakeRustlsConnect, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // As with libpq, an authority that is named is asked for.
    let is_checked = mode >= Mode::VerifyCa || mode == Mode::Require && roots.is_some();
    let authorities = is_checked.then(|| authorities(roots, &provider)).transpose()?;
    let verifier = Verifier { authorities, mode, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn authorities(
    roots: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    let Some(path) = roots else { return Ok(Arc::new(Platform::new(Arc::clone(provider))?)) };
    let pem = fs::read(path)?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        store.add(certificate.map_err(|_| TrustError::Pem)?)?;
    }
    match store.is_empty() {
        true => Err(TrustError::Pem),
        false => Ok(WebPkiServerVerifier::builder_with_provider(store.into(), Arc::clone(provider)).build()?),
    }
}

/// Asks as much as its mode says.
#[derive(Debug)]
struct Verifier {
    /// `None` where any certificate will do.
    authorities: Option<Arc<dyn ServerCertVerifier>>,
    mode: Mode,
    provider: Arc<CryptoProvider>,
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
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        let verified =
            authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.mode < Mode::VerifyFull => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use support::postgres::Server;

    use super::super::connect::Settings;
    use super::super::session::Session;
    use super::super::url::DatabaseUrl;
    use super::*;

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
    }

    /// Whether TLS is spoken there, or why nothing is.
    fn speaks_tls(url: &str, environment: &[(&str, &str)]) -> Result<bool, String> {
        let url = DatabaseUrl::of(Path::new(url)).unwrap().unwrap();
        let variable = |name: &str| {
            environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        let settings = Settings::chosen(&url, &variable).map_err(|error| error.to_string())?;
        let session = Session::open(&url.as_path(), &settings).map_err(|error| error.to_string())?;
        let asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        session.one(asked, &[], |row| row.try_get(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_asked_for_as_much_as_sslmode_says() {
        let (ours, theirs) = (authority("ours"), authority("theirs"));
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &ours).unwrap();
        let Some(server) = Server::over_tls(&certificate.pem(), &key.serialize_pem(), "s3cret") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let [ours, theirs] = [("ours", ours), ("theirs", theirs)].map(|(name, authority)| {
            let path = dir.path().join(name);
            fs::write(&path, authority.pem()).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let (unknown, other_name) = ("UnknownIssuer", "not valid for name");
        for (host, mode, roots, expected) in [
            ("localhost", "verify-full", Some(&ours), Ok(true)),
            ("localhost", "verify-full", Some(&theirs), Err(unknown)),
            ("localhost", "verify-full", None, Err(unknown)),
            ("127.0.0.1", "verify-full", Some(&ours), Err(other_name)),
            ("127.0.0.1", "verify-ca", Some(&ours), Ok(true)),
            ("127.0.0.1", "verify-ca", Some(&theirs), Err(unknown)),
            ("127.0.0.1", "require", Some(&theirs), Err(unknown)),
            ("127.0.0.1", "require", None, Ok(true)),
            ("127.0.0.1", "prefer", Some(&theirs), Ok(true)),
            ("127.0.0.1", "disable", None, Ok(false)),
        ] {
            let roots = roots.map(|roots| format!("&sslrootcert={roots}")).unwrap_or_default();
            let url = format!("postgres://fleet@{host}:{}/postgres?sslmode={mode}{roots}", server.port());
            let speaks = speaks_tls(&url, &[("PGPASSWORD", "s3cret")]);
            match (&speaks, expected) {
                (Err(error), Err(words)) => assert!(error.contains(words), "{url}: {error}"),
                _ => assert_eq!(speaks, expected.map_err(str::to_owned), "{url}"),
            }
        }
        let url = format!("postgres://fleet@127.0.0.1:{}/postgres", server.port());
        assert_eq!(speaks_tls(&url, &[("PGPASSWORD", "s3cret")]), Ok(true), "where the server can");
        let refused = speaks_tls(&url, &[("PGPASSWORD", "wrong")]).unwrap_err();
        assert!(refused.contains("28P01") && refused.contains("PGPASSFILE"), "{refused}");
        let missing = speaks_tls(&format!("{url}?sslmode=verify-ca&sslrootcert=/nowhere"), &[]).unwrap_err();
        assert!(missing.contains("/nowhere: No such file"), "{missing}");
    }
}
