//! The report as gauges for Prometheus, in a file for the node exporter's textfile collector.
//!
//! Of the run, never of a VM: the number of series does not grow with the fleet. Each has the action and the inventory
//! as labels, so that several jobs of one machine can be collected together. Samples carry no timestamps. A plan's are
//! `v6fleet_plan_…`: no alert on runs is to take its forecasts for outcomes, or its end for theirs.

use std::fmt;
use std::io::{self, Write};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::ledger::{Counts, RunInfo, Summary};
use crate::outcome::{Failure, Kind};
use crate::text::escape;

use super::selection::typed;

/// Writes the whole report. A part of the fleet is told apart from the fleet by a label of its own.
pub(super) fn write(to: &mut impl Write, run: &RunInfo, summary: &Summary) -> io::Result<()> {
    let inventory = run.inventory.iter().map(|file| escape(&file.path)).collect::<Vec<_>>().join(" ");
    let action = run.action.map_or("from_inventory", |action| action.as_str());
    let labels = [("action".into(), action.into()), ("inventory".into(), inventory.into())];
    let prefix = match run.kind {
        Kind::Run => "v6fleet",
        Kind::Plan => "v6fleet_plan",
    };
    let mut registry = Registry::with_prefix_and_labels(prefix, labels.into_iter());
    registry.register_collector(Box::new(Gauges(gauges(run, summary))));
    let mut report = String::new();
    text::encode(&mut report, &registry).map_err(io::Error::other)?;
    to.write_all(report.as_bytes())
}

/// One metric and its samples.
#[derive(Debug)]
struct Gauge {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    samples: Vec<Sample>,
}

/// What tells a sample from others of its metric, and its value.
type Sample = (Vec<(&'static str, String)>, f64);

impl Gauge {
    fn one(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, unit: None, samples: vec![(vec![], value)] }
    }

    fn several(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: Vec<(&'static str, f64)>,
    ) -> Self {
        let sample = |(value, sample): (&str, f64)| (vec![(label, value.to_owned())], sample);
        Self { name, help, unit: None, samples: values.into_iter().map(sample).collect() }
    }

    fn seconds(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { unit: Some(Unit::Seconds), ..Self::one(name, help, value) }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)?;
        self.samples.iter().try_for_each(|(labels, sample)| {
            ConstGauge::new(*sample).encode(metric.encode_family(&labels.as_slice())?)
        })
    }
}

#[derive(Debug)]
struct Gauges(Vec<Gauge>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|gauge| gauge.encode(&mut encoder))
    }
}

/// Where the run is of a part of the fleet, each sample says of which. Its file may be the fleet's own, by configuration:
/// the last success of the fleet stays in it.
fn gauges(run: &RunInfo, summary: &Summary) -> Vec<Gauge> {
    let mut gauges = of_run(run, summary);
    let Some(selection) = typed(&run.options) else { return gauges };
    for gauge in &mut gauges {
        gauge.samples.iter_mut().for_each(|(labels, _)| labels.push(("selection", selection.clone())));
        if let (LAST_SUCCESS, Some(at)) = (gauge.name, run.whole_success_at) {
            gauge.samples.push((vec![], seconds(at)));
        }
    }
    gauges
}

const LAST_SUCCESS: &str = "last_success_timestamp";

fn of_run(run: &RunInfo, summary: &Summary) -> Vec<Gauge> {
    let ended = run.ended_at.unwrap_or(run.started_at);
    vec![
        Gauge::seconds(
            "last_run_timestamp",
            "When the last run ended, or began if it has not",
            seconds(ended),
        ),
        Gauge::seconds(
            LAST_SUCCESS,
            "When a run of this job last ended with every VM settled and none skipped or failed that --fail-on tells of, or 0",
            run.last_success_at.map_or(0.0, seconds),
        ),
        Gauge::seconds(
            "run_duration",
            "How long the run took, from its start or last resume",
            summary.duration_s,
        ),
        Gauge::several("vms", "Selected VMs by outcome", "outcome", outcomes(&summary.counts)),
        Gauge::several("failed_vms", "Failed VMs by kind of failure", "failure", failures(summary)),
        Gauge::one("drifted_vms", "VMs that are not as the inventory expects", float(summary.drifted)),
        Gauge::one("calls", "Calls sent", float(summary.calls)),
        Gauge::one(
            "retries",
            "Calls beyond each VM's first, those answered 429 aside",
            float(summary.retries),
        ),
        Gauge::one("rate_limited_calls", "Calls answered 429", float(summary.throttled)),
        Gauge::one(
            "calls_per_second",
            "Calls sent a second, since the start or last resume",
            summary.calls_per_s,
        ),
    ]
}

