//! SIGTERM and SIGINT at any moment, again and again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Process, eventually};
use crate::fleet::RACKS;
use crate::sandbox::{Sandbox, Transport};
use crate::trouble::{RUN, count, finish, fixture, pass_time, sandbox, seed};
use crate::truth::assert_true;

/// How long a run goes on before it is told to stop, at most.
const SITTING: Duration = Duration::from_millis(150);

/// Starts or resumes the run, and lets it go on for some time.
fn sit(fixture: &Fixture, sandbox: &Sandbox, args: &[&str], chance: &mut fastrand::Rng) -> Process {
    let before = sandbox.calls().len();
    let process = fixture.start(args);
    sandbox.await_calls(before + 1);
    pass_time(chance, SITTING);
    process
}

/// Every allocation that was made is settled, or known to be possible.
fn assert_accounted_for(fixture: &Fixture, sandbox: &Sandbox) {
    let report = fixture.report_of("latest");
    let possible = report.rows().iter().filter(|row| row["may_have_applied"] == true);
    let known: BTreeSet<&str> =
        report.settled().chain(possible).filter_map(|row| row["vmid"].as_str()).collect();
    let forgotten = sandbox.calls().into_iter().find(|call| call.created && !known.contains(&*call.vmid));
    assert!(forgotten.is_none(), "{forgotten:?}");
    assert_eq!(report.in_flight(), [""; 0]);
}

#[test]
fn a_run_that_is_terminated_again_and_again_forgets_nothing_in_flight() {
    in_each(terminate_again_and_again);
}

fn terminate_again_and_again(dialect: Dialect) {
    let seed = seed();
    let mut chance = fastrand::Rng::with_seed(seed);
    let vms = count(300, 2_000);
    let sandbox = sandbox(Transport::Plain, seed, "20ms..60ms");
    let fixture = fixture(&sandbox, dialect, vms);
    for stop in 0..count(3, 20) {
        let args: &[&str] = if stop == 0 { &RUN } else { &["resume"] };
        let process = sit(&fixture, &sandbox, args, &mut chance);
        process.signal("TERM");
        let outcome = process.end().exits(143);
        assert_eq!(outcome.rows().len(), vms);
        assert_true(&outcome, &sandbox, &[]);
        assert_accounted_for(&fixture, &sandbox);
        fixture.assert_file_is_sound();
    }
    let outcome = finish(fixture.start(&["resume"]));
    assert_true(&outcome, &sandbox, &[]);
    println!("{} calls", sandbox.calls().len());
}

#[test]
fn a_second_interrupt_ends_it_within_a_second_and_the_run_still_comes_to_the_truth() {
    in_each(interrupt_twice);
}

fn interrupt_twice(dialect: Dialect) {
    let seed = seed();
    let mut chance = fastrand::Rng::with_seed(seed);
    let sandbox = sandbox(Transport::Plain, seed, "20ms..60ms");
    let fixture = fixture(&sandbox, dialect, count(200, 1_000));
    let mut deaths = vec![];
    for stop in 0..count(2, 10) {
        let args: &[&str] = if stop == 0 { &RUN } else { &["resume"] };
        let process = sit(&fixture, &sandbox, &[args, &["--timeout", "20s"]].concat(), &mut chance);
        fall_silent(&sandbox);
        process.signal("INT");
        eventually("the first signal is understood", || process.stderr().contains("no new calls"));
        pass_time(&mut chance, SITTING);
        let told = Instant::now();
        process.signal("INT");
        let outcome = process.end().exits(130);
        let took = told.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(outcome.dir.is_none(), "a report would have to wait");
        fixture.assert_file_is_sound();
        deaths.push(sandbox.calls().len());
        answer_with(&sandbox, None);
    }
    let outcome = finish(fixture.start(&["resume"]));
    assert_true(&outcome, &sandbox, &deaths);
    fixture.assert_file_is_sound();
    println!("{} calls", sandbox.calls().len());
}

/// From now on calls act and are not answered; waits until there is one.
fn fall_silent(sandbox: &Sandbox) {
    let before = sandbox.calls().len();
    answer_with(sandbox, Some("hang-after"));
    let hangs = || sandbox.calls()[before..].iter().any(|call| call.fault.as_deref() == Some("hang-after"));
    eventually("a call is in flight", hangs);
}

fn answer_with(sandbox: &Sandbox, fault: Option<&str>) {
    for rack in RACKS {
        sandbox.set_fault(rack, fault);
    }
}
