//! The HTTP side: one thread with its own runtime, the routes, and the records under `/_sandbox/`.
//!
//! The state's lock is held for one call's decision and never across an await.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use axum::routing::{any, get, post};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::sync::{SetOnce, oneshot, watch};
use tokio::time::Instant;

use super::clock::Clock;
use super::fault::{Defects, Fault, Lottery, TooManyFaults};
use super::http2::StreamNo;
use super::limit::{Limit, Quota};
use super::listen::{Host, Listening};
use super::order::{Broken, Order};
use super::phase::{self, Weather};
use super::respond::{self, Answer, BODY_LIMIT, Reaction, respond};
use super::spoil::spoil;
use super::state::{Call, State};
use super::tls::{CaFile, Tls, TlsError};
use super::wire::{AllocationLine, AllocationText, CallLine, DefectsText};
use super::world::number;
use super::{InvalidState, Settings, Timestamps, World};
use crate::allocation::NextHop;
use crate::inventory::VmId;

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
    #[error(transparent)]
    Faults(#[from] TooManyFaults),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("there is no rack {0} to go wrong")]
    NoSuchRack(String),
    #[error("there is no VM {0} to go wrong")]
    NoSuchVm(VmId),
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
    pub fn ca_file(&self) -> Option<&FilePath> {
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

/// What is neither a call nor goes wrong.
fn record(api: Arc<Api>) -> Router {
    Router::new()
        .route("/_sandbox/health", get(health))
        .route("/_sandbox/calls", get(calls))
        .route("/_sandbox/allocations", get(allocations))
        .route("/_sandbox/racks/{rack}", post(change_rack))
        .route("/_sandbox/faults", post(change_defect))
        .route("/_sandbox/clock", post(set_clock))
        .with_state(api)
}

/// What every request shares.
#[derive(Debug)]
struct Api {
    settings: Settings,
    clock: Clock,
    lottery: Lottery<Fault>,
    orders: watch::Receiver<Order>,
    first_call: Arc<SetOnce<Instant>>,
    desk: Mutex<Desk>,
}

#[derive(Debug)]
struct Desk {
    state: State,
    defects: Defects,
    /// The VMs that were called before, where their first calls go wrong.
    called: HashSet<u64>,
    latencies: fastrand::Rng,
    request_ids: fastrand::Rng,
}

/// What one call comes to.
#[derive(Debug)]
struct Decision {
    /// The call's number in the record, if it is there.
    recorded: Option<usize>,
    fault: Option<Fault>,
    /// `None` where the connection is reset or nothing is ever answered.
    answer: Option<Answer>,
    request_id: String,
    delay: Duration,
    /// When the call arrived, on the clock that is shown.
    arrived: Timestamp,
}

impl Api {
    fn new(settings: Settings, mut state: State, orders: watch::Receiver<Order>) -> Result<Self, StartError> {
        let desk = Desk {
            defects: defects(&settings, &mut state)?,
            state,
            called: HashSet::new(),
            latencies: fastrand::Rng::with_seed(settings.seed),
            request_ids: fastrand::Rng::with_seed(!settings.seed),
        };
        let clock = Clock::new(settings.clock);
        Ok(Self {
            lottery: Lottery::of_calls(settings.seed, &settings.faults)?,
            settings,
            clock,
            orders,
            first_call: Arc::new(SetOnce::new()),
            desk: Mutex::new(desk),
        })
    }

    /// A request that panicked leaves the state whole: it changes it in its last step.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call takes effect and is recorded on arrival, whether or not its client waits for the answer.
    async fn answer(self: &Arc<Self>, request: Request<Bytes>) -> Response<Body> {
        let Decision { recorded, fault, answer, request_id, delay, arrived } = self.decide(&request);
        let answer = match (fault, recorded) {
            (Some(Fault::LateEffect), Some(number)) => self.act_late(&request, number, delay).await,
            _ => {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                answer
            }
        };
        let Some(answer) = answer else {
            return self.break_off(fault, request.version()).await;
        };
        if let Some(number) = recorded {
            self.desk().state.answered(number);
        }
        let now = self.clock.reading_now();
        let dated = match self.settings.timestamps {
            Timestamps::Answer => Some(now),
            Timestamps::Arrival => Some(arrived),
            Timestamps::Never => None,
        };
        let age = fault.map_or(SignedDuration::ZERO, Fault::age);
        let dated = dated.and_then(|at| at.checked_sub(age).ok());
        let response = answer.render(now, dated, &request_id, &self.settings);
        spoil(response, fault, self.finished())
    }

    /// Takes effect so much later, though its client may be gone by then.
    async fn act_late(
        self: &Arc<Self>,
        request: &Request<Bytes>,
        number: usize,
        delay: Duration,
    ) -> Option<Answer> {
        let vmid = respond::vmid_of(request.uri().path())?.to_owned();
        let action = respond::read(request).ok()?;
        let api = Arc::clone(self);
        let acting = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let mut desk = api.desk();
            let (effect, answer) = respond::act(&mut desk.state, api.clock.reading_now(), &vmid, action);
            desk.state.acted(number, effect, answer.status.as_u16());
            answer
        });
        acting.await.ok()
    }

    /// What comes in place of an answer.
    async fn break_off(&self, fault: Option<Fault>, version: Version) -> Response<Body> {
        let broken = match fault {
            Some(Fault::Silence(_)) if version == Version::HTTP_2 => Broken::Silence,
            Some(Fault::Hang(_) | Fault::Silence(_)) => {
                self.finished().await;
                Broken::Connection
            }
            Some(Fault::StreamReset(_)) => Broken::Stream,
            Some(Fault::RefusedStream) => Broken::Refused,
            Some(Fault::GoAway) => Broken::GoAway,
            _ => Broken::Connection,
        };
        broken_off(broken)
    }

    /// Waits until the server stops.
    fn finished(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut orders = self.orders.clone();
        async move {
            // An error says that nobody is left to give orders: that is the end as well.
            let _ = orders.wait_for(|&order| order == Order::Finish).await;
        }
    }

    fn decide(&self, request: &Request<Bytes>) -> Decision {
        let mut desk = self.desk();
        let request_id = uuid(&mut desk.request_ids);
        let latency = self.settings.latency.draw(&mut desk.latencies);
        let Some(vmid) = respond::vmid_of(request.uri().path()) else {
            let answer = Some(respond::no_such_route());
            let arrived = self.clock.reading_now();
            return Decision { recorded: None, fault: None, answer, request_id, delay: latency, arrived };
        };
        let instant = Instant::now();
        let now = self.clock.at(instant);
        let arrived = self.clock.reading(now);
        let weather = self.weather(&mut desk, instant);
        let reaction = self.react(&mut desk, weather, now, vmid, request);
        let Reaction { action, effect, fault, answer } = reaction;
        let recorded = desk.state.record(Call {
            at: now,
            vmid: vmid.chars().take(LONGEST_RECORDED_VMID).collect(),
            action,
            http: if request.version() == Version::HTTP_2 { "2" } else { "1" },
            status: answer.as_ref().map(|answer| answer.status.as_u16()),
            effect,
            fault: weather.outage.map(phase::Outage::name).or(fault.map(Fault::name)),
            answered: false,
        });
        let is_late = matches!(fault, Some(Fault::Late | Fault::LateEffect));
        let delay = if is_late { latency.saturating_add(self.settings.late) } else { latency };
        Decision { recorded: Some(recorded), fault, answer, request_id, delay, arrived }
    }

    /// Where the API as a whole stands when this call comes in.
    fn weather(&self, desk: &mut Desk, instant: Instant) -> Weather {
        if self.settings.phases.is_empty() {
            return Weather::default();
        }
        // An error says that there was a call before.
        let _ = self.first_call.set(instant);
        let first = self.first_call.get().copied().unwrap_or(instant);
        let Settings { ref phases, seed, .. } = self.settings;
        phase::weather(phases, seed, number_of(desk), instant.saturating_duration_since(first))
    }

    fn react(
        &self,
        desk: &mut Desk,
        weather: Weather,
        now: Timestamp,
        vmid: &str,
        request: &Request<Bytes>,
    ) -> Reaction {
        if let Some(outage) = weather.outage {
            return respond::fail(request, outage.fault());
        }
        let Settings { ref keys, limit, ref phases, .. } = self.settings;
        if !phases.is_empty() {
            desk.state
                .change_limit(weather.quota.map(|quota| quota_in_place_of(limit, quota)).or(limit), now);
        }
        let mut reaction = match respond::admit(&mut desk.state, keys, now, request) {
            Ok(admitted) => {
                let fault = self.fault(desk, vmid);
                respond(&mut desk.state, self.clock.reading(now), vmid, &admitted, fault)
            }
            Err(refusal) => refusal,
        };
        let standing = reaction.answer.as_mut().and_then(|answer| answer.standing.as_mut());
        if let Some(standing) = standing {
            standing.reset_at = self.clock.reading(standing.reset_at);
        }
        reaction
    }

    /// What goes wrong with this call, if anything: what does with a VM's first one, what always does, or what chance would have.
    fn fault(&self, desk: &mut Desk, vmid: &str) -> Option<Fault> {
        let first =
            self.settings.first_fault.filter(|_| number(vmid).is_some_and(|vmid| desk.called.insert(vmid)));
        if first.is_some() {
            return first;
        }
        let always = match number(vmid) {
            Some(vmid) if !desk.defects.is_empty() => desk.defects.of(vmid, desk.state.rack_of(vmid)),
            Some(_) | None => None,
        };
        always.or_else(|| self.lottery.draw(number_of(desk)))
    }
}

