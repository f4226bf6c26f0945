//! TLS with a certificate authority of the sandbox's own, and what can go wrong before a connection carries calls.
//!
//! The authority is made at each start; its key is never written. HTTP/2 and HTTP/1.1 are offered by ALPN.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::lottery::{Draw, InvalidShare, Lottery, Share, TooManyFaults};
use crate::text::escape_path;

pub(super) type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// How a sandbox speaks TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Where the authority's certificate is written; `None` for a temporary file.
    pub ca_file: Option<PathBuf>,
    /// What goes wrong with some of the connections before they carry a call.
    pub faults: Vec<TlsFaultShare>,
    /// Calls that one HTTP/2 connection takes at once.
    pub max_streams: Option<u32>,
}

/// Something that goes wrong with a connection before it carries a call.
///
/// Written `handshake-cut`, `alert`, `plain-http`, `expired`, `wrong-host` or `client-certificate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The connection is closed in the middle of the handshake.
    Cut,
    /// The handshake is answered with the alert `internal_error`.
    Alert,
    /// It is answered in plain HTTP.
    PlainHttp,
    /// The certificate has expired.
    Expired,
    /// The certificate is another host's.
    WrongHost,
    /// A certificate of the client's is demanded.
    ClientCertificate,
}

/// Why a text is not a [`TlsFaultShare`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTlsFault {
    #[error("not a fault of TLS and its share, such as handshake-cut=10%")]
    Form,
    #[error(
        "not a fault of TLS; there are handshake-cut, alert, plain-http, expired, wrong-host, client-certificate"
    )]
    Unknown,
    #[error(transparent)]
    Share(#[from] InvalidShare),
}

impl FromStr for TlsFault {
    type Err = InvalidTlsFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "handshake-cut" => Ok(Self::Cut),
            "alert" => Ok(Self::Alert),
            "plain-http" => Ok(Self::PlainHttp),
            "expired" => Ok(Self::Expired),
            "wrong-host" => Ok(Self::WrongHost),
            "client-certificate" => Ok(Self::ClientCertificate),
            _ => Err(InvalidTlsFault::Unknown),
        }
    }
}

/// How often a fault befalls a connection, written `KIND=SHARE`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TlsFaultShare {
    fault: TlsFault,
    share: Share,
}

