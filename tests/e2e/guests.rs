//! Workers that have joined a run with something amiss of their own: they harm nobody but themselves.

use std::process::Command;

use crate::fixture::{Fixture, Outcome, Process, eventually};
use crate::fleet;
use crate::postgres::Server;
use crate::sandbox::Sandbox;
use crate::skip::skipped_but_on_ci;

const VMS: usize = 60;

/// A run that somebody joins while whoever has begun it does nothing, until the guest `has_found_out`; what it came to, and the
/// guest.
fn joined(
    sandbox: &Sandbox,
    join: impl Fn(&mut Fixture) -> Command,
    has_found_out: impl Fn(&mut Process) -> bool,
) -> Option<[Outcome; 2]> {
    let mut fixture = Fixture::at(sandbox).in_database(Server::start()?);
    fixture.write("fleet.csv", fleet::csv(VMS));
    let run = fixture.start(&["run", "fleet.csv", "--action", "allocate", "--rate", "50/s"]);
    sandbox.await_calls(10);
    run.signal("STOP");
    let guest = join(&mut fixture);
    let mut guest = fixture.spawn(guest);
    eventually("the guest finds out", || has_found_out(&mut guest));
    run.signal("CONT");
    Some([run.end(), guest.end()])
}

fn work(fixture: &Fixture) -> Command {
    fixture.command(&["work", "--concurrency", "4", "--output-dir", "none"])
}

#[test]
fn a_worker_whose_own_key_is_refused_leaves_the_run_to_those_whose_keys_are_not() {
    let sandbox = Sandbox::start(&[]);
    let join = |fixture: &mut Fixture| {
        fixture.set("HOSTUP_API_KEY", "wrong-key");
        work(fixture)
    };
    let Some([run, guest]) = joined(&sandbox, join, |guest| !guest.is_running()) else { return };
    guest.exits(8).assert_in_stderr("leaving the run to others");
    assert_eq!(run.exits(0).vms_that_are("failed").len(), 0);
    let refused = sandbox.calls().iter().filter(|call| call.status == 401).count();
    assert!((1..=4 + 5).contains(&refused), "{refused} calls");
}

#[test]
fn a_worker_that_cannot_reach_the_api_keeps_nobody_from_it() {
    let has_no_network = |fixture: &Fixture| {
        let mut unshare = fixture.beside("unshare");
        unshare.arg("--net");
        unshare
    };
    let is_possible =
        has_no_network(&Fixture::new()).arg("true").output().is_ok_and(|ran| ran.status.success());
    if !is_possible {
        skipped_but_on_ci("only root can keep a program from the network");
        return;
    }
    let sandbox = Sandbox::start(&[]);
    let join = |fixture: &mut Fixture| {
        let (mut unshare, work) = (has_no_network(fixture), work(fixture));
        unshare.arg(work.get_program()).args(work.get_args());
        unshare
    };
    let found_out = |guest: &mut Process| guest.stderr().contains("the API cannot be reached from here");
    let Some([run, guest]) = joined(&sandbox, join, found_out) else { return };
    guest.exits(0);
    assert_eq!(run.exits(0).vms_that_are("failed").len(), 0);
}
