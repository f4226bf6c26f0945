//! What a person can do about a failure, and which of a run's failures to look at first.

use std::cmp::Reverse;

use crate::ledger::FailureCount;
use crate::outcome::Failure;

/// Said of VMs whose last call may have acted, though it failed.
pub(super) const MAY_HAVE_CHANGED: &str =
    "may have changed all the same: a call was not answered, or by an error that does not say";

/// The failures of a run, the most frequent first; what was never attempted comes last.
pub(super) fn by_weight(failures: &[FailureCount]) -> Vec<&FailureCount> {
    let mut failures: Vec<_> = failures.iter().filter(|failure| failure.vms > 0).collect();
    failures.sort_by_key(|FailureCount { failure, vms, .. }| {
        (*failure == Failure::NotAttempted, Reverse(*vms), *failure)
    });
    failures
}

pub(super) fn advice(failure: Failure) -> &'static str {
    match failure {
        Failure::Rejected => "the API takes the request for invalid: check these VMs' rows and their action",
        Failure::Unauthorized => {
            "the API does not know the key: check that it is whole, current and not revoked"
        }
        Failure::Forbidden => {
            "the key may not do this: check its rights and that these VMs are of its account"
        }
        Failure::NotFound => {
            "the API knows no such VM: is that HostUp's vmid, not NetBox's or Proxmox's? if all fail so, check --base-url"
        }
        Failure::Conflict => {
            "the VM's state is in the way: is it still being built, or without an allocation to refresh?"
        }
        Failure::RateLimited => "the API is asked for too much: run them again later, or with a lower --rate",
        Failure::ServerError => {
            "the API failed: run them again later; if it lasts, give HostUp the request ids of the report"
        }
        Failure::Timeout => "no answer came in time: run them again, with a longer --timeout if it lasts",
        Failure::Connect => "the API cannot be reached: check network, name service, firewall and proxy",
        Failure::Tls => {
            "the certificate cannot be trusted: check --base-url, --ca-file, the clock and any proxy"
        }
        Failure::Redirected => "redirects are never followed, they could leak the key: check --base-url",
        Failure::MalformedAnswer => {
            "this is not how the API answers: check --base-url, and whether a proxy answers in its place"
        }
        Failure::RefusedByApi => "the API answered, and refused: its words above say why",
        Failure::NotAttempted => "the run ended before their turn, or before their answer: go on with it",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_failure_has_its_own_words() {
        let words: BTreeSet<_> = Failure::ALL.iter().map(|&failure| advice(failure)).collect();
        assert_eq!(words.len(), Failure::ALL.len());
    }
}
