//! Prefixes that several VMs of one run were answered with, though each can be only one VM's.
//!
//! Memory does not grow with the fleet: a filter finds the prefixes that may have come twice, and only where there are
//! some are the VMs looked through again.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use ipnet::Ipv6Net;
use rusqlite::{Error, Row};

use super::draft::RunKey;
use super::error::LedgerError;
use super::read::ITEMS;
use super::{Ledger, span};
use crate::allocation::Prefix;
use crate::filter::Filter;
use crate::text::counted;

/// How many VMs stand for all that share a prefix.
const EXAMPLES: usize = 3;

/// The most prefixes that are looked into.
const SUSPECTS: usize = 1000;

/// Prefixes that have come more than once, or look so.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Of those that have come; `None` until one has.
    seen: Option<Filter>,
    prefixes: HashSet<Ipv6Net>,
}

impl Suspects {
    pub(super) fn note(&mut self, prefix: &str) {
        let Ok(prefix) = prefix.parse::<Prefix>() else { return };
        let is_new = self.seen.get_or_insert_with(Filter::new).insert(prefix.network());
        if !is_new && self.prefixes.len() < SUSPECTS {
            self.prefixes.insert(prefix.network());
        }
    }
}

/// The VMs that have one prefix.
#[derive(Debug, Default)]
struct Sharers {
    vms: u64,
    examples: Vec<String>,
}

impl Ledger {
    /// Which VMs of a run were answered with one and the same prefix, for people.
    pub(super) fn shared_prefixes(
        &self,
        run: &RunKey,
        suspects: &Suspects,
    ) -> Result<Option<String>, LedgerError> {
        match suspects.prefixes.is_empty() {
            true => Ok(None),
            false => self.sharers(run, suspects).map(|sharers| told(&sharers)).map_err(self.sqlite()),
        }
    }

    fn sharers(&self, run: &RunKey, suspects: &Suspects) -> Result<Vec<(Ipv6Net, Sharers)>, Error> {
        let sql = format!(
            "SELECT vmid, prefix {ITEMS} WHERE i.no BETWEEN ?1 AND ?2 AND prefix IS NOT NULL ORDER BY i.no"
        );
        let mut items = self.db.prepare(&sql)?;
        let mut items = items.query(span(run.no))?;
        let mut sharers = HashMap::new();
        while let Some(item) = items.next()? {
            note_sharer(&mut sharers, item, &suspects.prefixes)?;
        }
        let mut sharers: Vec<_> = sharers.into_iter().filter(|(_, sharers)| sharers.vms > 1).collect();
        sharers.sort_by_key(|(prefix, Sharers { vms, .. })| (Reverse(*vms), *prefix));
        Ok(sharers)
    }
}

fn note_sharer(
    sharers: &mut HashMap<Ipv6Net, Sharers, impl BuildHasher>,
    item: &Row<'_>,
    suspects: &HashSet<Ipv6Net>,
) -> Result<(), Error> {
    let Ok(prefix) = item.get_ref(1)?.as_str()?.parse::<Prefix>() else { return Ok(()) };
    if suspects.contains(&prefix.network()) {
        let Sharers { vms, examples } = sharers.entry(prefix.network()).or_default();
        *vms += 1;
        if examples.len() < EXAMPLES {
            examples.push(item.get(0)?);
        }
    }
    Ok(())
}

fn told(sharers: &[(Ipv6Net, Sharers)]) -> Option<String> {
    let (prefix, Sharers { vms, examples }) = sharers.first()?;
    let more = if *vms > examples.len() as u64 { ", …" } else { "" };
    let others = match sharers.len() - 1 {
        0 => String::new(),
        others => format!("; {} likewise", counted(others as u64, "other prefix", "other prefixes")),
    };
    Some(format!(
        "{} were answered with one and the same prefix, {prefix}: {}{more}{others}",
        counted(*vms, "VM", "VMs"),
        examples.join(", "),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, begin, claim, success, take};
    use super::super::{Settled, Settlement};
    use crate::allocation::Allocation;
    use crate::allocation::tests::example;
    use crate::outcome::{Basis, Outcome, Verdict};

    /// The warnings about a run whose VMs, from 1 on, were answered with these prefixes.
    fn warnings(prefixes: &[&str]) -> Vec<String> {
        let fixture = Fixture::new();
        let run = begin(&fixture.ledger(), &vec![None; prefixes.len()]);
        let mut writer = fixture.ledger().write(&run).unwrap();
        let items = claim(&mut writer, take(0, u32::try_from(prefixes.len()).unwrap()));
        for (item, prefix) in items.into_iter().zip(prefixes) {
            let allocation = Box::new(Allocation { prefix: prefix.parse().unwrap(), ..example() });
            let verdict = Verdict {
                outcome: Outcome::Created,
                basis: Basis::CreatedFlag,
                changes: vec![],
                warnings: vec![],
            };
            let settlement = Settlement::Success { verdict, allocation, drift: vec![] };
            writer.settle(Settled { settlement, ..success(item, Outcome::Created, Basis::CreatedFlag) });
        }
        drop(writer.close());
        fixture.ledger().summary(&run).unwrap().warnings
    }

    #[test]
    fn vms_that_were_answered_with_one_prefix_are_told_the_most_first() {
        let a = "2001:db8:a::/48";
        for (prefixes, expected) in [
            (&[a, "2001:db8:b::/48", "2001:db8::/32"][..], None),
            (
                &[a, "2001:db8:b::/48", "2001:DB8:A::1/48"],
                Some("2 VMs were answered with one and the same prefix, 2001:db8:a::/48: 1, 3"),
            ),
            (
                &["2001:db8:c::/48", a, a, a, "2001:db8:c::/48", a],
                Some(
                    "4 VMs were answered with one and the same prefix, 2001:db8:a::/48: 2, 3, 4, …; 1 other prefix likewise",
                ),
            ),
        ] {
            assert_eq!(warnings(prefixes).first().map(String::as_str), expected, "{prefixes:?}");
        }
    }
}
