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

    /// A call that left at `left` was refused for this. Returns what that stops the run for.
    pub(super) fn refused(
        &mut self,
        work: Work,
        credential: Credential,
        left: Instant,
        now: Instant,
    ) -> Option<Stop> {
        self.works.push_back(work);
        self.trust.refused(credential, left, now)
    }

    /// The key works, as a call that left at `left` tells. Returns those that were refused for good before.
    pub(super) fn proved(&mut self, left: Instant) -> Vec<Work> {
        let refused = self.trust.proved(left);
        self.works.drain(..refused).collect()
    }

    /// An answer told nothing of the key.
    pub(super) fn neutral(&mut self, left: Instant) {
        self.trust.neutral(left);
    }

    /// At the end of a run all that are left were refused for good, unless the key may be what was refused.
    pub(super) fn resolve(&mut self) -> Result<VecDeque<Work>, Stop> {
        self.trust.verdict().map_or_else(|| Ok(std::mem::take(&mut self.works)), Err)
    }
}
