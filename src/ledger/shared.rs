//! Prefixes that several VMs of one run were answered with, though each can be only one VM's.
//!
//! Memory does not grow with the fleet: a filter finds the prefixes that may have come twice, and only where there are
//! some are the VMs looked through again.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use ipnet::Ipv6Net;

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

/// The VMs of a run that share prefixes.
#[derive(Debug)]
pub(super) struct Shared<'s> {
    suspects: &'s Suspects,
    sharers: HashMap<Ipv6Net, Sharers>,
}

impl Suspects {
    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// To be shown all VMs of the run again.
    pub(super) fn look_into(&self) -> Shared<'_> {
        Shared { suspects: self, sharers: HashMap::new() }
    }
}

impl Shared<'_> {
    pub(super) fn note(&mut self, vmid: &str, prefix: &str) {
        let Ok(prefix) = prefix.parse::<Prefix>() else { return };
        if self.suspects.prefixes.contains(&prefix.network()) {
            let Sharers { vms, examples } = self.sharers.entry(prefix.network()).or_default();
            *vms += 1;
            if examples.len() < EXAMPLES {
                examples.push(vmid.to_owned());
            }
        }
    }

    /// Which VMs were answered with one and the same prefix, for people.
    pub(super) fn warning(self) -> Option<String> {
        let mut sharers: Vec<_> = self.sharers.into_iter().filter(|(_, sharers)| sharers.vms > 1).collect();
        sharers.sort_by_key(|(prefix, Sharers { vms, .. })| (Reverse(*vms), *prefix));
        in_words(&sharers)
    }
}

fn in_words(sharers: &[(Ipv6Net, Sharers)]) -> Option<String> {
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
    use super::*;

    /// The warning about a run whose VMs, from 1 on, were answered with these prefixes.
    fn warning(prefixes: &[&str]) -> Option<String> {
        let mut suspects = Suspects::default();
        for prefix in prefixes {
            suspects.note(prefix);
        }
        let mut shared = suspects.look_into();
        (1..).zip(prefixes).for_each(|(vmid, prefix): (u32, _)| shared.note(&vmid.to_string(), prefix));
        shared.warning()
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
            assert_eq!(warning(prefixes).as_deref(), expected, "{prefixes:?}");
        }
    }
}
