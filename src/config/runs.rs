//! `v6fleet runs`, with `--pin` and `--unpin`.

use std::time::Duration;

use super::error::ConfigError;
use super::form::Form;
use super::ledger::LedgerSettings;
use crate::api::BaseUrl;
use crate::cli::{CommonArgs, RunsArgs};
use crate::vm::Action;

#[derive(Debug)]
pub(crate) struct RunsSettings {
    pub(crate) ledger: LedgerSettings,
    pub(crate) show: Show,
    pub(crate) form: Form,
}

/// Which runs are listed: those for which all holds that is asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) failed: bool,
    pub(crate) action: Option<Action>,
    pub(crate) base_url: Option<BaseUrl>,
    /// A run of the same job.
    pub(crate) job: Option<String>,
}

/// Which runs are shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// The newest of those that are wanted, all of them without a number.
    Newest(Option<u32>, Wanted),
    /// These, each with whether it is pinned from now on; waiting so long for a run to end.
    Pinned { pins: Vec<(String, bool)>, wait: Duration },
}

impl RunsSettings {
    pub(super) fn of(common: &CommonArgs, typed: RunsArgs) -> Result<Self, ConfigError> {
        let pins = typed.pin.map(|run| (run, true)).into_iter();
        let pins: Vec<_> = pins.chain(typed.unpin.map(|run| (run, false))).collect();
        Ok(Self {
            ledger: LedgerSettings::of(common, typed.reading.sandbox)?,
            show: match pins.is_empty() {
                true => {
                    let RunsArgs { failed, action, base_url, job, .. } = typed;
                    Show::Newest(typed.limit, Wanted { failed, action, base_url, job })
                }
                false => Show::Pinned { pins, wait: typed.lock_timeout },
            },
            form: Form::of(typed.reading.format),
        })
    }
}
