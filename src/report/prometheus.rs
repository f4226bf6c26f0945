//! The report as gauges for Prometheus, in a file for the node exporter's textfile collector.
//!
//! Of the run, never of a VM: the number of series does not grow with the fleet. Each has the action and the inventory
//! as labels, so that several jobs of one machine can be collected together. Samples carry no timestamps.

use std::fmt;
use std::io::{self, Write};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::ledger::{Counts, RunInfo, Summary};
use crate::outcome::{Failure, Outcome};
use crate::text::escape;

/// Writes the whole report.
pub(super) fn write(to: &mut impl Write, run: &RunInfo, summary: &Summary) -> io::Result<()> {
    let inventory = run.inventory.iter().map(|file| escape(&file.path)).collect::<Vec<_>>().join(" ");
    let action = run.action.map_or("from_inventory", |action| action.as_str());
    let labels = [("action".into(), action.into()), ("inventory".into(), inventory.into())];
    let mut registry = Registry::with_prefix_and_labels("v6fleet", labels.into_iter());
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
    /// What tells the samples apart.
    label: &'static str,
    samples: Vec<(&'static str, f64)>,
}

impl Gauge {
    fn one(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, unit: None, label: "", samples: vec![("", value)] }
    }

    fn seconds(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { unit: Some(Unit::Seconds), ..Self::one(name, help, value) }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)?;
        self.samples.iter().try_for_each(|&(value, sample)| {
            let labels = [(self.label, value)];
            let labels = if self.label.is_empty() { &labels[..0] } else { &labels };
            ConstGauge::new(sample).encode(metric.encode_family(&labels)?)
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

fn gauges(run: &RunInfo, summary: &Summary) -> Vec<Gauge> {
    let ended = run.ended_at.unwrap_or(run.started_at);
    vec![
        Gauge::seconds(
            "last_run_timestamp",
            "When the last run ended, or began if it has not",
            seconds(ended),
        ),
        Gauge::seconds(
            "last_success_timestamp",
            "When a run of this job last ended with every VM settled and none failed or skipped, or 0",
            run.last_success_at.map_or(0.0, seconds),
        ),
        Gauge::seconds(
            "run_duration",
            "How long the run took, from its start or last resume",
            summary.duration_s,
        ),
        Gauge {
            label: "outcome",
            samples: outcomes(&summary.counts),
            ..Gauge::one("vms", "Selected VMs by outcome", 0.0)
        },
        Gauge {
            label: "failure",
            samples: failures(summary),
            ..Gauge::one("failed_vms", "Failed VMs by kind of failure", 0.0)
        },
        Gauge::one("drifted_vms", "VMs that are not as the inventory expects", float(summary.drifted)),
        Gauge::one("calls", "Calls sent", float(summary.calls)),
        Gauge::one(
            "retries",
            "Calls beyond each VM's first, those answered 429 aside",
            float(summary.retries),
        ),
        Gauge::one("rate_limited_calls", "Calls answered 429", float(summary.throttled)),
        Gauge::one("calls_per_second", "Calls sent a second", summary.calls_per_s),
    ]
}

fn outcomes(counts: &Counts) -> Vec<(&'static str, f64)> {
    let of = |outcome: &Outcome| match outcome {
        Outcome::Created => counts.created,
        Outcome::Unchanged => counts.unchanged,
        Outcome::Updated => counts.updated,
        Outcome::Failed => counts.failed,
    };
    Outcome::ALL.iter().map(|outcome| (outcome.as_str(), float(of(outcome)))).collect()
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
    use crate::inventory::Action;
    use crate::ledger::InventoryFile;
    use crate::report::fixtures::{rows, run, summary};
    use crate::report::tool;

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
        # HELP v6fleet_last_success_timestamp_seconds When a run of this job last ended with every VM settled and none failed or skipped, or 0
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
        # HELP v6fleet_calls_per_second Calls sent a second
        # TYPE v6fleet_calls_per_second gauge
        v6fleet_calls_per_second{action="allocate",inventory="fleet.csv"} 11.27
        # EOF
        "##);
    }

    #[test]
    fn a_job_that_never_succeeded_has_a_success_at_0_which_an_alert_on_its_age_sees() {
        let run = RunInfo { last_success_at: None, ..run() };
        let report = written(&run, &summary(&[]));
        let sample = report.lines().find(|line| line.starts_with("v6fleet_last_success_timestamp_seconds{"));
        assert!(sample.unwrap().ends_with(" 0.0"), "{sample:?}");
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
