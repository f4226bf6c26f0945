//! VMs whose call was refused for the key or the certificate: what that means, the next answers tell. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::work::Work;
use crate::api::Credential;
use crate::stop::Stop;
use crate::trust::Trust;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    trust: Trust,
    /// In the order in which their refusals came.
    works: VecDeque<Work>,
    /// When the last one came.
    latest: Option<Instant>,
}

impl Doubts {
    pub(super) fn len(&self) -> usize {
        self.works.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    /// Whether none came for so long.
    pub(super) fn are_older_than(&self, age: Duration, now: Instant) -> bool {
        self.latest.is_some_and(|latest| now >= latest + age)
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
        self.latest = Some(now);
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

    /// At the end of a run all that are left were refused for good, unless the key may be what was refused, as far as we
    /// know; others may know it to be `proved`.
    pub(super) fn resolve(&mut self, proved: bool) -> Result<VecDeque<Work>, Stop> {
        match self.trust.verdict().filter(|_| !proved) {
            None => {
                self.trust.resolved();
                Ok(std::mem::take(&mut self.works))
            }
            Some(stop) => Err(stop),
        }
    }
}
