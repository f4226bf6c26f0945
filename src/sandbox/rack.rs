//! A rack: the pool that its VMs' prefixes are cut from, and the router that they go through.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use sha2::{Digest, Sha256};

/// Of one VM's prefix, unless a world says otherwise.
pub(super) const PREFIX_LENGTH: u8 = 56;

/// A rack by its place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RackIndex(pub(super) u32);

/// One rack: where its prefixes come from and which router they go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rack {
    pub(super) name: Box<str>,
    pub(super) next_hop: Ipv6Addr,
    /// What allocations older than the sandbox have: differs from `next_hop` after maintenance.
    pub(super) old_next_hop: Ipv6Addr,
    /// Its next hop was changed while the sandbox ran.
    pub(super) maintained: bool,
    /// How many prefixes of its pool VMs have.
    pub(super) given: u64,
    pool: Ipv6Net,
    prefix_length: u8,
}

impl Rack {
    pub(super) fn new(
        name: &str,
        (pool, prefix_length): (Ipv6Net, u8),
        next_hop: Ipv6Addr,
        old_next_hop: Ipv6Addr,
    ) -> Self {
        Self { name: name.into(), next_hop, old_next_hop, maintained: false, given: 0, pool, prefix_length }
    }

    pub(super) fn with_pool(name: &str, pool: Ipv6Net) -> Self {
        let router = |number| Ipv6Addr::from(u128::from(pool.network()) | number);
        let maintained = matches!(name.bytes().last(), Some(b'0' | b'2' | b'4' | b'6' | b'8'));
        let next_hop = router(if maintained { 2 } else { 1 });
        Self::new(name, (pool, PREFIX_LENGTH), next_hop, router(1))
    }

    /// A rack that only an inventory knows: its pool follows from its name, a /36 of `fd00::/8`.
    pub(super) fn named(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let bits = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 4;
        let network = (0xfd << 120) | (u128::from(bits) << 92);
        Self::with_pool(name, Ipv6Net::new_assert(Ipv6Addr::from(network), 36))
    }

    pub(super) fn maintain(&mut self, next_hop: Ipv6Addr) {
        self.next_hop = next_hop;
        self.maintained = true;
    }

    pub(super) fn pool(&self) -> Ipv6Net {
        self.pool
    }

    pub(super) fn prefix_length(&self) -> u8 {
        self.prefix_length
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.given >= self.capacity() - 1
    }

    /// How many prefixes the pool holds. The first is never given to a VM: the rack's routers live there.
    pub(super) fn capacity(&self) -> u64 {
        1 << (self.prefix_length - self.pool.prefix_len())
    }

    /// The prefix number `slot` of the pool, below [`Self::capacity`].
    pub(super) fn prefix(&self, slot: u64) -> Ipv6Net {
        let offset = u128::from(slot) << (128 - self.prefix_length);
        let network = Ipv6Addr::from(u128::from(self.pool.network()) | offset);
        Ipv6Net::new_assert(network, self.prefix_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_racks_pool_follows_from_its_name_and_holds_a_million_vms() {
        let rack = Rack::named("fra3-07");
        assert_eq!(rack, Rack::named("fra3-07"));
        assert_ne!(rack.pool, Rack::named("fra3-08").pool);
        assert!("fd00::/8".parse::<Ipv6Net>().unwrap().contains(&rack.pool));
        assert!(rack.capacity() > 1_000_000);
        assert!(rack.pool.contains(&rack.prefix(rack.capacity() - 1)));
        assert_ne!(rack.prefix(1), rack.prefix(2));
    }
}
