//! The racks of a run by name, for people.

use std::sync::Arc;

use crate::ledger::RackNo;
use crate::text::escape;

/// The most racks named in one line.
const NAMED: usize = 5;

/// The racks' names, by number.
#[derive(Debug)]
pub(super) struct Racks(pub(super) Vec<Option<Arc<str>>>);

impl Racks {
    pub(super) fn name(&self, no: RackNo) -> String {
        let name = self.0.get(no.0 as usize).and_then(Option::as_deref);
        name.map_or_else(|| "unknown".to_owned(), |name| escape(name).into_owned())
    }

    /// `rack dc1r27 fails`, or as many of them as a line bears.
    pub(super) fn fail(&self, racks: impl Iterator<Item = RackNo>) -> String {
        let mut racks = racks.map(|no| self.name(no));
        let first: Vec<String> = racks.by_ref().take(NAMED).collect();
        let names = first.join(", ");
        match (first.len(), racks.count()) {
            (1, 0) => format!("rack {names} fails"),
            (_, 0) => format!("racks {names} fail"),
            (_, more) => format!("racks {names} and {more} more fail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_as_many_racks_as_it_bears() {
        let named = (1..8).map(|no| Some(Arc::from(format!("dc1r{no}"))));
        let racks = Racks(std::iter::once(None).chain(named).collect());
        for (sick, line) in [
            (0..1, "rack unknown fails"),
            (1..3, "racks dc1r1, dc1r2 fail"),
            (1..7, "racks dc1r1, dc1r2, dc1r3, dc1r4, dc1r5 and 1 more fail"),
        ] {
            assert_eq!(racks.fail(sick.map(RackNo)), line);
        }
    }
}
