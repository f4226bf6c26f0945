//! v1: how a call is written, and what comes of it.

use axum::body::Bytes;
use axum::http::{Method, Request};
use jiff::Timestamp;

use super::answer::Answer;
use super::body::{action, fields};
use super::problem::{self, Problem};
use super::state::{Effect, Refusal, State};
use super::wire::AllocationText;
use super::world::number;
use crate::vm::Action;

pub(super) fn read(request: &Request<Bytes>) -> Result<Action, Problem> {
    if request.method() != Method::POST {
        return Err(problem::POST_ONLY);
    }
    let fields = fields(request)?;
    let wanted = fields.get("action").filter(|_| fields.len() == 1).ok_or(problem::FIELDS)?;
    action(wanted)
}

/// What comes of a call with which nothing goes wrong.
pub(super) fn act(
    state: &mut State,
    now: Timestamp,
    vmid: &str,
    action: Action,
) -> Result<(Effect, Answer), Problem> {
    let vm = number(vmid).ok_or(problem::VMID)?;
    match state.act(vm, action, now) {
        Ok((effect, allocation)) => {
            let created = effect == Effect::Created;
            let text = AllocationText::new(state, vm, &allocation, created);
            Ok((effect, Answer::allocation(created, text)))
        }
        Err(Refusal::Unavailable(reason)) => Ok((Effect::Nothing, Answer::refused(&reason))),
        Err(refusal) => Err(refusal.into()),
    }
}
