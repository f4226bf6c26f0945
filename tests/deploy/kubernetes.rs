//! What Kubernetes is asked for.

use std::process::Command;

use support::skip::has;
use v6fleet::stop::Stop;

use crate::example::{Example, after, finds_nothing_to_say, lists, read};

const MANIFESTS: [&str; 3] = ["kubernetes.yaml", "kubernetes-fleet.yaml", "kubernetes-reports.yaml"];
/// Those that start runs.
const NIGHTS: [&str; 2] = ["kubernetes.yaml", "kubernetes-fleet.yaml"];

/// What each pod of a manifest calls the program with.
fn pods(manifest: &str) -> Vec<Example> {
    let manifest = read(manifest);
    assert!(manifest.contains("name: V6FLEET_PING_URL\n"));
    // Of the pod's own files there is none here.
    let arguments = |list: &Vec<&str>| list.join(" ").replace("/run/secrets/v6fleet/api-key", "/dev/null");
    let ping = ["V6FLEET_PING_URL=https://ping.example/uuid"];
    lists(&manifest, "args").iter().map(|list| Example::new(&arguments(list), ping.into_iter())).collect()
}

#[test]
fn a_pod_runs_every_night_with_brakes_and_goes_on_where_the_last_one_was_stopped() {
    let [alone] = pods("kubernetes.yaml").try_into().ok().unwrap();
    alone.is_fit_for_every_night();
    let [first, worker] = pods("kubernetes-fleet.yaml").try_into().ok().unwrap();
    first.is_fit_for_every_night();
    worker.waits_for_a_run();
}

#[test]
fn a_pod_is_followed_by_another_where_that_can_go_on_and_only_there() {
    for manifest in NIGHTS {
        let manifest = read(manifest);
        let codes = after(&manifest, "values:").trim_matches(['[', ']']).split(", ");
        let final_codes: Vec<u8> = codes.map(|code| code.parse().unwrap()).collect();
        for stop in Stop::ALL {
            assert_eq!(final_codes.contains(&stop.exit_code()), !goes_on(*stop), "{stop}");
        }
        assert!(final_codes.contains(&3) && final_codes.is_sorted());
        // In a file the lock is gone with whoever held it; in a database others may go on with the run.
        assert_eq!(final_codes.contains(&6), !manifest.contains("postgres://"));
    }
}

/// Whether another process goes on with what this stop left.
fn goes_on(stop: Stop) -> bool {
    match stop {
        Stop::MaxWait | Stop::Deadline | Stop::Interrupted | Stop::Terminated => true,
        Stop::MaxDrift
        | Stop::MaxChanged
        | Stop::MaxFailed
        | Stop::Canary
        | Stop::AllFailed
        | Stop::CertificateRefused
        | Stop::KeyRefused => false,
    }
}

#[test]
fn a_stop_has_more_time_than_the_calls_in_flight_may_take() {
    let manifests = NIGHTS.map(read).concat();
    let seconds =
        manifests.lines().filter_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds:"));
    let seconds: Vec<u64> = seconds.map(|seconds| seconds.trim().parse().unwrap()).collect();
    assert!(seconds.len() == 3 && seconds.iter().all(|seconds| *seconds > 30), "{seconds:?}");
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
