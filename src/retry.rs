//! Whether a VM is called again, and when: a pure decision on one attempt.
//!
//! The delays are those of `backoff`'s exponential policy, and this file alone uses that crate.
//! A 429 is not decided here: it is no attempt, and the wait it asks for is everybody's.

use std::num::NonZeroU32;
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use crate::api::Fault;
use crate::outcome::Failure;

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
    InDoubt,
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
    if fault.ours {
        return Decision::Hampered(HAMPERED);
    }
    if fault.status == Some(429) {
        return Decision::Throttled(fault.retry_after);
    }
    if is_in_doubt(fault) {
        return Decision::InDoubt;
    }
    if !is_worth_a_retry(fault) || number >= policy.max_attempts.get() {
        return Decision::Fail;
    }
    match fault.retry_after {
        // Whoever did not look at the call has nothing to recover from; if it happens again, he may have.
        None if fault.unseen && number == 1 => Decision::Again(Duration::ZERO),
        Some(floor) if floor > policy.max_wait => Decision::Fail,
        floor => Decision::Again(delay(number, jitter).max(floor.unwrap_or_default())),
    }
}

/// The key was refused by the API itself, or its certificate by us.
fn is_in_doubt(fault: &Fault) -> bool {
    fault.failure == Failure::Tls || (fault.failure == Failure::Unauthorized && fault.json)
}

/// Whether the same call may well succeed later.
pub fn is_worth_a_retry(fault: &Fault) -> bool {
    let Some(status) = fault.status else { return fault.failure != Failure::Tls };
    match status {
        200..=299 => fault.failure == Failure::MalformedAnswer,
        // From the edge before the API, not from the API.
        401 | 403 => !fault.json,
        409 => matches!(fault.code.as_deref(), Some("vps_not_ready" | "upstream_failed")),
        408 | 423 | 425 | 429 | 500 | 502..=504 | 507 | 520..=530 | 598 | 599 => true,
        _ => false,
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

    const POLICY: Policy =
        Policy { max_attempts: NonZeroU32::new(5).unwrap(), max_wait: Duration::from_mins(15) };

    fn fault(status: Option<u16>, failure: Failure) -> Fault {
        Fault {
            failure,
            status,
            code: None,
            json: true,
            may_have_applied: false,
            unseen: false,
            ours: false,
            retry_after: None,
            message: String::new(),
        }
    }

    fn is_retried(fault: &Fault) -> bool {
        matches!(decide(POLICY, 1, fault, 0.5), Decision::Again(_) | Decision::Throttled(_))
    }

    #[test]
    fn of_all_status_codes_just_these_are_retried() {
        let retried = |json: bool| -> Vec<u16> {
            (100..1000)
                .filter(|status| !(200..300).contains(status))
                .filter(|&status| is_retried(&Fault { json, ..fault(Some(status), Failure::Rejected) }))
                .collect()
        };
        let always: Vec<u16> = [408, 423, 425, 429, 500, 502, 503, 504, 507]
            .into_iter()
            .chain(520..=530)
            .chain([598, 599])
            .collect();
        assert_eq!(retried(true), always);
        let from_the_edge: Vec<u16> = [401, 403].into_iter().chain(always).collect();
        assert_eq!(retried(false), from_the_edge);
    }

    #[test]
    fn a_2xx_is_retried_where_it_was_malformed_and_not_where_it_refused() {
        for status in 200..300 {
            assert!(is_retried(&fault(Some(status), Failure::MalformedAnswer)), "{status}");
            assert!(!is_retried(&fault(Some(status), Failure::RefusedByApi)), "{status}");
        }
    }

    #[test]
    fn a_call_without_a_status_is_retried_unless_the_certificate_was_bad() {
        for failure in [Failure::Connect, Failure::Timeout, Failure::MalformedAnswer] {
            assert!(is_retried(&fault(None, failure)), "{failure}");
        }
        assert_eq!(decide(POLICY, 1, &fault(None, Failure::Tls), 0.5), Decision::InDoubt);
    }

    #[test]
    fn a_conflict_is_retried_by_its_code() {
        for (code, retried) in [("vps_not_ready", true), ("upstream_failed", true), ("conflict", false)] {
            let fault = Fault { code: Some(code.into()), ..fault(Some(409), Failure::Conflict) };
            assert_eq!(is_retried(&fault), retried, "{code}");
        }
        assert!(!is_retried(&fault(Some(409), Failure::Conflict)));
    }

    #[test]
    fn a_refused_key_waits_for_the_next_answers() {
        let json = fault(Some(401), Failure::Unauthorized);
        assert_eq!(decide(POLICY, 1, &json, 0.5), Decision::InDoubt);
        let edge = Fault { json: false, ..json };
        assert!(matches!(decide(POLICY, 1, &edge, 0.5), Decision::Again(_)));
    }

    #[test]
    fn a_call_that_we_could_not_make_is_made_again_however_often() {
        let ours = Fault { ours: true, ..fault(None, Failure::Connect) };
        assert_eq!(decide(POLICY, 99, &ours, 0.5), Decision::Hampered(HAMPERED));
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        let fault = fault(Some(503), Failure::ServerError);
        assert!(matches!(decide(POLICY, 4, &fault, 0.5), Decision::Again(_)));
        assert_eq!(decide(POLICY, 5, &fault, 0.5), Decision::Fail);
    }

    #[test]
    fn a_wait_asked_for_one_vm_is_a_floor_and_too_long_a_one_fails_it() {
        let after = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            decide(POLICY, 1, &Fault { retry_after, ..fault(Some(503), Failure::ServerError) }, 0.0)
        };
        assert_eq!(after(0), Decision::Again(Duration::from_millis(500)));
        assert_eq!(after(20), Decision::Again(Duration::from_secs(20)));
        assert_eq!(after(900), Decision::Again(Duration::from_mins(15)));
        assert_eq!(after(901), Decision::Fail);
    }

    #[test]
    fn a_call_that_was_not_looked_at_is_made_again_at_once_and_then_with_growing_waits() {
        let unseen = Fault { unseen: true, ..fault(None, Failure::Connect) };
        assert_eq!(decide(POLICY, 1, &unseen, 0.0), Decision::Again(Duration::ZERO));
        assert_eq!(decide(POLICY, 2, &unseen, 0.0), Decision::Again(Duration::from_secs(1)));
        assert_eq!(decide(POLICY, 5, &unseen, 0.0), Decision::Fail);
    }

    #[test]
    fn a_429_is_everybodys_wait_whatever_its_length_and_number() {
        for wait in [None, Some(Duration::from_hours(8760))] {
            let fault = Fault { retry_after: wait, ..fault(Some(429), Failure::RateLimited) };
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
        let status = prop_oneof![Just(None), (200..600_u16).prop_map(Some), Just(Some(503)), Just(Some(429))];
        let failure =
            prop_oneof![Just(Failure::ServerError), Just(Failure::MalformedAnswer), Just(Failure::Tls)];
        (status, failure, any::<bool>(), 0..100_000_u64).prop_map(|(status, failure, json, millis)| Fault {
            json,
            retry_after: Some(Duration::from_millis(millis)),
            ..fault(status, failure)
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
                Decision::Fail | Decision::InDoubt | Decision::Hampered(_) => {}
            }
        }
    }
}
