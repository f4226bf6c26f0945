//! A run that is in the ledger, carried out: calls, outcome, reports, recap, exit code.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use tracing::{info, warn};

use super::outputs::{all_written, list_skipped, outputs, write_reports};
use super::ping::Ended;
use super::signals::signals;
use super::{BeforeTheFirstCall, CommandError, exit, print};
use crate::api::Api;
use crate::brake::{Brake, Canary, Limits};
use crate::cli::{BrakeArgs, PaceArgs, RecapFormat, ReportingArgs};
use crate::inventory::READING;
use crate::ledger::{Counts, Ledger, LedgerError, Reply, RunInfo, RunKey, SANDBOX, Summary};
use crate::pace::Pace;
use crate::progress::{Progress, Screen};
use crate::reconcile::{Ending, Parts, Settings, reconcile};
use crate::report::recap;
use crate::retry::Policy;
use crate::stop::Stop;
use crate::text::{colored, quoted};

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
    /// Carries out `run`.
    pub(super) fn carry_out(&self, ledger: Ledger, run: &RunKey, api: &Api) -> Result<Ended, CommandError> {
        let (ledger, ending) = self.call_all(ledger, run, api)?;
        let stop = match ending {
            Ending::Complete => None,
            Ending::Stopped(stop) => Some(stop),
            // Nothing is noted and nothing lost: the run is as a crash would have left it.
            Ending::Abandoned(stop) => return Ok(Ended { exit_code: stop.exit_code(), recap: None }),
        };
        let summary = ledger.end(run, stop, |summary| self.exit_code(stop, summary));
        let summary = summary.map_err(|error| self.broken_off(run, &error))?;
        let info = ledger.run_info(run)?;
        let summary = Summary { since: ledger.since(run)?, ..summary };
        let outputs = outputs(self.reports, &info.id);
        let mut written = write_reports(&ledger, run, &info, &summary, &outputs)?;
        if summary.skipped > 0 {
            list_skipped(&ledger, run, self.reports, &mut written)?;
        }
        let recap = print_recap(self.reports.format, &info, &summary, &written.paths, self.common_args)?;
        self.prune(&ledger);
        ledger.close()?;
        all_written(written, &outputs, run, self.common_args)?;
        Ok(Ended { exit_code: summary.exit_code, recap: Some(recap) })
    }

    /// What it means that the ledger failed in mid-run, and what to do next.
    fn broken_off(&self, run: &RunKey, error: &LedgerError) -> CommandError {
        let kept = match error {
            LedgerError::Replaced { .. } => {
                "what was settled is in the ledger that it began with: put that back, if it is gone"
            }
            _ => "what was settled is on disk",
        };
        CommandError::internal(anyhow::anyhow!(
            "{error}\nThe run was broken off, and calls no more: {kept}; what was in flight counts as unanswered.\n\
             Once that is mended, go on: v6fleet resume {id}{args}\nWhat is known so far: v6fleet report {id}{args}",
            id = run.id,
            args = self.common_args,
        ))
    }

    fn call_all(&self, ledger: Ledger, run: &RunKey, api: &Api) -> Result<(Ledger, Ending), CommandError> {
        let now = Instant::now();
        let sums = ledger.sums(run).before_the_first_call()?;
        let (counts, pending) = (sums.counts(), sums.pending);
        let terminal = io::stderr().is_terminal();
        // What is pending counts as failed in a summary, and is not done for the progress.
        let begun = Counts { failed: counts.failed - pending.iter().sum::<u64>(), ..counts };
        let mut progress = Progress::new(self.reports.progress, begun, terminal, self.screen, now);
        let remembered = self.remembered_rate(&ledger, run).before_the_first_call()?;
        let mut pace = Pace::new(self.pace.rate, remembered, now);
        if let Some(per_second) = pace.tests() {
            info!(per_second, "testing whether the API's limit is still what an earlier run found");
        }
        let parts = Parts {
            api,
            pace: &mut pace,
            brake: Brake::new(limits(self.brakes), counts.selected),
            progress: &mut progress,
            pending,
            racks: ledger.racks(run).before_the_first_call()?,
        };
        let settings = settings(self.pace);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(CommandError::internal)?;
        let mut writer = ledger.write(run).before_the_first_call()?;
        let mut signals = signals().map_err(CommandError::internal)?;
        let ending = runtime.block_on(reconcile(&settings, parts, &mut writer, &mut signals));
        // A call or a name look-up that still hangs must not keep us.
        runtime.shutdown_background();
        progress.finish();
        let (ledger, rest) = writer.close();
        let ending = ending.map_err(|error| self.broken_off(run, &error))?;
        for reply in rest {
            if let Reply::Failed(error) = reply {
                return Err(self.broken_off(run, &error));
            }
        }
        let ledger = ledger.ok_or_else(|| self.broken_off(run, &LedgerError::WriterGone))?;
        let remembered = ledger.remember_rate(run, pace.to_remember());
        remembered.map_err(|error| self.broken_off(run, &error))?;
        Ok((ledger, ending))
    }

    fn remembered_rate(&self, ledger: &Ledger, run: &RunKey) -> Result<Option<f64>, LedgerError> {
        if self.pace.forget_rate {
            ledger.remember_rate(run, None)?;
        }
        ledger.remembered_rate(run)
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

    /// The run is over and told of: what goes wrong here changes nothing about that.
    fn prune(&self, ledger: &Ledger) {
        match ledger.prune(self.reports.keep_runs.get()) {
            Ok(0) => {}
            Ok(runs) => info!(runs, "old runs deleted from the ledger"),
            Err(error) => warn!(%error, "old runs could not be deleted from the ledger"),
        }
    }
}

/// The options that the command repeats: without them the inventory would be read otherwise, or another API called.
/// Beside those of [`READING`].
const REPEATED: [&str; 5] = ["skip-invalid", "base-url", "api-key-file", "ca-file", "world"];

/// The command that calls the failed VMs of a run again; `None` where standard input was part of it.
pub(super) fn rerun(info: &RunInfo, common_args: &str) -> Option<String> {
    if info.inventory.iter().any(|file| file.path == "-") {
        return None;
    }
    let files = info.inventory.iter().map(|file| quoted(&file.path));
    let action = info.action.map(|action| format!("--action {action}"));
    let options =
        READING.iter().chain(&REPEATED).filter(|name| !(info.base_url == SANDBOX && **name == "base-url"));
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

/// Returns the recap for people, uncoloured.
pub(super) fn print_recap(
    format: RecapFormat,
    info: &RunInfo,
    summary: &Summary,
    reports: &[PathBuf],
    common_args: &str,
) -> Result<String, CommandError> {
    let rerun = rerun(info, common_args);
    let resume = format!("v6fleet resume {}{common_args}", info.id);
    let resume = (summary.pending > 0).then_some(resume.as_str());
    let next = match summary.running {
        true => recap::Next::default(),
        false => recap::Next { rerun: rerun.as_deref(), resume },
    };
    let text = |colored| recap::text(info, summary, reports, next, colored);
    let printed = match format {
        RecapFormat::Text => text(colored(io::stdout().is_terminal())),
        RecapFormat::Json => recap::json(info, summary, reports).map_err(CommandError::internal)?,
    };
    print(printed.as_bytes())?;
    Ok(text(false))
}

fn settings(pace: &PaceArgs) -> Settings {
    Settings {
        concurrency: pace.concurrency,
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
