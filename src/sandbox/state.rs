//! What the sandbox knows while it runs: the world, the allocations made in it, and every call.
//!
//! It grows with the VMs that were called (some 200 bytes each) and with the calls (some 100 bytes each).
//! Every change is in the journal before it is true.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::Ipv6Addr;
use std::ops::Bound;
use std::path::Path;

use ipnet::Ipv6Net;
use jiff::{SignedDuration, Timestamp};

use super::journal::{Entry, InvalidState, Journal};
use super::limit::{Limit, Limiter, Standing};
use super::nullable::Nullable;
use super::profile::Profile;
use super::rack::{Rack, RackIndex};
use super::route::Kind;
use super::vps::VpsId;
use super::world::World;
use crate::dialect::Dialect;
use crate::vm::Action;

/// When allocations older than the sandbox were made, in microseconds since 1970: the documented example's moment.
const LONG_AGO: i64 = 1_770_681_600_658_429;

/// One VM's allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allocation {
    pub(super) id: u64,
    pub(super) rack: RackIndex,
    pub(super) prefix: Ipv6Net,
    pub(super) next_hop: Ipv6Addr,
    pub(super) allocated_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// What a call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Created,
    Moved,
}

/// Why a call for a VM is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    UnknownVm,
    NoAllocation,
    PoolExhausted,
    /// It cannot have routed IPv6, and why.
    Unavailable(Box<str>),
    NotReady,
    Journal(io::Error),
}

/// One line of the sandbox's record.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) at: Timestamp,
    pub(super) dialect: Dialect,
    pub(super) kind: Kind,
    /// As it was called, cut to 64 characters; `None` for a list.
    pub(super) vmid: Option<Box<str>>,
    pub(super) action: Option<Action>,
    /// The protocol's version that it came over.
    pub(super) http: &'static str,
    /// As it is to be answered; `None` where it is not to be.
    pub(super) status: Option<u16>,
    pub(super) effect: Effect,
    /// The name of what went wrong with it.
    pub(super) fault: Option<&'static str>,
    /// An answer was handed over to its connection, or at least begun.
    pub(super) answered: bool,
}

/// The sandbox's whole state, owned by its server.
#[derive(Debug)]
pub(super) struct State {
    world: World,
    allocations: BTreeMap<u64, Allocation>,
    /// What was only looked at: older than the sandbox, and of VMs that were not called yet.
    seen: HashMap<u64, Allocation>,
    given: HashSet<Ipv6Net>,
    next_id: u64,
    calls: Vec<Call>,
    limiter: Option<(Limit, Limiter)>,
    journal: Option<Journal>,
}

impl State {
    pub(super) fn new(world: World, limit: Option<Limit>) -> Self {
        let mut state = Self::blank(world, limit);
        state.allocate_listed();
        state
    }

    /// As [`Self::new`], going on where the journal at `path` ends.
    pub(super) fn restore(world: World, limit: Option<Limit>, path: &Path) -> Result<Self, InvalidState> {
        let mut state = Self::blank(world, limit);
        let locked = Journal::read(path, |entry| state.apply(entry))?;
        state.allocate_listed();
        state.journal = Some(Journal::rewrite(path, state.entries())?);
        drop(locked);
        Ok(state)
    }

    fn blank(world: World, limit: Option<Limit>) -> Self {
        Self {
            world,
            allocations: BTreeMap::new(),
            seen: HashMap::new(),
            given: HashSet::new(),
            next_id: 1,
            calls: Vec::new(),
            limiter: limit.map(|limit| (limit, Limiter::new(limit))),
            journal: None,
        }
    }

    fn allocate_listed(&mut self) {
        for vmid in self.world.long_allocated() {
            if !self.allocations.contains_key(&vmid)
                && let Some(allocation) = self.long_allocated(vmid)
            {
                self.keep(vmid, allocation);
            }
        }
    }

