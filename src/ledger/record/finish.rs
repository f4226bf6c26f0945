//! What there is to know of a run that ends.

use super::run::{Course, RunKey};
use crate::ledger::sums::Sums;

/// A run that ends now.
#[derive(Debug)]
pub struct Finish {
    pub sums: Sums,
    /// All are in it who carry the run out.
    pub course: Course,
    pub baseline: Option<Baseline>,
}

/// An earlier run with which one can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    pub run: RunKey,
    /// How many VMs failed in it.
    pub failed: u64,
}
