//! An API that is sick as a whole sees few calls meanwhile, and the run goes on by itself once it is well.

use std::time::Duration;

use jiff::SignedDuration;

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::trouble::is_full;
use crate::truth::assert_true;

/// A phase of the API in mid-run.
struct Trouble {
    what: &'static str,
    begins: Duration,
    lasts: Duration,
    vms: usize,
}

impl Trouble {
    /// So long in full, and else shortened.
    fn new(what: &'static str, seconds: u64) -> Self {
        match is_full() {
            true => Self {
                what,
                begins: Duration::from_secs(10),
                lasts: Duration::from_secs(seconds),
                vms: 2_500,
            },
            false => Self { what, begins: Duration::from_secs(1), lasts: Duration::from_secs(3), vms: 250 },
        }
    }

    /// A run of 100 calls a second through it. Returns how it ended and how many calls arrived meanwhile.
    fn befalls(&self, dialect: Dialect, csv: &str) -> (Outcome, usize) {
        let (from, until) = (self.begins.as_secs(), (self.begins + self.lasts).as_secs());
        let phase = format!("{from}s..{until}s={}", self.what);
        let sandbox = Sandbox::start(&["--latency", "20ms", "--phase", &phase]);
        let fixture = Fixture::at(&sandbox).speaking(dialect);
        fixture.write_fleet(csv);
        let outcome = fixture.run(&["run", "fleet.csv", "--action", "allocate", "--rate", "100/s"]);
        assert_true(&outcome, &sandbox, &[]);
        let calls = sandbox.calls();
        let since = |seconds: u64| calls[0].at + SignedDuration::from_secs(seconds.cast_signed());
        let meanwhile = calls.iter().filter(|call| (since(from)..since(until)).contains(&call.at)).count();
        println!("{}, {dialect:?}: {meanwhile} of {} calls meanwhile", self.what, calls.len());
        (outcome, meanwhile)
    }
}

#[test]
fn an_api_that_is_down_for_half_a_minute_sees_at_most_sixty_calls_meanwhile() {
    in_each(|dialect| {
        let trouble = Trouble::new("down-503", 30);
        let (outcome, calls) = trouble.befalls(dialect, &fleet::csv(trouble.vms));
        assert!((1..=60).contains(&calls), "{calls} calls");
        assert_eq!(outcome.exits(0).vms_that_are("failed").len(), 0);
    });
}

#[test]
fn while_half_of_the_calls_fail_the_api_sees_at_most_a_fifth_of_the_rate() {
    in_each(fail_half_of_the_calls);
}

fn fail_half_of_the_calls(dialect: Dialect) {
    let trouble = Trouble::new("fail=50%", 60);
    let rackless =
        fleet::vmids(100_000, trouble.vms).fold("vmid\n".to_owned(), |csv, id| csv + &format!("{id}\n"));
    // On four racks, each of which takes its calls to be found sick, three seconds are too short.
    let csv = if is_full() { fleet::csv(trouble.vms) } else { rackless };
    let (outcome, calls) = trouble.befalls(dialect, &csv);
    let most = trouble.lasts.as_secs() * 100 / 5;
    assert!((1..=most).contains(&(calls as u64)), "{calls} calls, where {most} are enough");
    let failed = outcome.vms_that_are("failed");
    assert!(failed.iter().all(|vmid| outcome.row(vmid)["attempts"] == 5), "{failed:?}");
    assert!(outcome.code == Some(if failed.is_empty() { 0 } else { 3 }));
}

#[test]
fn a_run_outlives_half_a_minute_of_refused_connections() {
    in_each(|dialect| {
        let trouble = Trouble::new("refuse", 30);
        let (outcome, _) = trouble.befalls(dialect, &fleet::csv(trouble.vms));
        outcome.assert_in_stderr("leaving the API alone");
        assert_eq!(outcome.exits(0).vms_that_are("failed").len(), 0);
    });
}