    fn apply(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Sandbox { .. } => Err("a second first line".into()),
            Entry::Rack { name, next_hop } => {
                let rack = self
                    .world
                    .rack_or_new(&name)
                    .ok_or_else(|| format!("rack {name} is not in this world"))?;
                self.world.rack_mut(rack).maintain(next_hop);
                Ok(())
            }
            Entry::Allocation { vmid, id, rack, prefix, next_hop, allocated_at, updated_at } => {
                self.world.resident(vmid).ok_or_else(|| format!("VM {vmid} is not in this world"))?;
                let rack = self
                    .world
                    .rack_or_new(&rack)
                    .ok_or_else(|| format!("rack {rack} is not in this world"))?;
                let prefix = prefix.parse().map_err(|_| format!("{prefix} is no prefix"))?;
                self.keep(vmid, Allocation { id, rack, prefix, next_hop, allocated_at, updated_at });
                Ok(())
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let racks = self.world.racks().iter().filter(|rack| rack.maintained);
        let racks = racks.map(|rack| rack_entry(rack, rack.next_hop));
        racks
            .chain(self.allocations.iter().map(|(&vmid, allocation)| self.allocation_entry(vmid, allocation)))
    }

    fn allocation_entry(&self, vmid: u64, allocation: &Allocation) -> Entry {
        Entry::Allocation {
            vmid,
            id: allocation.id,
            rack: self.rack(allocation.rack).name.to_string(),
            prefix: allocation.prefix.to_string(),
            next_hop: allocation.next_hop,
            allocated_at: allocation.allocated_at,
            updated_at: allocation.updated_at,
        }
    }

    /// Makes `limit` the one that holds from now on.
    pub(super) fn change_limit(&mut self, limit: Option<Limit>, now: Timestamp) {
        match (limit, &mut self.limiter) {
            (Some(limit), Some((current, _))) if limit == *current => {}
            (Some(limit), Some((current, limiter))) => {
                limiter.change(limit, now);
                *current = limit;
            }
            (limit, limiter) => *limiter = limit.map(|limit| (limit, Limiter::new(limit))),
        }
    }

    /// Takes note of a call and whether the limit lets it pass.
    pub(super) fn limit(&mut self, now: Timestamp) -> Option<Standing> {
        self.limiter.as_mut().map(|(_, limiter)| limiter.call(now))
    }

    /// What a call asks for, if the VM may have it.
    pub(super) fn act(
        &mut self,
        vm: u64,
        action: Action,
        now: Timestamp,
    ) -> Result<(Effect, Allocation), Refusal> {
        self.world.resident(vm).ok_or(Refusal::UnknownVm)?;
        let profile = self.world.profile(vm);
        match &profile.reason {
            _ if !profile.is_ready() => return Err(Refusal::NotReady),
            Some(reason) => return Err(Refusal::Unavailable(reason.clone())),
            None => {}
        }
        match action {
            Action::Allocate => self.allocate(vm, now),
            Action::RefreshNextHop => self.refresh(vm, now),
        }
    }

    /// Gives a VM a prefix, or finds the one it has.
    fn allocate(&mut self, vm: u64, now: Timestamp) -> Result<(Effect, Allocation), Refusal> {
        if let Some(allocation) = self.find(vm)? {
            return Ok((Effect::Nothing, allocation));
        }
        let rack = self.world.resident(vm).ok_or(Refusal::UnknownVm)?.rack;
        let allocation = self.cut(vm, rack, self.rack(rack).next_hop, microseconds(now));
        let allocation = allocation.ok_or(Refusal::PoolExhausted)?;
        self.change(vm, allocation)?;
        Ok((Effect::Created, allocation))
    }

    /// Moves a VM's allocation to its rack's current next hop, if it has another and is in use.
    fn refresh(&mut self, vm: u64, now: Timestamp) -> Result<(Effect, Allocation), Refusal> {
        let allocation = self.find(vm)?.ok_or(Refusal::NoAllocation)?;
        let next_hop = self.rack(allocation.rack).next_hop;
        if allocation.next_hop == next_hop || !self.world.profile(vm).is_active() {
            return Ok((Effect::Nothing, allocation));
        }
        let moved = Allocation { next_hop, updated_at: microseconds(now), ..allocation };
        self.change(vm, moved)?;
        Ok((Effect::Moved, moved))
    }

    /// A VM's allocation, which is in the record from now on.
    fn find(&mut self, vm: u64) -> Result<Option<Allocation>, Refusal> {
        let found = self.look(vm)?;
        if let Some(allocation) = found.filter(|_| !self.allocations.contains_key(&vm)) {
            self.change(vm, allocation)?;
        }
        Ok(found)
    }

    /// A VM's allocation. One that is older than the sandbox gets its prefix when it is first looked at, and keeps it;
    /// it is in the record only when the VM is called.
    pub(super) fn look(&mut self, vm: u64) -> Result<Option<Allocation>, Refusal> {
        let resident = self.world.resident(vm).ok_or(Refusal::UnknownVm)?;
        let known = self.allocations.get(&vm).or_else(|| self.seen.get(&vm));
        if let Some(&allocation) = known {
            return Ok(Some(allocation));
        }
        let allocation = if resident.allocated { self.long_allocated(vm) } else { None };
        if let Some(allocation) = allocation {
            self.reserve(&allocation);
            self.seen.insert(vm, allocation);
        }
        Ok(allocation)
    }

    fn long_allocated(&self, vmid: u64) -> Option<Allocation> {
        let rack = self.world.resident(vmid)?.rack;
        let at = Timestamp::from_microsecond(LONG_AGO).unwrap_or(Timestamp::UNIX_EPOCH);
        self.cut(vmid, rack, self.rack(rack).old_next_hop, at)
    }

    /// A new allocation, with the first free prefix from the VM's own place in the pool on; `None` where there is none.
    ///
    /// The own place (its id modulo the pool's size) makes a VM's prefix the same whatever the order of calls.
    fn cut(&self, vmid: u64, rack: RackIndex, next_hop: Ipv6Addr, at: Timestamp) -> Option<Allocation> {
        let pool = self.rack(rack);
        let capacity = pool.capacity();
        if pool.is_exhausted() {
            return None;
        }
        let prefix = (0..capacity)
            .map(|step| (vmid % capacity + step) % capacity)
            .filter(|&slot| slot > 0)
            .map(|slot| pool.prefix(slot))
            .find(|prefix| !self.given.contains(prefix))?;
        Some(Allocation { id: self.next_id, rack, prefix, next_hop, allocated_at: at, updated_at: at })
    }

    /// Makes `allocation` the VM's, in the journal first.
    fn change(&mut self, vmid: u64, allocation: Allocation) -> Result<(), Refusal> {
        let entry = self.allocation_entry(vmid, &allocation);
        self.append(&entry).map_err(Refusal::Journal)?;
        self.keep(vmid, allocation);
        Ok(())
    }

    fn keep(&mut self, vmid: u64, allocation: Allocation) {
        self.reserve(&allocation);
        self.seen.remove(&vmid);
        self.allocations.insert(vmid, allocation);
    }

    /// No other VM gets its id and prefix.
    fn reserve(&mut self, allocation: &Allocation) {
        self.next_id = self.next_id.max(allocation.id.saturating_add(1));
        if self.given.insert(allocation.prefix) {
            self.world.rack_mut(allocation.rack).given += 1;
        }
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(entry))
    }

