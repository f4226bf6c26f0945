//! What is said of a run: its reports, its recap, its progress, and how long the ledger keeps it.

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::form::Form;
use crate::cli::{ReportingArgs, TypedProgress};
use crate::progress::ProgressMode;
use crate::report::{Format, ReportFile};

#[derive(Debug, Clone)]
pub(crate) struct ReportingSettings {
    pub(crate) files: Vec<ReportFile<Format>>,
    /// Every run has a directory of its own in this one.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) recap: Form,
    pub(crate) progress: ProgressMode,
    pub(crate) detailed_exit_code: bool,
    /// Runs that stay in the ledger.
    pub(crate) keep_runs: NonZeroU32,
}

impl ReportingSettings {
    pub(super) fn of(typed: &ReportingArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            files: typed.output.iter().cloned().map(ReportFile::named).collect::<Result<_, _>>()?,
            directory: directory(&typed.output_dir).map(Path::to_owned),
            recap: Form::of(typed.format),
            progress: progress(typed.progress),
            detailed_exit_code: typed.detailed_exitcode,
            keep_runs: typed.keep_runs,
        })
    }
}

fn progress(typed: TypedProgress) -> ProgressMode {
    match typed {
        TypedProgress::Auto => ProgressMode::Auto,
        TypedProgress::Always => ProgressMode::Always,
        TypedProgress::Never => ProgressMode::Never,
    }
}

/// `none` stands for no directory.
fn directory(typed: &Path) -> Option<&Path> {
    (typed.as_os_str() != OsStr::new("none")).then_some(typed)
}
