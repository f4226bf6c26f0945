//! How a run is to be carried out: what was meant, and nothing that can be wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::retry::Policy;

/// How a run is to be carried out.
#[derive(Debug, Clone)]
pub struct Settings {
    pub concurrency: NonZeroU32,
    pub rack_concurrency: Option<NonZeroU32>,
    pub policy: Policy,
    /// Of one call: how long an attempt without an answer lasted.
    pub timeout: Duration,
    /// After a lost answer the API is looked at before it is asked again.
    pub looks: bool,
    /// No new call leaves after it.
    pub deadline: Option<Duration>,
}
