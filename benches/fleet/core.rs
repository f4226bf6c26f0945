//! Two cores, one for each side of a call: what a run costs is not what its server costs.

use std::sync::LazyLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Those that the benchmark was started with.
static ALLOWED: LazyLock<CpuSet> = LazyLock::new(|| sched_getaffinity(None).unwrap());

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Core {
    Client,
    Server,
}

/// Keeps this thread, and every process that it starts, on a core.
///
/// # Panics
///
/// Where there are fewer than two cores.
pub(crate) fn pin(core: Core) {
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&cpu| ALLOWED.is_set(cpu));
    let mut mine = CpuSet::new();
    mine.set(cores.nth(core as usize).expect("two cores are needed: one for each side of a call"));
    sched_setaffinity(None, &mine).unwrap();
}
