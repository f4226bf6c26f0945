//! Whether a VM is called again, and when: a pure decision on one attempt.
//!
//! The delays are those of `backoff`'s exponential policy, and this file alone uses that crate.
//! A 429 is not decided here: it is no attempt, and the wait it asks for is everybody's.

use std::num::NonZeroU32;
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use crate::api::{Credential, Fault, Meaning};

const FIRST_DELAY: Duration = Duration::from_millis(500);
const HAMPERED: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What follows from a faulty attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The VM failed.
    Fail,
    /// Call again after this wait.
    Again(Duration),
    /// The API asks everybody to wait, for as long as it says, or an unstated time. Not an attempt.
    Throttled(Option<Duration>),
    /// It is ourselves that could not make the call: again after this wait, with fewer at once. Not an attempt.
    Hampered(Duration),
    /// The key or the certificate was refused. Whether that is this VM's failure or the whole run's,
    /// the next answers tell.
    InDoubt(Credential),
}

/// How long a run is willing to try.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// In all, the first included.
    pub max_attempts: NonZeroU32,
    /// A longer wait asked for one VM fails it.
    pub max_wait: Duration,
}

/// Decides on attempt number `number` (1 is the first); `jitter` is from 0 to 1.
pub fn decide(policy: Policy, number: u32, fault: &Fault, jitter: f64) -> Decision {
    match fault.meaning {
        Meaning::Hampered => Decision::Hampered(HAMPERED),
        Meaning::Throttled => Decision::Throttled(fault.retry_after),
        Meaning::Refused(credential) => Decision::InDoubt(credential),
        Meaning::Conflict | Meaning::EdgeConflict | Meaning::NotFound | Meaning::Final => Decision::Fail,
        Meaning::Edge | Meaning::Transient | Meaning::Unreachable | Meaning::Unseen | Meaning::NotReady => {
            again(policy, number, fault, jitter)
        }
    }
}

fn again(policy: Policy, number: u32, fault: &Fault, jitter: f64) -> Decision {
    match fault.retry_after {
        _ if number >= policy.max_attempts.get() => Decision::Fail,
        // Whoever did not look at the call has nothing to recover from; if it happens again, he may have.
        None if fault.meaning == Meaning::Unseen && number == 1 => Decision::Again(Duration::ZERO),
        Some(floor) if floor > policy.max_wait => Decision::Fail,
        floor => Decision::Again(delay(number, jitter).max(floor.unwrap_or_default())),
    }
}

