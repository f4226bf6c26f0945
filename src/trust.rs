//! Whether the key and the certificate hold, as far as the answers tell. Pure.
//!
//! A refusal is in doubt until a call that left after it came proves the key: around the moment at which a key is
//! revoked, answers of both kinds come mixed. While any is in doubt, calls leave one at a time, to tell.

use std::collections::VecDeque;
use std::time::Instant;

use crate::api::{Credential, Meaning};
use crate::stop::Stop;

/// This many refusals in a row stop a run, as they came or as their calls left one at a time.
const REFUSALS: usize = 5;

/// What the answers so far say of the key and the certificate.
#[derive(Debug, Default)]
pub struct Trust {
    /// When the refusals that are in doubt came, the oldest first.
    doubts: VecDeque<Instant>,
    /// When the call left that is under way to tell.
    asked: Option<Instant>,
    /// Refusals since the last success.
    in_a_row: usize,
    /// Refusals of calls that left to tell, since one of them succeeded.
    refused_when_asked: usize,
    /// What the latest refusal was of.
    refused: Option<Credential>,
    anything_else: bool,
}

/// Whether only a good key draws an answer that means this.
pub fn proves_the_key(meaning: Meaning) -> bool {
    match meaning {
        Meaning::NotReady | Meaning::Conflict | Meaning::NotFound => true,
        Meaning::Throttled
        | Meaning::Refused(_)
        | Meaning::Edge
        | Meaning::Transient
        | Meaning::Unreachable
        | Meaning::Unseen
        | Meaning::Hampered
        | Meaning::EdgeConflict
        | Meaning::Final => false,
    }
}

fn stop(refused: Credential) -> Stop {
    match refused {
        Credential::Key => Stop::KeyRefused,
        Credential::Certificate => Stop::CertificateRefused,
    }
}

impl Trust {
    /// Whether a call may leave.
    pub fn allows(&self) -> bool {
        self.doubts.is_empty() || self.asked.is_none()
    }

    /// A call leaves that was allowed.
    pub fn left(&mut self, now: Instant) {
        self.asked = (!self.doubts.is_empty()).then_some(now);
    }

    /// An answer that only a good key draws, to a call that left at `left_at`.
    ///
    /// Returns how many refusals are no longer in doubt, the oldest ones: those VMs were refused for good.
    pub fn proved(&mut self, left_at: Instant) -> usize {
        if self.came_back(left_at) {
            self.refused_when_asked = 0;
        }
        self.in_a_row = 0;
        self.anything_else = true;
        let settled = self.doubts.partition_point(|&came| came <= left_at);
        self.doubts.drain(..settled);
        settled
    }

    /// All that are in doubt were refused for good, whoever knows that.
    pub fn resolved(&mut self) {
        self.doubts.clear();
        self.asked = None;
    }

    /// An answer that neither proves nor refuses the key, to a call that left at `left_at`.
    pub fn neutral(&mut self, left_at: Instant) {
        self.came_back(left_at);
        self.anything_else = true;
    }

    /// The key or the certificate was refused to a call that left at `left_at`. Returns what that stops the run for.
    pub fn refused(&mut self, refused: Credential, left_at: Instant, now: Instant) -> Option<Stop> {
        self.refused = Some(refused);
        self.refused_when_asked += usize::from(self.came_back(left_at));
        self.in_a_row += 1;
        self.doubts.push_back(now);
        // The refusal that raised the doubt is the first of those that left one at a time.
        let enough = self.in_a_row.max(self.refused_when_asked + 1) >= REFUSALS;
        enough.then(|| stop(refused))
    }

    /// At the end of a run: was there nothing but refusals?
    pub fn verdict(&self) -> Option<Stop> {
        self.refused.filter(|_| !self.anything_else).map(stop)
    }

    /// Whether the call that left at `left_at` is the one that left to tell.
    fn came_back(&mut self, left_at: Instant) -> bool {
        self.asked.take_if(|asked| *asked == left_at).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const KEY: Credential = Credential::Key;

    fn seconds() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |second| start + Duration::from_secs(second)
    }

    /// A call that leaves at one second and is refused at the next.
    fn refuse(trust: &mut Trust, credential: Credential, left_at: Instant) -> Option<Stop> {
        assert!(trust.allows());
        trust.left(left_at);
        trust.refused(credential, left_at, left_at + Duration::from_millis(500))
    }

    #[test]
    fn five_refusals_one_after_another_are_enough() {
        for (credential, stop) in
            [(KEY, Stop::KeyRefused), (Credential::Certificate, Stop::CertificateRefused)]
        {
            let at = seconds();
            let mut trust = Trust::default();
            for second in 1..5 {
                assert_eq!(refuse(&mut trust, credential, at(second)), None);
            }
            assert_eq!(refuse(&mut trust, credential, at(5)), Some(stop));
        }
    }

