//! A tenth of the calls goes wrong in every way that there is.

use crate::dialect::Dialect::{self, V1, V2};
use crate::fleet;
use crate::sandbox::Sandbox;
use crate::sandbox::Transport::{self, Http2, Plain};
use crate::trouble::{RUN, count, finish, fixture, sandbox};
use crate::truth::assert_true;

/// Side by side, since they mostly wait.
#[test]
fn every_vm_has_one_row_and_it_is_right_whatever_goes_wrong() {
    let vms = count(250, 2_000);
    std::thread::scope(|scope| {
        let ways = [(Plain, V1), (Http2, V2), (Plain, V2), (Http2, V1)].into_iter().cycle();
        for (seed, (transport, dialect)) in (1..).zip(ways).take(count(4, 12)) {
            scope.spawn(move || run(transport, dialect, seed, vms));
        }
    });
}

fn run(transport: Transport, dialect: Dialect, seed: u64, vms: usize) {
    println!("sandbox --seed {seed}, {transport:?}, {dialect:?}");
    let sandbox = sandbox(transport, seed, "1ms..5ms");
    let fixture = fixture(&sandbox, dialect, vms);
    let outcome = finish(fixture.start(&RUN));
    let expected: Vec<String> = fleet::vmids(100_000, vms).map(|id| id.to_string()).collect();
    assert_eq!(outcome.vmids(), expected);
    assert_true(&outcome, &sandbox, &[]);
    fixture.assert_file_is_sound();
    let (calls, faults) = calls_and_faults(&sandbox);
    assert!((calls / 20..calls / 5).contains(&faults), "{faults} of {calls} calls went wrong");
    let lost = outcome.rows().iter().filter(|row| row["basis"] == "lost_answer").count();
    println!(
        "sandbox --seed {seed}, {transport:?}, {dialect:?}: {} created, {lost} of them with a lost answer, {} failed; {calls} calls, {faults} went wrong, {} s",
        outcome.vms_that_are("created").len(),
        outcome.vms_that_are("failed").len(),
        outcome.summary()["duration_s"],
    );
}

fn calls_and_faults(sandbox: &Sandbox) -> (usize, usize) {
    let record = sandbox.calls();
    (record.len(), record.iter().filter(|call| call.fault.is_some()).count())
}