/// How many calls came in before this one.
fn number_of(desk: &Desk) -> u64 {
    desk.state.calls().len() as u64
}

/// A phase's quota, counted as the usual limit is.
fn quota_in_place_of(limit: Option<Limit>, quota: Quota) -> Limit {
    limit.map_or_else(|| Limit::token_bucket(quota, None), |limit| limit.with_quota(quota))
}

fn defects(settings: &Settings, state: &mut State) -> Result<Defects, StartError> {
    let mut defects = Defects::default();
    for (name, fault) in &settings.rack_faults {
        let rack = state.rack_named(name).ok_or_else(|| StartError::NoSuchRack(name.clone()))?;
        defects.set_rack(rack, Some(*fault));
    }
    for (vmid, fault) in &settings.vm_faults {
        let known = number(vmid.as_str()).filter(|&vmid| state.rack_of(vmid).is_some());
        defects.set_vm(known.ok_or_else(|| StartError::NoSuchVm(vmid.clone()))?, Some(*fault));
    }
    Ok(defects)
}

/// Asks for a breach in place of an answer.
fn broken_off(broken: Broken) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(broken);
    response
}

/// A UUID of version 4.
fn uuid(chance: &mut fastrand::Rng) -> String {
    let bits = chance.u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
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

/// What goes wrong from now on with every call for a rack's VMs or for one VM; `null` mends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefectChange {
    rack: Option<String>,
    vmid: Option<String>,
    /// Required: a change without it would mend by mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    fault: Option<FaultName>,
}

