//! VMs whose call was refused for the key or the certificate: what that means, the next answers tell. Pure.

use std::collections::VecDeque;
use std::time::Instant;

use super::work::Work;
use crate::api::Credential;
use crate::stop::Stop;
use crate::trust::Trust;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    trust: Trust,
    /// In the order in which their refusals came.
    works: VecDeque<Work>,
}

impl Doubts {
    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    /// Whether a call may leave.
    pub(super) fn allow(&self) -> bool {
        self.trust.allows()
    }

    pub(super) fn left(&mut self, now: Instant) {
        self.trust.left(now);
    }

    /// A call that left at `left_at` was refused for this. Returns what that stops the run for.
    pub(super) fn refused(
        &mut self,
        work: Work,
        credential: Credential,
        left_at: Instant,
        now: Instant,
    ) -> Option<Stop> {
        self.works.push_back(work);
        self.trust.refused(credential, left_at, now)
    }

    /// The key works, as a call that left at `left_at` tells. Returns those that were refused for good before.
    pub(super) fn proved(&mut self, left_at: Instant) -> Vec<Work> {
        let refused = self.trust.proved(left_at);
        self.works.drain(..refused).collect()
    }

    /// An answer told nothing of the key.
    pub(super) fn neutral(&mut self, left_at: Instant) {
        self.trust.neutral(left_at);
    }

    /// At the end of a run all that are left were refused for good, unless the key may be what was refused.
    pub(super) fn resolve(&mut self) -> Result<VecDeque<Work>, Stop> {
        self.trust.verdict().map_or_else(|| Ok(std::mem::take(&mut self.works)), Err)
    }
}
