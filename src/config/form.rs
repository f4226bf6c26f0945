//! In which form a command says on standard output what it has to say.

use crate::cli::RecapFormat;

/// The form of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

impl Form {
    pub(super) fn of(typed: RecapFormat) -> Self {
        match typed {
            RecapFormat::Text => Self::Text,
            RecapFormat::Json => Self::Json,
        }
    }
}
