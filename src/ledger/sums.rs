//! A run's VMs, added up in one pass.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use super::error::LedgerError;
use super::forecasts::{EXAMPLES, ForecastSums};
use super::record::{Counts, Course, FailureCount, RackCounts, Summary, is_complete, is_resumable};
use super::shared::Suspects;
use crate::outcome::{Failure, Kind, Outcome};

/// What is added up of one VM.
#[derive(Debug, Clone, Copy)]
pub struct Line<'l> {
    /// Its number.
    pub rack: u32,
    pub vmid: &'l str,
    /// `None` while it has none.
    pub outcome: Option<Outcome>,
    /// Why it has failed, or would now: `None` where it was never called.
    pub failure: Option<Failure>,
    pub error: Option<&'l str>,
    pub may_have_applied: bool,
    pub attempts: u32,
    pub throttled: u32,
    pub has_drift: bool,
    pub has_warnings: bool,
    /// As answered.
    pub prefix: Option<&'l str>,
    pub next_hop: Option<&'l str>,
    /// Of a plan.
    pub planned_next_hop: Option<&'l str>,
}

/// What the items of a run add up to.
#[derive(Debug, Default)]
pub struct Sums {
    /// By number.
    pub racks: Vec<RackCounts>,
    pub rows: u64,
    /// By rack.
    pub pending: Vec<u64>,
    pub drifted: u64,
    pub warned: u64,
    pub calls: u64,
    pub retries: u64,
    pub throttled: u64,
    /// The most frequent first.
    pub failures: Vec<FailureCount>,
    pub(super) forecasts: ForecastSums,
    /// Prefixes that more than one VM may have been answered with.
    pub(super) suspects: Suspects,
}

impl Sums {
    /// Of all racks together.
    pub fn counts(&self) -> Counts {
        Counts::sum(self.racks.iter().map(|rack| rack.counts))
    }

    /// Of a run on these racks, in the order of their numbers.
    pub fn new(racks: &[Option<Arc<str>>], kind: Kind) -> Self {
        let none = |rack_id: &Option<Arc<str>>| RackCounts {
            rack_id: rack_id.as_deref().map(str::to_owned),
            counts: Counts::none(kind),
        };
        let racks: Vec<_> = racks.iter().map(none).collect();
        Self { pending: vec![0; racks.len()], racks, ..Self::default() }
    }

    /// VMs are added in inventory order.
    pub fn add(&mut self, vm: &Line<'_>) {
        self.rows += 1;
        self.drifted += u64::from(vm.has_drift);
        self.warned += u64::from(vm.has_warnings);
        self.calls += u64::from(vm.attempts) + u64::from(vm.throttled);
        self.retries += u64::from(vm.attempts.saturating_sub(1));
        self.throttled += u64::from(vm.throttled);
        if let Some(prefix) = vm.prefix {
            self.suspects.note(prefix);
        }
        self.add_forecast(vm);
        // What has no outcome has failed.
        let outcome = vm.outcome.unwrap_or(Outcome::Failed);
        let failure = (outcome == Outcome::Failed).then(|| vm.failure.unwrap_or(Failure::NotAttempted));
        let rack = vm.rack as usize;
        if let (Some(rack), Some(pending)) = (self.racks.get_mut(rack), self.pending.get_mut(rack)) {
            rack.counts.add_vm(outcome, failure);
            *pending += u64::from(vm.outcome.is_none());
        }
        if let Some(failure) = failure {
            self.add_failure(failure, vm);
        }
    }

    fn add_forecast(&mut self, vm: &Line<'_>) {
        match vm.outcome {
            Some(outcome @ (Outcome::Create | Outcome::Update)) => {
                let hops = [vm.next_hop, vm.planned_next_hop];
                self.forecasts.add_change(vm.rack, outcome, hops, vm.vmid);
            }
            Some(Outcome::Blocked) => self.forecasts.add_reason(vm.error.unwrap_or_default(), vm.vmid),
            Some(
                Outcome::Created | Outcome::Unchanged | Outcome::Updated | Outcome::Keep | Outcome::Failed,
            )
            | None => {}
        }
    }

    fn add_failure(&mut self, failure: Failure, vm: &Line<'_>) {
        let known = self.failures.iter().position(|group| group.failure == failure);
        let index = known.unwrap_or(self.failures.len());
        if known.is_none() {
            let error = vm.error.map(str::to_owned);
            self.failures.push(FailureCount {
                failure,
                vms: 0,
                may_have_applied: 0,
                examples: vec![],
                error,
            });
        }
        let group = &mut self.failures[index];
        group.vms += 1;
        group.may_have_applied += u64::from(vm.may_have_applied);
        if group.examples.len() < EXAMPLES {
            group.examples.push(vm.vmid.to_owned());
        }
    }

    /// What a run comes to; `now` is the end of one that goes on.
    pub(super) fn summary(
        self,
        course: Course,
        shared: Option<String>,
        now: Timestamp,
    ) -> Result<Summary, LedgerError> {
        let counts = self.counts();
        if self.rows != counts.settled() {
            return Err(LedgerError::Miscounted { expected: self.rows, found: counts.settled() });
        }
        let Self { racks, pending, drifted, warned, calls, retries, throttled, failures, forecasts, .. } =
            self;
        let forecasts = (counts.kind == Kind::Plan).then(|| forecasts.finish(&racks));
        let pending = pending.iter().sum();
        let Course {
            begun_at,
            ended_at,
            stopped_by,
            exit_code,
            mut warnings,
            workers,
            calls_before,
            skipped,
        } = course;
        warnings.extend(shared);
        let duration_s = ended_at.unwrap_or(now).duration_since(begun_at).as_secs_f64().max(0.0);
        let calls_in_duration = calls.saturating_sub(calls_before);
        Ok(Summary {
            counts,
            skipped,
            drifted,
            warned,
            warnings,
            workers,
            racks,
            failures,
            forecasts,
            calls,
            retries,
            throttled,
            duration_s,
            calls_in_duration,
            calls_per_s: per_second(calls_in_duration, duration_s),
            pending,
            complete: is_complete(ended_at, stopped_by),
            resumable: is_resumable(ended_at, stopped_by, pending),
            running: false,
            stopped_by,
            exit_code: exit_code.unwrap_or_default(),
            since: None,
        })
    }

    /// The most frequent failures first.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.failures.sort_by_key(|group| (Reverse(group.vms), group.failure.as_str()));
        self
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 calls are not made")]
fn per_second(calls: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { calls as f64 / seconds } else { 0.0 }
}
