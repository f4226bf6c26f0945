//! A VM's line in JSON, as its kind of run has it.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::allocation::Drift;
use crate::ledger::{Row, as_object};
use crate::outcome::{Failure, Kind, Outcome};
use crate::text::moment_field;
use crate::vm::Action;

/// The fields are those of the CSV's columns, in their order.
#[derive(Debug)]
pub(in crate::report) struct JsonRow<'a> {
    kind: Kind,
    row: &'a Row,
}

impl<'a> JsonRow<'a> {
    pub(in crate::report) fn of(kind: Kind, row: &'a Row) -> Self {
        Self { kind, row }
    }
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.kind {
            Kind::Run => self.row.serialize(serializer),
            Kind::Plan => PlanRow::from(self.row).serialize(serializer),
        }
    }
}

/// What a plan says of a VM. Each field means what it does in [`Row`].
#[derive(Debug, Serialize)]
struct PlanRow<'a> {
    vmid: &'a str,
    name: Option<&'a str>,
    rack_id: Option<&'a str>,
    action: Action,
    outcome: Outcome,
    /// Why it is blocked.
    reason: Option<&'a String>,
    prefix: Option<&'a str>,
    next_hop: Option<&'a str>,
    planned_next_hop: Option<&'a str>,
    status: Option<&'a str>,
    drift: &'a [Drift],
    failure: Option<Failure>,
    http_status: Option<u16>,
    error: Option<&'a String>,
    attempts: u32,
    #[serde(serialize_with = "moment_field")]
    first_sent_at: Option<Timestamp>,
    #[serde(serialize_with = "moment_field")]
    settled_at: Option<Timestamp>,
    latency_ms: Option<f64>,
    request_id: Option<&'a str>,
    warnings: &'a [String],
    #[serde(serialize_with = "as_object")]
    labels: &'a [(String, String)],
}

impl<'a> From<&'a Row> for PlanRow<'a> {
    fn from(row: &'a Row) -> Self {
        Self {
            vmid: &row.vmid,
            name: row.name.as_deref(),
            rack_id: row.rack_id.as_deref(),
            action: row.action,
            outcome: row.outcome,
            reason: row.reason(),
            prefix: row.prefix.as_deref(),
            next_hop: row.next_hop.as_deref(),
            planned_next_hop: row.planned_next_hop.as_deref(),
            status: row.status.as_deref(),
            drift: &row.drift,
            failure: row.failure,
            http_status: row.http_status,
            error: row.mishap(),
            attempts: row.attempts,
            first_sent_at: row.first_sent_at,
            settled_at: row.settled_at,
            latency_ms: row.latency_ms,
            request_id: row.request_id.as_deref(),
            warnings: &row.warnings,
            labels: &row.labels,
        }
    }
}
