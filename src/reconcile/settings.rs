//! How a run is to be carried out: what was meant, and nothing that can be wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::retry::Policy;

/// When VMs are looked at. A look is a call too, but for what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// The API shows nothing.
    Never,
    /// After a lost answer, before a VM is called again.
    AfterLoss,
    /// Instead of any call.
    Only,
}

/// How a run is to be carried out.
#[derive(Debug, Clone)]
pub struct Settings {
    pub concurrency: NonZeroU32,
    pub rack_concurrency: Option<NonZeroU32>,
    pub policy: Policy,
    /// Of one call: how long an attempt without an answer lasted.
    pub timeout: Duration,
    pub looks: Looks,
    /// Another process has begun the run, and may have another key and another way to the API.
    pub is_guest: bool,
    /// No new call leaves after it.
    pub deadline: Option<Duration>,
}
