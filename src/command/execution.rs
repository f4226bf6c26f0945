//! A run that is in the ledger, carried out: calls, outcome, reports, recap, exit code.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use super::{CommandError, exit, print};
use crate::api::Api;
use crate::brake::{Brake, Canary, Limits};
use crate::cli::{BrakeArgs, PaceArgs, RecapFormat, ReportingArgs};
use crate::config::output_dir;
use crate::ledger::{Counts, Ledger, Reply, RunInfo, RunKey, SANDBOX, Summary};
use crate::pace::Pace;
use crate::progress::{Progress, Screen};
use crate::reconcile::{Ending, Parts, Settings, reconcile};
use crate::report::{Reports, recap, write_skipped};
use crate::retry::Policy;
use crate::stop::Stop;
use crate::text::colored;

/// How a run is to be carried out.
pub(super) struct Execution<'a> {
    pub(super) pace: &'a PaceArgs,
    pub(super) brakes: &'a BrakeArgs,
    pub(super) reports: &'a ReportingArgs,
    pub(super) screen: &'a Screen,
    /// Arguments that name the ledger in commands shown to the user.
    pub(super) common_args: &'a str,
}

impl Execution<'_> {
    /// Carries out `run`. Returns the exit code.
    pub(super) fn carry_out(&self, ledger: Ledger, run: &RunKey, api: &Api) -> Result<u8, CommandError> {
        let counts = ledger.summary(run)?.counts;
        let (mut ledger, ending) = self.call_all(ledger, run, api, counts)?;
        let stop = match ending {
            Ending::Complete => None,
            Ending::Stopped(stop) => Some(stop),
            // Nothing is noted and nothing lost: the run is as a crash would have left it.
            Ending::Abandoned(stop) => return Ok(stop.exit_code()),
        };
        let exit_code = self.exit_code(stop, &ledger.summary(run)?);
        ledger.end(run, stop, exit_code)?;
        let info = ledger.run_info(run)?;
        let summary = ledger.summary(run)?;
        let outputs = outputs(self.reports, &info.id);
        let mut reports = write_reports(&ledger, run, &info, &summary, &outputs)?;
        if summary.skipped > 0 {
            reports.extend(self.list_skipped(&ledger, run)?);
        }
        self.recap(&info, &summary, &reports)?;
        Ok(exit_code)
    }

    fn call_all(
        &self,
        ledger: Ledger,
        run: &RunKey,
        api: &Api,
        counts: Counts,
    ) -> Result<(Ledger, Ending), CommandError> {
        let now = Instant::now();
        let pending = ledger.pending(run)?;
        let terminal = io::stderr().is_terminal();
        // What is pending counts as failed in a summary, and is not done for the progress.
        let begun = Counts { failed: counts.failed - pending.iter().sum::<u64>(), ..counts };
        let mut progress = Progress::new(self.reports.progress, begun, terminal, self.screen, now);
        let remembered = ledger.remembered_rate(run)?;
        let mut pace = Pace::new(self.pace.rate, remembered, now);
        if let Some(per_second) = remembered.filter(|_| pace.per_second() == remembered) {
            info!(per_second, "beginning at the API's own limit, as an earlier run found it");
        }
        let parts = Parts {
            api,
            pace: &mut pace,
            brake: Brake::new(limits(self.brakes), counts.selected),
            progress: &mut progress,
            pending,
            racks: ledger.racks(run)?,
        };
        let settings = settings(self.pace);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(CommandError::internal)?;
        let mut writer = ledger.write(run)?;
        let ending = runtime.block_on(async {
            let mut signals = signals().map_err(CommandError::internal)?;
            reconcile(&settings, parts, &mut writer, &mut signals).await.map_err(CommandError::from)
        });
        // A call or a name look-up that still hangs must not keep us.
        runtime.shutdown_background();
        progress.finish();
        let (ledger, rest) = writer.close();
        let ending = ending?;
        for reply in rest {
            if let Reply::Failed(error) = reply {
                return Err(error.into());
            }
        }
        let ledger = ledger.ok_or_else(|| CommandError::internal(crate::ledger::LedgerError::WriterGone))?;
        ledger.remember_rate(run, pace.to_remember())?;
        Ok((ledger, ending))
    }

    fn exit_code(&self, stop: Option<Stop>, summary: &Summary) -> u8 {
        let detailed = self.reports.detailed_exitcode;
        match stop {
            Some(stop) => stop.exit_code(),
            None if summary.counts.failed > 0 || summary.skipped > 0 => exit::FAILED,
            None if detailed && summary.drifted > 0 => exit::DRIFT,
            None if detailed && summary.counts.changed() > 0 => exit::CHANGES,
            None => exit::COMPLETE,
        }
    }

    /// Lists the rows that were skipped beside the first report. Without a report, the log has named the first ones.
    fn list_skipped(&self, ledger: &Ledger, run: &RunKey) -> Result<Option<PathBuf>, CommandError> {
        let own = output_dir(&self.reports.output_dir).map(|dir| dir.join(&run.id).join("report.csv"));
        let Some(report) = own.or_else(|| self.reports.output.first().cloned()) else { return Ok(None) };
        let path = report.with_file_name("skipped.csv");
        write_skipped(&path, &ledger.skipped(run)?)?;
        Ok(Some(path))
    }

    fn recap(&self, info: &RunInfo, summary: &Summary, reports: &[PathBuf]) -> Result<(), CommandError> {
        print_recap(self.reports.format, info, summary, reports, self.common_args)
    }
}