/// The wait after attempt `number`: doubling from 500 ms to 30 s, of which jitter takes up to half.
///
/// A `jitter` outside of 0 to 1 counts as the nearer of the two.
pub fn delay(number: u32, jitter: f64) -> Duration {
    let mut policy = ExponentialBackoff {
        initial_interval: FIRST_DELAY,
        current_interval: FIRST_DELAY,
        max_interval: LONGEST_DELAY,
        multiplier: 2.0,
        randomization_factor: 0.0,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    let steps = number.clamp(1, 16);
    let whole = (0..steps).filter_map(|_| policy.next_backoff()).last().unwrap_or(LONGEST_DELAY);
    whole.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::answered;
    use crate::outcome::Failure;

    const POLICY: Policy =
        Policy { max_attempts: NonZeroU32::new(5).unwrap(), max_wait: Duration::from_mins(15) };

    fn fault(meaning: Meaning) -> Fault {
        let failure = Failure::ServerError;
        Fault { failure, meaning, may_have_applied: false, retry_after: None, message: String::new() }
    }

    fn of_status(status: u16, body: &str) -> Fault {
        answered(status, body.as_bytes()).result.unwrap_err()
    }

    fn is_retried(fault: &Fault) -> bool {
        matches!(decide(POLICY, 1, fault, 0.5), Decision::Again(_) | Decision::Throttled(_))
    }

    #[test]
    fn of_all_status_codes_just_these_are_retried() {
        let retried = |body: &str| -> Vec<u16> {
            (100..1000)
                .filter(|status| !(200..300).contains(status))
                .filter(|&status| is_retried(&of_status(status, body)))
                .collect()
        };
        let always: Vec<u16> = [408, 423, 425, 429, 500, 502, 503, 504, 507]
            .into_iter()
            .chain(520..=530)
            .chain([598, 599])
            .collect();
        assert_eq!(retried("{}"), always);
        let from_the_edge: Vec<u16> = [401, 403].into_iter().chain(always).collect();
        assert_eq!(retried("<html>no</html>"), from_the_edge);
    }

    #[test]
    fn a_2xx_is_retried_where_it_was_malformed_and_not_where_it_refused() {
        for status in 200..300 {
            assert!(is_retried(&of_status(status, "{}")), "{status}");
            assert!(!is_retried(&of_status(status, r#"{"success":false}"#)), "{status}");
        }
    }

    #[test]
    fn what_a_fault_means_decides_what_follows() {
        let first = Decision::Again(Duration::from_millis(375));
        for (meaning, expected) in [
            (Meaning::Throttled, Decision::Throttled(None)),
            (Meaning::Refused(Credential::Key), Decision::InDoubt(Credential::Key)),
            (Meaning::Refused(Credential::Certificate), Decision::InDoubt(Credential::Certificate)),
            (Meaning::Edge, first),
            (Meaning::Transient, first),
            (Meaning::Unreachable, first),
            (Meaning::Unseen, Decision::Again(Duration::ZERO)),
            (Meaning::Hampered, Decision::Hampered(HAMPERED)),
            (Meaning::NotReady, first),
            (Meaning::Conflict, Decision::Fail),
            (Meaning::EdgeConflict, Decision::Fail),
            (Meaning::NotFound, Decision::Fail),
            (Meaning::Final, Decision::Fail),
        ] {
            assert_eq!(decide(POLICY, 1, &fault(meaning), 0.5), expected, "{meaning:?}");
        }
    }

    #[test]
    fn a_conflict_is_retried_by_its_code() {
        for (code, retried) in [("vps_not_ready", true), ("upstream_failed", true), ("conflict", false)] {
            assert_eq!(is_retried(&of_status(409, &format!(r#"{{"code":"{code}"}}"#))), retried, "{code}");
        }
        assert!(!is_retried(&of_status(409, "{}")));
    }

    #[test]
    fn a_refused_key_waits_for_the_next_answers() {
        let json = decide(POLICY, 1, &of_status(401, "{}"), 0.5);
        assert_eq!(json, Decision::InDoubt(Credential::Key));
        let edge = decide(POLICY, 1, &of_status(401, "no"), 0.5);
        assert!(matches!(edge, Decision::Again(_)));
    }

    #[test]
    fn a_call_that_we_could_not_make_is_made_again_however_often() {
        let ours = fault(Meaning::Hampered);
        assert_eq!(decide(POLICY, 99, &ours, 0.5), Decision::Hampered(HAMPERED));
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        let fault = fault(Meaning::Transient);
        assert!(matches!(decide(POLICY, 4, &fault, 0.5), Decision::Again(_)));
        assert_eq!(decide(POLICY, 5, &fault, 0.5), Decision::Fail);
    }

    #[test]
    fn a_wait_asked_for_one_vm_is_a_floor_and_too_long_a_one_fails_it() {
        let after = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            decide(POLICY, 1, &Fault { retry_after, ..fault(Meaning::Transient) }, 0.0)
        };
        assert_eq!(after(0), Decision::Again(Duration::from_millis(500)));
        assert_eq!(after(20), Decision::Again(Duration::from_secs(20)));
        assert_eq!(after(900), Decision::Again(Duration::from_mins(15)));
        assert_eq!(after(901), Decision::Fail);
    }

    #[test]
    fn a_call_that_was_not_looked_at_is_made_again_at_once_and_then_with_growing_waits() {
        let unseen = fault(Meaning::Unseen);
        assert_eq!(decide(POLICY, 1, &unseen, 0.0), Decision::Again(Duration::ZERO));
        assert_eq!(decide(POLICY, 2, &unseen, 0.0), Decision::Again(Duration::from_secs(1)));
        assert_eq!(decide(POLICY, 5, &unseen, 0.0), Decision::Fail);
    }

    #[test]
    fn a_429_is_everybodys_wait_whatever_its_length_and_number() {
        for wait in [None, Some(Duration::from_hours(8760))] {
            let fault = Fault { retry_after: wait, ..fault(Meaning::Throttled) };
            assert_eq!(decide(POLICY, 99, &fault, 0.5), Decision::Throttled(wait));
        }
    }

    #[test]
    fn delays_double_from_half_a_second_to_half_a_minute() {
        let longest: Vec<u128> = (1..=9).map(|number| delay(number, 0.0).as_millis()).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        let shortest: Vec<u128> = (1..=3).map(|number| delay(number, 1.0).as_millis()).collect();
        assert_eq!(shortest, [250, 500, 1000]);
        assert_eq!(delay(u32::MAX, 0.0), LONGEST_DELAY);
    }

    fn any_fault() -> impl Strategy<Value = Fault> {
        const MEANINGS: [Meaning; 6] = [
            Meaning::Transient,
            Meaning::Throttled,
            Meaning::Edge,
            Meaning::Unseen,
            Meaning::Final,
            Meaning::Refused(Credential::Certificate),
        ];
        (prop::sample::select(&MEANINGS[..]), 0..100_000_u64).prop_map(|(meaning, millis)| Fault {
            retry_after: Some(Duration::from_millis(millis)),
            ..fault(meaning)
        })
    }

    proptest! {
        #[test]
        fn a_wait_that_was_asked_for_is_never_cut_short(
            fault in any_fault(),
            number in 1..10_u32,
            max_attempts in 1..10_u32,
            max_wait in 0..100_u64,
            jitter in -1.0..2.0,
        ) {
            let max_attempts = NonZeroU32::new(max_attempts).unwrap();
            let policy = Policy { max_attempts, max_wait: Duration::from_secs(max_wait) };
            match decide(policy, number, &fault, jitter) {
                Decision::Again(wait) => prop_assert!(Some(wait) >= fault.retry_after),
                Decision::Throttled(wait) => prop_assert_eq!(wait, fault.retry_after),
                Decision::Fail | Decision::InDoubt(_) | Decision::Hampered(_) => {}
            }
        }
    }
}
