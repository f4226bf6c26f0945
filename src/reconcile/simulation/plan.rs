//! What a run is like, and what goes wrong in it: drawn by chance.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use crate::brake::{Canary, Limits, Threshold};
use crate::pace::Ceiling;
use crate::reconcile::{Looks, Settings};
use crate::retry::Policy;
use crate::stop::Stop;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// Answers are lost, or are errors that pass.
    Losses,
    /// VMs that never succeed.
    SickVms,
    /// A limit of the API's own.
    Limit,
    /// Now and then a call is refused for its rate, without a reason.
    Whims,
    DeadRack,
    /// The API cannot be reached for a while.
    Outage,
    Signals,
    Deadline,
    Brakes,
    SlowLedger,
    /// The ledger cannot be reached for a while.
    LedgerAway,
    KeyRefused,
    CertificateRefused,
    Descriptors,
    /// Each of them, or not.
    Any,
}

impl Trouble {
    pub(super) const ALL: [Self; 16] = [
        Self::Nothing,
        Self::Losses,
        Self::SickVms,
        Self::Limit,
        Self::Whims,
        Self::DeadRack,
        Self::Outage,
        Self::Signals,
        Self::Deadline,
        Self::Brakes,
        Self::SlowLedger,
        Self::LedgerAway,
        Self::KeyRefused,
        Self::CertificateRefused,
        Self::Descriptors,
        Self::Any,
    ];
}

/// Times are counted from the start of the run.
#[derive(Debug)]
pub(super) struct Plan {
    /// VMs by rack.
    pub(super) racks: Vec<u64>,
    pub(super) settings: Settings,
    pub(super) rate: &'static str,
    pub(super) limits: Limits,
    pub(super) signals: Vec<(Duration, Stop)>,
    /// How long the ledger takes for a commit, in milliseconds.
    pub(super) commit: Range<u64>,
    /// Now and then a claim finds others busy with some of the VMs.
    pub(super) is_contended: bool,
    /// When it cannot be reached.
    pub(super) ledger_away: Option<Range<Duration>>,
    pub(super) faults: Faults,
}

/// What the API does with calls.
#[derive(Debug)]
pub(super) struct Faults {
    /// In milliseconds.
    pub(super) latency: Range<u64>,
    /// Of a hundred calls.
    pub(super) losses: u32,
    /// Of a hundred VMs.
    pub(super) sick: u32,
    /// Of a hundred calls.
    pub(super) whims: u32,
    /// Calls a second, of which as many may come at once.
    pub(super) limit: Option<f64>,
    /// The answers say how they stand with the limit.
    pub(super) announces: bool,
    /// This rack fails until then.
    pub(super) dead: Option<(usize, Duration)>,
    pub(super) outage: Option<Range<Duration>>,
    /// The key is refused from then on, or the certificate.
    refused_at: Option<Duration>,
    pub(super) by_certificate: bool,
    /// The most calls that there are descriptors for.
    pub(super) descriptors: Option<usize>,
}

impl Plan {
    pub(super) fn new(trouble: Trouble, chance: &mut fastrand::Rng) -> Self {
        let racks: Vec<u64> = (0..chance.usize(1..6)).map(|_| chance.u64(1..16)).collect();
        Self {
            settings: settings(trouble, chance),
            rate: pick(chance, &["none", "none", "5/s", "20/s", "50/s", "300/s", "120/m"]),
            limits: limits(trouble, chance),
            signals: signals(trouble, chance),
            commit: if is(Trouble::SlowLedger, trouble, chance) { 100..6_000 } else { 1..10 },
            is_contended: true,
            faults: Faults::new(trouble, racks.len(), chance),
            ledger_away: is(Trouble::LedgerAway, trouble, chance).then(|| {
                let from = millis(chance, 0..3_000);
                // It is over before a stopped run would be.
                from..from + millis(chance, 100..20_000)
            }),
            racks,
        }
    }

    pub(super) fn vms(&self) -> u64 {
        self.racks.iter().sum()
    }

    pub(super) fn ceiling(&self) -> Ceiling {
        self.rate.parse().unwrap()
    }
}

