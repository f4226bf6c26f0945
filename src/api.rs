//! One call to the API → one [`Attempt`], classified here, once.
//!
//! Nothing is retried or followed by the HTTP client itself: [`crate::retry`] decides on attempts alone.
//! The key is a header marked sensitive; it goes to the base URL's host and nowhere else, and is masked in all that
//! comes back.

mod announced;
mod attempt;
mod base_url;
mod body;
mod certificate;
mod client_error;
mod clip;
mod departure;
mod dialect;
mod error_body;
mod fault;
mod fields;
mod line;
mod mask;
mod meaning;
mod object;
mod page;
mod proxy;
mod server_clock;
#[cfg(test)]
mod sockets;
mod tls;
mod transport;
mod v1;
mod v2;
mod wait;
mod way;
mod webhook_url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Proxy, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};

pub use announced::Announced;
pub use attempt::{Attempt, Fault, Success};
pub use base_url::{BaseUrl, InvalidBaseUrl};
pub use certificate::{Flaw, Shown};
pub use client_error::ClientError;
pub use meaning::{Admission, Credential, Meaning};
pub use page::Page;
pub use proxy::{InvalidProxy, ProxyUrl};
pub use server_clock::ServerClock;
pub use way::{Greeting, Knock, Way};
pub use webhook_url::WebhookUrl;

#[cfg(test)]
pub(crate) use v1::tests::attempt as answered;

use crate::clock;
use crate::dialect::Dialect;
use crate::outcome::Failure;
use crate::vm::{Action, VmId};
use announced::Stated;
use clip::clip;
use departure::Departure;
use dialect::Purpose;
use fault::Head;
use line::{Line, Lines};
use mask::Mask;
use tls::Tls;
use transport::Known;

/// What a client needs to know of the API.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub base_url: BaseUrl,
    pub dialect: Dialect,
    pub key: SecretString,
    /// Of a call from the moment at which it leaves, until its answer is there.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Connections kept open; at least the concurrency, or two thirds of the throughput are lost.
    pub pool: usize,
    /// PEM certificates to trust beside the system's.
    pub extra_roots: Option<Vec<u8>>,
    /// `None`: as the environment says.
    pub proxy: Option<ProxyUrl>,
}

/// A client of the routed-IPv6 endpoint, in one dialect.
#[derive(Debug, Clone)]
pub struct Api {
    lines: Arc<Lines>,
    /// `None` where plain HTTP is spoken.
    tls: Option<Tls>,
    dialect: Dialect,
    base: Url,
    mask: Mask,
    timeout: Duration,
}

