//! The line of the crontab, as cron hands it to a shell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use support::fixture::{Fixture, binary};

use crate::example::{Example, lines, read};

/// Of every line that sets a variable, and of the one that calls.
fn parts(crontab: &str) -> (Vec<&str>, String) {
    let (calls, variables): (Vec<_>, Vec<_>) =
        lines(crontab).filter(|line| !line.is_empty()).partition(|line| line.starts_with("15 2 * * *"));
    let (_, command) = calls[0].split_once(" v6fleet  ").unwrap();
    assert_eq!(calls.len(), 1);
    assert!(!command.replace("\\%", "").contains('%'), "cron ends the command at a bare %");
    (variables, command.replace("\\%", "%"))
}

#[test]
fn cron_runs_every_night_with_brakes_and_goes_on_where_it_was_stopped() {
    let crontab = read("crontab");
    let (variables, command) = parts(&crontab);
    let (_, call) = command.split_once("$(v6fleet ").unwrap();
    let (arguments, _) = call.split_once(" 2>&1)").unwrap();
    Example::new(arguments, variables.into_iter()).is_fit_for_every_night();
}

/// What cron would mail of a night with this inventory.
fn night(fixture: &Fixture, inventory: &str) -> Output {
    let crontab = read("crontab");
    let (variables, command) = parts(&crontab);
    let bin = binary();
    let mut shell = fixture.beside("/bin/sh");
    shell.args(["-c", &command.replace("/etc/v6fleet/fleet.csv", inventory)]);
    let variables = variables.into_iter().filter_map(|line| line.split_once('='));
    let home = fixture.path("state").display().to_string();
    shell.envs(variables.map(|(name, value)| (name, value.replace("/var/lib/v6fleet", &home))));
    shell.env("PATH", format!("{}:/usr/bin:/bin", bin.parent().unwrap().display()));
    shell.env("V6FLEET_SANDBOX", "true").env("V6FLEET_MAX_CHANGED", "100%").output().unwrap()
}

#[test]
fn cron_has_something_to_mail_where_there_is_trouble_and_only_there() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    let (well, ill) = (night(&fixture, "fleet.csv"), night(&fixture, "gone.csv"));
    let mail = |output: Output| String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(mail(well), "");
    let ill = mail(ill);
    assert!(ill.starts_with("Exit code 2\nerror: ") && ill.contains("gone.csv"), "{ill}");
    let report = fs::metadata(fixture.path("state/v6fleet.prom")).unwrap();
    assert_eq!(report.permissions().mode() & 0o777, 0o640, "reports are for the group");
}
