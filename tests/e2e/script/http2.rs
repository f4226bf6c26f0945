//! The same over HTTP/2 and TLS, a stream for each call.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use reqwest::header::{HeaderMap, HeaderName};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, crypto};
use tokio_rustls::TlsAcceptor;

use super::{Answer, Received, Script, Step, vmid_of};

type Bytes = axum::body::Bytes;

/// A certificate as people make them for themselves: self-signed, and an authority's. With its PEM.
pub(super) fn tls() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

pub(super) fn listen(listener: TcpListener, tls: &TlsAcceptor, script: &Arc<Script>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        for connection_no in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (tls, script) = (tls.clone(), Arc::clone(script));
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let script = Arc::clone(&script);
                    tokio::spawn(async move {
                        let Some(received) = read(request, connection_no).await else { return };
                        answer(script.step(received), respond).await;
                    });
                }
            });
        }
    });
}

async fn answer(step: Step, mut respond: SendResponse<Bytes>) {
    match step {
        Step::Answer(answer) => {
            tokio::time::sleep(answer.after).await;
            send(&mut respond, &answer, true);
        }
        Step::Cut(bytes) => match Answer::begun_by(&bytes).map(|begun| send(&mut respond, &begun, false)) {
            None => respond.send_reset(Reason::INTERNAL_ERROR),
            Some(stream) => {
                // A reset overtakes what has not left yet.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                stream.unwrap().send_reset(Reason::INTERNAL_ERROR);
            }
        },
        Step::Stall(bytes) => {
            let _held = Answer::begun_by(&bytes).map(|begun| send(&mut respond, &begun, false));
            std::future::pending::<()>().await;
        }
    }
}

/// `None` where the client did not wait.
fn send(respond: &mut SendResponse<Bytes>, answer: &Answer, whole: bool) -> Option<SendStream<Bytes>> {
    let mut response = axum::http::Response::new(());
    *response.status_mut() = answer.status.try_into().unwrap();
    for (name, value) in &answer.headers {
        response.headers_mut().insert(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let mut stream = respond.send_response(response, false).ok()?;
    stream.send_data(Bytes::from(answer.body.clone()), whole).ok()?;
    Some(stream)
}

impl Answer {
    /// The answer that these bytes of HTTP/1.1 are the beginning of, if its head is whole.
    fn begun_by(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = bytes[end + 4..].to_vec();
        Some(super::answer(status, "application/json", body))
    }
}

async fn read(request: axum::http::Request<RecvStream>, connection: usize) -> Option<Received> {
    let (head, mut chunks) = request.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.data().await {
        body.extend_from_slice(&chunk.ok()?);
    }
    let request_line = format!("{} {} {:?}", head.method, head.uri.path(), head.version);
    let headers = in_order(&head.headers);
    Some(Received {
        at: Instant::now(),
        connection,
        vmid: vmid_of(head.uri.path()),
        request_line,
        headers,
        body,
    })
}

fn in_order(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &reqwest::header::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    headers.iter().map(text).collect()
}
