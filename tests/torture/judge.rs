//! Whether a report says what the sandbox's record says.

use std::collections::HashMap;

use crate::fixture::Outcome;
use crate::sandbox::{Call, Sandbox};

/// Calls of the record by VM.
pub(crate) fn by_vm(sandbox: &Sandbox) -> HashMap<String, Vec<Call>> {
    sandbox.calls().into_iter().fold(HashMap::new(), |mut calls: HashMap<String, Vec<Call>>, call| {
        calls.entry(call.vmid.clone()).or_default().push(call);
        calls
    })
}

/// Every VM has the outcome that the record shows, over all sittings of one run that begins before any allocation.
#[track_caller]
pub(crate) fn assert_as_recorded(outcome: &Outcome, sandbox: &Sandbox) {
    let calls = by_vm(sandbox);
    for row in outcome.rows() {
        let calls = calls.get(row["vmid"].as_str().unwrap()).map_or(&[][..], Vec::as_slice);
        let created = calls.iter().filter(|call| call.created).count();
        let succeeded = calls.last().is_some_and(|call| (200..300).contains(&call.status));
        let expected = match (created, succeeded) {
            (1, true) => "created",
            (0, true) => "unchanged",
            _ => "failed",
        };
        assert_eq!(row["outcome"], expected, "{row}\n{calls:?}");
        assert!(row["attempts"].as_u64().unwrap() >= calls.len() as u64, "{row}\n{calls:?}");
    }
}