impl Faults {
    fn new(trouble: Trouble, racks: usize, chance: &mut fastrand::Rng) -> Self {
        let mut has = |one| is(one, trouble, chance);
        let (losses, sick, whims) = (has(Trouble::Losses), has(Trouble::SickVms), has(Trouble::Whims));
        let (limit, dead, outage) = (has(Trouble::Limit), has(Trouble::DeadRack), has(Trouble::Outage));
        let (revoked, distrusted) = (has(Trouble::KeyRefused), has(Trouble::CertificateRefused));
        let descriptors = has(Trouble::Descriptors);
        let from = millis(chance, 0..3_000);
        Self {
            latency: pick(chance, &[1..5, 20..60, 100..400]),
            losses: if losses { chance.u32(1..60) } else { 0 },
            sick: if sick { chance.u32(1..100) } else { 0 },
            whims: if whims { chance.u32(1..20) } else { 0 },
            limit: limit.then(|| pick(chance, &[2.0, 10.0, 40.0])),
            announces: chance.bool(),
            dead: dead.then(|| (chance.usize(..racks), millis(chance, 1_000..90_000))),
            outage: outage.then(|| from..from + millis(chance, 100..40_000)),
            refused_at: (revoked || distrusted).then(|| millis(chance, 0..4_000)),
            by_certificate: distrusted,
            descriptors: descriptors.then(|| chance.usize(1..8)),
        }
    }

    /// Whether key or certificate are refused by then.
    pub(super) fn refuses(&self, at: Duration) -> bool {
        self.refused_at.is_some_and(|refused_at| at >= refused_at)
    }
}

/// Whether this is among the troubles.
fn is(one: Trouble, trouble: Trouble, chance: &mut fastrand::Rng) -> bool {
    trouble == one || trouble == Trouble::Any && chance.u8(..4) == 0
}

fn pick<T: Clone>(chance: &mut fastrand::Rng, of: &[T]) -> T {
    of[chance.usize(..of.len())].clone()
}

fn millis(chance: &mut fastrand::Rng, of: Range<u64>) -> Duration {
    Duration::from_millis(chance.u64(of))
}

fn settings(trouble: Trouble, chance: &mut fastrand::Rng) -> Settings {
    let some = |n| NonZeroU32::new(n).unwrap();
    let max_wait = Duration::from_secs(pick(chance, &[5, 20, 60]));
    Settings {
        concurrency: some(pick(chance, &[1, 2, 3, 8, 16])),
        rack_concurrency: chance.bool().then(|| some(chance.u32(1..5))),
        policy: Policy { max_attempts: some(chance.u32(1..6)), max_wait },
        timeout: Duration::from_secs(pick(chance, &[1, 5, 45])),
        is_guest: false,
        looks: pick(&mut chance.clone(), &[Looks::Never, Looks::AfterLoss, Looks::Only]),
        deadline: is(Trouble::Deadline, trouble, chance).then(|| millis(chance, 1..8_000)),
    }
}

fn limits(trouble: Trouble, chance: &mut fastrand::Rng) -> Limits {
    let none = Limits { canary: Canary::Off, max_failed: None, max_changed: None, max_drift: None };
    if !is(Trouble::Brakes, trouble, chance) {
        return none;
    }
    let canary = Canary::Vms(NonZeroU32::new(chance.u32(1..10)).unwrap());
    let mut threshold = || chance.bool().then(|| Threshold::Vms(chance.u64(0..20)));
    let (max_failed, max_changed) = (threshold(), threshold());
    let canary = if chance.bool() { canary } else { Canary::Off };
    Limits { canary, max_failed, max_changed, ..none }
}

fn signals(trouble: Trouble, chance: &mut fastrand::Rng) -> Vec<(Duration, Stop)> {
    if !is(Trouble::Signals, trouble, chance) {
        return vec![];
    }
    let stops = [Stop::Interrupted, Stop::Terminated];
    (0..chance.usize(1..3)).map(|_| (millis(chance, 0..6_000), pick(chance, &stops))).collect()
}
