//! What exists before the first call: racks with their pools and next hops, and the VMs on them.
//!
//! A world read from a file is strict: a VM that it does not list is unknown. The built-in world is open:
//! it takes in any VM, and the digits of a VM's id decide what it finds there (see [`World::built_in`]).
//!
//! ```toml
//! [racks.dc1r28]
//! pool = "2001:db8:2800::/40"           # prefixes are cut from it; no two pools overlap
//! prefix_length = 56                    # of one VM's prefix: 56 unless given, at most 64
//! next_hop = "2001:db8:2800::2"         # what an allocation and a refresh give
//! previous_next_hop = "2001:db8:2800::1" # maintenance: what the VMs in `allocated` still have
//! vms = ["10000-10019", "10042"]        # without an allocation
//! allocated = ["10020-10029"]           # with one, made long ago
//!
//! [vms."10042"]                         # one of them, or a range such as "10000-10019"; see `profile`
//! id = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3" # how v2 calls it
//! reason = "Assign IPv6 to the net0 interface first" # why it cannot have routed IPv6
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;
use std::ops::{Bound, RangeInclusive};
use std::path::{Path, PathBuf};

use ipnet::Ipv6Net;
use serde::Deserialize;

use super::nullable::Nullable;
use super::profile::{Profile, Profiles};
use super::rack::{PREFIX_LENGTH, Rack, RackIndex};
use super::vps::{Names, VpsId};
use crate::allocation::{NextHop, Prefix};
use crate::dialect::Dialect;
use crate::text::escape_path;

/// More VMs in one file are taken for a slip of the pen in a range.
const MAX_LISTED: usize = 2_000_000;
const DEMO_RACKS: [(&str, u16); 4] =
    [("dc1r27", 0x1000), ("dc1r28", 0x2000), ("dc1r29", 0x3000), ("dc2r01", 0x4000)];

/// The VMs that an open world lists, whatever else is put on its racks.
const DEMO_FLEET: RangeInclusive<u64> = 10_000..=10_059;

/// Why a file describes no world.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWorld {
    #[error("cannot read the world {path}", path = escape_path(path))]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}", path = escape_path(path))]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: rack {rack}: {reason}", path = escape_path(path))]
    Rack { path: PathBuf, rack: String, reason: InvalidRack },
    #[error("{path}: VMs {vms}: {reason}", path = escape_path(path))]
    Vms { path: PathBuf, vms: String, reason: InvalidVms },
}

/// What is wrong with what a world says of some VMs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVms {
    #[error("{0}")]
    Ids(&'static str),
    #[error("not all of them are on a rack")]
    OnNoRack,
    #[error("they are described twice")]
    DescribedTwice,
    #[error("an id is one VM's, and no other VM has it")]
    Id,
}

/// What is wrong with one rack of a world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRack {
    #[error("its pool is no network from /16 to /63")]
    Pool,
    #[error("prefix_length must be longer than its pool's and at most 64")]
    PrefixLength,
    #[error("its pool overlaps that of rack {0}")]
    Overlap(String),
    #[error("VM {0} is listed twice")]
    ListedTwice(u64),
    #[error("its pool is too small for the VMs in `allocated`")]
    PoolTooSmall,
    #[error("more than {MAX_LISTED} VMs are listed")]
    TooManyVms,
}

/// What the world knows of a VM before anyone called for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) rack: RackIndex,
    /// It got its allocation before the sandbox came up.
    pub(super) allocated: bool,
}

/// Racks and the VMs on them, before the first call.
#[derive(Debug, Clone)]
pub struct World {
    racks: Vec<Rack>,
    by_name: HashMap<Box<str>, RackIndex>,
    residents: BTreeMap<u64, Resident>,
    names: Names,
    profiles: Profiles,
    nulls: Vec<Nullable>,
    open: bool,
}

