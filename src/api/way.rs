//! The way to the API, step by step: what a call takes all at once, each in turn, so that it is known which one fails.
//!
//! Nobody is told of any VM, and no key is shown.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, Response};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::base_url::BaseUrl;
use super::body;
use super::certificate::Shown;
use super::client_error::ClientError;
use super::dialect::door_url;
use super::error_body::ErrorBody;
use super::fault::Head;
use super::proxy::ProxyUrl;
use super::tls::Tls;
use super::transport::{self, Known};
use crate::clock;
use crate::dialect::Dialect;

/// A way to the API.
#[derive(Debug)]
pub struct Way {
    client: Client,
    tls: Option<Tls>,
    base: BaseUrl,
    dialect: Dialect,
    proxy: Option<ProxyUrl>,
    connect_timeout: Duration,
}

/// What came of a request that is about no VM.
#[derive(Debug)]
pub struct Knock {
    pub attempt: Attempt<Greeting>,
    /// The certificate that was shown, if any was.
    pub certificate: Option<Shown>,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub status: u16,
    /// It is in the API's form, as also its errors are.
    pub is_json: bool,
    /// What it says for people, or is said to be.
    pub says: Option<String>,
}

impl Way {
    /// As [`super::Api::new`] would go it. `proxy` goes before the environment's.
    pub fn new(
        base: &BaseUrl,
        dialect: Dialect,
        proxy: Option<&ProxyUrl>,
        extra_roots: Option<&[u8]>,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let tls = Tls::for_url(base, extra_roots)?;
        let client = super::builder(base, proxy, tls.as_ref())?.connect_timeout(connect_timeout);
        let client = client.timeout(timeout).build().map_err(ClientError::Client)?;
        let proxy = ProxyUrl::for_host(base, proxy)?;
        Ok(Self { client, tls, base: base.clone(), dialect, proxy, connect_timeout })
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it leads through a proxy.
    pub fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// Who is connected to, the proxy if there is one: without the brackets of an address.
    pub fn host(&self) -> &str {
        self.peer().host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub fn port(&self) -> u16 {
        self.peer().port_or_known_default().unwrap_or_default()
    }

    fn peer(&self) -> &reqwest::Url {
        self.proxy.as_ref().map_or(&self.base.0, ProxyUrl::as_url)
    }

    /// Asks the name service for the host's addresses.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = lookup_host((self.host(), self.port()));
        Ok(timeout(self.connect_timeout, found).await.map_err(late)??.collect())
    }

    /// Connects to one of these, and hangs up.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> io::Result<()> {
        let connected = timeout(self.connect_timeout, TcpStream::connect(addresses));
        connected.await.map_err(late)?.map(drop)
    }

    /// Makes one request.
    pub async fn knock(&self) -> Knock {
        let mut attempt = Attempt::unanswered(clock::now());
        match self.client.get(door_url(self.dialect, &self.base.0)).send().await {
            Ok(response) => greet(response, &mut attempt).await,
            Err(error) => {
                let owes_certificate = self.tls.as_ref().is_some_and(Tls::was_asked_for_a_certificate);
                let known = Known { has_left: !error.is_connect(), owes_certificate };
                attempt.result = Err(transport::fault(&error, known));
            }
        }
        Knock { attempt, certificate: self.tls.as_ref().and_then(Tls::shown) }
    }
}

fn late(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer within the connect timeout")
}

async fn greet(response: Response, attempt: &mut Attempt<Greeting>) {
    let head = Head::of(&response);
    attempt.latency = clock::now().duration_since(attempt.sent_at).try_into().unwrap_or_default();
    attempt.status = Some(head.status);
    attempt.date = head.date.filter(|_| !head.stored);
    // A body that breaks off is as good as none: the status has been said.
    let body = super::body(response, body::PAGE_CAP).await.unwrap_or_default();
    let body = ErrorBody::read(&body::decode(&body), head.content_type.as_deref());
    let says = body.line.or(head.content_type);
    attempt.result = Ok(Greeting { status: head.status, is_json: body.json, says });
}
