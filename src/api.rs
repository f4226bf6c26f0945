//! One call to the API → one [`Attempt`], classified here, once.
//!
//! Nothing is retried or followed by the HTTP client itself: [`crate::retry`] decides on attempts alone.
//! The key is a header marked sensitive; it goes to the base URL's host and nowhere else, and is masked in all that
//! comes back.

mod announced;
mod attempt;
mod body;
mod error_body;
mod fault;
mod mask;
mod object;
mod proxy;
mod retry_after;
mod server_clock;
mod v1;

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Url};
use secrecy::{ExposeSecret, SecretString};

pub use announced::Announced;
pub use attempt::{Attempt, Fault};
pub use proxy::{InvalidProxy, ProxyUrl};
pub use server_clock::ServerClock;

use crate::clock;
use crate::inventory::{Action, VmId};
use announced::Stated;
use fault::Head;
use mask::Mask;

/// What a client needs to know of the API.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub base_url: BaseUrl,
    pub key: SecretString,
    /// Of a whole call, connecting included.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Connections kept open; at least the concurrency, or two thirds of the throughput are lost.
    pub pool: usize,
    /// PEM certificates to trust beside the system's.
    pub extra_roots: Option<Vec<u8>>,
    /// `None`: as the environment says.
    pub proxy: Option<ProxyUrl>,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the API key has a character that no HTTP header can carry")]
    Key,
    #[error("the API key cannot be searched for in answers: {0}")]
    Mask(#[source] aho_corasick::BuildError),
    #[error("the CA file holds no usable PEM certificate: {0}")]
    Roots(#[source] reqwest::Error),
    #[error("the CA file holds no PEM certificate")]
    NoRoots,
    /// One of the environment's.
    #[error("{variable}: {error}")]
    Proxy { variable: &'static str, error: InvalidProxy },
    #[error("the proxy cannot be used: {0}")]
    UnfitProxy(#[source] reqwest::Error),
    #[error("cannot set up TLS (are CA certificates installed? see --ca-file): {0}")]
    Tls(#[source] reqwest::Error),
}

/// Where the API is: `https`, or plain `http` to a literal loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is not a [`BaseUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    #[error("not a URL such as https://cloud.hostup.se")]
    NotAUrl,
    #[error(
        "plain http is for a literal loopback address only (http://127.0.0.1:PORT): others could read along"
    )]
    PlainHttp,
    #[error("must hold no user name, password, query or fragment")]
    Surplus,
}

impl BaseUrl {
    /// Whether the host is a literal loopback address; proxies are never used for those.
    pub fn is_loopback(&self) -> bool {
        self.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Without the brackets of an address.
    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

impl std::str::FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| InvalidBaseUrl::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(InvalidBaseUrl::NotAUrl);
        }
        let credentials = !url.username().is_empty() || url.password().is_some();
        if credentials || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBaseUrl::Surplus);
        }
        let base = Self(url);
        match base.is_plain() && !base.is_loopback() {
            true => Err(InvalidBaseUrl::PlainHttp),
            false => Ok(base),
        }
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A client of v1's routed-IPv6 endpoint.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    base: Url,
    mask: Mask,
}

impl Api {
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let client = client(&endpoint.base_url, endpoint.proxy.as_ref(), endpoint.extra_roots.as_deref())?
            .default_headers(headers(&endpoint.key)?)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .timeout(endpoint.timeout)
            .connect_timeout(endpoint.connect_timeout)
            .pool_max_idle_per_host(endpoint.pool)
            .build()
            .map_err(ClientError::Tls)?;
        let mask = Mask::new(&endpoint.key).map_err(ClientError::Mask)?;
        Ok(Self { client, base: endpoint.base_url.0.clone(), mask })
    }

    /// Makes one call. Every way in which it can end is an [`Attempt`].
    pub async fn call(&self, vm: &VmId, action: Action) -> Attempt {
        let mut attempt = Attempt::unanswered(clock::now());
        let sent = self.client.post(v1::url(&self.base, vm)).body(v1::body(action)).send().await;
        match sent {
            Ok(response) => self.read(response, &mut attempt).await,
            Err(error) => attempt.result = Err(self.fault(&error)),
        }
        attempt.latency = clock::now().duration_since(attempt.sent_at).try_into().unwrap_or_default();
        attempt
    }

    async fn read(&self, mut response: reqwest::Response, attempt: &mut Attempt) {
        self.mask.headers(response.headers_mut());
        let (head, stated) = (Head::of(&response), Stated::of(response.headers()));
        attempt.status = Some(head.status);
        attempt.date = head.date;
        attempt.request_id.clone_from(&head.request_id);
        match self.body(response).await {
            Ok(body) => v1::read(&head, &self.mask.text(body::decode(&body)), attempt),
            // An error's status says enough; a success is nothing without its body.
            Err(cut) if head.is_success() => attempt.result = Err(cut),
            Err(_) => v1::read(&head, "", attempt),
        }
        attempt.announced = stated.at(attempt.server_time().unwrap_or_else(clock::now));
        if let Err(fault) = &mut attempt.result
            && head.status == 429
        {
            fault.retry_after = fault.retry_after.or(attempt.announced.reset_in);
        }
        if head.stored {
            // Its times are those of its making.
            (attempt.timestamp, attempt.date) = (None, None);
        }
    }

    /// The whole body, unpacked; or why it did not arrive whole.
    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Fault> {
        let stated = response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = Vec::with_capacity(stated.unwrap_or_default().min(body::CAP));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(&error))? {
            if body.len() + chunk.len() > body::CAP {
                return Err(fault::malformed(body::too_large()));
            }
            body.extend_from_slice(&chunk);
        }
        body::unpack(body, &encodings(response.headers()))
            .map_err(|reason| fault::malformed(fault::clip(&reason)))
    }

    /// A certificate's names are text from the server too, and so are the last words of HTTP/2.
    fn fault(&self, error: &reqwest::Error) -> Fault {
        let fault = fault::of_transport(error);
        Fault { message: self.mask.text(fault.message).into_owned(), ..fault }
    }
}

