//! What is said of a run: its reports, its recap, its progress, and how long the ledger keeps it.

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::form::Form;
use crate::cli::{EndArgs, ReportingArgs, TypedFailOn, TypedProgress};
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
    pub(crate) fail_on: FailOn,
    /// Runs that stay in the ledger.
    pub(crate) keep_runs: NonZeroU32,
}

/// Which failed VMs are told by the exit code of a complete run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FailOn {
    #[default]
    Any,
    /// Those that had not failed in the job's last complete run too.
    New,
    None,
}

impl From<TypedFailOn> for FailOn {
    fn from(typed: TypedFailOn) -> Self {
        match typed {
            TypedFailOn::Any => Self::Any,
            TypedFailOn::New => Self::New,
            TypedFailOn::None => Self::None,
        }
    }
}

impl ReportingSettings {
    pub(super) fn of(typed: &ReportingArgs, end: &EndArgs, fail_on: FailOn) -> Result<Self, ConfigError> {
        Ok(Self {
            files: typed.output.iter().cloned().map(ReportFile::named).collect::<Result<_, _>>()?,
            directory: directory(&typed.output_dir).map(Path::to_owned),
            recap: Form::of(typed.format),
            progress: progress(typed.progress),
            detailed_exit_code: end.detailed_exitcode,
            fail_on,
            keep_runs: end.keep_runs,
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