/// The options without which the same inventory would not be read the same way, or another API called.
const SAME_JOB: [&str; 7] =
    ["inventory-format", "column", "skip-invalid", "base-url", "api-key-file", "ca-file", "world"];

/// The command that calls the failed VMs of a run again; `None` where standard input was part of it.
pub(super) fn rerun(info: &RunInfo, common_args: &str) -> Option<String> {
    if info.inventory.iter().any(|file| file.path == "-") {
        return None;
    }
    let files = info.inventory.iter().map(|file| quoted(&file.path));
    let action = info.action.map(|action| format!("--action {action}"));
    let options = SAME_JOB.iter().filter(|name| !(info.base_url == SANDBOX && **name == "base-url"));
    let options = options.flat_map(|name| {
        let values =
            info.options.get(*name).map(|value| value.as_array().cloned().unwrap_or(vec![value.clone()]));
        let typed = |value: &Value| match value.as_str() {
            Some("true") | None => format!("--{name}"),
            Some(text) => format!("--{name} {}", quoted(text)),
        };
        values.unwrap_or_default().iter().map(typed).collect::<Vec<_>>()
    });
    let begin = std::iter::once("v6fleet run".to_owned());
    let words: Vec<String> = begin.chain(files).chain(options).chain(action).collect();
    Some(format!("{}{common_args} --only-failed={}", words.join(" "), info.id))
}

/// A word as a shell would need it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

pub(super) fn print_recap(
    format: RecapFormat,
    info: &RunInfo,
    summary: &Summary,
    reports: &[PathBuf],
    common_args: &str,
) -> Result<(), CommandError> {
    let rerun = rerun(info, common_args);
    let resume = format!("v6fleet resume {}{common_args}", info.id);
    let resume = (summary.pending > 0).then_some(resume.as_str());
    let next = recap::Next { rerun: rerun.as_deref(), resume };
    let text = match format {
        RecapFormat::Text => recap::text(info, summary, reports, next, colored(io::stdout().is_terminal())),
        RecapFormat::Json => recap::json(info, summary, reports).map_err(CommandError::internal)?,
    };
    print(text.as_bytes()).map(drop)
}

fn settings(pace: &PaceArgs) -> Settings {
    Settings {
        concurrency: NonZeroU32::new(pace.concurrency).unwrap_or(NonZeroU32::MIN),
        rack_concurrency: pace.rack_concurrency,
        policy: Policy { max_attempts: pace.max_attempts, max_wait: pace.max_wait },
        timeout: pace.timeout,
        deadline: pace.deadline,
    }
}

fn limits(brakes: &BrakeArgs) -> Limits {
    let canary = match brakes.canary.map(NonZeroU32::new) {
        None => Canary::Default,
        Some(None) => Canary::Off,
        Some(Some(vms)) => Canary::Vms(vms),
    };
    Limits {
        canary,
        max_failed: brakes.max_failed,
        max_changed: brakes.max_changed,
        max_drift: brakes.max_drift,
    }
}

/// Every SIGINT and SIGTERM from now on.
fn signals() -> io::Result<mpsc::UnboundedReceiver<Stop>> {
    let (told, signals) = mpsc::unbounded_channel();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            let stop = tokio::select! {
                _ = interrupt.recv() => Stop::Interrupted,
                _ = terminate.recv() => Stop::Terminated,
            };
            if told.send(stop).is_err() {
                return;
            }
        }
    });
    Ok(signals)
}

/// The files to write: those named, and a run's own in the output directory.
pub(super) fn outputs(reports: &ReportingArgs, run: &str) -> Vec<PathBuf> {
    let own = output_dir(&reports.output_dir).map(|dir| dir.join(run));
    let own = own.iter().flat_map(|dir| ["report.csv", "report.json"].map(|name| dir.join(name)));
    reports.output.iter().cloned().chain(own).collect()
}

/// Writes all reports in one pass over the ledger. Returns where they are.
pub(super) fn write_reports(
    ledger: &Ledger,
    run: &RunKey,
    info: &RunInfo,
    summary: &Summary,
    outputs: &[PathBuf],
) -> Result<Vec<PathBuf>, CommandError> {
    for dir in outputs.iter().filter_map(|output| output.parent()) {
        if dir.ends_with(&info.id) {
            std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
        }
    }
    let mut reports = Reports::create(outputs, info, summary)?;
    ledger.each_row(run, |row| reports.row(row).map_err(CommandError::from))?;
    let written = reports.finish()?;
    info!(reports = written.len(), "reports written");
    Ok(written)
}

pub(super) fn unwritable(path: &Path, error: io::Error) -> CommandError {
    CommandError::internal(anyhow::Error::new(error).context(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_needs_them() {
        for (word, expected) in [
            ("fleet.csv", "fleet.csv"),
            ("my fleet.csv", "'my fleet.csv'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
