//! The run that log lines are of.

use std::sync::OnceLock;

/// A process carries out one.
static RUN: OnceLock<String> = OnceLock::new();

/// From now on every line is of this run.
pub(crate) fn of_run(id: &str) {
    RUN.get_or_init(|| id.to_owned());
}

/// The run that this process has begun, or gone on with.
pub(crate) fn run() -> Option<&'static str> {
    RUN.get().map(String::as_str)
}
