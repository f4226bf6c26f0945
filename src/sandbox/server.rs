//! The server: one thread with its own runtime, and the routes on it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{Request, Response, StatusCode};
use axum::routing::any;
use futures_util::StreamExt;
use tokio::sync::{oneshot, watch};

use super::body::BODY_LIMIT;
use super::desk::{Api, broken_off};
use super::http2::StreamNo;
use super::listen::{Host, Listening};
use super::order::{Broken, Order};
use super::record::{record, status};
use super::state::State;
use super::tls::{CaFile, Tls};
use super::{Settings, StartError, World, phase};

/// So much of a body is read in all: a client that is still sending would lose its 413 to a reset.
const DRAINED: usize = 1 << 20;

/// The documented API, to be started.
#[derive(Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Serves `world` on a thread of its own until the returned value is stopped or dropped.
    pub fn start(settings: Settings, mut world: World) -> Result<Running, StartError> {
        let address = settings.listen;
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback(address));
        }
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        world.set_nulls(settings.nulls.clone());
        let state = match &settings.state {
            Some(path) => State::restore(world, settings.limit, path)?,
            None => State::new(world, settings.limit),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (orders, heard) = watch::channel(Order::Serve);
        let refusals = phase::refusals(&settings.phases);
        let tls = settings.tls.as_ref().map(|tls| Tls::new(tls, address.ip(), settings.seed)).transpose()?;
        let (tls, ca_file) = tls.unzip();
        let api = Arc::new(Api::new(settings, state, heard)?);
        let listening = Listening { listener, orders, refusals, first_call: api.first_call.clone() };
        let host = Host { routes: routes(Arc::clone(&api)), record: record(api), tls };
        let thread = std::thread::Builder::new()
            .name("sandbox".into())
            .spawn(move || runtime.block_on(listening.serve(host, stopped)))
            .map_err(StartError::Thread)?;
        Ok(Running { address, ca_file, stop: Some(stop), thread: Some(thread) })
    }
}

/// A sandbox that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    ca_file: Option<CaFile>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> String {
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where the certificate is that vouches for this server, if it speaks TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_ref().map(CaFile::path)
    }

    /// Lets in-flight calls have their answers, for at most five seconds, and ends the thread.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the sandbox's thread panicked")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the sandbox did not end well");
        }
    }
}

fn routes(api: Arc<Api>) -> Router {
    record(Arc::clone(&api)).fallback_service(any(call).with_state(api))
}

async fn call(Shared(api): Shared<Arc<Api>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = read_body(body).await;
    if parts.extensions.get::<StreamNo>().is_some_and(|stream| !stream.begins()) {
        return broken_off(Broken::Refused);
    }
    match body {
        Some(body) => api.answer(Request::from_parts(parts, body)).await,
        // The client broke off before its call was whole: nobody reads this, and nothing was called.
        None => status(StatusCode::BAD_REQUEST, "the body ended early"),
    }
}

/// At most one byte more than [`BODY_LIMIT`]; `None` where the client broke off.
async fn read_body(body: Body) -> Option<Bytes> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut received = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.ok()?;
        received += chunk.len();
        let room = BODY_LIMIT + 1 - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if received > DRAINED {
            break;
        }
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_beyond_loopback_is_refused() {
        for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let settings = Settings { listen: listen.parse().unwrap(), ..Settings::default() };
            let error = Sandbox::start(settings, World::built_in()).unwrap_err();
            assert!(matches!(error, StartError::NotLoopback(_)), "{error}");
        }
    }
}
