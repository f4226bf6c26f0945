//! What Kubernetes is asked for.

use std::process::Command;

use support::skip::has;
use v6fleet::stop::Stop;

use crate::example::{Example, after, finds_nothing_to_say, read};

const MANIFESTS: [&str; 2] = ["kubernetes.yaml", "kubernetes-reports.yaml"];

/// The items of a YAML list, each on its line, under the line that ends with a key.
fn list<'a>(file: &'a str, key: &str) -> Vec<&'a str> {
    let lines = file.lines().skip_while(|line| !line.ends_with(&format!(" {key}:"))).skip(1);
    let item = |line: &'a str| line.trim().strip_prefix("- ").map(|item| item.split(" #").next().unwrap());
    lines.map_while(item).collect()
}

#[test]
fn a_pod_runs_every_night_with_brakes_and_goes_on_where_the_last_one_was_stopped() {
    let kubernetes = read("kubernetes.yaml");
    let mut arguments = list(&kubernetes, "args").join(" ");
    // Of the pod's own files there is none here.
    arguments = arguments.replace("/run/secrets/v6fleet/api-key", "/dev/null");
    let variables = ["V6FLEET_PING_URL=https://ping.example/uuid"];
    assert!(kubernetes.contains("name: V6FLEET_PING_URL\n"));
    Example::new(&arguments, variables.into_iter()).is_fit_for_every_night();
}

#[test]
fn a_pod_is_followed_by_another_where_that_can_go_on_and_only_there() {
    let kubernetes = read("kubernetes.yaml");
    let final_codes: Vec<u8> = after(&kubernetes, "values:")
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|code| code.parse().unwrap())
        .collect();
    for stop in Stop::ALL {
        let goes_on = match stop {
            Stop::MaxWait | Stop::Deadline | Stop::Interrupted | Stop::Terminated => true,
            Stop::MaxDrift
            | Stop::MaxChanged
            | Stop::MaxFailed
            | Stop::Canary
            | Stop::AllFailed
            | Stop::CertificateRefused
            | Stop::KeyRefused => false,
        };
        assert_eq!(final_codes.contains(&stop.exit_code()), !goes_on, "{stop}");
    }
    assert!(final_codes.contains(&3) && final_codes.is_sorted());
}

#[test]
fn a_stop_has_more_time_than_the_calls_in_flight_may_take() {
    let kubernetes = read("kubernetes.yaml");
    assert!(after(&kubernetes, "terminationGracePeriodSeconds:").parse::<u64>().unwrap() > 30);
}

#[test]
fn every_field_is_one_that_the_oldest_kubernetes_it_names_has() {
    if !has("kubernetes-validate") {
        return;
    }
    let kubernetes = read("kubernetes.yaml");
    let (_, version) = kubernetes.split_once("Kubernetes (").unwrap();
    let (version, _) = version.split_once(" or later)").unwrap();
    let mut validate = Command::new("kubernetes-validate");
    validate
        .args(["--strict", "--quiet", "--kubernetes-version", version])
        .args(MANIFESTS)
        .current_dir("deploy");
    finds_nothing_to_say(&mut validate);
}
