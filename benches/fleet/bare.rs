//! The bare client: the HTTP client that the program is built on, each answer parsed and a row of it written, and nothing
//! else.
//!
//! It waits for what the program waits for, so that their ratio is one and the same on machines whose cores, caches and
//! kernels are not. It is a process of its own: this benchmark, started with a word that makes it one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use futures_util::{StreamExt, stream};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::fleet::FIRST;
use crate::yardstick::{BODY, CONCURRENCY, url};

/// As the first argument: be the bare client.
pub(crate) const WORD: &str = "bare-client";

/// The bare client, to make so many calls and write their rows.
pub(crate) fn client(server: SocketAddr, calls: usize, rows: &Path) -> Command {
    let mut client = Command::new(std::env::current_exe().unwrap());
    client.args([WORD, &server.to_string(), &calls.to_string()]).arg(rows);
    client
}

/// What [`client`] comes to, in its process.
pub(crate) fn run(mut args: impl Iterator<Item = String>) {
    let [server, calls, rows] = std::array::from_fn(|_| args.next().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(call_all(server.parse().unwrap(), calls.parse().unwrap(), Path::new(&rows)));
}

async fn call_all(server: SocketAddr, calls: usize, rows: &Path) {
    let http = http();
    let mut rows = csv::Writer::from_path(rows).unwrap();
    let vmids = FIRST..FIRST + calls;
    let mut answers = stream::iter(vmids)
        .map(|vmid| call(&http, server, vmid))
        .buffer_unordered(usize::try_from(CONCURRENCY).unwrap());
    while let Some((vmid, body)) = answers.next().await {
        let Answer { data: Data { created, allocation: got } } =
            serde_json::from_slice(body.as_ref()).unwrap();
        let outcome = if created { "created" } else { "unchanged" };
        let row = [&vmid.to_string(), outcome, got.rack_id, got.prefix, got.next_hop, got.status];
        rows.write_record(row).unwrap();
    }
    rows.flush().unwrap();
}

async fn call(http: &reqwest::Client, server: SocketAddr, vmid: usize) -> (usize, impl AsRef<[u8]>) {
    let response = http.post(url(server, vmid)).body(BODY).send().await.unwrap();
    assert!(response.status().is_success(), "VM {vmid}: {}", response.status());
    (vmid, response.bytes().await.unwrap())
}

/// The client with the program's own settings.
fn http() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("bench"));
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, json);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let client = reqwest::Client::builder()
        .user_agent("bare-client")
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .tls_certs_only([])
        .default_headers(headers)
        .pool_max_idle_per_host(usize::try_from(CONCURRENCY).unwrap());
    client.build().unwrap()
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    created: bool,
    #[serde(borrow)]
    allocation: Allocation<'a>,
}

#[derive(Deserialize)]
struct Allocation<'a> {
    rack_id: &'a str,
    prefix: &'a str,
    next_hop: &'a str,
    status: &'a str,
}