    /// The rack that a VM's calls are about, where the VM exists.
    pub(super) fn rack_of(&self, vmid: u64) -> Option<RackIndex> {
        let known = self.allocations.get(&vmid).or_else(|| self.seen.get(&vmid));
        let allocated = known.map(|allocation| allocation.rack);
        allocated.or_else(|| self.world.resident(vmid).map(|resident| resident.rack))
    }

    /// The number in either dialect's id, whether there is such a VM or not.
    pub(super) fn number(&mut self, id: &str) -> Option<u64> {
        self.world.vm(id)
    }

    /// The VM that either dialect calls so.
    pub(super) fn vm(&mut self, id: &str) -> Option<u64> {
        self.number(id).filter(|&vm| self.world.resident(vm).is_some())
    }

    /// The VM that v2 calls so.
    pub(super) fn vm_called(&mut self, id: VpsId) -> Option<u64> {
        self.world.vm_called(id)
    }

    pub(super) fn vps_id(&self, vm: u64) -> VpsId {
        self.world.vps_id(vm)
    }

    /// The account's VMs with a greater number, as far as they can be listed.
    pub(super) fn vms_after(&self, vm: u64) -> impl Iterator<Item = u64> {
        self.world.vms_after(vm)
    }

    pub(super) fn profile(&self, vm: u64) -> &Profile {
        self.world.profile(vm)
    }

