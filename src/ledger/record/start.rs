//! What a process that is to carry a run out has to know of it first.

use std::sync::Arc;

use super::counts::Counts;
use super::run::RunKey;

/// A run as it is begun, gone on with or joined.
#[derive(Debug)]
pub struct Start {
    /// What is pending counts as failed.
    pub counts: Counts,
    /// Pending VMs by rack.
    pub pending: Vec<u64>,
    /// By number; `None` stands for VMs whose rack nobody knows.
    pub racks: Vec<Option<Arc<str>>>,
    /// Calls a second that the API was last found to take.
    pub remembered_rate: Option<f64>,
    /// Others may call for the same account.
    pub shares_pace: bool,
}

/// A run that was begun.
#[derive(Debug)]
pub struct Begun {
    pub run: RunKey,
    pub start: Start,
}

impl Start {
    /// What the VMs have come to so far; those without an outcome are selected, and nothing else.
    pub fn so_far(&self) -> Counts {
        self.counts.without_pending(self.pending.iter().sum())
    }
}