struct FaultName(Fault);

impl<'de> Deserialize<'de> for FaultName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

async fn change_defect(Shared(api): Shared<Arc<Api>>, body: Bytes) -> Response<Body> {
    let change: DefectChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return status(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let fault = change.fault.map(|FaultName(fault)| fault);
    let mut desk = api.desk();
    match (change.rack, change.vmid) {
        (Some(name), None) => match desk.state.rack_named(&name) {
            Some(rack) => desk.defects.set_rack(rack, fault),
            None => return status(StatusCode::NOT_FOUND, "no such rack"),
        },
        (None, Some(vmid)) => match number(&vmid).filter(|&vmid| desk.state.rack_of(vmid).is_some()) {
            Some(vmid) => desk.defects.set_vm(vmid, fault),
            None => return status(StatusCode::NOT_FOUND, "no such VM"),
        },
        (None, None) | (Some(_), Some(_)) => {
            return status(StatusCode::BAD_REQUEST, "either a rack or a vmid is needed");
        }
    }
    let text = DefectsText {
        racks: desk
            .defects
            .racks()
            .map(|(rack, fault)| (desk.state.rack(rack).name.to_string(), fault.name()))
            .collect(),
        vms: desk.defects.vms().map(|(vmid, fault)| (vmid, fault.name())).collect(),
    };
    admin(StatusCode::OK, &json!(text))
}

/// By how much the clock that is shown is set: `{"step": "-5s"}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    step: String,
}

async fn set_clock(Shared(api): Shared<Arc<Api>>, body: Bytes) -> Response<Body> {
    let change: ClockChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return status(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match super::signed_duration(&change.step) {
        Some(by) => admin(StatusCode::OK, &json!({"ahead": format!("{:#}", api.clock.step(by))})),
        None => status(StatusCode::BAD_REQUEST, "step is not a duration such as 5s or -1h"),
    }
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
