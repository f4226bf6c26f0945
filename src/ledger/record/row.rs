//! One VM's line in a report, as the ledger holds it.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::allocation::{Change, Drift};
use crate::outcome::{Basis, Failure, Outcome};
use crate::text::moment_field;
use crate::vm::Action;

/// Everything a report says of one selected VM. Texts are as they came: each format escapes for itself.
///
/// As JSON it is the row of a run; a plan's has a shape of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub vmid: String,
    pub name: Option<String>,
    /// As answered, else as in the inventory.
    pub rack_id: Option<String>,
    pub action: Action,
    pub outcome: Outcome,
    /// Of a run: `None` exactly where the outcome is `failed`. Of a plan there is none.
    pub basis: Option<Basis>,
    pub prefix: Option<String>,
    pub next_hop: Option<String>,
    /// Of a plan: the next hop that the call would set, where it would change anything.
    #[serde(skip)]
    pub planned_next_hop: Option<String>,
    pub status: Option<String>,
    pub previous_prefix: Option<String>,
    pub previous_next_hop: Option<String>,
    pub changes: Vec<Change>,
    pub drift: Vec<Drift>,
    /// `Some` exactly where the outcome is `failed`.
    pub failure: Option<Failure>,
    /// An attempt went unanswered: a failed VM may have its allocation all the same.
    pub may_have_applied: bool,
    pub http_status: Option<u16>,
    /// The last failure in words, for people; of a VM that is blocked, why it is.
    pub error: Option<String>,
    /// Calls for this VM in this run, over all resumes; a 429 is no attempt.
    pub attempts: u32,
    /// Calls answered with a 429; of the run as a whole the summary says it.
    #[serde(skip)]
    pub throttled: u32,
    #[serde(serialize_with = "moment_field")]
    pub first_sent_at: Option<Timestamp>,
    #[serde(serialize_with = "moment_field")]
    pub settled_at: Option<Timestamp>,
    /// Of the last call.
    pub latency_ms: Option<f64>,
    pub request_id: Option<String>,
    pub warnings: Vec<String>,
    /// The inventory's other columns, in the order of [`super::RunInfo::label_columns`] where the VM has them.
    #[serde(serialize_with = "as_object")]
    pub labels: Vec<(String, String)>,
}

impl Row {
    /// Why the VM is blocked, where it is.
    pub fn reason(&self) -> Option<&String> {
        self.error.as_ref().filter(|_| self.outcome == Outcome::Blocked)
    }

    /// The last failure in words.
    pub fn mishap(&self) -> Option<&String> {
        self.error.as_ref().filter(|_| self.outcome != Outcome::Blocked)
    }
}

/// Labels as an object.
pub(crate) fn as_object<S: Serializer>(
    labels: &[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().map(|(column, value)| (column, value)))
}
