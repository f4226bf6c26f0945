//! kill -9 at any moment, again and again.

use std::time::Duration;

use crate::dialect::{Dialect, in_each};
use crate::sandbox::Transport;
use crate::trouble::{RUN, count, finish, fixture, pass_time, sandbox, seed};
use crate::truth::{Settled, assert_true};

/// A sitting is over before it has come far.
const SITTING: Duration = Duration::from_millis(150);

#[test]
fn a_run_that_is_killed_again_and_again_and_resumed_comes_to_the_truth() {
    in_each(|dialect| kill_again_and_again(Transport::Plain, dialect, count(5, 50)));
}

#[test]
fn over_http_2_too_a_run_that_is_killed_and_resumed_comes_to_the_truth() {
    in_each(|dialect| kill_again_and_again(Transport::Http2, dialect, count(3, 50)));
}

fn kill_again_and_again(transport: Transport, dialect: Dialect, kills: usize) {
    let seed = seed();
    let mut chance = fastrand::Rng::with_seed(seed);
    let sandbox = sandbox(transport, seed, "20ms..60ms");
    let fixture = fixture(&sandbox, dialect, count(300, 2_000));
    let mut settled = Settled::default();
    let mut deaths = vec![0];
    for kill in 0..kills {
        let process = fixture.start(if kill == 0 { &RUN } else { &["resume"] });
        // Some die before their first call, but not before there is a run.
        if kill == 0 || chance.f64() < 0.8 {
            sandbox.await_calls(deaths[kill] + 1);
        }
        pass_time(&mut chance, SITTING);
        process.kill();
        let record = sandbox.calls();
        fixture.assert_file_is_sound();
        let now = Settled::of(&fixture);
        settled.assert_kept(&record[deaths[kill]..], &now);
        settled = now;
        deaths.push(record.len());
    }
    let outcome = finish(fixture.start(&["resume"]));
    assert_true(&outcome, &sandbox, &deaths);
    fixture.assert_file_is_sound();
    settled.assert_kept(&sandbox.calls()[deaths[deaths.len() - 1]..], &Settled::of(&fixture));
    println!("{} calls, {} of them before the last kill", sandbox.calls().len(), deaths[deaths.len() - 1]);
}
