//! What monitors are told: pings of a job's beginning and end, and gauges in a file.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::fixture::{Fixture, Outcome};
use crate::script::{Api, Received, Step, answer, error, html, success};

const KEY: &str = "SECRET-MARKER-7f3a";

const RUN: [&str; 7] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--canary=0"];

/// An API of which every VM is there already, but one that nobody knows.
fn api() -> Api {
    Api::start(|vmid, _| match vmid {
        "10099" => error(404, "vps_not_found").into(),
        _ => success(200, false, 100).into(),
    })
}

fn monitor(answer: impl Fn(usize) -> Step + Send + Sync + 'static) -> Api {
    Api::start(move |_, nth| answer(nth))
}

fn ok(_: usize) -> Step {
    answer(200, "text/plain", "OK").into()
}

fn fixture(api: &Api, monitor: &Api) -> Fixture {
    let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", KEY);
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    fixture.write("bad.csv", "vmid\nten\n");
    fixture.write("unknown.csv", "vmid\n10000\n10099\n");
    fixture.env("V6FLEET_PING_URL", &format!("{}/hc/", monitor.base_url()))
}

fn told(monitor: &Api) -> Vec<(String, String)> {
    let told = |request: Received| {
        let line = request.request_line.trim_end_matches(" HTTP/1.1").to_owned();
        (line, String::from_utf8(request.body).unwrap())
    };
    monitor.received().into_iter().map(told).collect()
}

fn addresses(monitor: &Api) -> Vec<String> {
    told(monitor).into_iter().map(|(address, _)| address).collect()
}

#[test]
fn a_monitor_is_told_of_the_beginning_and_the_success_with_the_recap_and_never_the_key() {
    let (api, monitor) = (api(), monitor(ok));
    let fixture = fixture(&api, &monitor);
    let Outcome { stdout, stderr, .. } = fixture.run(&RUN).exits(0);
    let expected = [("POST /hc/start".to_owned(), String::new()), ("POST /hc".to_owned(), stdout)];
    assert_eq!(told(&monitor), expected);
    assert!(
        monitor
            .received()
            .iter()
            .flat_map(|request| &request.headers)
            .all(|(name, value)| { name != "x-api-key" && !value.contains(KEY) })
    );
    // The address is itself a secret.
    assert!(!stderr.contains("/hc"), "{stderr}");
    let address = format!("{}/hc", monitor.base_url());
    let tells = |path: &PathBuf| {
        fs::read(path).unwrap().windows(address.len()).any(|bytes| bytes == address.as_bytes())
    };
    assert_eq!(fixture.files().into_iter().find(tells), None);
}

#[test]
fn a_monitor_is_told_of_every_failure_by_its_exit_code() {
    let (api, monitor) = (api(), monitor(ok));
    let fixture = fixture(&api, &monitor);
    let failed = fixture.run(&["run", "unknown.csv", "--action", "allocate", "--format", "json"]).exits(3);
    let refused = fixture.run(&["run", "bad.csv", "--action", "allocate"]).exits(2);
    let nothing = fixture.run(&["resume"]).exits(7);
    assert_eq!(
        addresses(&monitor),
        ["POST /hc/start", "POST /hc/3", "POST /hc/start", "POST /hc/2", "POST /hc/start", "POST /hc/7"]
    );
    let bodies: Vec<String> = told(&monitor).into_iter().map(|(_, body)| body).collect();
    assert!(
        bodies[1].starts_with("Complete: 2 VMs, 0 created, 1 unchanged, 0 updated, 1 failed\n"),
        "{bodies:?}"
    );
    assert!(failed.stdout.starts_with('{'), "{}", failed.stdout);
    assert!(bodies[3].contains("bad.csv:2: vmid:") && refused.stderr.ends_with(&bodies[3]), "{bodies:?}");
    assert!(nothing.stderr.ends_with(&bodies[5]), "{bodies:?}");
}

#[test]
fn a_monitor_is_told_also_where_the_settings_of_a_run_are_refused() {
    let (api, monitor) = (api(), monitor(ok));
    let fixture = fixture(&api, &monitor);
    for (word, args) in [
        ("no known kind of report", &["-o", "report.xlsx"][..]),
        ("name", &["--column", "name=a", "--column", "name=b"]),
    ] {
        let refused = fixture.run(&[&RUN[..], args].concat()).exits(2);
        let (address, body) = told(&monitor).pop().unwrap();
        assert_eq!(address, "POST /hc/2");
        assert!(body.contains(word) && refused.stderr.ends_with(&body), "{body}");
    }
}

