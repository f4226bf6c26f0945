//! Where a run's reports go. One that cannot be written keeps no other from it, and costs no outcome.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::info;

use super::failure::{Broken, Refusal, in_words};
use super::spared::Spared;
use crate::config::ReportingSettings;
use crate::ledger::{Ledger, LedgerError, RunInfo, RunKey, Summary};
use crate::report::{Format, ReportError, ReportFile, Reports, SkippedList, Written, check_skipped, sweep};
use crate::text::quoted;

/// The list of skipped rows.
const SKIPPED: &str = "skipped.csv";

/// What a run has in a directory of its own.
const OWN: [(&str, Format); 3] =
    [("report.csv", Format::Csv), ("report.json", Format::Json), ("report.html", Format::Html)];

/// The files to write: those named, and a run's own in the output directory.
pub(super) fn outputs(reports: &ReportingSettings, run: &str) -> Vec<ReportFile<Format>> {
    let own = reports.directory.iter().flat_map(|dir| own(&dir.join(run)));
    reports.files.iter().cloned().chain(own).collect()
}

fn own(directory: &Path) -> [ReportFile<Format>; 3] {
    OWN.map(|(name, format)| ReportFile { path: directory.join(name), format })
}

/// Finds now what would keep the reports from being written at the end.
pub(super) fn check(reports: &ReportingSettings) -> Result<(), Refusal> {
    if let Some(dir) = &reports.directory {
        fs::create_dir_all(dir).map_err(|error| Refusal::unusable("--output-dir", dir, error))?;
        sweep_runs(dir);
        let [report, ..] = own(dir);
        report.check().map_err(|error| Refusal::unusable("--output-dir", dir, error))?;
    }
    Ok(reports.files.iter().try_for_each(ReportFile::check)?)
}

/// Removes what processes that were killed left beside the reports of their runs.
fn sweep_runs(dir: &Path) {
    let runs = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    runs.for_each(|run| sweep(&run.path()));
}

/// Writes all reports in one pass over the ledger, as far as they can be written.
pub(super) fn write_reports(
    ledger: &Ledger,
    run: &RunKey,
    info: &RunInfo,
    summary: &Summary,
    outputs: &[ReportFile<Format>],
) -> Result<Result<Written, ReportError>, LedgerError> {
    let (mut ready, mut failed) = (Vec::new(), Vec::new());
    for output in outputs {
        match make_own_directory(&output.path, run) {
            Ok(()) => ready.push(output.clone()),
            Err(error) => failed.push(error),
        }
    }
    let mut reports = Reports::create(&ready, info, summary);
    ledger.each_row(run, |row| {
        reports.row(&row);
        Ok::<_, LedgerError>(())
    })?;
    let written = reports.finish().inspect(|written| {
        if !written.paths.is_empty() {
            info!(reports = written.paths.len(), "reports written");
        }
    });
    Ok(written.map(|mut written| {
        written.failed.append(&mut failed);
        written
    }))
}

/// Makes the directory of a report where it is the run's own.
pub(super) fn make_own_directory(output: &Path, run: &RunKey) -> Result<(), ReportError> {
    match output.parent() {
        Some(dir) if dir.ends_with(&run.id) => fs::create_dir_all(dir).map_err(ReportError::write(output)),
        _ => Ok(()),
    }
}

/// Refuses outputs that would take the place of what is not ours: inputs, and where rows are skipped their list too.
pub(super) fn spare(spared: &Spared, reports: &ReportingSettings, skips: bool) -> Result<(), Refusal> {
    let list = skipped_beside(reports).filter(|_| skips);
    let outputs = reports.files.iter().map(|file| &file.path);
    spared.check(outputs.chain(&list))?;
    Ok(list.map_or(Ok(()), |list| check_skipped(&list))?)
}

/// Where the skipped rows are listed, unless it is in a directory of the run's own.
fn skipped_beside(reports: &ReportingSettings) -> Option<PathBuf> {
    let mut files = reports.files.iter().filter(|file| !file.is_stdout());
    let beside = files.next().filter(|_| reports.directory.is_none());
    beside.map(|report| report.path.with_file_name(SKIPPED))
}

/// Lists the rows that were skipped beside the first report. Without a report, the log has named the first ones.
pub(super) fn list_skipped(
    ledger: &Ledger,
    run: &RunKey,
    reports: &ReportingSettings,
    written: &mut Written,
) -> Result<(), LedgerError> {
    let own = reports.directory.as_ref().map(|dir| dir.join(&run.id).join(SKIPPED));
    let Some(path) = own.or_else(|| skipped_beside(reports)) else { return Ok(()) };
    let mut list = match SkippedList::create(&path) {
        Ok(list) => list,
        Err(error) => {
            written.failed.push(error);
            return Ok(());
        }
    };
    ledger.each_skipped(run, |row| {
        list.row(&row);
        Ok::<_, LedgerError>(())
    })?;
    match list.finish() {
        Ok(path) => written.paths.push(path),
        Err(error) => written.failed.push(error),
    }
    Ok(())
}

/// An error if a report could not be written: which, and how to write it after all.
pub(super) fn all_written(
    written: Written,
    outputs: &[ReportFile<Format>],
    run: &RunKey,
    ledger_args: &str,
) -> Result<(), Broken> {
    if written.failed.is_empty() {
        return Ok(());
    }
    let missing = outputs.iter().filter(|output| !written.paths.contains(&output.path));
    let command = reporting(missing, run, ledger_args);
    let failed: Vec<String> = written.failed.into_iter().map(|error| in_words(&error.into())).collect();
    Err(Broken::new(anyhow::anyhow!(
        "{}\nEvery outcome is in the ledger all the same. Once that is mended: {command}",
        failed.join("\n"),
    )))
}

/// The ledger failed once the run was over: what that means, and how to write its reports after all.
pub(super) fn unreported(
    error: &LedgerError,
    outputs: &[ReportFile<Format>],
    run: &RunKey,
    ledger_args: &str,
) -> Broken {
    let command = reporting(outputs.iter(), run, ledger_args);
    Broken::new(anyhow::anyhow!(
        "{error}\nThe run is over, and every outcome is in the ledger. Once that is mended: {command}"
    ))
}

/// The command that writes these reports of a run.
fn reporting<'o>(
    outputs: impl Iterator<Item = &'o ReportFile<Format>>,
    run: &RunKey,
    ledger_args: &str,
) -> String {
    let outputs: Vec<String> = outputs.map(|output| format!(" -o {}", quoted(&output.to_string()))).collect();
    format!("v6fleet report {}{ledger_args}{}", run.id, outputs.concat())
}