impl World {
    /// Four racks (`dc1r27`, `dc1r28`, `dc1r29`, `dc2r01`) and every VM there can be.
    ///
    /// A VM whose id ends in `99` is missing; else one ending in 0 to 5 has no allocation yet, and one ending in
    /// 6 to 9 has had its for long. A VM that was not taken in is on rack number (id / 20) mod 4, as the demo fleet has it. Racks whose
    /// name ends in an even digit had maintenance: their next hop is newer than what their VMs have.
    pub fn built_in() -> Self {
        let mut world = Self::empty(true);
        for (name, network) in DEMO_RACKS {
            let pool = Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, 0);
            world.add(Rack::with_pool(name, Ipv6Net::new_assert(pool, 36)));
        }
        let fleet = DEMO_FLEET.filter_map(|vmid| Some((vmid, Self::of_its_digits(vmid)?)));
        world.residents.extend(fleet);
        world
    }

    /// The world of a TOML file, as the module describes it.
    pub fn read(path: &Path) -> Result<Self, InvalidWorld> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| InvalidWorld::Unreadable { path: path.into(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, InvalidWorld> {
        let file: File = toml::from_str(text)
            .map_err(|source| InvalidWorld::Syntax { path: path.into(), source: source.into() })?;
        let mut world = Self::empty(false);
        for (name, entry) in file.racks {
            world.list(&name, &entry).map_err(|reason| InvalidWorld::Rack {
                path: path.into(),
                rack: name.clone(),
                reason,
            })?;
        }
        for (vms, profile) in file.vms {
            world.describe(&vms, profile).map_err(|reason| InvalidWorld::Vms {
                path: path.into(),
                vms: vms.clone(),
                reason,
            })?;
        }
        Ok(world)
    }

    /// Puts an inventory's VM on its rack. Does nothing to a world from a file, nor with an id that neither dialect has.
    pub fn take_in(&mut self, vmid: &str, rack: Option<&str>) {
        if let (true, Some(rack)) = (self.open, rack)
            && let Some(vmid) = self.vm(vmid)
            && let Some(rack) = self.rack_or_new(rack)
        {
            self.place(vmid, rack);
        }
    }

    fn empty(open: bool) -> Self {
        Self {
            racks: vec![],
            by_name: HashMap::new(),
            residents: BTreeMap::new(),
            names: Names::default(),
            profiles: Profiles::default(),
            nulls: vec![],
            open,
        }
    }

    fn add(&mut self, rack: Rack) -> RackIndex {
        let index = RackIndex(u32::try_from(self.racks.len()).unwrap_or(u32::MAX));
        self.by_name.insert(rack.name.clone(), index);
        self.racks.push(rack);
        index
    }

    fn list(&mut self, name: &str, entry: &RackEntry) -> Result<(), InvalidRack> {
        let pool = entry.pool.network();
        if !(16..=63).contains(&pool.prefix_len()) {
            return Err(InvalidRack::Pool);
        }
        if entry.prefix_length <= pool.prefix_len() || entry.prefix_length > 64 {
            return Err(InvalidRack::PrefixLength);
        }
        let overlapping =
            |rack: &&Rack| rack.pool().contains(&pool.network()) || pool.contains(&rack.pool().network());
        if let Some(other) = self.racks.iter().find(overlapping) {
            return Err(InvalidRack::Overlap(other.name.to_string()));
        }
        let next_hop = entry.next_hop.address();
        let old_next_hop = entry.previous_next_hop.as_ref().map_or(next_hop, NextHop::address);
        let rack = Rack::new(name, (pool, entry.prefix_length), next_hop, old_next_hop);
        let capacity = rack.capacity();
        let rack = self.add(rack);
        self.settle(rack, &entry.vms, false)?;
        let allocated = self.settle(rack, &entry.allocated, true)?;
        if allocated >= capacity { Err(InvalidRack::PoolTooSmall) } else { Ok(()) }
    }

    /// Returns how many VMs there are in `ranges`.
    fn settle(&mut self, rack: RackIndex, ranges: &[VmIds], allocated: bool) -> Result<u64, InvalidRack> {
        let mut vms = 0;
        for vmid in ranges.iter().flat_map(|range| range.0.clone()) {
            if self.residents.insert(vmid, Resident { rack, allocated }).is_some() {
                return Err(InvalidRack::ListedTwice(vmid));
            }
            if self.residents.len() > MAX_LISTED {
                return Err(InvalidRack::TooManyVms);
            }
            vms += 1;
        }
        Ok(vms)
    }

    fn describe(&mut self, vms: &str, profile: Profile) -> Result<(), InvalidVms> {
        let VmIds(range) = vms.to_owned().try_into().map_err(InvalidVms::Ids)?;
        let (first, last) = range.clone().into_inner();
        if !range.into_iter().all(|vm| self.residents.contains_key(&vm)) {
            return Err(InvalidVms::OnNoRack);
        }
        if profile.id.is_some_and(|id| first != last || !self.names.give(first, id)) {
            return Err(InvalidVms::Id);
        }
        match self.profiles.describe(first, last, profile) {
            true => Ok(()),
            false => Err(InvalidVms::DescribedTwice),
        }
    }

    /// Has these fields be null in all answers of v2.
    pub(super) fn set_nulls(&mut self, nulls: Vec<Nullable>) {
        self.nulls = nulls;
    }

    pub(super) fn nulls(&self, vm: u64) -> impl Iterator<Item = Nullable> {
        self.nulls.iter().chain(&self.profile(vm).null).copied()
    }

    pub(super) fn profile(&self, vm: u64) -> &Profile {
        self.profiles.of(vm)
    }

    pub(super) fn change_profile(&mut self, vm: u64, profile: Profile) {
        self.profiles.change(vm, profile);
    }

    /// The number of the VM that v2 calls so. An open world has one for every id.
    pub(super) fn vm_called(&mut self, id: VpsId) -> Option<u64> {
        if self.open { self.names.number_of_any(id) } else { self.names.number(id) }
    }

    /// The number of the VM that either dialect calls so.
    pub(super) fn vm(&mut self, text: &str) -> Option<u64> {
        number(text).or_else(|| self.vm_called(text.parse().ok()?))
    }

    pub(super) fn vps_id(&self, vm: u64) -> VpsId {
        self.names.id(vm)
    }

    /// The VMs with a greater number: those of a file; of an open world the demo fleet and what was put on racks.
    pub(super) fn vms_after(&self, vm: u64) -> impl Iterator<Item = u64> {
        self.residents.range((Bound::Excluded(vm), Bound::Unbounded)).map(|(&vm, _)| vm)
    }

    /// What is known of a VM, or `None` where it does not exist.
    pub(super) fn resident(&self, vmid: u64) -> Option<Resident> {
        match self.residents.get(&vmid) {
            Some(&resident) => Some(resident),
            None if self.open => Self::of_its_digits(vmid),
            None => None,
        }
    }

    fn of_its_digits(vmid: u64) -> Option<Resident> {
        (vmid % 100 != 99).then(|| Resident {
            rack: RackIndex(u32::try_from(vmid / 20 % DEMO_RACKS.len() as u64).unwrap_or(0)),
            allocated: vmid % 10 > 5,
        })
    }

    /// The VMs that a file lists as allocated, by id.
    pub(super) fn long_allocated(&self) -> Vec<u64> {
        let listed = self.residents.iter().filter(|(_, resident)| !self.open && resident.allocated);
        listed.map(|(&vmid, _)| vmid).collect()
    }

    /// Puts a VM that exists on another rack; says whether it exists.
    pub(super) fn place(&mut self, vmid: u64, rack: RackIndex) -> bool {
        let resident = self.resident(vmid);
        if let Some(resident) = resident {
            self.residents.insert(vmid, Resident { rack, ..resident });
        }
        resident.is_some()
    }

    pub(super) fn racks(&self) -> &[Rack] {
        &self.racks
    }

    pub(super) fn rack(&self, index: RackIndex) -> &Rack {
        &self.racks[index.0 as usize]
    }

    pub(super) fn rack_mut(&mut self, index: RackIndex) -> &mut Rack {
        &mut self.racks[index.0 as usize]
    }

    /// The rack of that name; an open world makes it, a file's world has it or `None`.
    pub(super) fn rack_or_new(&mut self, name: &str) -> Option<RackIndex> {
        match self.by_name.get(name) {
            Some(&rack) => Some(rack),
            None if self.open => Some(self.add(Rack::named(name))),
            None => None,
        }
    }
}

/// A v1 VM id as the number it is.
pub(super) fn number(vmid: &str) -> Option<u64> {
    Dialect::V1.number(vmid).ok()?.try_into().ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    racks: BTreeMap<String, RackEntry>,
    #[serde(default)]
    vms: BTreeMap<String, Profile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RackEntry {
    pool: Prefix,
    #[serde(default = "default_prefix_length")]
    prefix_length: u8,
    next_hop: NextHop,
    previous_next_hop: Option<NextHop>,
    #[serde(default)]
    vms: Vec<VmIds>,
    #[serde(default)]
    allocated: Vec<VmIds>,
}

fn default_prefix_length() -> u8 {
    PREFIX_LENGTH
}

/// `10000` or `10000-10059`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct VmIds(RangeInclusive<u64>);

impl TryFrom<String> for VmIds {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err("not a VM id such as 10000, nor a range such as 10000-10059"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn parse(text: &str) -> Result<World, InvalidWorld> {
        World::parse(Path::new("world.toml"), text)
    }

    fn rack_of(world: &World, vmid: u64) -> Option<(&str, bool)> {
        world.resident(vmid).map(|vm| (&*world.rack(vm.rack).name, vm.allocated))
    }

    #[test]
    fn the_built_in_world_reads_a_vms_lot_from_its_id() {
        let world = World::built_in();
        for (vmid, expected) in [
            (10_000, Some(("dc1r27", false))),
            (10_005, Some(("dc1r27", false))),
            (10_006, Some(("dc1r27", true))),
            (10_029, Some(("dc1r28", true))),
            (10_040, Some(("dc1r29", false))),
            (10_060, Some(("dc2r01", false))),
            (10_099, None),
            (99, None),
            (9_223_372_036_854_775_807, Some(("dc1r29", true))),
        ] {
            assert_eq!(rack_of(&world, vmid), expected, "{vmid}");
        }
    }

    #[test]
    fn a_vm_that_was_taken_in_is_on_its_inventorys_rack() {
        let mut world = World::built_in();
        for (vmid, rack) in [("10000", Some("fra3-07")), ("10006", Some("dc1r28")), ("10099", Some("dc1r28"))]
        {
            world.take_in(vmid, rack);
        }
        world.take_in("10001", None);
        world.take_in("not an id", Some("dc1r28"));
        assert_eq!(rack_of(&world, 10_000), Some(("fra3-07", false)));
        assert_eq!(rack_of(&world, 10_006), Some(("dc1r28", true)));
        assert_eq!(rack_of(&world, 10_001), Some(("dc1r27", false)));
        assert_eq!(rack_of(&world, 10_099), None);
    }

    #[test]
    fn racks_that_end_in_an_even_digit_had_maintenance() {
        let mut world = World::built_in();
        for (name, maintained) in
            [("dc1r27", false), ("dc1r28", true), ("a0", true), ("r9", false), ("r", false)]
        {
            let index = world.rack_or_new(name).unwrap();
            let rack = world.rack(index);
            assert_eq!(rack.next_hop != rack.old_next_hop, maintained, "{name}");
        }
    }

    #[test]
    fn a_file_lists_racks_and_vms_and_nothing_else_exists() {
        let world = parse(
            r#"
            [racks.a]
            pool = "2001:db8:1::/48"
            next_hop = "2001:db8:1::2"
            previous_next_hop = "2001:db8:1::1"
            vms = ["1-3", "7"]
            allocated = ["99"]
            [racks.b]
            pool = "2001:db8:2::/48"
            prefix_length = 64
            next_hop = "2001:db8:2::1"
            "#,
        )
        .unwrap();
        assert_eq!(rack_of(&world, 2), Some(("a", false)));
        assert_eq!(rack_of(&world, 7), Some(("a", false)));
        assert_eq!(rack_of(&world, 99), Some(("a", true)));
        assert_eq!(rack_of(&world, 4), None);
        assert_eq!(world.long_allocated(), [99]);
        assert_eq!(world.racks()[1].prefix(3).to_string(), "2001:db8:2:3::/64");
    }

    #[test]
    fn the_annotated_example_is_a_world() {
        let world = parse(include_str!("../../inventories/world.toml")).unwrap();
        assert!(world.racks().iter().any(|rack| rack.next_hop != rack.old_next_hop));
        assert!(!world.long_allocated().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let rack = |name: &str, rest: &str| format!("[racks.{name}]\nnext_hop = \"fd00::1\"\n{rest}\n");
        let vms = |rest: &str| rack("a", "pool = \"fd00::/48\"\nvms = [\"1-3\"]") + rest;
        for (text, reason) in [
            ("[racks.a]\npool = 3".into(), "line 2"),
            ("[rack.a]".into(), "unknown field"),
            (rack("a", "pool = \"fd00::/48\"\nvms = [\"x\"]"), "not a VM id"),
            (rack("a", "pool = \"fd00::/48\"\nvms = [\"9-3\"]"), "not a VM id"),
            (rack("a", "pool = \"fd00::/48\"\nvms = [\"1-3\", \"3\"]"), "VM 3 is listed twice"),
            (rack("a", "pool = \"fd00::/48\"\nvms = [\"1-9223372036854775807\"]"), "more than 2000000 VMs"),
            (rack("a", "pool = \"fd00::/8\""), "from /16 to /63"),
            (rack("a", "pool = \"fd00::/56\""), "prefix_length must be longer"),
            (rack("a", "pool = \"fd00::/48\"\nprefix_length = 65"), "at most 64"),
            (rack("a", "pool = \"fd00::/55\"\nallocated = [\"1-2\"]"), "too small"),
            (
                rack("a", "pool = \"fd00::/48\"") + &rack("b", "pool = \"fd00::/40\""),
                "overlaps that of rack a",
            ),
            (vms("[vms.x]"), "VMs x: not a VM id"),
            (vms("[vms.3-4]"), "VMs 3-4: not all of them are on a rack"),
            (vms("[vms.2]\n[vms.1-3]"), "VMs 2: they are described twice"),
            (vms("[vms.1-2]\nid = \"vps_01hxa3b4c5d6e7f8g9h0j1k2m3\""), "VMs 1-2: an id is one VM's"),
            (vms("[vms.1]\nid = \"vps_01hxa3b0000000000000000002\""), "VMs 1: an id is one VM's"),
            (vms("[vms.1]\nid = \"10000\""), "not an id such as vps_"),
            (vms("[vms.1]\nnull = [\"id\"]"), "not a field of v2's answers that may be null"),
            (vms("[vms.1]\nreasons = \"x\""), "unknown field"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.starts_with("world.toml: ") && error.contains(reason), "{reason}: {error}");
        }
    }
}