impl FromStr for TlsFaultShare {
    type Err = InvalidTlsFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (fault, share) = text.split_once('=').ok_or(InvalidTlsFault::Form)?;
        Ok(Self { fault: fault.parse()?, share: share.parse()? })
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS")]
    Setup(#[from] rustls::Error),
    #[error("cannot set up TLS")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("cannot write the CA certificate to {path}", path = escape_path(path))]
    CaFile { path: PathBuf, source: io::Error },
    #[error("{path} holds something else than a certificate, and is not overwritten", path = escape_path(path))]
    NotACertificate { path: PathBuf },
    #[error("cannot write the CA certificate to a temporary file")]
    Temporary(#[source] io::Error),
    #[error(transparent)]
    Faults(#[from] TooManyFaults),
}

/// How a certificate begins.
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The file with the authority's certificate; a temporary one goes with this.
#[derive(Debug)]
pub(super) enum CaFile {
    Chosen(PathBuf),
    Temporary(NamedTempFile),
}

impl CaFile {
    fn write(chosen: Option<PathBuf>, pem: &str) -> Result<Self, TlsError> {
        if let Some(path) = chosen {
            let found = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() > 0);
            if found && !fs::read(&path).is_ok_and(|old| old.starts_with(PEM)) {
                return Err(TlsError::NotACertificate { path });
            }
            return match fs::write(&path, pem) {
                Ok(()) => Ok(Self::Chosen(path)),
                Err(source) => Err(TlsError::CaFile { path, source }),
            };
        }
        let file = tempfile::Builder::new().prefix("v6fleet-sandbox-ca-").suffix(".pem").tempfile();
        let mut file = file.map_err(TlsError::Temporary)?;
        file.write_all(pem.as_bytes()).map_err(TlsError::Temporary)?;
        Ok(Self::Temporary(file))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Chosen(path) => path,
            Self::Temporary(file) => file.path(),
        }
    }
}

/// What a connection turned out to speak.
pub(super) enum Greeted {
    Tls(Box<TlsStream>),
    /// Not TLS at all: for the record alone, which needs no certificate.
    Plain(TcpStream),
}

/// The sandbox's side of every handshake.
pub(super) struct Tls {
    sound: TlsAcceptor,
    expired: TlsAcceptor,
    wrong_host: TlsAcceptor,
    demanding: TlsAcceptor,
    lottery: Lottery<TlsFault>,
    connections: AtomicU64,
    pub(super) max_streams: Option<u32>,
}

impl Tls {
    /// Makes the authority, and certificates for `address`.
    pub(super) fn new(
        settings: &TlsSettings,
        address: IpAddr,
        seed: u64,
    ) -> Result<(Self, CaFile), TlsError> {
        let shares = settings.faults.iter().map(|share| (share.fault, share.share));
        let lottery = Lottery::new(seed, Draw::Handshake, shares)?;
        let authority = authority()?;
        let here = || CertificateParams::new(vec![address.to_string(), "localhost".to_owned()]);
        let sound = here()?;
        let mut expired = here()?;
        (expired.not_before, expired.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        let wrong_host = CertificateParams::new(vec!["elsewhere.example".to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let tls = Self {
            sound: acceptor(&authority, &sound, None)?,
            expired: acceptor(&authority, &expired, None)?,
            wrong_host: acceptor(&authority, &wrong_host, None)?,
            demanding: acceptor(&authority, &sound, Some(roots))?,
            lottery,
            connections: AtomicU64::new(0),
            max_streams: settings.max_streams,
        };
        Ok((tls, CaFile::write(settings.ca_file.clone(), &authority.pem())?))
    }

    /// Shakes hands; `None` where nothing comes of it.
    pub(super) async fn greet(&self, stream: TcpStream) -> Option<Greeted> {
        /// The first byte of a TLS handshake.
        const HANDSHAKE: u8 = 0x16;
        /// Fatal, `internal_error`.
        const ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];
        const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? == 1 && first != [HANDSHAKE] {
            return Some(Greeted::Plain(stream));
        }
        let acceptor = match self.lottery.draw(self.connections.fetch_add(1, Ordering::Relaxed)) {
            None => &self.sound,
            Some(TlsFault::Expired) => &self.expired,
            Some(TlsFault::WrongHost) => &self.wrong_host,
            Some(TlsFault::ClientCertificate) => &self.demanding,
            Some(TlsFault::Cut) => return turn_away(stream, &[]).await,
            Some(TlsFault::Alert) => return turn_away(stream, &ALERT).await,
            Some(TlsFault::PlainHttp) => return turn_away(stream, PLAIN).await,
        };
        acceptor.accept(stream).await.ok().map(|stream| Greeted::Tls(Box::new(stream)))
    }
}

/// Answers the beginning of a handshake with these bytes, and closes.
async fn turn_away<T>(mut stream: TcpStream, answer: &[u8]) -> Option<T> {
    // Closed with something unread, a connection is reset, and the answer may be lost.
    if stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
        let _ = stream.write_all(answer).await;
    }
    None
}

/// Whether ALPN chose HTTP/2.
pub(super) fn is_http2(stream: &TlsStream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "v6fleet sandbox");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Accepts with a certificate of the authority's, and, where there are `clients`, only whom they signed.
fn acceptor(
    authority: &CertifiedIssuer<'_, KeyPair>,
    params: &CertificateParams,
    clients: Option<RootCertStore>,
) -> Result<TlsAcceptor, TlsError> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
        ),
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_certificate_is_overwritten_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let pem = |no| format!("-----BEGIN CERTIFICATE-----\n{no}\n");
        for no in 1..3 {
            CaFile::write(Some(path.clone()), &pem(no)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), pem(no));
        }
        fs::write(&path, "vmid\n10000\n").unwrap();
        assert!(matches!(CaFile::write(Some(path.clone()), &pem(3)), Err(TlsError::NotACertificate { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "vmid\n10000\n");
    }

    #[test]
    fn a_fault_of_tls_and_its_share_are_typed_together() {
        for (text, fault) in [
            ("handshake-cut", TlsFault::Cut),
            ("alert", TlsFault::Alert),
            ("plain-http", TlsFault::PlainHttp),
            ("expired", TlsFault::Expired),
            ("wrong-host", TlsFault::WrongHost),
            ("client-certificate", TlsFault::ClientCertificate),
        ] {
            let share = "30%".parse().unwrap();
            assert_eq!(format!("{text}=30%").parse(), Ok(TlsFaultShare { fault, share }), "{text}");
        }
        for (text, reason) in [
            ("alert", InvalidTlsFault::Form),
            ("hang=1%", InvalidTlsFault::Unknown),
            ("alert=2", InvalidTlsFault::Share(InvalidShare)),
        ] {
            assert_eq!(text.parse::<TlsFaultShare>(), Err(reason), "{text}");
        }
    }
}
