//! Where a run's reports go. One that cannot be written keeps no other from it, and costs no outcome.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::info;

use super::spared::Spared;
use super::{BeforeTheFirstCall, CommandError, in_words};
use crate::cli::ReportingArgs;
use crate::config::output_dir;
use crate::ledger::{Ledger, LedgerError, RunInfo, RunKey, Summary};
use crate::report::{ReportError, Reports, SkippedList, Written, check_skipped};
use crate::text::quoted;

/// The list of skipped rows.
const SKIPPED: &str = "skipped.csv";

/// The files to write: those named, and a run's own in the output directory.
pub(super) fn outputs(reports: &ReportingArgs, run: &str) -> Vec<PathBuf> {
    let own = output_dir(&reports.output_dir).map(|dir| dir.join(run));
    let own =
        own.iter().flat_map(|dir| ["report.csv", "report.json", "report.html"].map(|name| dir.join(name)));
    reports.output.iter().cloned().chain(own).collect()
}

/// Writes all reports in one pass over the ledger, as far as they can be written.
pub(super) fn write_reports(
    ledger: &Ledger,
    run: &RunKey,
    info: &RunInfo,
    summary: &Summary,
    outputs: &[PathBuf],
) -> Result<Written, CommandError> {
    let (mut ready, mut failed) = (Vec::new(), Vec::new());
    for output in outputs {
        match make_own_directory(output, run) {
            Ok(()) => ready.push(output.clone()),
            Err(error) => failed.push(error),
        }
    }
    let mut reports = Reports::create(&ready, info, summary);
    ledger.each_row(run, |row| {
        reports.row(&row);
        Ok::<_, LedgerError>(())
    })?;
    let mut written = reports.finish()?;
    if !written.paths.is_empty() {
        info!(reports = written.paths.len(), "reports written");
    }
    written.failed.append(&mut failed);
    Ok(written)
}

/// Makes the directory of a report where it is the run's own.
pub(super) fn make_own_directory(output: &Path, run: &RunKey) -> Result<(), ReportError> {
    match output.parent() {
        Some(dir) if dir.ends_with(&run.id) => fs::create_dir_all(dir).map_err(ReportError::write(output)),
        _ => Ok(()),
    }
}

/// Refuses outputs that would take the place of what is not ours: inputs, and where rows are skipped their list too.
pub(super) fn spare(spared: &Spared, reports: &ReportingArgs, skips: bool) -> Result<(), CommandError> {
    let list = skipped_beside(reports).filter(|_| skips);
    let outputs: Vec<PathBuf> = reports.output.iter().cloned().chain(list.clone()).collect();
    spared.check(&outputs)?;
    list.map_or(Ok(()), |list| check_skipped(&list)).before_the_first_call()
}

/// Where the skipped rows are listed, unless it is in a directory of the run's own.
fn skipped_beside(reports: &ReportingArgs) -> Option<PathBuf> {
    let beside = reports.output.first().filter(|_| output_dir(&reports.output_dir).is_none());
    beside.map(|report| report.with_file_name(SKIPPED))
}

/// Lists the rows that were skipped beside the first report. Without a report, the log has named the first ones.
pub(super) fn list_skipped(
    ledger: &Ledger,
    run: &RunKey,
    reports: &ReportingArgs,
    written: &mut Written,
) -> Result<(), LedgerError> {
    let own = output_dir(&reports.output_dir).map(|dir| dir.join(&run.id).join(SKIPPED));
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
    outputs: &[PathBuf],
    run: &RunKey,
    common_args: &str,
) -> Result<(), CommandError> {
    if written.failed.is_empty() {
        return Ok(());
    }
    let missing = outputs.iter().filter(|output| !written.paths.contains(output));
    let missing: Vec<String> =
        missing.map(|path| format!(" -o {}", quoted(&path.display().to_string()))).collect();
    let failed: Vec<String> = written.failed.into_iter().map(|error| in_words(&error.into())).collect();
    Err(CommandError::internal(anyhow::anyhow!(
        "{}\nEvery outcome is in the ledger all the same. Once that is mended: v6fleet report {}{common_args}{}",
        failed.join("\n"),
        run.id,
        missing.concat(),
    )))
}
