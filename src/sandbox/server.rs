//! The HTTP side: one thread with its own runtime, the routes, and the records under `/_sandbox/`.
//!
//! The state's lock is held for one call's decision and never across an await.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::respond::{self, BODY_LIMIT, respond};
use super::state::{Call, State};
use super::wire::{AllocationLine, AllocationText, CallLine};
use super::world::number;
use super::{InvalidState, Settings, World};
use crate::allocation::NextHop;

/// In-flight answers have so long when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// Records are read from the state so many at a time, and streamed.
const BATCH: usize = 100;
/// So much of a body is read in all: a client that is still sending would lose its 413 to a reset.
const DRAINED: usize = 1 << 20;
const LONGEST_RECORDED_VMID: usize = 64;

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the sandbox listens on loopback addresses only, not on {0}")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start the sandbox's thread")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    State(#[from] InvalidState),
}

/// The documented API, to be started.
#[derive(Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Serves `world` on a thread of its own until the returned value is stopped or dropped.
    pub fn start(settings: Settings, world: World) -> Result<Running, StartError> {
        let address = settings.listen;
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback(address));
        }
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = match &settings.state {
            Some(path) => State::restore(world, settings.limit, path)?,
            None => State::new(world, settings.limit),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let api = Arc::new(Api::new(settings, state));
        let thread = std::thread::Builder::new()
            .name("sandbox".into())
            .spawn(move || runtime.block_on(serve(listener, api, stopped)))
            .map_err(StartError::Thread)?;
        Ok(Running { address, stop: Some(stop), thread: Some(thread) })
    }
}

/// A sandbox that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
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

async fn serve(listener: TcpListener, api: Arc<Api>, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
        // Without it a small answer can wait for the client's acknowledgement; the call works all the same.
        let _ = stream.set_nodelay(true);
    });
    let (stopping, grace) = oneshot::channel::<()>();
    let serving = axum::serve(listener, routes(api)).with_graceful_shutdown(async move {
        let _ = stopped.await;
        drop(stopping);
    });
    tokio::select! {
        result = serving => result,
        () = async { let _ = grace.await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/_sandbox/health", get(health))
        .route("/_sandbox/calls", get(calls))
        .route("/_sandbox/allocations", get(allocations))
        .route("/_sandbox/racks/{rack}", post(change_rack))
        .fallback(call)
        .with_state(api)
}

/// What every request shares.
#[derive(Debug)]
struct Api {
    settings: Settings,
    clock: Clock,
    desk: Mutex<Desk>,
}

#[derive(Debug)]
struct Desk {
    state: State,
    latencies: fastrand::Rng,
    request_ids: fastrand::Rng,
}

/// The wall clock as it was at the start, going on evenly whatever is done to it.
#[derive(Debug)]
struct Clock {
    start: Timestamp,
    started: Instant,
}

impl Clock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}

impl Api {
    fn new(settings: Settings, state: State) -> Self {
        let latencies = fastrand::Rng::with_seed(settings.seed);
        let request_ids = fastrand::Rng::with_seed(!settings.seed);
        let desk = Mutex::new(Desk { state, latencies, request_ids });
        Self { settings, clock: Clock { start: Timestamp::now(), started: Instant::now() }, desk }
    }

    /// A request that panicked leaves the state whole: it changes it in its last step.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call takes effect and is recorded on arrival, whether or not its client waits for the answer.
    async fn answer(&self, request: &Request<Bytes>) -> Response<Body> {
        let (answer, request_id, latency) = self.decide(request);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let Settings { retry_after, rate_limit_headers, .. } = self.settings;
        answer.render(self.clock.now(), &request_id, retry_after, rate_limit_headers)
    }

    fn decide(&self, request: &Request<Bytes>) -> (respond::Answer, String, Duration) {
        let mut desk = self.desk();
        let answer = match respond::vmid_of(request.uri().path()) {
            Some(vmid) => {
                let now = self.clock.now();
                let answer = respond(&mut desk.state, &self.settings.keys, now, vmid, request);
                desk.state.record(Call {
                    at: now,
                    vmid: vmid.chars().take(LONGEST_RECORDED_VMID).collect(),
                    action: answer.action,
                    status: answer.status.as_u16(),
                    effect: answer.effect,
                });
                answer
            }
            None => respond::no_such_route(),
        };
        let request_id = uuid(&mut desk.request_ids);
        (answer, request_id, self.settings.latency.draw(&mut desk.latencies))
    }
}

