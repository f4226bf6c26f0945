//! The containers of compose.yaml, and what they call the program with.

use std::process::Command;

use support::skip::has;

use crate::example::{Example, finds_nothing_to_say, lists, read};

#[test]
fn a_night_has_brakes_and_each_worker_waits_for_it() {
    let compose = read("compose.yaml");
    let environment: Vec<String> = compose
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("V6FLEET_"))
        // Of the container's own files there is none here.
        .map(|(name, value)| format!("{name}={}", value.replace("/run/secrets/api-key", "/dev/null")))
        .collect();
    let of = |list: &Vec<&str>| Example::new(&list.join(" "), environment.iter().map(String::as_str));
    let [night, worker] =
        lists(&compose, "command").iter().map(of).collect::<Vec<_>>().try_into().ok().unwrap();
    night.is_fit_for_every_night();
    worker.waits_for_a_run();
}

#[test]
fn every_field_is_one_that_compose_has() {
    if !has("check-jsonschema") {
        return;
    }
    let mut check = Command::new("check-jsonschema");
    finds_nothing_to_say(check.args([
        "--quiet",
        "--builtin-schema",
        "vendor.compose-spec",
        "deploy/compose.yaml",
    ]));
}
