//! One VM of the fleet, as an inventory row describes it.

use crate::allocation::Expected;
use crate::vm::{Action, VmId};

/// One valid row of an inventory.
#[derive(Debug, Clone, PartialEq)]
pub struct Vm {
    pub id: VmId,
    pub name: Option<String>,
    /// The row's own action, where it has one.
    pub action: Option<Action>,
    /// What the answer should say. `expected.rack_id` is the row's rack.
    pub expected: Expected,
    /// Columns we know nothing of, by name, in the order of the row.
    pub labels: Vec<(String, String)>,
}

impl Vm {
    /// The value of a column that we know nothing of.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, text)| text.as_str())
    }
}
