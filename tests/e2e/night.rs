//! A night's cycle as a scheduler plays it: nothing in the environment, everything in a configuration file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::fixture::{Fixture, Outcome, binary};
use crate::fleet;
use crate::sandbox::Sandbox;

/// The program as cron starts it: in another directory, with a path and a home.
fn cron(fixture: &Fixture, args: &[&str]) -> Outcome {
    let mut command = Command::new(binary());
    command.args(args).current_dir("/").env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin").env("HOME", fixture.path("home"));
    fixture.spawn(command).end()
}

fn configure(fixture: &Fixture, sandbox: &Sandbox) {
    let path = |name: &str| fixture.path(name).display().to_string();
    fixture.write("key", "a-key\n");
    fs::set_permissions(fixture.path("key"), Permissions::from_mode(0o600)).unwrap();
    fixture.write(
        "home/.config/v6fleet/config.toml",
        format!(
            "base-url = {:?}\napi-key-file = {:?}\noutput-dir = {:?}\nrate = \"none\"\n",
            sandbox.base_url(),
            path("key"),
            path("reports")
        ),
    );
    fixture.write("fleet.csv", fleet::csv(120));
}

fn run_ids(fixture: &Fixture) -> Vec<String> {
    let runs = cron(fixture, &["runs", "--format", "json"]).exits(0).stdout;
    let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
    runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_nights_cycle_tells_by_words_and_exit_codes_what_happened() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::new();
    configure(&fixture, &sandbox);
    let fleet = fixture.path("fleet.csv").display().to_string();
    let nightly = ["run", &fleet, "--action", "allocate", "--resume", "-q"];

    let first = cron(&fixture, &nightly).exits(0);
    assert!(first.stdout.starts_with("Complete: 120 VMs, 73 created, 47 unchanged"), "{}", first.stdout);
    let second = cron(&fixture, &nightly).exits(0);
    assert!(second.stdout.starts_with("Complete: 120 VMs, 0 created, 120 unchanged"), "{}", second.stdout);
    second.assert_in_stdout("Newly failing since");
    assert_eq!(second.stderr, "", "a quiet night mails nothing but the recap");

    sandbox.set_next_hop("dc1r28", "2001:db8:2000::3");
    let refresh = ["run", &fleet, "--action", "refresh_next_hop", "--rack", "dc1r28", "-q"];
    let maintenance = cron(&fixture, &[&refresh[..], &["--detailed-exitcode"]].concat()).exits(10);
    let moved = maintenance.vms_that_are("updated");
    assert!(!moved.is_empty() && moved.len() == maintenance.rows().len());
    assert!(cron(&fixture, &nightly).exits(0).vms_that_are("unchanged").len() == 120);

    let ids = run_ids(&fixture);
    assert_eq!(ids.len(), 4);
    let diff = cron(&fixture, &["diff", &ids[2], &ids[0]]).exits(10).stdout;
    assert!(diff.contains(&format!("Changed: {} VMs", moved.len())), "{diff}");
    assert!(diff.contains("→ 2001:db8:2000::3"), "{diff}");
    cron(&fixture, &["diff", &ids[3], &ids[3]]).exits(0);

    let history = cron(&fixture, &["history", moved[0]]).exits(0).stdout;
    let told = history.lines().filter(|line| line.contains(", run ")).count();
    assert!(told == 4 && history.contains("updated: refresh_next_hop"), "{history}");

    let audit = cron(&fixture, &["audit", &fleet, "--min-severity", "warning"]).exits(0).stdout;
    assert!(audit.contains("nothing was called"), "{audit}");
    fixture.write("fleet.csv", fleet::csv(120) + "42,new,dc1r28\n");
    let audit = cron(&fixture, &["audit", &fleet, "--min-severity", "warning"]).exits(11).stdout;
    assert!(audit.contains("never_seen: 1 VM\n  42 on dc1r28"), "{audit}");
}
