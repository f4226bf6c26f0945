//! One page of the account's list of VMs.

use crate::vm::Listed;

/// What one call for the list is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub vms: Vec<Listed>,
    /// What the next page is asked for with; `None` on the last one.
    pub next: Option<String>,
    /// What is odd about it, and does not matter.
    pub warnings: Vec<String>,
}
