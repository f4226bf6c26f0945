//! How many VMs came out how, in words.

use crate::ledger::Counts;
use crate::outcome::Outcome;
use crate::text::{count, counted};

/// All counts of a run in one line.
pub(super) fn in_words(counts: &Counts) -> String {
    format!("{}: {}", counted(counts.selected, "VM", "VMs"), outcomes(counts))
}

/// Each outcome that there can be, and how many VMs came out so.
pub(super) fn outcomes(counts: &Counts) -> String {
    let succeeded = counts.by_outcome().filter(|(outcome, _)| *outcome != Outcome::Failed);
    let succeeded = succeeded.map(|(outcome, vms)| format!("{} {}", count(vms), word(outcome)));
    succeeded.chain([failed(counts)]).collect::<Vec<_>>().join(", ")
}

/// `outcome` behind a number.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Create => "to create",
        Outcome::Update => "to update",
        Outcome::Keep => "to keep",
        Outcome::Created | Outcome::Unchanged | Outcome::Updated | Outcome::Blocked | Outcome::Failed => {
            outcome.as_str()
        }
    }
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
