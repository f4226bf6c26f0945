//! What one answer means for one VM: created, unchanged or updated, and the evidence for it.
//!
//! A pure function of the answer, what was known before, and the attempts whose answer never came.
//! The inventory is no evidence: what it expects is drift, never an outcome.
//!
//! Times are judged by the answer's own: how old it says the allocation is, against how long ago we called. What the
//! doubt about that moment leaves open falls to our calls: an effect that can be theirs is theirs.

use jiff::Timestamp;

use super::offset::{Offset, TOLERANCE};
use super::unanswered::Unanswered;
use super::{Basis, Outcome};
use crate::allocation::{Allocation, Change, Moment};

/// A valid success of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    pub created: bool,
    pub allocation: Allocation,
    /// What the answer said that does not fit together.
    pub warnings: Vec<String>,
}

/// A run's first call for a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstCall {
    /// When it left, on our clock.
    pub at: Timestamp,
    /// Where that was before the machine was started anew: the server's clock minus ours, as it was then.
    pub offset_then: Option<Offset>,
}

/// What is known beside the answer itself.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The VM's last-known allocation.
    pub before: Option<&'a Allocation>,
    /// Attempts for this VM, of this run and earlier ones, whose answer was never learned.
    pub unanswered: &'a [Unanswered],
    pub first_call: FirstCall,
    /// The server's clock minus ours, by this very answer's time; where it has none, by other answers'.
    pub offset: Option<Offset>,
    /// All that was heard of it by now: it may have been set while a call was under way.
    pub heard: &'a [Offset],
    /// On our clock.
    pub now: Timestamp,
}

impl Evidence<'_> {
    /// Whether `at` is yet to come on the server's clock: it was set back since it showed that.
    fn is_yet_to_come(&self, at: Timestamp) -> bool {
        self.offset.is_some_and(|offset| at.duration_since(offset.latest(self.now)) > TOLERANCE)
    }
}

/// An outcome and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub basis: Basis,
    pub changes: Vec<Change>,
    pub warnings: Vec<String>,
}

/// Applies the outcome table to a valid success: the first row that matches decides.
pub fn classify(answer: &Answer, evidence: &Evidence<'_>) -> Verdict {
    let allocation = &answer.allocation;
    let changes = evidence.before.map(|before| allocation.changes_since(before)).unwrap_or_default();
    let mut warnings = answer.warnings.clone();
    warnings.extend(oddities(allocation));

    let (outcome, basis) = if answer.created {
        if evidence.before.is_some() {
            warnings.push("created anew, though an allocation was known before".into());
        }
        (Outcome::Created, Basis::CreatedFlag)
    } else if made_by_lost_answer(allocation, evidence, &mut warnings) {
        (Outcome::Created, Basis::LostAnswer)
    } else if evidence.before.is_some() {
        match changes.is_empty() {
            true => (Outcome::Unchanged, Basis::Ledger),
            false => (Outcome::Updated, Basis::Ledger),
        }
    } else {
        by_server_clock(allocation, evidence, &mut warnings)
    };
    Verdict { outcome, basis, changes, warnings }
}

/// Row 3: did an attempt whose answer was lost make this allocation?
fn made_by_lost_answer(allocation: &Allocation, evidence: &Evidence<'_>, warnings: &mut Vec<String>) -> bool {
    let known = evidence.before.is_some_and(|before| !allocation.is_another_than(before));
    if evidence.unanswered.is_empty() || known {
        return false;
    }
    let made_at = moment(allocation.allocated_at.as_ref()).or(moment(allocation.created_at.as_ref()));
    let made_at = made_at.filter(|_| {
        evidence.offset.is_some() || evidence.unanswered.iter().any(|attempt| attempt.offset_then.is_some())
    });
    match made_at {
        Some(at) => {
            evidence.is_yet_to_come(at)
                || evidence.unanswered.iter().any(|attempt| attempt.covers(at, evidence.offset))
        }
        None => {
            warnings
                .push("an attempt went unanswered, and no time tells whether it made this allocation".into());
            false
        }
    }
}