#[test]
fn a_monitor_that_fails_is_tried_once_more_and_changes_nothing_about_the_run() {
    let api = api();
    let elsewhere = monitor(ok);
    let redirect = elsewhere.base_url();
    for broken in [
        monitor(|_| html(500).into()),
        monitor(|_| Step::Cut(vec![])),
        monitor(move |_| answer(302, "text/plain", "").header("location", &redirect).into()),
    ] {
        let outcome = fixture(&api, &broken).run(&RUN).exits(0);
        assert_eq!(addresses(&broken), ["POST /hc/start", "POST /hc/start", "POST /hc", "POST /hc"]);
        assert_eq!(outcome.stderr.matches("the monitor could not be told").count(), 2, "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("/hc"), "{}", outcome.stderr);
    }
    assert_eq!(addresses(&elsewhere), Vec::<String>::new());

    let flaky = monitor(|nth| if nth == 0 { html(503).into() } else { ok(nth) });
    let outcome = fixture(&api, &flaky).run(&[&RUN[..], &["-q"]].concat()).exits(0);
    assert_eq!(addresses(&flaky), ["POST /hc/start", "POST /hc/start", "POST /hc"]);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_monitor_that_hangs_does_not_keep_the_run_waiting() {
    let (api, monitor) = (api(), monitor(|_| Step::Stall(vec![])));
    let webhook = self::monitor(|_| Step::Stall(b"HTTP/1.1 200".to_vec()));
    let fixture = fixture(&api, &monitor).env("V6FLEET_NOTIFY_URL", &webhook.base_url());
    fixture.run(&[&RUN[..], &["--notify-on", "always"]].concat()).exits(0);
    assert!((1..=2).contains(&webhook.received().len()));
    let waited = api.received()[0].at.saturating_duration_since(monitor.received()[0].at);
    assert!(waited < Duration::from_secs(3), "the first call left {waited:?} after the monitor was told");
    assert!(monitor.received().len() <= 4);
}

#[test]
fn a_monitor_that_nobody_may_overhear_is_refused_otherwise() {
    let (api, monitor) = (api(), monitor(ok));
    let fixture = fixture(&api, &monitor);
    for url in ["http://hc.example/uuid", "ftp://127.0.0.1/uuid", "hc.example"] {
        let outcome = fixture.run(&[&RUN[..], &["--ping-url", url]].concat()).exits(2);
        outcome.assert_in_stderr("--ping-url");
    }
    assert_eq!(api.received().len() + monitor.received().len(), 0);
}

#[test]
fn a_rehearsal_and_a_dry_run_are_no_news_for_a_monitor() {
    let (api, monitor) = (api(), monitor(ok));
    let fixture = fixture(&api, &monitor);
    let fixture = fixture.env("V6FLEET_NOTIFY_URL", &monitor.base_url()).env("V6FLEET_NOTIFY_ON", "always");
    fixture.run(&[&RUN[..], &["--sandbox"]].concat()).exits(0);
    fixture.run(&[&RUN[..], &["--dry-run"]].concat()).exits(0);
    assert_eq!(api.received().len() + monitor.received().len(), 0);
}

#[test]
fn the_gauges_of_a_run_that_failed_still_say_when_the_job_last_succeeded() {
    let api = Api::start(|_, nth| match nth {
        0 | 2 => success(200, false, 100).into(),
        _ => error(404, "vps_not_found").into(),
    });
    let fixture = fixture(&api, &monitor(ok));
    let gauges = |exit_code| {
        fixture.run(&[&RUN[..], &["-o", "v6fleet.prom"]].concat()).exits(exit_code);
        let gauges = fixture.read("v6fleet.prom");
        let value = |name: &str| {
            let line = gauges.lines().find(|line| line.starts_with(&format!("v6fleet_{name}{{"))).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        ["last_run_timestamp_seconds", "last_success_timestamp_seconds"].map(value)
    };
    let [[first_run, first_success], [second_run, second_success], [third_run, third_success]] =
        [gauges(0), gauges(3), gauges(0)];
    assert!(first_run < second_run && second_run < third_run, "seconds with the same number of digits");
    assert_eq!([&first_success, &second_success, &third_success], [&first_run, &first_run, &third_run]);
}
