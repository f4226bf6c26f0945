//! v2: how a call and a look for one VM are written, and what comes of them.

use axum::body::Bytes;
use axum::http::{Method, Request};
use jiff::Timestamp;
use serde_json::Value;

use super::answer::Answer;
use super::body::{action, fields};
use super::nullable::with_nulls;
use super::problem::{self, Problem};
use super::routed::{Routed, Subject};
use super::state::{Allocation, Effect, Refusal, State};
use super::vps::VpsId;
use crate::vm::Action;

const LONGEST_RACK_ID: usize = 50;

/// The action of a call; `None` for a look.
pub(super) fn read(request: &Request<Bytes>) -> Result<Option<Action>, Problem> {
    match *request.method() {
        Method::GET => Ok(None),
        Method::POST if request.body().is_empty() => Ok(Some(Action::Allocate)),
        Method::POST => read_call(request).map(Some),
        _ => Err(problem::METHOD),
    }
}

/// What `rackId` does is not said: it is checked, and no more.
fn read_call(request: &Request<Bytes>) -> Result<Action, Problem> {
    let fields = fields(request)?;
    if fields.keys().any(|name| name != "action" && name != "rackId") {
        return Err(problem::OPTIONAL_FIELDS);
    }
    if fields.get("rackId").is_some_and(|rack| !is_rack_id(rack)) {
        return Err(problem::RACK_ID);
    }
    fields.get("action").map_or(Ok(Action::Allocate), action)
}

fn is_rack_id(value: &Value) -> bool {
    value.as_str().is_some_and(|rack| rack.chars().count() <= LONGEST_RACK_ID)
}

/// What comes of a call with which nothing goes wrong.
pub(super) fn act(
    state: &mut State,
    now: Timestamp,
    id: &str,
    action: Action,
) -> Result<(Effect, Answer), Problem> {
    let vm = vm(state, id)?;
    let (effect, allocation) = match state.act(vm, action, now) {
        Ok((effect, allocation)) => (effect, Some(allocation)),
        Err(Refusal::Unavailable(_)) => (Effect::Nothing, state.look(vm)?),
        Err(refusal) => return Err(refusal.into()),
    };
    answer(state, vm, allocation.as_ref(), Some(effect)).map(|answer| (effect, answer))
}

/// Changes nothing, ever.
pub(super) fn look(state: &mut State, id: &str) -> Result<Answer, Problem> {
    let vm = vm(state, id)?;
    let allocation = state.look(vm)?;
    answer(state, vm, allocation.as_ref(), None)
}

fn vm(state: &mut State, id: &str) -> Result<u64, Problem> {
    let id: VpsId = id.parse().map_err(|_| problem::VPS_ID)?;
    state.vm_called(id).ok_or(problem::UNKNOWN_VM)
}

fn answer(
    state: &State,
    vm: u64,
    allocation: Option<&Allocation>,
    effect: Option<Effect>,
) -> Result<Answer, Problem> {
    let rack = state.rack_of(vm).ok_or(problem::UNKNOWN_VM)?;
    let profile = state.profile(vm);
    let subject = Subject { vm, id: state.vps_id(vm), profile, rack: state.rack(rack) };
    let document = with_nulls(&Routed::new(subject, allocation, effect), state.nulls(vm));
    Ok(Answer::document(effect == Some(Effect::Created), document))
}