    #[test]
    fn a_success_begins_the_count_anew_and_something_else_does_not() {
        let at = seconds();
        let mut trust = Trust::default();
        for second in 1..5 {
            assert_eq!(refuse(&mut trust, KEY, at(second)), None);
        }
        trust.left(at(5));
        assert_eq!(trust.proved(at(5)), 4);
        for second in 6..10 {
            assert_eq!(refuse(&mut trust, KEY, at(second)), None);
        }
        trust.left(at(10));
        trust.neutral(at(10));
        assert_eq!(refuse(&mut trust, KEY, at(11)), Some(Stop::KeyRefused));
    }

    #[test]
    fn only_a_call_that_left_after_a_refusal_came_ends_the_doubt() {
        let at = seconds();
        let mut trust = Trust::default();
        for second in [10, 12, 14] {
            assert_eq!(trust.refused(KEY, at(5), at(second)), None);
        }
        assert_eq!(trust.proved(at(9)), 0, "it left before the first refusal came");
        assert_eq!(trust.proved(at(13)), 2);
        assert_eq!(trust.proved(at(14)), 1);
    }

    #[test]
    fn while_there_is_a_doubt_one_call_at_a_time_leaves() {
        let at = seconds();
        let mut trust = Trust::default();
        trust.left(at(0));
        assert!(trust.allows());
        trust.refused(KEY, at(0), at(1));
        assert!(trust.allows());
        trust.left(at(2));
        assert!(!trust.allows());
        trust.refused(KEY, at(0), at(3));
        assert_eq!((trust.proved(at(0)), trust.allows()), (0, false), "these left before");
        assert_eq!((trust.proved(at(2)), trust.allows()), (1, true), "one doubt is left");
        trust.left(at(4));
        trust.neutral(at(4));
        assert!(trust.allows(), "that did not tell, the next one may");
        trust.left(at(5));
        assert_eq!(trust.proved(at(5)), 1);
        trust.left(at(6));
        assert!(trust.allows());
    }

    #[test]
    fn five_that_come_in_a_row_stop_a_run_whenever_they_left() {
        let at = seconds();
        let mut trust = Trust::default();
        for second in 1..5 {
            assert_eq!(trust.refused(KEY, at(0), at(second)), None);
        }
        assert_eq!(trust.proved(at(0)), 0);
        for second in 5..9 {
            assert_eq!(trust.refused(KEY, at(0), at(second)), None);
        }
        assert_eq!(trust.refused(KEY, at(0), at(9)), Some(Stop::KeyRefused));
    }

    #[test]
    fn nothing_but_refusals_is_a_refused_key_however_few() {
        let at = seconds();
        let mut trust = Trust::default();
        assert_eq!(trust.verdict(), None);
        trust.refused(KEY, at(0), at(1));
        assert_eq!(trust.verdict(), Some(Stop::KeyRefused));
        trust.neutral(at(0));
        assert_eq!(trust.verdict(), None);
    }

    /// Calls with `slots` in flight until the run stops, or 1,000 calls were made. Each call is served, and each
    /// answer arrives, in any order; the `served`-th and later ones find the key revoked.
    fn refused_calls(slots: usize, served: usize, order: &[usize]) -> (usize, Option<Stop>) {
        let at = seconds();
        let mut order = order.iter().copied().cycle();
        let mut trust = Trust::default();
        // Calls on their way there, and answers (was it refused?) on their way back, with when they left.
        let (mut going, mut coming) = (Vec::new(), Vec::<(Instant, bool)>::new());
        let (mut refused, mut calls, mut second) = (0, 0, 0);
        while calls < 1000 {
            second += 1;
            while going.len() + coming.len() < slots && trust.allows() {
                trust.left(at(second));
                going.push(at(second));
                calls += 1;
                second += 1;
            }
            let next = order.next().unwrap_or_default();
            if next % 2 == 0 && !going.is_empty() {
                let left = going.swap_remove(next / 2 % going.len());
                let is_refused = calls - going.len() > served;
                refused += usize::from(is_refused);
                coming.push((left, is_refused));
            } else if !coming.is_empty() {
                let (left, is_refused) = coming.swap_remove(next / 2 % coming.len());
                if !is_refused {
                    assert_eq!(trust.proved(left), 0, "a revoked key was taken for a good one");
                } else if let Some(stop) = trust.refused(KEY, left, at(second)) {
                    return (refused + going.len(), Some(stop));
                }
            }
        }
        (refused, None)
    }

    proptest! {
        #[test]
        fn a_revoked_key_draws_at_most_five_calls_more_than_there_are_slots(
            slots in 1_usize..40,
            served in 0_usize..200,
            order in prop::collection::vec(0_usize..1000, 1..500),
        ) {
            prop_assume!(order.iter().any(|next| next % 2 == 0) && order.iter().any(|next| next % 2 == 1));
            let (refused, stop) = refused_calls(slots, served, &order);
            prop_assert_eq!(stop, Some(Stop::KeyRefused));
            prop_assert!(refused <= slots + 5, "{} calls with {} slots", refused, slots);
        }
    }
}