fn outcomes(counts: &Counts) -> Vec<(&'static str, f64)> {
    counts.by_outcome().map(|(outcome, vms)| (outcome.as_str(), float(vms))).collect()
}

/// Every kind, so that an alert on one sees it rise from 0.
fn failures(summary: &Summary) -> Vec<(&'static str, f64)> {
    let of = |kind| {
        let counted = summary.failures.iter().find(|counted| counted.failure == kind);
        counted.map_or(0, |counted| counted.vms)
    };
    Failure::ALL.iter().map(|failure| (failure.as_str(), float(of(*failure)))).collect()
}

fn seconds(at: Timestamp) -> f64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "no fleet has 2^53 VMs")]
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::InventoryFile;
    use crate::report::fixtures::{plan, plan_summary, rows, run, summary};
    use crate::report::tool;
    use crate::vm::Action;

    fn written(run: &RunInfo, summary: &Summary) -> String {
        let mut report = Vec::new();
        write(&mut report, run, summary).unwrap();
        String::from_utf8(report).unwrap()
    }

    #[test]
    fn every_outcome_and_every_failure_has_its_sample() {
        insta::assert_snapshot!(written(&run(), &summary(&rows())), @r##"
        # HELP v6fleet_last_run_timestamp_seconds When the last run ended, or began if it has not
        # TYPE v6fleet_last_run_timestamp_seconds gauge
        # UNIT v6fleet_last_run_timestamp_seconds seconds
        v6fleet_last_run_timestamp_seconds{action="allocate",inventory="fleet.csv"} 1795400106.3
        # HELP v6fleet_last_success_timestamp_seconds When a run of this job last ended with every VM settled and none skipped or failed that --fail-on tells of, or 0
        # TYPE v6fleet_last_success_timestamp_seconds gauge
        # UNIT v6fleet_last_success_timestamp_seconds seconds
        v6fleet_last_success_timestamp_seconds{action="allocate",inventory="fleet.csv"} 1795313705.0
        # HELP v6fleet_run_duration_seconds How long the run took, from its start or last resume
        # TYPE v6fleet_run_duration_seconds gauge
        # UNIT v6fleet_run_duration_seconds seconds
        v6fleet_run_duration_seconds{action="allocate",inventory="fleet.csv"} 6.3
        # HELP v6fleet_vms Selected VMs by outcome
        # TYPE v6fleet_vms gauge
        v6fleet_vms{action="allocate",inventory="fleet.csv",outcome="created"} 2.0
        v6fleet_vms{action="allocate",inventory="fleet.csv",outcome="unchanged"} 2.0
        v6fleet_vms{action="allocate",inventory="fleet.csv",outcome="updated"} 2.0
        v6fleet_vms{action="allocate",inventory="fleet.csv",outcome="failed"} 14.0
        # HELP v6fleet_failed_vms Failed VMs by kind of failure
        # TYPE v6fleet_failed_vms gauge
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="rejected"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="unauthorized"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="forbidden"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="not_found"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="conflict"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="rate_limited"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="server_error"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="timeout"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="connect"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="tls"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="redirected"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="malformed_answer"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="refused_by_api"} 1.0
        v6fleet_failed_vms{action="allocate",inventory="fleet.csv",failure="not_attempted"} 1.0
        # HELP v6fleet_drifted_vms VMs that are not as the inventory expects
        # TYPE v6fleet_drifted_vms gauge
        v6fleet_drifted_vms{action="allocate",inventory="fleet.csv"} 1.0
        # HELP v6fleet_calls Calls sent
        # TYPE v6fleet_calls gauge
        v6fleet_calls{action="allocate",inventory="fleet.csv"} 71.0
        # HELP v6fleet_retries Calls beyond each VM's first, those answered 429 aside
        # TYPE v6fleet_retries gauge
        v6fleet_retries{action="allocate",inventory="fleet.csv"} 52.0
        # HELP v6fleet_rate_limited_calls Calls answered 429
        # TYPE v6fleet_rate_limited_calls gauge
        v6fleet_rate_limited_calls{action="allocate",inventory="fleet.csv"} 3.0
        # HELP v6fleet_calls_per_second Calls sent a second, since the start or last resume
        # TYPE v6fleet_calls_per_second gauge
        v6fleet_calls_per_second{action="allocate",inventory="fleet.csv"} 11.27
        # EOF
        "##);
    }

    #[test]
    fn no_sample_of_a_plan_can_be_taken_for_one_of_a_run() {
        let report = written(&plan(), &plan_summary());
        let samples: Vec<_> = report.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(samples.iter().all(|sample| sample.starts_with("v6fleet_plan_")), "{report}");
        let of = r#"{action="allocate",inventory="fleet.csv",outcome="#;
        for (outcome, vms) in [("create", 3), ("update", 1), ("keep", 1), ("blocked", 3), ("failed", 2)] {
            let sample = format!("v6fleet_plan_vms{of}\"{outcome}\"}} {vms}.0");
            assert!(samples.contains(&sample.as_str()), "{sample} is not in\n{report}");
        }
        tool::accepts(&["promtool", "check", "metrics"], &report);
    }

    #[test]
    fn a_job_that_never_succeeded_has_a_success_at_0_which_an_alert_on_its_age_sees() {
        let run = RunInfo { last_success_at: None, ..run() };
        let report = written(&run, &summary(&[]));
        let sample = report.lines().find(|line| line.starts_with("v6fleet_last_success_timestamp_seconds{"));
        assert!(sample.unwrap().ends_with(" 0.0"), "{sample:?}");
    }

    #[test]
    fn a_part_of_the_fleet_is_told_as_such_and_the_last_success_of_the_fleet_stays() {
        let options = [("limit".to_owned(), "3".into())].into_iter().collect();
        let whole_success_at = Some("2026-11-20T02:15:05Z".parse().unwrap());
        let part = RunInfo { options, whole_success_at, ..run() };
        let report = written(&part, &summary(&rows()));
        let of = r#"{action="allocate",inventory="fleet.csv",selection="--limit 3"}"#;
        let samples = report.lines().filter(|line| !line.starts_with('#'));
        let (parts, wholes): (Vec<_>, Vec<_>) =
            samples.partition(|line| line.contains(r#"selection="--limit 3""#));
        assert!(
            report.contains(&format!("v6fleet_last_success_timestamp_seconds{of} 1795313705.0")),
            "{report}"
        );
        let whole =
            r#"v6fleet_last_success_timestamp_seconds{action="allocate",inventory="fleet.csv"} 1795140905.0"#;
        assert_eq!((wholes, parts.len()), (vec![whole], 26));
        tool::accepts(&["promtool", "check", "metrics"], &report);
        let never = RunInfo { whole_success_at: None, ..part };
        assert!(!written(&never, &summary(&rows())).contains(r#"inventory="fleet.csv"}"#));
    }

    #[test]
    fn promtool_finds_nothing_to_say_of_it_whatever_the_files_are_called() {
        let files = ["fleet.csv", "-", "a \"b\".csv", "c\\d\ne\u{1b}.csv"];
        let file = |path: &str| InventoryFile { path: path.into(), sha256: String::new() };
        for action in [None, Some(Action::RefreshNextHop)] {
            let run = RunInfo { action, inventory: files.map(file).into(), ..run() };
            tool::accepts(&["promtool", "check", "metrics"], &written(&run, &summary(&rows())));
        }
    }
}
