//! When calls leave, as the ledger tells, and when they arrive, as the sandbox tells.
//!
//! The upper bounds on what leaves hold on any machine. The mean may fall short where the machine itself stood still, and
//! what is announced may come too late: such a measurement is made again.
#![expect(clippy::cast_precision_loss, reason = "the tests count thousands of calls")]

use jiff::Timestamp;

use crate::dialect::Dialect::{self, V1, V2};
use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::ledger::{remember, remembered_rate};
use crate::listing::sandbox_of;
use crate::sandbox::{Sandbox, asked_twice};

pub(crate) const TRIES: usize = 3;

/// Moments in seconds, in order.
pub(crate) struct Moments(Vec<f64>);

impl Moments {
    pub(crate) fn new(moments: impl Iterator<Item = Timestamp>) -> Self {
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

    pub(crate) fn per_second(&self) -> f64 {
        (self.0.len() - 1) as f64 / (self.0[self.0.len() - 1] - self.0[0])
    }

    /// The most in any time of so many seconds, wherever it begins.
    pub(crate) fn most_within(&self, seconds: f64) -> f64 {
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

/// The run that is made everywhere here, with these options more.
fn run(fixture: &Fixture, options: &[&str]) -> Outcome {
    fixture.run(&[&["run", "fleet.csv", "--action", "allocate"], options].concat()).exits(0)
}

/// A sandbox with these options, and a fleet of so many VMs to run against it.
fn fleet_at(options: &[&str], vms: usize) -> (Sandbox, Fixture) {
    let sandbox = Sandbox::start(options);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(vms));
    (sandbox, fixture)
}

/// A run of so many VMs at so many a second: what left, and what arrived.
fn measure(fixture: &mut Fixture, vms: usize, rate: u32) -> (Moments, Moments) {
    let sandbox = Sandbox::start(&[]);
    fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
    fixture.write_fleet(fleet::csv(vms));
    let outcome = run(fixture, &["--rate", &format!("{rate}/s"), "--concurrency", "64"]);
    assert_eq!(outcome.summary()["calls"], vms);
    let (sent, arrived) = (Moments::sent(&outcome), Moments::arrived(&sandbox));
    assert_eq!((sent.0.len(), arrived.0.len()), (vms, vms));
    (sent, arrived)
}

/// The mean is this share of the rate at the least, and hardly more than it; `check` has what else holds each time, of what
/// left and what arrived.
fn assert_paced(dialect: Dialect, vms: usize, rate: u32, least: f64, check: impl Fn(&Moments, &Moments)) {
    let mut fixture = Fixture::alone().speaking(dialect).env("HOSTUP_API_KEY", "a-key");
    let mut means = Vec::new();
    for _ in 0..TRIES {
        let (sent, arrived) = measure(&mut fixture, vms, rate);
        check(&sent, &arrived);
        let mean = sent.per_second() / f64::from(rate);
        assert!(mean <= 1.005, "{mean} of {rate}/s on average");
        if mean >= least {
            return;
        }
        means.push(mean);
    }
    panic!("{rate}/s was missed {TRIES} times: {means:?} of it on average");
}

#[test]
fn thousands_of_vms_at_200_a_second_and_more_leave_evenly() {
    for (dialect, vms, rate) in [(V1, 4_000, 1_000), (V2, 2_000, 1_000), (V1, 1_000, 200)] {
        let per_second = f64::from(rate);
        assert_paced(dialect, vms, rate, 0.99, |sent, arrived| {
            let (second, tenth) = (sent.most_within(1.0), sent.most_within(0.1));
            assert!(
                second <= 1.02 * per_second,
                "{second} calls left within a second at {rate}/s, {dialect:?}"
            );
            assert!(
                tenth <= 1.15 * per_second / 10.0,
                "{tenth} calls left within 100 ms at {rate}/s, {dialect:?}"
            );
            let (left, came) = (sent.per_second(), arrived.per_second());
            assert!((came / left - 1.0).abs() <= 0.01, "{left}/s left, {came}/s arrived");
        });
    }
}

#[test]
fn at_ten_a_second_no_second_has_more_than_two_calls_over_it() {
    assert_paced(V1, 40, 10, 0.98, |sent, arrived| {
        for moments in [sent, arrived] {
            let second = moments.most_within(1.0);
            assert!(second <= 12.0, "{second} calls within a second");
        }
    });
}

#[test]
fn the_pages_of_a_list_come_at_the_rate_that_is_typed() {
    let mut fixture = Fixture::alone().env("HOSTUP_API_KEY", "a-key");
    let mut means = Vec::new();
    for _ in 0..TRIES {
        let (sandbox, _world) = sandbox_of(10_000, &[]);
        fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
        fixture.run(&["inventory", "--api", "v2", "--rate", "50/s", "-o", "fleet.csv"]).exits(0);
        let arrived = Moments::arrived(&sandbox);
        let (second, mean) = (arrived.most_within(1.0), arrived.per_second() / 50.0);
        assert!(
            arrived.0.len() == 100 && second <= 52.0 && mean <= 1.005,
            "{second} a second, {mean} on average"
        );
        if mean >= 0.99 {
            return;
        }
        means.push(mean);
    }
    panic!("50/s was missed {TRIES} times: {means:?} of it on average");
}

#[test]
fn looks_count_against_the_rate_as_calls_do() {
    let sandbox = Sandbox::start(&["--fault", "call:500-after=20%"]);
    let mut fixture = Fixture::alone().speaking(V2).env("HOSTUP_API_KEY", "a-key");
    fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
    // Without racks: none of them looks sick.
    let vms = 200;
    fixture.write_fleet(
        fleet::vmids(100_000, vms).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n")),
    );
    let outcome = run(&fixture, &["--rate", "100/s", "--canary", "0"]);
    let calls = sandbox.calls();
    let looks = calls.iter().filter(|call| call.kind == "look").count();
    assert!((vms / 10..vms).contains(&looks), "{looks} looks");
    assert!(asked_twice(&calls).is_none() && calls.len() == vms + looks, "{} requests", calls.len());
    assert_eq!(outcome.summary()["calls"], calls.len());
    let arrived = Moments::arrived(&sandbox);
    let (second, mean) = (arrived.most_within(1.0), arrived.per_second());
    assert!(second <= 102.0 && mean <= 100.5, "{second} within a second, {mean}/s");
}

#[test]
fn at_the_apis_own_limit_no_call_is_answered_429() {
    let sandbox = Sandbox::start(&["--limit", "100/s", "--limit-burst", "100"]);
    let mut fixture = Fixture::alone().env("HOSTUP_API_KEY", "a-key");
    fixture.set("V6FLEET_BASE_URL", &sandbox.base_url());
    fixture.write("fleet.csv", fleet::csv(500));
    let outcome = run(&fixture, &["--rate", "100/s", "--concurrency", "64"]);
    assert!(sandbox.calls().iter().all(|call| call.status != 429));
    assert_eq!((&outcome.summary()["throttled"], sandbox.calls().len()), (&0.into(), 500));
}

#[test]
fn a_limit_that_the_api_announces_in_whatever_form_costs_hardly_a_call() {
    for form in ["x-iso", "x-epoch", "x-delta", "ietf"] {
        let limit = ["--limit", "200/s", "--rate-limit-headers", "always", "--rate-limit-form", form];
        let throttled = || {
            let (_sandbox, fixture) = fleet_at(&[&limit[..], &["--latency", "5ms"]].concat(), 500);
            run(&fixture, &["--rate", "none"]).summary()["throttled"].as_u64().unwrap()
        };
        // Calls overtake each other on their way, the more the busier the machine: then one too many is thought to be free.
        let counts: Vec<u64> = (0..TRIES).map(|_| throttled()).take_while(|&count| count > 5).collect();
        assert!(counts.len() < TRIES, "calls answered 429 with {form}: {counts:?}");
    }
}

#[test]
fn a_limit_that_an_earlier_run_found_is_tested_early_and_kept_where_it_still_holds() {
    let (_sandbox, fixture) = fleet_at(&["--limit", "50/s", "--latency", "40ms"], 300);
    remember(&fixture, 50.0);
    let outcome = run(&fixture, &["--rate", "500/s"]);
    let throttled = outcome.summary()["throttled"].as_u64().unwrap();
    assert!((1..=20).contains(&throttled), "{throttled} calls answered 429");
    assert_eq!(remembered_rate(&fixture), Some(50.0));
}

#[test]
fn a_remembered_rate_that_is_wrong_slows_no_run_down_and_is_forgotten() {
    for (rate, vms, per_second, seconds) in [("50/s", 100, 0.416, 2.0), ("10/s", 20, 0.416, 2.0)] {
        let (_sandbox, fixture) = fleet_at(&[], vms);
        remember(&fixture, per_second);
        let outcome = run(&fixture, &["--rate", rate]);
        let took = vms as f64 / Moments::sent(&outcome).per_second();
        assert!(took <= 4.0 * seconds, "{took} s for {vms} VMs at {rate}");
    }
}

#[test]
fn forget_rate_begins_as_if_nothing_had_been_found() {
    let (_sandbox, fixture) = fleet_at(&[], 10);
    remember(&fixture, 0.5);
    run(&fixture, &["--rate", "5/s"]);
    assert_eq!(remembered_rate(&fixture), Some(0.5), "ten calls do not show that it is wrong");
    run(&fixture, &["--rate", "5/s", "--forget-rate"]);
    assert_eq!(remembered_rate(&fixture), None);
}

#[test]
fn an_outage_is_remembered_as_no_rate() {
    let phases = ["--phase", "20..23=throttle=2s", "--phase", "40..43=throttle=2s", "--latency", "300ms"];
    let (_sandbox, fixture) = fleet_at(&phases, 60);
    run(&fixture, &["--rate", "10/s", "--concurrency", "4"]);
    assert_eq!(remembered_rate(&fixture), None);
}

#[test]
fn after_a_first_call_that_is_refused_the_next_leaves_at_the_end_of_the_pause() {
    let (sandbox, fixture) = fleet_at(&["--phase", "0..1=throttle=3s"], 20);
    let outcome = run(&fixture, &["--rate", "10/s", "--max-wait", "5s"]);
    let calls = sandbox.calls();
    let seconds = |index: usize| calls[index].at.duration_since(calls[0].at).as_secs_f64();
    assert!((2.95..4.5).contains(&seconds(1)), "the next call came after {} s", seconds(1));
    assert!(seconds(20) <= 10.0, "the last one came after {} s", seconds(20));
    assert_eq!(outcome.summary()["throttled"], 1);
}

#[test]
fn our_own_pace_is_no_wait_that_the_api_imposes() {
    let (_sandbox, fixture) = fleet_at(&["--phase", "0..1=fail=100%"], 2);
    let outcome = run(&fixture, &["--rate", "20/m", "--max-wait", "2s"]);
    assert_eq!(outcome.summary()["stopped_by"], serde_json::Value::Null);
}

#[test]
fn while_a_breaker_is_open_vms_that_wait_for_their_retry_are_the_first_to_be_tried() {
    let (sandbox, fixture) = fleet_at(&["--first-fault", "reset-after"], 60);
    let outcome = run(&fixture, &["--rate", "none"]);
    let calls = sandbox.calls();
    let took = calls[calls.len() - 1].at.duration_since(calls[0].at).as_secs_f64();
    assert_eq!((outcome.summary()["failed"].as_u64(), calls.len()), (Some(0), 120));
    assert!(took <= 60.0, "{took} s");
}
