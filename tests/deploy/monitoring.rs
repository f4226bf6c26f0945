//! Alerts and the dashboard speak of gauges that the program writes, and a night as bad as they tell makes them fire.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use support::dialect::Dialect;
use support::fixture::{Fixture, assert_valid};
use support::skip::has;

use crate::example::read;

const RULES: &str = "prometheus-rules.yaml";
const DASHBOARD: &str = "grafana-dashboard.json";
const CASES: &str = "tests/prometheus-rules.yaml";

/// Every gauge of a run and of a plan, as the program writes them.
fn written() -> String {
    let fixture = Fixture::new().speaking(Dialect::V2).env("V6FLEET_SANDBOX", "true");
    fixture.write_fleet("vmid\n10000\n");
    let gauges = ["run", "plan"].map(|verb| {
        let file = format!("{verb}.prom");
        let ended =
            fixture.command(&[verb, "fleet.csv", "--action", "allocate", "-o", &file]).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        fixture.read(&file)
    });
    gauges.concat()
}

fn all(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_gauge_that_is_asked_for_is_one_that_the_program_writes_and_each_of_a_run_is_shown() {
    let written = written();
    let gauges = all(r"(?m)^# TYPE (\w+) gauge$", &written);
    let rules = read(RULES);
    for asked in all(r"\b(v6fleet_\w+)", &(rules + &read(DASHBOARD))) {
        assert!(gauges.contains(&asked), "{asked}");
    }
    let shown = all(r"\b(v6fleet_\w+)", &read(DASHBOARD));
    let of_runs = gauges.iter().filter(|gauge| !gauge.starts_with("v6fleet_plan_"));
    assert_eq!(of_runs.filter(|gauge| !shown.contains(*gauge)).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_outcome_and_failure_that_is_asked_for_is_one_that_the_program_writes() {
    let written = written();
    let asked = (read(RULES) + &read(DASHBOARD)).replace('\\', "");
    for label in ["outcome", "failure"] {
        let there = all(&format!(r#"\b{label}="(\w+)""#), &written);
        let asked = all(&format!(r#"\b{label}(?:=|!=|=~|!~)"([^"]*)""#), &asked);
        assert!(!asked.is_empty());
        for value in asked.iter().flat_map(|values| values.split('|')) {
            assert!(there.contains(value), "{label} {value}");
        }
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_loads() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    assert_valid(&dashboard, "../tests/grafana-dashboard.schema.json");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{} is too wide", panel["title"]);
        let places = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(places.into_iter().all(|place| taken.insert(place)), "{} lies on another", panel["title"]);
    }
    let known: BTreeSet<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(name).collect();
    for asked in all(r"\$\{?(\w+)", &read(DASHBOARD)) {
        assert!(known.contains(asked.as_str()), "${asked}");
    }
}

fn name(variable: &Value) -> &str {
    variable["name"].as_str().unwrap()
}

#[test]
fn every_alert_fires_where_it_should_and_is_silent_elsewhere() {
    let alerts = all(r"(?m)- alert: (\w+)$", &read(RULES));
    let fired = all(r#"alertname="(\w+)""#, &fs::read_to_string(CASES).unwrap());
    assert_eq!(alerts, fired, "each has a case in which it fires");
    if !has("promtool") {
        return;
    }
    for arguments in [["check", "rules", &format!("deploy/{RULES}")], ["test", "rules", CASES]] {
        let output = Command::new("promtool").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
