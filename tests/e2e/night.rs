//! A night's cycle as a scheduler plays it: nothing in the environment, everything in a configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::{Fixture, Outcome, Process, binary, eventually};
use crate::fleet;
use crate::sandbox::Sandbox;

/// The program as cron starts it: in another directory, with a path and a home.
fn started(fixture: &Fixture, args: &[&str]) -> Process {
    let mut command = Command::new(binary());
    command.args(args).current_dir("/").env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin").env("HOME", fixture.path("home"));
    fixture.spawn(command)
}

fn cron(fixture: &Fixture, args: &[&str]) -> Outcome {
    started(fixture, args).end()
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
    assert!(diff.contains("-> 2001:db8:2000::3"), "cron has no locale of UTF-8: {diff}");
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

fn status(fixture: &Fixture) -> Value {
    let told = cron(fixture, &["status", "--format", "json"]);
    // At first there is no run that it could tell of.
    serde_json::from_str(&told.stdout).unwrap_or_default()
}

/// The ids of the runs whose reports are there.
fn reported(fixture: &Fixture) -> BTreeSet<String> {
    let dirs = fs::read_dir(fixture.path("reports")).unwrap();
    dirs.map(|dir| dir.unwrap().file_name().into_string().unwrap()).collect()
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn nights_are_checked_watched_stopped_and_gone_on_with_and_the_oldest_goes_with_its_reports_unless_it_is_pinned()
 {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::new();
    configure(&fixture, &sandbox);
    // The last one is none of the API's.
    fixture.write("fleet.csv", fleet::csv(120) + "100099,gone,dc1r28\n");
    let fleet = fixture.path("fleet.csv").display().to_string();
    let job = [&fleet, "--action", "allocate", "--resume", "--fail-on", "new", "--keep-runs", "2", "-q"];
    let nightly = [&["run"], &job[..]].concat();

    let checked = cron(&fixture, &[&["check"], &job[..]].concat()).exits(0);
    checked.assert_in_stdout("nothing keeps a run from its work. Nothing was called for any VM.");
    assert!(sandbox.calls().is_empty());

    let night = started(&fixture, &[&nightly[..], &["--rate", "100/s"]].concat());
    let mut told = Value::Null;
    eventually("somebody sees it under way", || {
        told = status(&fixture);
        told["settled"].as_u64() > Some(0)
    });
    assert_eq!((&told["run"]["running"], &told["run"]["selected"]), (&true.into(), &121.into()), "{told}");
    night.signal("TERM");
    let stopped = night.end().exits(143);
    let first = name(stopped.dir.as_ref().unwrap());
    let told = status(&fixture);
    assert_eq!(
        (&told["run"]["id"], &told["run"]["stopped_by"], &told["run"]["running"]),
        (&first.clone().into(), &"terminated".into(), &false.into())
    );
    assert_eq!(told["settled"], sandbox.calls().len(), "what was called is settled, once");

    let resumed = cron(&fixture, &nightly).exits(3);
    assert_eq!(
        (name(resumed.dir.as_ref().unwrap()), resumed.vms_that_are("failed")),
        (first.clone(), vec!["100099"])
    );
    assert_eq!(status(&fixture)["run"]["exit_code"], 3);

    let [second, third] = [(); 2].map(|()| name(cron(&fixture, &nightly).exits(0).dir.as_ref().unwrap()));
    assert_eq!(reported(&fixture), [second.clone(), third.clone()].into(), "{first} went with its run");
    cron(&fixture, &["runs", "--pin", &second]).exits(0);
    let [fourth, fifth] = [(); 2].map(|()| name(cron(&fixture, &nightly).exits(0).dir.as_ref().unwrap()));
    assert_eq!(reported(&fixture), [second, fourth, fifth].into(), "{third} went with its run");

    let mut calls = BTreeMap::<String, usize>::new();
    sandbox.called_vmids().into_iter().for_each(|vmid| *calls.entry(vmid).or_default() += 1);
    assert!(calls.len() == 121 && calls.values().all(|calls| *calls == 5), "one a night: {calls:?}");
}
