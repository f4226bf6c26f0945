//! Whole runs beside which somebody asks each second how they stand, against the same runs that nobody looks at.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::figure::{Figure, Samples, Target};
use crate::fleet::{Fleet, Order};
use crate::nights::{LATENCY, ROUNDS};

/// As often as `v6fleet status --watch` looks.
const EACH: Duration = Duration::from_secs(1);

pub(crate) fn watched(dir: &Path) -> Vec<Figure> {
    [(200_000, Duration::ZERO, "throughput, a status each second"), (20_000, LATENCY, "the same, 20 ms")]
        .into_iter()
        .map(|(vms, latency, what)| {
            let fleet = Fleet::new(dir, vms, 40, Order::ById);
            let [mut watched, mut alone] = [const { Samples::new() }; 2];
            for _ in 0..ROUNDS {
                alone.push(throughput(&fleet, latency));
                watched.push(watching(&fleet, || throughput(&fleet, latency)));
            }
            Figure::beside("k", what, "calls/s", watched, ("nobody looks", alone), Target::AtLeast(0.97))
        })
        .collect()
}

/// Of a first night, in calls a second.
fn throughput(fleet: &Fleet, latency: Duration) -> f64 {
    fleet.forget();
    fleet.vms as f64 / fleet.cost(latency).wall.as_secs_f64()
}

/// What `run` returns, while somebody looks.
///
/// # Panics
///
/// Where nobody ever saw it.
fn watching<T>(fleet: &Fleet, run: impl FnOnce() -> T) -> T {
    let (over, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut seen = 0;
            while is_over.recv_timeout(EACH) == Err(RecvTimeoutError::Timeout) {
                seen += usize::from(fleet.status().output().unwrap().status.success());
            }
            seen
        });
        let value = run();
        drop(over);
        assert_ne!(watcher.join().unwrap(), 0, "statuses that told of the run");
        value
    })
}
