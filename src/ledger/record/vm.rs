//! One VM, as runs have seen it.

use jiff::Timestamp;
use serde::Serialize;

use super::row::Row;
use crate::allocation::Allocation;
use crate::dialect::Dialect;
use crate::difference::{Difference, Standing, difference, fails_newly};
use crate::inventory::Vm;
use crate::outcome::Kind;
use crate::text::moment_field;

/// What was there when a VM was last seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// `None` where a look found none.
    pub allocation: Option<Allocation>,
    pub seen_at: Timestamp,
}

/// What one run says of a VM.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub run: String,
    pub kind: Kind,
    pub base_url: String,
    pub dialect: Dialect,
    pub started_at: Timestamp,
    pub row: Row,
}

/// What was last seen of a VM at one base URL.
#[derive(Debug, Clone, Serialize)]
pub struct LastKnown {
    pub base_url: String,
    #[serde(rename = "api")]
    pub dialect: Dialect,
    #[serde(serialize_with = "moment_field")]
    pub seen_at: Option<Timestamp>,
    /// `None` where a look found none.
    pub allocation: Option<Allocation>,
}

/// A VM in two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// As the later of the two has it, or the only one.
    pub vm: Vm,
    /// The inventory's, else the one last seen before the run.
    pub rack: Option<String>,
    pub before: Option<Standing>,
    pub after: Option<Standing>,
}

impl Pair {
    /// How the second run differs from the first; `None` where it does not.
    pub fn difference(&self) -> Option<Difference> {
        difference(self.before.as_ref(), self.after.as_ref())
    }

    /// Whether the VM fails in the second run, and had not in the first.
    pub fn fails_newly(&self) -> bool {
        fails_newly(self.before.as_ref(), self.after.as_ref())
    }
}