/// Rows 6 and 7: nothing was known, so the allocation's own times must tell.
fn by_server_clock(
    allocation: &Allocation,
    evidence: &Evidence<'_>,
    warnings: &mut Vec<String>,
) -> (Outcome, Basis) {
    let updated = [&allocation.updated_at, &allocation.metadata_updated_at];
    let updated = updated.into_iter().filter_map(|at| moment(at.as_ref())).max();
    let FirstCall { at: called, offset_then } = evidence.first_call;
    let since_called =
        |at: Timestamp, offset: Offset| at.duration_since(offset.earliest(called)) >= -TOLERANCE;
    let by_another_clock = |at: Timestamp| {
        let calls = Unanswered { from: called, until: evidence.now, offset_then: None };
        let lost = evidence.unanswered.iter().filter_map(|attempt| attempt.offset_then);
        evidence.heard.iter().copied().chain(lost).any(|offset| calls.covers(at, Some(offset)))
    };
    match updated.zip(offset_then.or(evidence.offset)) {
        Some((at, offset)) if since_called(at, offset) || by_another_clock(at) => {
            (Outcome::Updated, Basis::ServerClock)
        }
        Some(_) => (Outcome::Unchanged, Basis::ServerClock),
        None => {
            warnings
                .push("nothing was known of this VM, and no time tells whether the call changed it".into());
            (Outcome::Unchanged, Basis::None)
        }
    }
}

fn moment(at: Option<&Moment>) -> Option<Timestamp> {
    at.and_then(Moment::at)
}

