//! The documented shapes, byte for byte: the success envelope, the errors of v1, and the sandbox's own records.
//!
//! Only how things are written; what is answered is decided in `respond`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use jiff::Timestamp;
use serde::Serialize;

use super::state::{Allocation, Call, Effect};
use crate::inventory::Action;

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

/// The error body of 401, 403, 404 and 504, used for every other error but 429.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem<'a> {
    pub(super) error: &'a str,
    pub(super) message: &'a str,
    pub(super) code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<String>,
    pub(super) request_id: &'a str,
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
    status: &'static str,
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
    pub(super) fn new(vmid: u64, allocation: &Allocation, rack: &str, created: bool) -> Self {
        let next_hop = allocation.next_hop;
        let allocated_at = postgresql(allocation.allocated_at);
        Self {
            id: allocation.id,
            rack_id: rack.into(),
            client_id: "30000",
            account_id: "20000",
            proxmox_vm_id: (vmid + 48).to_string(),
            prefix: prefix_text(vmid, allocation.prefix),
            prefix_length: allocation.prefix.prefix_len(),
            next_hop: if created { format!("{next_hop}/128") } else { next_hop.to_string() },
            status: "active",
            allocated_at: allocated_at.clone(),
            released_at: None,
            cooldown_until: None,
            metadata: Metadata { updated_at: rfc3339(allocation.updated_at), updated_by: "1" },
            updated_at: match allocation.updated_at == allocation.allocated_at {
                true => allocated_at.clone(),
                false => postgresql(allocation.updated_at),
            },
            created_at: allocated_at,
        }
    }
}

/// With host bits for VMs with an even id, as in the documented `2001:db8::1/48`.
fn prefix_text(vmid: u64, prefix: Ipv6Net) -> String {
    match vmid.is_multiple_of(2) {
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
    vmid: &'a str,
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
            vmid: &call.vmid,
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
    pub(super) allocation: AllocationText,
}