    /// What the world says of a VM from now on.
    pub(super) fn change_profile(&mut self, vm: u64, profile: Profile) {
        self.world.change_profile(vm, profile);
    }

    /// What is null in the answers about a VM.
    pub(super) fn nulls(&self, vm: u64) -> impl Iterator<Item = Nullable> {
        self.world.nulls(vm)
    }

    pub(super) fn rack(&self, rack: RackIndex) -> &Rack {
        self.world.rack(rack)
    }

    /// The rack of that name, made if the world is open.
    pub(super) fn rack_named(&mut self, name: &str) -> Option<RackIndex> {
        self.world.rack_or_new(name)
    }

    /// Maintenance: from now on the rack's allocations and refreshes give another next hop.
    pub(super) fn maintain(&mut self, rack: RackIndex, next_hop: Ipv6Addr) -> io::Result<()> {
        self.append(&rack_entry(self.rack(rack), next_hop))?;
        self.world.rack_mut(rack).maintain(next_hop);
        Ok(())
    }

    /// Puts a VM on a rack; says no where it does not exist or has an allocation in the record already.
    pub(super) fn place(&mut self, vmid: u64, rack: RackIndex) -> bool {
        let is_known = self.allocations.contains_key(&vmid) || self.seen.contains_key(&vmid);
        !is_known && self.world.place(vmid, rack)
    }

    /// Returns the call's number, for [`Self::answered`].
    pub(super) fn record(&mut self, call: Call) -> usize {
        self.calls.push(call);
        self.calls.len() - 1
    }

    /// A call of the record took effect after all.
    pub(super) fn acted(&mut self, number: usize, effect: Effect, status: u16) {
        if let Some(call) = self.calls.get_mut(number) {
            (call.effect, call.status) = (effect, Some(status));
        }
    }

