//! What is neither a call nor goes wrong: the records under `/_sandbox/`, and what can be changed while it runs.

use std::net::Ipv6Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::desk::Api;
use super::fault::Fault;
use super::json;
use super::profile::Profile;
use super::wire::{AllocationLine, AllocationText, CallLine, DefectsText};
use crate::allocation::NextHop;

/// Records are read from the state so many at a time, and streamed.
const BATCH: usize = 100;

/// What is neither a call nor goes wrong.
pub(super) fn record(api: Arc<Api>) -> Router {
    Router::new()
        .route("/_sandbox/health", get(health))
        .route("/_sandbox/calls", get(calls))
        .route("/_sandbox/allocations", get(allocations))
        .route("/_sandbox/racks/{rack}", post(change_rack))
        .route("/_sandbox/vms/{vmid}", post(change_vm))
        .route("/_sandbox/faults", post(change_defect))
        .route("/_sandbox/clock", post(set_clock))
        .with_state(api)
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
            let id = desk.state.vps_id(vmid).to_string();
            let allocation = AllocationText::new(&desk.state, vmid, allocation, false);
            push_line(&mut text, &AllocationLine { vmid: vmid.to_string(), id, allocation });
            last = Some(vmid);
        }
        std::future::ready((!text.is_empty()).then_some((text, last)))
    }))
}

fn push_line(text: &mut Vec<u8>, line: &impl serde::Serialize) {
    text.extend_from_slice(&json::json(line));
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
        if !desk.state.vm(vmid).is_some_and(|vmid| desk.state.place(vmid, rack)) {
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

/// What the world says of a VM from now on, as a world's file would: `{"reason": "…"}`; `{}` for an ordinary one.
async fn change_vm(Shared(api): Shared<Arc<Api>>, Path(vmid): Path<String>, body: Bytes) -> Response<Body> {
    let profile: Profile = match serde_json::from_slice(&body) {
        Ok(profile) => profile,
        Err(error) => return status(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if profile.id.is_some() {
        return status(StatusCode::BAD_REQUEST, "a VM keeps its id");
    }
    let mut desk = api.desk();
    let Some(vm) = desk.state.vm(&vmid) else {
        return status(StatusCode::NOT_FOUND, "no such VM");
    };
    desk.state.change_profile(vm, profile);
    admin(StatusCode::OK, &json!({"vmid": vm.to_string(), "id": desk.state.vps_id(vm).to_string()}))
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
        (None, Some(vmid)) => match desk.state.vm(&vmid) {
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

pub(super) fn status(status: StatusCode, message: &str) -> Response<Body> {
    admin(status, &json!({"error": message}))
}

fn admin(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
