//! Exit codes that are no [`crate::stop::Stop`], and which of them a complete run comes to.

use crate::config::FailOn;
use crate::ledger::Summary;
use crate::outcome::Kind;

pub(super) const COMPLETE: u8 = 0;
pub(super) const INTERNAL: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const FAILED: u8 = 3;
pub(super) const BRAKED: u8 = 4;
pub(super) const LOCKED: u8 = 6;
pub(super) const NOTHING: u8 = 7;
pub(super) const CHANGES: u8 = 10;
pub(super) const DRIFT: u8 = 11;

/// Of a run in which every VM had its turn; `detailed` tells changes and drift apart.
pub(super) fn of_complete(summary: &Summary, fail_on: FailOn, detailed: bool) -> u8 {
    let counts = &summary.counts;
    match detailed {
        _ if told_of(summary, fail_on) > 0 || summary.skipped > 0 => FAILED,
        true if counts.blocked > 0 => FAILED,
        true if summary.drifted > 0 => DRIFT,
        true if counts.changed() > 0 => CHANGES,
        _ => COMPLETE,
    }
}

/// How many failed VMs count; of a plan all do.
fn told_of(summary: &Summary, fail_on: FailOn) -> u64 {
    let failed = summary.counts.failed;
    match (summary.counts.kind, fail_on) {
        (Kind::Plan, _) | (Kind::Run, FailOn::Any) => failed,
        // With no run before it, all are new.
        (Kind::Run, FailOn::New) => summary.since.as_ref().map_or(failed, |since| since.newly_failing.vms),
        (Kind::Run, FailOn::None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Counts, Named, Since};

    fn summary(failed: u64, new: Option<u64>) -> Summary {
        let named = |vms| Named { vms, examples: vec![] };
        let since = new.map(|vms| Since { newly_failing: named(vms), ..Since::default() });
        Summary { counts: Counts { failed, ..Counts::default() }, since, ..Summary::default() }
    }

    #[test]
    fn which_failed_vms_are_told_is_chosen_and_new_are_those_that_had_not_failed_before() {
        for (failed, new, any, on_new, none) in [
            (0, None, 0, 0, 0),
            (0, Some(0), 0, 0, 0),
            (2, None, 3, 3, 0),
            (2, Some(0), 3, 0, 0),
            (2, Some(1), 3, 3, 0),
        ] {
            let codes = [FailOn::Any, FailOn::New, FailOn::None]
                .map(|fail_on| of_complete(&summary(failed, new), fail_on, false));
            assert_eq!(codes, [any, on_new, none], "{failed} failed, {new:?} of them new");
        }
    }

    #[test]
    fn what_else_a_run_came_to_is_told_where_its_failures_are_not() {
        let known = summary(2, Some(0));
        let skipped = Summary { skipped: 1, ..known.clone() };
        let drifted = Summary { drifted: 1, ..known.clone() };
        let counts = Counts { updated: 1, ..known.counts };
        let changed = Summary { counts, ..known.clone() };
        let both = Summary { drifted: 1, ..changed.clone() };
        for (summary, plain, detailed) in
            [(&known, 0, 0), (&skipped, 3, 3), (&drifted, 0, 11), (&changed, 0, 10), (&both, 0, 11)]
        {
            for fail_on in [FailOn::New, FailOn::None] {
                let codes = [false, true].map(|detailed| of_complete(summary, fail_on, detailed));
                assert_eq!(codes, [plain, detailed], "{summary:?} {fail_on:?}");
            }
            assert_eq!(of_complete(summary, FailOn::Any, true), FAILED);
        }
    }

    #[test]
    fn of_a_plan_every_vm_counts_that_could_not_be_looked_at() {
        let plan = |counts| Summary {
            counts: Counts { kind: Kind::Plan, ..counts },
            since: summary(0, Some(0)).since,
            ..Summary::default()
        };
        let failed = plan(Counts { failed: 1, ..Counts::default() });
        let blocked = plan(Counts { blocked: 1, create: 1, ..Counts::default() });
        let create = plan(Counts { create: 1, ..Counts::default() });
        for fail_on in [FailOn::Any, FailOn::New, FailOn::None] {
            for (summary, plain, detailed) in [(&failed, 3, 3), (&blocked, 0, 3), (&create, 0, 10)] {
                let codes = [false, true].map(|detailed| of_complete(summary, fail_on, detailed));
                assert_eq!(codes, [plain, detailed], "{summary:?} {fail_on:?}");
            }
        }
    }
}