/// What every client has in common, the key apart: nothing is followed or retried, loopback needs no proxy and plain
/// HTTP no certificate.
pub(crate) fn client(
    url: &BaseUrl,
    proxy: Option<&ProxyUrl>,
    extra_roots: Option<&[u8]>,
) -> Result<ClientBuilder, ClientError> {
    // Ring is the only provider compiled in; an error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("v6fleet/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false);
    let proxy = if url.is_loopback() { None } else { ProxyUrl::for_host(url, proxy)? };
    builder = match proxy {
        None => builder.no_proxy(),
        Some(proxy) => builder.proxy(
            Proxy::all(proxy.as_url().clone())
                .map_err(|error| ClientError::UnfitProxy(error.without_url()))?,
        ),
    };
    let extra_roots = extra_roots.map(roots).transpose()?;
    if url.is_plain() {
        // Reading the system's certificates takes longer than a call, and none is needed.
        builder = builder.tls_certs_only([]);
    } else if let Some(roots) = extra_roots {
        builder = builder.tls_certs_merge(roots);
    }
    Ok(builder)
}

fn roots(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    match Certificate::from_pem_bundle(pem).map_err(ClientError::Roots)? {
        none if none.is_empty() => Err(ClientError::NoRoots),
        roots => Ok(roots),
    }
}

fn headers(key: &SecretString) -> Result<HeaderMap, ClientError> {
    let mut key = HeaderValue::from_str(key.expose_secret()).map_err(|_| ClientError::Key)?;
    key.set_sensitive(true);
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", key);
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, json);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

fn encodings(headers: &HeaderMap) -> String {
    let all = headers.get_all(CONTENT_ENCODING).iter();
    all.map(|encoding| String::from_utf8_lossy(encoding.as_bytes())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_refused_except_to_a_literal_loopback_address() {
        for text in
            ["https://cloud.hostup.se", "http://127.0.0.1:8080", "http://[::1]:8080/", "http://127.9.9.9"]
        {
            assert!(text.parse::<BaseUrl>().is_ok(), "{text}");
        }
        for text in
            ["http://cloud.hostup.se", "http://localhost:8080", "http://10.0.0.1", "http://127.0.0.1.nip.io"]
        {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::PlainHttp), "{text}");
        }
        for text in ["", "cloud.hostup.se", "ftp://cloud.hostup.se", "file:///etc/passwd"] {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::NotAUrl), "{text}");
        }
        for text in
            ["https://user:pw@cloud.hostup.se", "https://cloud.hostup.se/?a=b", "https://cloud.hostup.se/#a"]
        {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::Surplus), "{text}");
        }
    }

    #[test]
    fn a_base_url_is_one_text_however_its_end_is_written() {
        let text = |url: &str| url.parse::<BaseUrl>().unwrap().as_str().to_owned();
        assert_eq!(text("https://cloud.hostup.se/"), text("https://CLOUD.hostup.se:443"));
        assert_eq!(text("https://example.com/proxy/"), "https://example.com/proxy");
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused() {
        assert!(headers(&SecretString::from("a\nb")).is_err());
        let headers = headers(&SecretString::from("secret-marker")).unwrap();
        assert!(!format!("{headers:?}").contains("secret-marker"));
    }
}