/// States of an allocation that an operator should know of, whatever the outcome.
pub(super) fn oddities(allocation: &Allocation) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(status) = allocation.status.as_deref().filter(|&status| status != "active") {
        warnings.push(format!("status is {status}, not active"));
    }
    for (name, at) in
        [("released_at", &allocation.released_at), ("cooldown_until", &allocation.cooldown_until)]
    {
        if let Some(at) = at {
            warnings.push(format!("{name} is set: {at}"));
        }
    }
    let times = [
        ("allocated_at", &allocation.allocated_at),
        ("created_at", &allocation.created_at),
        ("updated_at", &allocation.updated_at),
        ("metadata.updatedAt", &allocation.metadata_updated_at),
    ];
    for (name, at) in times {
        if let Some(at) = at
            && at.at().is_none()
        {
            warnings.push(format!("{name} is no time that can be read: {at}"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::unanswered::tests::{SENT, at, offset, sent};
    use super::*;
    use crate::allocation::tests::example;

    /// Seconds after [`SENT`], as the API would write them.
    fn after(seconds: i64) -> Option<Moment> {
        let moment = at(SENT).checked_add(SignedDuration::from_secs(seconds)).ok()?;
        Some(Moment::from(moment.to_string()))
    }

    fn answer(created: bool, edit: impl FnOnce(&mut Allocation)) -> Answer {
        let mut allocation = example();
        edit(&mut allocation);
        Answer { created, allocation, warnings: vec![] }
    }

    fn evidence<'a>(before: Option<&'a Allocation>, unanswered: &'a [Unanswered]) -> Evidence<'a> {
        Evidence {
            before,
            unanswered,
            first_call: FirstCall { at: at(SENT), offset_then: None },
            offset: Some(offset(0, 0)),
            heard: &[],
            now: at(SENT) + SignedDuration::from_hours(24),
        }
    }

    /// One that left at [`SENT`].
    fn lost() -> Unanswered {
        sent(0)
    }

    fn verdict(answer: &Answer, evidence: &Evidence<'_>) -> (Outcome, Basis) {
        let verdict = classify(answer, evidence);
        (verdict.outcome, verdict.basis)
    }

    #[test]
    fn row_2_the_created_flag_wins_over_everything() {
        let before = example();
        let lost = [lost()];
        let answer = answer(true, |a| a.allocated_at = after(1));
        for evidence in [
            evidence(None, &[]),
            evidence(Some(&before), &[]),
            evidence(None, &lost),
            evidence(Some(&before), &lost),
        ] {
            assert_eq!(verdict(&answer, &evidence), (Outcome::Created, Basis::CreatedFlag));
            let warned = !classify(&answer, &evidence).warnings.is_empty();
            assert_eq!(warned, evidence.before.is_some());
        }
    }

    #[test]
    fn row_2_keeps_what_was_there_before_as_changes() {
        let before = example();
        let answer = answer(true, |a| a.prefix = "2001:db8:9::/48".parse().unwrap());
        let changes = classify(&answer, &evidence(Some(&before), &[])).changes;
        assert_eq!(
            (changes[0].before.as_str(), changes[0].after.as_str()),
            ("2001:db8::1/48", "2001:db8:9::/48")
        );
    }

    #[test]
    fn row_3_an_allocation_made_within_an_unanswered_attempt_is_created() {
        let lost = [lost()];
        let cases = [(-3, false), (-2, true), (0, true), (30, true), (90, true), (91, false)];
        for (seconds, created) in cases {
            let answer = answer(false, |a| a.allocated_at = after(seconds));
            let was = verdict(&answer, &evidence(None, &lost)) == (Outcome::Created, Basis::LostAnswer);
            assert_eq!(was, created, "allocated {seconds} s after the attempt left");
        }
    }

    #[test]
    fn row_3_reads_the_attempt_on_the_servers_clock() {
        let lost = [lost()];
        let answer = answer(false, |a| a.allocated_at = after(3605));
        let ahead = Evidence { offset: Some(offset(3600, 3600)), ..evidence(None, &lost) };
        assert_eq!(verdict(&answer, &ahead), (Outcome::Created, Basis::LostAnswer));
        assert_ne!(verdict(&answer, &evidence(None, &lost)).0, Outcome::Created);
    }

    #[test]
    fn row_3_holds_for_whatever_the_answers_own_doubt_leaves_possible() {
        let dated = |offset| Unanswered { offset_then: offset, ..lost() };
        for (seconds, attempt, by, created, why) in [
            (6, lost(), Some(offset(0, 6)), true, "a slow answer, dated as it was sent"),
            (-2, lost(), Some(offset(0, 6)), true, "or as it came"),
            (-3, lost(), Some(offset(0, 6)), false, "it is older than the call in any case"),
            (96, lost(), Some(offset(0, 6)), true, "as late as the call can have acted"),
            (97, lost(), Some(offset(0, 6)), false, "later than that in any case"),
            (
                1,
                dated(Some(offset(0, 0))),
                Some(offset(3600, 3600)),
                true,
                "the server's clock was set since",
            ),
            (1, dated(Some(offset(0, 0))), Some(offset(-3600, -3600)), true, "either way"),
            (3601, dated(Some(offset(3600, 3600))), Some(offset(-14_400, -14_400)), true, "or ours was"),
            (3601, dated(Some(offset(3600, 3600))), None, true, "the answer says no time"),
            (3601, dated(Some(offset(0, 0))), None, false, "by the clock of then it was made much later"),
            (1, dated(Some(offset(-3600, -3600))), Some(offset(0, 0)), true, "what was known then was wrong"),
            (1801, dated(Some(offset(0, 0))), Some(offset(3600, 3600)), false, "by neither clock"),
        ] {
            let attempts = [attempt];
            let answer = answer(false, |a| a.allocated_at = after(seconds));
            let evidence = Evidence { offset: by, ..evidence(None, &attempts) };
            let was = verdict(&answer, &evidence) == (Outcome::Created, Basis::LostAnswer);
            assert_eq!(was, created, "{why}: allocated at {seconds} s, {attempt:?}, {by:?}");
        }
    }

    #[test]
    fn row_3_takes_an_allocation_that_is_yet_to_be_made_for_ours() {
        let lost = [lost()];
        for (seconds, ahead, created, why) in [
            (3_602, 0, false, "made by somebody else, just now"),
            (3_603, 0, true, "the server's clock was set back since"),
            (1, -3_600, false, "made just now by a clock that is an hour behind"),
            (4, -3_600, true, "set back by hours, and nobody was told"),
        ] {
            let answer = answer(false, |a| a.allocated_at = after(seconds));
            let offset = Some(offset(ahead, ahead));
            let now = at(SENT) + SignedDuration::from_hours(1);
            let evidence = Evidence { offset, now, ..evidence(None, &lost) };
            let was = verdict(&answer, &evidence) == (Outcome::Created, Basis::LostAnswer);
            assert_eq!(was, created, "{why}");
            assert_ne!(verdict(&answer, &Evidence { unanswered: &[], ..evidence }).0, Outcome::Created);
        }
    }

    #[test]
    fn row_3_falls_back_to_created_at() {
        let lost = [lost()];
        let answer = answer(false, |a| {
            a.allocated_at = Some(Moment::from("soon".to_owned()));
            a.created_at = after(1);
        });
        assert_eq!(verdict(&answer, &evidence(None, &lost)), (Outcome::Created, Basis::LostAnswer));
    }

    #[test]
    fn row_3_needs_another_id_where_an_allocation_was_known() {
        let lost = [lost()];
        let before = example();
        let same = answer(false, |a| a.allocated_at = after(1));
        assert_eq!(verdict(&same, &evidence(Some(&before), &lost)), (Outcome::Unchanged, Basis::Ledger));
        let other = answer(false, |a| {
            a.allocated_at = after(1);
            a.id = Some("4".into());
        });
        assert_eq!(verdict(&other, &evidence(Some(&before), &lost)), (Outcome::Created, Basis::LostAnswer));
    }

    #[test]
    fn row_3_without_a_readable_time_is_not_claimed_and_is_warned_about() {
        let lost = [lost()];
        let answer = answer(false, |a| {
            a.allocated_at = None;
            a.created_at = None;
            a.updated_at = after(-100);
        });
        let verdict = classify(&answer, &evidence(None, &lost));
        assert_eq!((verdict.outcome, verdict.basis), (Outcome::Unchanged, Basis::ServerClock));
        assert_eq!(verdict.warnings.len(), 1);
    }

    #[test]
    fn rows_4_and_5_compare_with_the_last_known_allocation() {
        let before = example();
        let same = answer(false, |a| {
            a.next_hop = "2001:db8::1/128".parse().ok();
            a.updated_at = after(1);
        });
        assert_eq!(verdict(&same, &evidence(Some(&before), &[])), (Outcome::Unchanged, Basis::Ledger));
        let moved = answer(false, |a| a.next_hop = "2001:db8::2".parse().ok());
        let verdict = classify(&moved, &evidence(Some(&before), &[]));
        assert_eq!((verdict.outcome, verdict.basis), (Outcome::Updated, Basis::Ledger));
        assert_eq!(verdict.changes.len(), 1);
    }

    #[test]
    fn row_6_a_time_not_older_than_our_first_attempt_means_updated() {
        for (updated, metadata, expected) in [
            (after(1), None, Outcome::Updated),
            (after(-2), None, Outcome::Updated),
            (after(-3), None, Outcome::Unchanged),
            (after(-3), after(0), Outcome::Updated),
            (None, after(0), Outcome::Updated),
            (Some(Moment::from("soon".to_owned())), after(-3), Outcome::Unchanged),
        ] {
            let answer = answer(false, |a| {
                a.updated_at.clone_from(&updated);
                a.metadata_updated_at.clone_from(&metadata);
            });
            let verdict = verdict(&answer, &evidence(None, &[]));
            assert_eq!(verdict, (expected, Basis::ServerClock), "{updated:?} {metadata:?}");
        }
    }

    #[test]
    fn row_6_judges_by_the_answers_own_time_and_leaves_what_is_in_doubt_to_our_call() {
        for (updated, by, expected, why) in [
            (3598, Some(offset(3600, 3606)), Outcome::Updated, "a slow answer of a server an hour ahead"),
            (3597, Some(offset(3600, 3606)), Outcome::Unchanged, "older than our call in any case"),
            (-3600, Some(offset(-3600, -3600)), Outcome::Updated, "a server an hour behind"),
            (-3603, Some(offset(-3600, -3600)), Outcome::Unchanged, "a server an hour behind"),
        ] {
            let answer = answer(false, |a| (a.updated_at, a.metadata_updated_at) = (after(updated), None));
            let evidence = Evidence { offset: by, ..evidence(None, &[]) };
            assert_eq!(verdict(&answer, &evidence), (expected, Basis::ServerClock), "{why}: {updated} s");
        }
    }

    #[test]
    fn row_6_dates_the_calls_of_this_run_by_every_clock_that_they_may_have_acted_by() {
        let dated = [Unanswered { offset_then: Some(offset(0, 0)), ..lost() }];
        let heard = [offset(3_600, 3_600), offset(0, 0)];
        let no_other: (&[Unanswered], &[Offset]) = (&[], &heard[..1]);
        for (updated, (unanswered, heard), expected, why) in [
            (1, (&[][..], &heard[..]), Outcome::Updated, "the clock was set forward during the call"),
            (1, (&dated[..], &heard[..1]), Outcome::Updated, "or after one that an earlier process lost"),
            (-3, (&[][..], &heard[..]), Outcome::Unchanged, "older than our call by either clock"),
            (100, (&[][..], &heard[..]), Outcome::Unchanged, "later than our call by the clock of then"),
            (1, no_other, Outcome::Unchanged, "nothing is known of the clock of then"),
        ] {
            let answer = answer(false, |a| (a.updated_at, a.metadata_updated_at) = (after(updated), None));
            let now = at(SENT) + SignedDuration::from_secs(30);
            let offset = Some(offset(3_600, 3_600));
            let evidence = Evidence { offset, heard, now, ..evidence(None, unanswered) };
            assert_eq!(verdict(&answer, &evidence), (expected, Basis::ServerClock), "{why}");
        }
    }

    #[test]
    fn row_6_reads_a_first_call_of_an_earlier_boot_by_the_servers_clock_of_then() {
        let first_call = FirstCall { at: at(SENT), offset_then: Some(offset(-3600, -3600)) };
        for (updated, expected) in [(-3602, Outcome::Updated), (-3603, Outcome::Unchanged)] {
            let answer = answer(false, |a| (a.updated_at, a.metadata_updated_at) = (after(updated), None));
            let evidence = Evidence { first_call, ..evidence(None, &[]) };
            assert_eq!(verdict(&answer, &evidence), (expected, Basis::ServerClock), "{updated} s");
        }
    }

    #[test]
    fn row_7_without_a_readable_time_rests_on_nothing_and_says_so() {
        let silent = answer(false, |a| {
            a.updated_at = None;
            a.metadata_updated_at = None;
        });
        let timed = answer(false, |a| a.updated_at = after(1));
        let no_clock = Evidence { offset: None, ..evidence(None, &[]) };
        for (answer, evidence) in [(&silent, evidence(None, &[])), (&timed, no_clock)] {
            let verdict = classify(answer, &evidence);
            assert_eq!((verdict.outcome, verdict.basis), (Outcome::Unchanged, Basis::None));
            assert_eq!(verdict.warnings.len(), 1);
        }
    }

    #[test]
    fn states_that_an_operator_should_know_of_are_warnings() {
        let answer = answer(false, |a| {
            a.status = Some("cooling_down".into());
            a.released_at = after(0);
            a.cooldown_until = after(10);
            a.updated_at = Some(Moment::from("soon".to_owned()));
        });
        let before = answer.allocation.clone();
        assert_eq!(classify(&answer, &evidence(Some(&before), &[])).warnings.len(), 4);
    }
}