    /// An answer to that call leaves.
    pub(super) fn answered(&mut self, number: usize) {
        if let Some(call) = self.calls.get_mut(number) {
            call.answered = true;
        }
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The allocations of VMs with a greater id than `vmid`, by id.
    pub(super) fn allocations_after(&self, vmid: Option<u64>) -> impl Iterator<Item = (u64, &Allocation)> {
        let from = vmid.map_or(Bound::Unbounded, Bound::Excluded);
        self.allocations.range((from, Bound::Unbounded)).map(|(&vmid, allocation)| (vmid, allocation))
    }
}

fn rack_entry(rack: &Rack, next_hop: Ipv6Addr) -> Entry {
    Entry::Rack { name: rack.name.to_string(), next_hop }
}

/// Cut down to what PostgreSQL keeps of a moment.
fn microseconds(at: Timestamp) -> Timestamp {
    let rest = SignedDuration::from_nanos(i64::from(at.subsec_nanosecond() % 1_000));
    at.checked_sub(rest).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::world::tests::parse;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn all(state: &State) -> Vec<(u64, Allocation)> {
        state.allocations_after(None).map(|(vmid, &allocation)| (vmid, allocation)).collect()
    }

    #[test]
    fn allocations_and_maintenance_survive_and_old_prefixes_do_not_move() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let start = || State::restore(World::built_in(), None, &path).unwrap();
        let mut state = start();
        state.act(10_000, Action::Allocate, at(0)).unwrap();
        state.act(10_006, Action::Allocate, at(1)).unwrap();
        let rack = state.rack_named("dc1r27").unwrap();
        state.maintain(rack, "fd00::9".parse().unwrap()).unwrap();
        state.act(10_006, Action::RefreshNextHop, at(2)).unwrap();
        let before = all(&state);
        assert_eq!(before[1].1.updated_at, at(2));
        for _ in 0..2 {
            drop(state);
            state = start();
            assert_eq!(all(&state), before);
        }
        let (effect, new) = state.act(10_001, Action::Allocate, at(3)).unwrap();
        assert_eq!((effect, new.id), (Effect::Created, 3));
        assert_eq!(new.next_hop, "fd00::9".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn a_rack_from_the_state_that_an_inventory_named_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let mut world = World::built_in();
        world.take_in("10000", Some("fra3-07"));
        let mut state = State::restore(world, None, &path).unwrap();
        let (_, made) = state.act(10_000, Action::Allocate, at(0)).unwrap();
        drop(state);
        let mut state = State::restore(World::built_in(), None, &path).unwrap();
        let (effect, found) = state.act(10_000, Action::Allocate, at(1)).unwrap();
        assert_eq!((effect, found.prefix), (Effect::Nothing, made.prefix));
        assert_eq!(&*state.rack(found.rack).name, "fra3-07");
    }

    #[test]
    fn the_state_of_another_world_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let mut state = State::restore(World::built_in(), None, &path).unwrap();
        state.act(10_000, Action::Allocate, at(0)).unwrap();
        drop(state);
        let text = std::fs::read(&path).unwrap();
        let strict = parse("[racks.a]\npool = \"fd00::/48\"\nnext_hop = \"fd00::1\"").unwrap();
        let error = State::restore(strict, None, &path).unwrap_err().to_string();
        assert!(error.ends_with(":2: VM 10000 is not in this world"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }

    #[test]
    fn vms_of_a_file_that_are_allocated_keep_their_prefix_when_the_file_grows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let world = |allocated: &str| {
            let text = format!(
                "[racks.a]\npool = \"fd00::/48\"\nnext_hop = \"fd00::1\"\nvms = [\"3\"]\nallocated = [{allocated}]"
            );
            parse(&text).unwrap()
        };
        let mut state = State::restore(world("\"259\""), None, &path).unwrap();
        state.act(3, Action::Allocate, at(0)).unwrap();
        let before = all(&state);
        drop(state);
        let state = State::restore(world("\"2-2\", \"259\", \"515\""), None, &path).unwrap();
        let after = all(&state);
        for kept in &before {
            assert!(after.contains(kept), "{kept:?}");
        }
        assert_eq!(after.len(), 4);
        let prefixes: HashSet<Ipv6Net> = after.iter().map(|(_, allocation)| allocation.prefix).collect();
        assert_eq!(prefixes.len(), 4);
    }

    #[test]
    fn a_vm_is_put_on_a_rack_only_before_it_has_an_allocation() {
        let mut state = State::new(World::built_in(), None);
        let rack = state.rack_named("dc2r01").unwrap();
        assert!(state.place(10_000, rack));
        assert!(!state.place(10_099, rack));
        let (_, made) = state.act(10_000, Action::Allocate, at(0)).unwrap();
        assert_eq!(made.rack, rack);
        assert!(!state.place(10_000, rack));
    }

    #[test]
    fn a_look_changes_nothing_and_what_it_saw_is_what_a_call_finds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let mut state = State::restore(World::built_in(), None, &path).unwrap();
        let journal = std::fs::read(&path).unwrap();
        // Two VMs that want the same place in their rack's pool.
        let (first, second) = (10_006, 10_006 + (1 << 20) * 20);
        let rack = |state: &State, vm| state.rack(state.rack_of(vm).unwrap()).name.clone();
        assert_eq!(rack(&state, first), rack(&state, second));
        let seen = state.look(second).unwrap().unwrap();
        assert_eq!(state.look(10_000).unwrap(), None);
        assert!(matches!(state.look(10_099), Err(Refusal::UnknownVm)));
        assert_eq!((all(&state), std::fs::read(&path).unwrap()), (vec![], journal));
        state.act(first, Action::Allocate, at(0)).unwrap();
        let (effect, found) = state.act(second, Action::Allocate, at(1)).unwrap();
        assert_eq!((effect, found), (Effect::Nothing, seen));
        assert_ne!(all(&state)[0].1.prefix, seen.prefix);
        assert_eq!(state.look(second).unwrap(), Some(seen));
    }
}
