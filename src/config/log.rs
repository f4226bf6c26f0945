//! What is logged, and in which form.

use crate::cli::{CommonArgs, LogFormat};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) form: LogForm,
    /// Of the least severe lines.
    pub(crate) level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogForm {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogSettings {
    pub(super) fn of(common: &CommonArgs) -> Self {
        let form = match common.log_format {
            LogFormat::Text => LogForm::Text,
            LogFormat::Json => LogForm::Json,
        };
        let level = match i16::from(common.verbose) - i16::from(common.quiet) {
            ..=-2 => LogLevel::Error,
            -1 => LogLevel::Warn,
            0 => LogLevel::Info,
            1 => LogLevel::Debug,
            2.. => LogLevel::Trace,
        };
        Self { form, level }
    }
}
