//! When calls leave, as the ledger tells, and when they arrive, as the sandbox tells.
//!
//! The upper bounds hold on any machine. The mean may fall short where the machine itself stood still: such a
//! measurement is made again.
#![expect(clippy::cast_precision_loss, reason = "the tests count thousands of calls")]

use jiff::Timestamp;

use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::sandbox::Sandbox;

const TRIES: usize = 3;

/// Moments in seconds, in order.
struct Moments(Vec<f64>);

impl Moments {
    fn new(moments: impl Iterator<Item = Timestamp>) -> Self {
        let mut moments: Vec<f64> = moments.map(|at| at.as_microsecond() as f64 / 1e6).collect();
        moments.sort_by(f64::total_cmp);
        Self(moments)
    }

    /// When each VM's first call left.
    fn sent(outcome: &Outcome) -> Self {
        let sent = outcome.rows().iter().map(|row| row["first_sent_at"].as_str().unwrap().parse().unwrap());
        Self::new(sent)
    }

    fn arrived(sandbox: &Sandbox) -> Self {
        Self::new(sandbox.calls().into_iter().map(|call| call.at))
    }

    fn per_second(&self) -> f64 {
        (self.0.len() - 1) as f64 / (self.0[self.0.len() - 1] - self.0[0])
    }

    /// The most in any time of so many seconds, wherever it begins.
    fn most_within(&self, seconds: f64) -> f64 {
        let mut first = 0;
        let counts = self.0.iter().enumerate().map(|(last, at)| {
            while at - self.0[first] >= seconds {
                first += 1;
            }
            last + 1 - first
        });
        counts.max().unwrap() as f64
    }
}

/// A run of so many VMs at so many a second: what left, and what arrived.
fn measure(fixture: &mut Fixture, vms: usize, rate: u32) -> (Moments, Moments) {
    let sandbox = Sandbox::start(&[]);
    fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
    fixture.write("fleet.csv", fleet::csv(vms));
    let rate = format!("{rate}/s");
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", &rate, "--concurrency", "64"];
    let outcome = fixture.run(&run).exits(0);
    assert_eq!(outcome.summary()["calls"], vms);
    let (sent, arrived) = (Moments::sent(&outcome), Moments::arrived(&sandbox));
    assert_eq!((sent.0.len(), arrived.0.len()), (vms, vms));
    (sent, arrived)
}

/// The bounds of a rate from 200/s up.
fn assert_paced(vms: usize, rate: u32) {
    let mut fixture = Fixture::alone().env("HOSTUP_API_KEY", "a-key");
    let per_second = f64::from(rate);
    let mut means = Vec::new();
    for _ in 0..TRIES {
        let (sent, arrived) = measure(&mut fixture, vms, rate);
        let (second, tenth) = (sent.most_within(1.0), sent.most_within(0.1));
        assert!(second <= 1.02 * per_second, "{second} calls left within a second at {rate}/s");
        assert!(tenth <= 1.15 * per_second / 10.0, "{tenth} calls left within 100 ms at {rate}/s");
        let (left, came) = (sent.per_second() / per_second, arrived.per_second() / per_second);
        assert!(left <= 1.005, "{left} of {rate}/s on average");
        assert!((came / left - 1.0).abs() <= 0.01, "{left} of {rate}/s left, {came} arrived");
        if left >= 0.99 {
            return;
        }
        means.push(left);
    }
    panic!("{rate}/s was missed {TRIES} times: {means:?} of it on average");
}

#[test]
fn ten_thousand_vms_at_1000_a_second_leave_evenly() {
    assert_paced(10_000, 1_000);
}

#[test]
fn two_thousand_vms_at_200_a_second_leave_evenly() {
    assert_paced(2_000, 200);
}

#[test]
fn at_ten_a_second_no_second_has_more_than_two_calls_over_it() {
    let mut fixture = Fixture::alone().env("HOSTUP_API_KEY", "a-key");
    let mut means = Vec::new();
    for _ in 0..TRIES {
        let (sent, arrived) = measure(&mut fixture, 40, 10);
        let (mean, second) = (sent.per_second() / 10.0, sent.most_within(1.0));
        assert!(second <= 12.0 && arrived.most_within(1.0) <= 12.0, "{second} calls left within a second");
        assert!(mean <= 1.005, "{mean} of 10/s on average");
        if mean >= 0.98 {
            return;
        }
        means.push(mean);
    }
    panic!("10/s was missed {TRIES} times: {means:?} of it on average");
}

