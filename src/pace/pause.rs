//! How long nothing leaves after a 429 that does not say it.

use std::time::Duration;

/// The first pause; doubled while nothing succeeds in between.
pub(super) const UNSTATED_PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after so many in a row after which nothing succeeded.
pub(super) fn unstated_pause(vain: u32) -> Duration {
    UNSTATED_PAUSE.saturating_mul(1 << vain.min(5)).min(LONGEST)
}
