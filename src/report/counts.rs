//! How many VMs came out how, in words.

use crate::ledger::Counts;
use crate::text::{count, counted};

/// All counts of a run in one line.
pub(super) fn in_words(counts: &Counts) -> String {
    let Counts { selected, created, unchanged, updated, .. } = counts;
    let vms = counted(*selected, "VM", "VMs");
    format!("{vms}: {created} created, {unchanged} unchanged, {updated} updated, {}", failed(counts))
}

/// The failed VMs of a run, and how many of them were never called: `8 failed, 7 of them not attempted`.
pub(super) fn failed(counts: &Counts) -> String {
    match (counts.failed, counts.not_attempted) {
        (failed, 0) => format!("{} failed", count(failed)),
        (failed, not_attempted) => {
            format!("{} failed, {} of them not attempted", count(failed), count(not_attempted))
        }
    }
}
