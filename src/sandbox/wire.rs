//! The shapes of v1, byte for byte, and of the sandbox's own records.
//!
//! Only how things are written; what is answered is decided in `respond`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use jiff::Timestamp;
use serde::Serialize;

use super::state::{Allocation, Call, Effect, State};
use crate::vm::Action;

/// The success envelope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<'a> {
    pub(super) success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<String>,
    pub(super) request_id: &'a str,
    pub(super) data: EnvelopeData<'a>,
}

#[derive(Serialize)]
pub(super) struct EnvelopeData<'a> {
    pub(super) created: bool,
    pub(super) allocation: &'a AllocationText,
}

/// The error body of 429: no `code`, and a number as text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TooMany<'a> {
    pub(super) error: &'a str,
    pub(super) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<String>,
    pub(super) request_id: &'a str,
}

/// A refusal that comes with a 200.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefusedEnvelope<'a> {
    pub(super) success: bool,
    pub(super) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<String>,
    pub(super) request_id: &'a str,
}

/// What is wrong with the sandbox's racks and VMs: the answer of `POST /_sandbox/faults`.
#[derive(Debug, Default, Serialize)]
pub(super) struct DefectsText {
    pub(super) racks: BTreeMap<String, &'static str>,
    pub(super) vms: BTreeMap<u64, &'static str>,
}

/// An allocation as the API writes it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AllocationText {
    id: u64,
    rack_id: Box<str>,
    client_id: &'static str,
    account_id: &'static str,
    proxmox_vm_id: String,
    prefix: String,
    prefix_length: u8,
    pub(super) next_hop: String,
    status: Box<str>,
    allocated_at: String,
    released_at: Option<String>,
    cooldown_until: Option<String>,
    metadata: Metadata,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    updated_at: String,
    updated_by: &'static str,
}

impl AllocationText {
    /// The next hop is plain, or `…/128` in the answer that made the allocation.
    pub(super) fn new(state: &State, vm: u64, allocation: &Allocation, created: bool) -> Self {
        let profile = state.profile(vm);
        let allocated_at = postgresql(allocation.allocated_at);
        let (released, cooldown) = profile.cooldown(allocation.updated_at).unzip();
        Self {
            id: allocation.id,
            rack_id: state.rack(allocation.rack).name.clone(),
            client_id: "30000",
            account_id: "20000",
            proxmox_vm_id: (vm + 48).to_string(),
            prefix: prefix_text(vm, allocation.prefix),
            prefix_length: allocation.prefix.prefix_len(),
            next_hop: next_hop_text(allocation.next_hop, created),
            status: profile.status().into(),
            allocated_at: allocated_at.clone(),
            released_at: released.map(postgresql),
            cooldown_until: cooldown.map(postgresql),
            metadata: Metadata { updated_at: rfc3339(allocation.updated_at), updated_by: "1" },
            updated_at: match allocation.updated_at == allocation.allocated_at {
                true => allocated_at.clone(),
                false => postgresql(allocation.updated_at),
            },
            created_at: allocated_at,
        }
    }
}

/// Plain, or `…/128` in the answer that made the allocation.
pub(super) fn next_hop_text(next_hop: Ipv6Addr, created: bool) -> String {
    if created { format!("{next_hop}/128") } else { next_hop.to_string() }
}

/// With host bits for VMs with an even id, as in the documented `2001:db8::1/48`.
pub(super) fn prefix_text(vm: u64, prefix: Ipv6Net) -> String {
    match vm.is_multiple_of(2) {
        true => {
            let address = Ipv6Addr::from(u128::from(prefix.network()) | 1);
            format!("{address}/{}", prefix.prefix_len())
        }
        false => prefix.to_string(),
    }
}

/// `2026-02-10 00:00:00.658429+00`
fn postgresql(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()
}

/// `2026-02-10T00:00:00.000Z`
pub(super) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// One line of `GET /_sandbox/calls`.
#[derive(Serialize)]
pub(super) struct CallLine<'a> {
    at: String,
    dialect: &'static str,
    kind: &'static str,
    vmid: Option<&'a str>,
    action: Option<Action>,
    http: &'static str,
    status: Option<u16>,
    took_effect: bool,
    created: bool,
    fault: Option<&'static str>,
    answered: bool,
}

impl<'a> From<&'a Call> for CallLine<'a> {
    fn from(call: &'a Call) -> Self {
        Self {
            at: call.at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            dialect: call.dialect.as_str(),
            kind: call.kind.name(),
            vmid: call.vmid.as_deref(),
            action: call.action,
            http: call.http,
            status: call.status,
            took_effect: call.effect != Effect::Nothing,
            created: call.effect == Effect::Created,
            fault: call.fault,
            answered: call.answered,
        }
    }
}

/// One line of `GET /_sandbox/allocations`.
#[derive(Serialize)]
pub(super) struct AllocationLine {
    pub(super) vmid: String,
    /// v2's id of the same VM.
    pub(super) id: String,
    pub(super) allocation: AllocationText,
}
