//! The units: what they call, how they stop, what they do where a run failed.

use std::fs;
use std::process::Command;

use support::fixture::binary;
use support::skip::has;
use v6fleet::stop::Stop;

use crate::example::{Example, after, finds_nothing_to_say, lines, read};

pub(crate) const UNITS: [&str; 3] = ["v6fleet.service", "v6fleet.timer", "v6fleet-failed.service"];

#[test]
fn the_unit_runs_every_night_with_brakes_and_goes_on_where_it_was_stopped() {
    let service = read("v6fleet.service").replace("%S", "/var/lib").replace("%%", "%");
    let environment = lines(&service).filter_map(|line| line.strip_prefix("Environment="));
    Example::new(after(&service, "ExecStart=v6fleet"), environment).is_fit_for_every_night();
}

#[test]
fn the_unit_tries_again_where_the_api_could_not_be_reached_and_nowhere_else() {
    let service = read("v6fleet.service");
    let again: u8 = after(&service, "RestartForceExitStatus=").parse().unwrap();
    assert_eq!(again, Stop::MaxWait.exit_code());
    for stop in Stop::ALL.iter().filter(|stop| !matches!(stop, Stop::MaxWait | Stop::Deadline)) {
        assert_ne!(stop.exit_code(), again, "{stop}");
    }
}

#[test]
fn a_stop_has_more_time_than_the_calls_in_flight_may_take() {
    let seconds = read("v6fleet.service");
    assert!(after(&seconds, "TimeoutStopSec=").parse::<u64>().unwrap() > 30);
}

#[test]
fn a_run_that_failed_is_told_by_a_unit_that_is_there() {
    assert!(UNITS.contains(&after(&read("v6fleet.service"), "OnFailure=")));
}

#[test]
fn systemd_finds_nothing_to_say_of_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = format!("ExecStart={}", binary().display());
    let units = UNITS.map(|name| {
        let path = dir.path().join(name);
        fs::write(&path, read(name).replace("ExecStart=v6fleet", &program)).unwrap();
        path
    });
    finds_nothing_to_say(Command::new("systemd-analyze").arg("verify").args(units));
}
