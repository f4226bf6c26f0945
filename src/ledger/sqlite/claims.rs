//! Which items are claimed, and together with which others. Pure.

use std::collections::{BTreeSet, HashMap};

/// The claims of a process, by the rows in which they stand. A row goes once all its items have an event since.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By position.
    rows: HashMap<u32, i64>,
    /// Items without an event since, by row.
    open: HashMap<i64, u32>,
    /// Rows that say too much.
    outdated: BTreeSet<i64>,
}

impl Claims {
    /// Those of `positions` that were claimed before are claimed afresh.
    pub(super) fn claim(&mut self, row: i64, positions: impl Iterator<Item = u32>) {
        for position in positions {
            self.release(position);
            self.rows.insert(position, row);
            *self.open.entry(row).or_default() += 1;
        }
    }

    /// Gives a claim back whose call never left.
    pub(super) fn release(&mut self, position: u32) {
        if let Some(row) = self.take(position) {
            self.outdated.insert(row);
        }
    }

    /// An event tells what came of the call. Returns whether it was claimed.
    pub(super) fn settle(&mut self, position: u32) -> bool {
        let row = self.take(position);
        // What is open of a row counts until the last of it is settled.
        self.outdated.extend(row.filter(|row| !self.open.contains_key(row)));
        row.is_some()
    }

    fn take(&mut self, position: u32) -> Option<i64> {
        let row = self.rows.remove(&position)?;
        let open = self.open.get_mut(&row)?;
        *open -= 1;
        if *open == 0 {
            self.open.remove(&row);
        }
        Some(row)
    }

    /// The rows to be written anew, with the positions that are open; those with none are to be deleted.
    pub(super) fn outdated(&mut self) -> Vec<(i64, Vec<u32>)> {
        let of = |row: i64| {
            let is_open = self.open.contains_key(&row);
            let positions =
                self.rows.iter().filter(|(_, other)| **other == row).map(|(position, _)| *position);
            (row, if is_open { positions.collect() } else { Vec::new() })
        };
        let outdated = self.outdated.iter().copied().map(of).collect();
        self.outdated.clear();
        outdated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outdated(claims: &mut Claims) -> Vec<(i64, Vec<u32>)> {
        let mut rows = claims.outdated();
        for (_, positions) in &mut rows {
            positions.sort_unstable();
        }
        rows
    }

    #[test]
    fn a_row_stands_until_all_its_items_are_settled() {
        let mut claims = Claims::default();
        claims.claim(1, [3, 5].into_iter());
        assert!(claims.settle(3));
        assert_eq!(outdated(&mut claims), []);
        assert!(claims.settle(5));
        assert_eq!(outdated(&mut claims), [(1, vec![])]);
        assert!(!claims.settle(5), "settled once");
        assert_eq!(outdated(&mut claims), []);
    }

    #[test]
    fn what_is_released_or_claimed_afresh_is_struck_from_its_row() {
        let mut claims = Claims::default();
        claims.claim(1, [3, 5, 7].into_iter());
        claims.release(5);
        assert_eq!(outdated(&mut claims), [(1, vec![3, 7])]);
        claims.claim(2, [3, 5].into_iter());
        assert_eq!(outdated(&mut claims), [(1, vec![7])]);
        assert!(claims.settle(7) && claims.settle(3));
        assert_eq!(outdated(&mut claims), [(1, vec![])]);
        claims.release(5);
        assert_eq!(outdated(&mut claims), [(2, vec![])]);
    }
}