#[test]
fn at_the_apis_own_limit_no_call_is_answered_429() {
    let sandbox = Sandbox::start(&["--limit", "100/s", "--limit-burst", "100"]);
    let mut fixture = Fixture::alone().env("HOSTUP_API_KEY", "a-key");
    fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
    fixture.write("fleet.csv", fleet::csv(500));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "100/s", "--concurrency", "64"];
    let outcome = fixture.run(&run).exits(0);
    assert!(sandbox.calls().iter().all(|call| call.status != 429));
    assert_eq!((&outcome.summary()["throttled"], sandbox.calls().len()), (&0.into(), 500));
}

#[test]
fn a_limit_that_the_api_announces_in_whatever_form_costs_hardly_a_call() {
    for form in ["x-iso", "x-epoch", "x-delta", "ietf"] {
        let limit = ["--limit", "200/s", "--rate-limit-headers", "always", "--rate-limit-form", form];
        let sandbox = Sandbox::start(&[&limit[..], &["--latency", "5ms"]].concat());
        let fixture = Fixture::at(&sandbox);
        fixture.write("fleet.csv", fleet::csv(500));
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--rate", "none"]).exits(0);
        // Calls may overtake each other on their way: then one too many is thought to be free.
        let throttled = outcome.summary()["throttled"].as_u64().unwrap();
        assert!(throttled <= 5, "{throttled} calls answered 429 with {form}");
    }
}

#[test]
fn a_limit_that_an_earlier_run_found_is_tested_early_and_kept_where_it_still_holds() {
    let sandbox = Sandbox::start(&["--limit", "50/s", "--latency", "40ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(300));
    fixture.remember(50.0);
    let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--rate", "500/s"]).exits(0);
    let throttled = outcome.summary()["throttled"].as_u64().unwrap();
    assert!((1..=20).contains(&throttled), "{throttled} calls answered 429");
    assert_eq!(fixture.remembered_rate(), Some(50.0));
}

#[test]
fn a_remembered_rate_that_is_wrong_slows_no_run_down_and_is_forgotten() {
    for (rate, vms, per_second, seconds) in [("50/s", 100, 0.416, 2.0), ("10/s", 20, 0.416, 2.0)] {
        let sandbox = Sandbox::start(&[]);
        let fixture = Fixture::at(&sandbox);
        fixture.write("fleet.csv", fleet::csv(vms));
        fixture.remember(per_second);
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--rate", rate]).exits(0);
        let took = vms as f64 / Moments::sent(&outcome).per_second();
        assert!(took <= 4.0 * seconds, "{took} s for {vms} VMs at {rate}");
    }
}

#[test]
fn forget_rate_begins_as_if_nothing_had_been_found() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(10));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "5/s"];
    fixture.remember(0.5);
    fixture.run(&run).exits(0);
    assert_eq!(fixture.remembered_rate(), Some(0.5), "ten calls do not show that it is wrong");
    fixture.run(&[&run[..], &["--forget-rate"]].concat()).exits(0);
    assert_eq!(fixture.remembered_rate(), None);
}

#[test]
fn an_outage_is_remembered_as_no_rate() {
    let phases = ["--phase", "20..23=throttle=2s", "--phase", "40..43=throttle=2s", "--latency", "300ms"];
    let sandbox = Sandbox::start(&phases);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(60));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "10/s", "--concurrency", "4"];
    fixture.run(&run).exits(0);
    assert_eq!(fixture.remembered_rate(), None);
}

#[test]
fn after_a_first_call_that_is_refused_the_next_leaves_at_the_end_of_the_pause() {
    let sandbox = Sandbox::start(&["--phase", "0..1=throttle=3s"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(20));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "10/s", "--max-wait", "5s"];
    let outcome = fixture.run(&run).exits(0);
    let calls = sandbox.calls();
    let seconds = |index: usize| calls[index].at.duration_since(calls[0].at).as_secs_f64();
    assert!((2.95..4.5).contains(&seconds(1)), "the next call came after {} s", seconds(1));
    assert!(seconds(20) <= 10.0, "the last one came after {} s", seconds(20));
    assert_eq!(outcome.summary()["throttled"], 1);
}

#[test]
fn our_own_pace_is_no_wait_that_the_api_imposes() {
    let sandbox = Sandbox::start(&["--phase", "0..1=fail=100%"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(2));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "20/m", "--max-wait", "2s"];
    let outcome = fixture.run(&run).exits(0);
    assert_eq!(outcome.summary()["stopped_by"], serde_json::Value::Null);
}

#[test]
fn while_a_breaker_is_open_vms_that_wait_for_their_retry_are_the_first_to_be_tried() {
    let sandbox = Sandbox::start(&["--first-fault", "reset-after"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(60));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
    let outcome = fixture.run(&run).exits(0);
    let calls = sandbox.calls();
    let took = calls[calls.len() - 1].at.duration_since(calls[0].at).as_secs_f64();
    assert_eq!((outcome.summary()["failed"].as_u64(), calls.len()), (Some(0), 120));
    assert!(took <= 60.0, "{took} s");
}
