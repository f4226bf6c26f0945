//! v2's word on one VM's routed IPv6, as it is written.

use jiff::Timestamp;
use serde::Serialize;

use super::profile::{COOLDOWN_DAYS, Profile};
use super::rack::Rack;
use super::state::{Allocation, Effect};
use super::vps::VpsId;
use super::wire::{next_hop_text, prefix_text};

const MAX_PER_VM: u32 = 1;
const EXHAUSTED: &str = "The pool of this VM's rack has no prefix left";

/// The answer to a look and to a call.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Routed<'a> {
    available: bool,
    reason: Option<&'a str>,
    parent_cidr: Option<String>,
    prefix_length: Option<u8>,
    cooldown_days: Option<u32>,
    max_per_vm: Option<u32>,
    suggested_next_hop: Option<String>,
    created: Option<bool>,
    allocation: Option<RoutedAllocation<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RoutedAllocation<'a> {
    id: String,
    prefix: String,
    prefix_length: u8,
    next_hop: String,
    status: &'a str,
    allocated_at: String,
    released_at: Option<String>,
    cooldown_until: Option<String>,
    created_at: String,
    updated_at: String,
}

/// The VM that it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) vm: u64,
    pub(super) id: VpsId,
    pub(super) profile: &'a Profile,
    pub(super) rack: &'a Rack,
}

impl<'a> Routed<'a> {
    /// A 200 that says no, and nothing else.
    pub(super) fn refused(reason: &'a str) -> Self {
        Self { reason: Some(reason), created: Some(false), ..Self::default() }
    }

    /// `effect` is `None` for a look.
    pub(super) fn new(subject: Subject<'a>, allocation: Option<&Allocation>, effect: Option<Effect>) -> Self {
        let Subject { profile, rack, .. } = subject;
        let reason = match profile.reason.as_deref() {
            None if allocation.is_none() && rack.is_exhausted() => Some(EXHAUSTED),
            reason => reason,
        };
        let created = effect.map(|effect| effect == Effect::Created);
        let is_new = created == Some(true);
        Self {
            available: reason.is_none(),
            reason,
            parent_cidr: Some(rack.pool().to_string()),
            prefix_length: Some(rack.prefix_length()),
            cooldown_days: Some(COOLDOWN_DAYS),
            max_per_vm: Some(MAX_PER_VM),
            suggested_next_hop: reason.is_none().then(|| rack.next_hop.to_string()),
            created,
            allocation: allocation.map(|allocation| RoutedAllocation::new(subject, allocation, is_new)),
        }
    }
}

impl<'a> RoutedAllocation<'a> {
    fn new(Subject { vm, id, profile, .. }: Subject<'a>, allocation: &Allocation, is_new: bool) -> Self {
        let (released, cooldown) = profile.cooldown(allocation.updated_at).unzip();
        let allocated_at = rfc3339(allocation.allocated_at);
        Self {
            id: format!("ripv6_{}", id.ulid()),
            prefix: prefix_text(vm, allocation.prefix),
            prefix_length: allocation.prefix.prefix_len(),
            next_hop: next_hop_text(allocation.next_hop, is_new),
            status: profile.status(),
            allocated_at: allocated_at.clone(),
            released_at: released.map(rfc3339),
            cooldown_until: cooldown.map(rfc3339),
            created_at: allocated_at,
            updated_at: rfc3339(allocation.updated_at),
        }
    }
}

/// `2026-02-10T00:00:00.658429Z`: the same moment that v1 tells in PostgreSQL's way.
fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