/// A UUID of version 4.
fn uuid(chance: &mut fastrand::Rng) -> String {
    let bits = chance.u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

async fn call(Shared(api): Shared<Arc<Api>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match read_body(body).await {
        Some(body) => api.answer(&Request::from_parts(parts, body)).await,
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

async fn health() -> Response<Body> {
    admin(StatusCode::OK, &json!({"status": "ok"}))
}

/// Every call so far, in order of arrival.
async fn calls(Shared(api): Shared<Arc<Api>>) -> Response<Body> {
    let total = api.desk().state.calls().len();
    lines(stream::unfold(0, move |sent| {
        let batch = (sent < total).then(|| {
            let desk = api.desk();
            let batch = &desk.state.calls()[sent..total.min(sent + BATCH)];
            let mut text = Vec::new();
            for call in batch {
                push_line(&mut text, &CallLine::from(call));
            }
            (text, sent + batch.len())
        });
        std::future::ready(batch)
    }))
}

/// Every allocation that the sandbox has made or shown, by VM id.
async fn allocations(Shared(api): Shared<Arc<Api>>) -> Response<Body> {
    lines(stream::unfold(None, move |last| {
        let desk = api.desk();
        let mut text = Vec::new();
        let mut last = last;
        for (vmid, allocation) in desk.state.allocations_after(last).take(BATCH) {
            let rack = &desk.state.rack(allocation.rack).name;
            let allocation = AllocationText::new(vmid, allocation, rack, false);
            push_line(&mut text, &AllocationLine { vmid: vmid.to_string(), allocation });
            last = Some(vmid);
        }
        std::future::ready((!text.is_empty()).then_some((text, last)))
    }))
}

fn push_line(text: &mut Vec<u8>, line: &impl serde::Serialize) {
    text.extend_from_slice(&respond::json(line));
    text.push(b'\n');
}

fn lines(batches: impl stream::Stream<Item = Vec<u8>> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(batches.map(Ok::<_, std::convert::Infallible>)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    response
}

/// What is changed about a rack.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RackChange {
    /// Maintenance: what allocations and refreshes give from now on.
    next_hop: Option<NextHop>,
    /// VMs that are on this rack from now on. Only those not yet called can be put somewhere.
    #[serde(default)]
    vmids: Vec<String>,
}

async fn change_rack(Shared(api): Shared<Arc<Api>>, Path(name): Path<String>, body: Bytes) -> Response<Body> {
    let change: RackChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return status(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let mut desk = api.desk();
    let Some(rack) = desk.state.rack_named(&name) else {
        return status(StatusCode::NOT_FOUND, "no such rack");
    };
    for vmid in &change.vmids {
        if !number(vmid).is_some_and(|vmid| desk.state.place(vmid, rack)) {
            let message = format!("VM {vmid} does not exist, or has an allocation elsewhere");
            return status(StatusCode::CONFLICT, &message);
        }
    }
    if let Some(next_hop) = change.next_hop
        && let Err(error) = desk.state.maintain(rack, next_hop.address())
    {
        return status(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
    }
    let next_hop: Ipv6Addr = desk.state.rack(rack).next_hop;
    admin(StatusCode::OK, &json!({"rack": name, "next_hop": next_hop}))
}

fn status(status: StatusCode, message: &str) -> Response<Body> {
    admin(status, &json!({"error": message}))
}

fn admin(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_4_uuids_and_differ() {
        let mut chance = fastrand::Rng::with_seed(0);
        let ids: std::collections::HashSet<String> = (0..1_000).map(|_| uuid(&mut chance)).collect();
        assert_eq!(ids.len(), 1_000);
        for id in ids {
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    #[test]
    fn an_address_beyond_loopback_is_refused() {
        for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let settings = Settings { listen: listen.parse().unwrap(), ..Settings::default() };
            let error = Sandbox::start(settings, World::built_in()).unwrap_err();
            assert!(matches!(error, StartError::NotLoopback(_)), "{error}");
        }
    }
}
