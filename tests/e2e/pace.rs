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
fn a_limit_that_an_earlier_run_found_is_kept_from_the_first_call_on() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(300));
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
    fixture.run(&[&run[..], &["--limit", "1"]].concat()).exits(0);
    let learn = "INSERT INTO rates SELECT base, key_fingerprint, 150, 0 FROM runs";
    rusqlite::Connection::open(fixture.path("state/v6fleet/ledger.db")).unwrap().execute(learn, []).unwrap();
    let outcome = fixture.run(&run).exits(0);
    let per_second = Moments::sent(&outcome).per_second();
    assert!(per_second <= 151.0, "{per_second} a second left, where 150 were remembered");
    assert_eq!(fixture.count("SELECT count(*) FROM rates WHERE per_second = 150"), 1);
}