impl Api {
    /// Errors are the user's: a key that no header carries, certificates that cannot be read, a proxy that cannot be used.
    /// Nothing is called yet.
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let tls = Tls::for_url(&endpoint.base_url, endpoint.extra_roots.as_deref())?;
        let mask = Mask::new(&endpoint.key).map_err(ClientError::Mask)?;
        Ok(Self {
            lines: Arc::new(lines(endpoint.clone(), tls.clone())?),
            tls,
            dialect: endpoint.dialect,
            base: endpoint.base_url.0.clone(),
            mask,
            timeout: endpoint.timeout,
        })
    }

    /// Makes one call. Every way in which it can end is an [`Attempt`].
    ///
    /// It may have to wait for a connection, or for its turn on one: the attempt begins when it leaves.
    pub async fn call(&self, vm: &VmId, action: Action) -> Attempt {
        let departure = Departure::default();
        let body = departure.body(dialect::body(action));
        let post = |client: &Client| client.post(self.url(vm)).body(body);
        self.attempt(self.reading(Purpose::Call), departure, post).await
    }

    /// Looks at a VM: it changes nothing, and can never have applied.
    ///
    /// For dialects that can, [`Dialect::can_look`]. It is in time if all of it, connecting included, is.
    pub async fn look(&self, vm: &VmId) -> Attempt {
        let get = |client: &Client| client.get(self.url(vm));
        self.read_only(self.reading(Purpose::Look), get).await
    }

    /// Reads a page of the account's list of VMs, the first one without a cursor: it changes nothing either.
    ///
    /// For dialects that have one, [`Dialect::can_list`].
    pub async fn list(&self, cursor: Option<&str>) -> Attempt<Page> {
        self.page(dialect::list_url(&self.base, cursor)).await
    }

    /// Reads no more of that list than one VM: it tells whether the key is taken, and names none.
    pub async fn list_one(&self) -> Attempt<Page> {
        self.page(dialect::one_url(&self.base)).await
    }

    async fn page(&self, url: Url) -> Attempt<Page> {
        let dialect = self.dialect;
        let read = move |head: &Head, text: &str, attempt: &mut Attempt<Page>| {
            dialect::read_page(dialect, head, text, attempt);
        };
        self.read_only(Reading { cap: body::PAGE_CAP, read }, |client| client.get(url)).await
    }

    fn reading(&self, purpose: Purpose) -> Reading<impl FnOnce(&Head, &str, &mut Attempt)> {
        let dialect = self.dialect;
        let read = move |head: &Head, text: &str, attempt: &mut Attempt| {
            dialect::read(dialect, purpose, head, text, attempt);
        };
        Reading { cap: body::CAP, read }
    }

    /// A request that can never have applied.
    async fn read_only<T>(
        &self,
        reading: Reading<impl FnOnce(&Head, &str, &mut Attempt<T>)>,
        request: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Attempt<T> {
        let mut attempt = self.attempt(reading, Departure::at_once(), request).await;
        if let Err(fault) = &mut attempt.result {
            fault.may_have_applied = false;
            if (fault.failure, fault.meaning) == (Failure::Forbidden, Meaning::Final) {
                fault.message.push_str("; a look needs a key with the scope read:vm");
            }
        }
        attempt
    }

    fn url(&self, vm: &VmId) -> Url {
        dialect::url(self.dialect, &self.base, vm)
    }

    async fn attempt<T>(
        &self,
        reading: Reading<impl FnOnce(&Head, &str, &mut Attempt<T>)>,
        departure: Departure,
        request: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Attempt<T> {
        let begun = Instant::now();
        let mut attempt = Attempt::unanswered(clock::now());
        let line = self.lines.line();
        let request = request(&line.client);
        let ended = tokio::select! {
            biased;
            () = self.exchange(request, reading, &line, &departure, &mut attempt) => true,
            () = self.time_is_up(&line, &departure, begun) => false,
        };
        let left = departure.left();
        if !ended {
            attempt.result = Err(left.map_or_else(transport::stuck, |_| transport::late()));
            if attempt.status.is_none() {
                self.lines.give_up(&line, left.map_or(begun, |left| left.at));
            }
        }
        attempt.sent_at = left.map_or(attempt.sent_at, |left| left.date);
        attempt.latency = clock::now().duration_since(attempt.sent_at).try_into().unwrap_or_default();
        attempt
    }

    async fn exchange<T>(
        &self,
        request: RequestBuilder,
        reading: Reading<impl FnOnce(&Head, &str, &mut Attempt<T>)>,
        line: &Line,
        departure: &Departure,
        attempt: &mut Attempt<T>,
    ) {
        match request.send().await {
            Ok(response) => {
                line.hears(Instant::now());
                self.read(response, reading, attempt).await;
            }
            Err(error) => {
                let asked = self.tls.as_ref().is_some_and(Tls::was_asked_for_a_certificate);
                let owes_certificate = asked && line.heard().is_none();
                let known = Known { has_left: departure.left().is_some(), owes_certificate };
                attempt.result = Err(self.masked(transport::fault(&error, known)));
            }
        }
    }

    /// Waits until a call has had its time: since it left, or since it began to wait while nothing else was answered.
    async fn time_is_up(&self, line: &Line, departure: &Departure, begun: Instant) {
        tokio::select! {
            left = departure.leaves() => tokio::time::sleep_until((left.at + self.timeout).into()).await,
            () = line.falls_silent(begun, self.timeout) => {}
        }
    }

    async fn read<T>(
        &self,
        mut response: reqwest::Response,
        reading: Reading<impl FnOnce(&Head, &str, &mut Attempt<T>)>,
        attempt: &mut Attempt<T>,
    ) {
        self.mask.headers(response.headers_mut());
        let (head, stated) = (Head::of(&response), Stated::of(response.headers()));
        attempt.status = Some(head.status);
        attempt.date = head.date;
        attempt.request_id.clone_from(&head.request_id);
        match body(response, reading.cap).await {
            Ok(body) => (reading.read)(&head, &self.mask.text(body::decode(&body)), attempt),
            // An error's status says enough; a success is nothing without its body.
            Err(cut) if head.is_success() => attempt.result = Err(self.masked(cut)),
            Err(_) => (reading.read)(&head, "", attempt),
        }
        attempt.announced = stated.at(attempt.server_time().unwrap_or_else(clock::now));
        if let Err(fault) = &mut attempt.result
            && fault.meaning == Meaning::Throttled
        {
            fault.retry_after = announced::longer(fault.retry_after, attempt.announced.reset_in);
        }
        if head.stored {
            // Its times are those of its making.
            (attempt.timestamp, attempt.date) = (None, None);
        }
    }

    /// A certificate's names are text from the server too, and so are the last words of HTTP/2.
    fn masked(&self, fault: Fault) -> Fault {
        Fault { message: self.mask.text(fault.message).into_owned(), ..fault }
    }
}

/// How an answer is read: how large its body may be, in bytes, and what it says.
struct Reading<F> {
    cap: usize,
    read: F,
}

/// The whole body, unpacked, of so many bytes at most; or why it did not arrive whole.
async fn body(mut response: reqwest::Response, cap: usize) -> Result<Vec<u8>, Fault> {
    let stated = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Vec::with_capacity(stated.unwrap_or_default().min(cap));
    while let Some(chunk) = response.chunk().await.map_err(|error| transport::of_body(&error))? {
        if body.len() + chunk.len() > cap {
            return Err(Fault::malformed(body::too_large(cap)));
        }
        body.extend_from_slice(&chunk);
    }
    let unpacked = body::unpack(body, &encodings(response.headers()), cap);
    unpacked.map_err(|reason| Fault::malformed(clip(&reason)))
}

/// A first line to the API, and how to make more.
fn lines(endpoint: Endpoint, tls: Option<Tls>) -> Result<Lines, ClientError> {
    let headers = headers(endpoint.dialect, &endpoint.key)?;
    let dial = move || {
        let client = builder(&endpoint.base_url, endpoint.proxy.as_ref(), tls.as_ref())?
            .default_headers(headers.clone())
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .connect_timeout(endpoint.connect_timeout)
            .pool_max_idle_per_host(endpoint.pool);
        line::watched(client, endpoint.timeout).build().map_err(ClientError::Client)
    };
    Ok(Lines::new(dial()?, move || dial().ok()))
}

/// A client for something else than calls to the API, reached as that is.
pub(crate) fn client(
    url: &BaseUrl,
    proxy: Option<&ProxyUrl>,
    extra_roots: Option<&[u8]>,
) -> Result<ClientBuilder, ClientError> {
    builder(url, proxy, Tls::for_url(url, extra_roots)?.as_ref())
}

/// What every client has in common, the key apart: nothing is followed or retried, loopback needs no proxy and plain
/// HTTP no certificate.
fn builder(url: &BaseUrl, proxy: Option<&ProxyUrl>, tls: Option<&Tls>) -> Result<ClientBuilder, ClientError> {
    // Ring is the only provider compiled in; an error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("v6fleet/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false);
    builder = match ProxyUrl::for_host(url, proxy)? {
        None => builder.no_proxy(),
        Some(proxy) => builder.proxy(
            Proxy::all(proxy.as_url().clone())
                .map_err(|error| ClientError::UnfitProxy(error.without_url()))?,
        ),
    };
    Ok(match tls {
        Some(tls) => builder.tls_backend_preconfigured(tls.config.clone()),
        // Reading the system's certificates takes longer than a call, and none is needed.
        None => builder.tls_certs_only([]),
    })
}

fn headers(dialect: Dialect, key: &SecretString) -> Result<HeaderMap, ClientError> {
    let (name, key) = dialect::key(dialect, key);
    let mut key = HeaderValue::from_str(key.expose_secret()).map_err(|_| ClientError::Key)?;
    key.set_sensitive(true);
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::new();
    headers.insert(name, key);
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
    fn a_key_that_no_header_can_carry_is_refused() {
        for &dialect in Dialect::ALL {
            assert!(headers(dialect, &SecretString::from("a\nb")).is_err());
            let headers = headers(dialect, &SecretString::from("secret-marker")).unwrap();
            assert!(!format!("{headers:?}").contains("secret-marker"));
        }
    }
}
