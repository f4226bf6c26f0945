//! `--rate` as the API sees it, by the sandbox's record: of several workers of one run, and of workers that come and go.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use support::fixture::Process;

use crate::arrivals::{Arrivals, most_within, per_second};
use crate::crew::{Site, Terms, await_end};
use crate::figure::{Figure, Samples, Target};

const LATENCY: [&str; 2] = ["--latency", "20ms"];

/// How long each run lasts, in seconds: its begin and its end, in which not all workers call, are a small part of it.
const LASTS: usize = 30;

/// The mean, the worst second and the worst 100 ms, each to the rate.
struct Evenness {
    mean: Samples,
    /// But for the first and the last second.
    steady: Samples,
    second: Samples,
    /// Without the one call that may always be there.
    tenth: Samples,
}

impl Evenness {
    fn new() -> Self {
        let [mean, steady, second, tenth] = [const { Samples::new() }; 4];
        Self { mean, steady, second, tenth }
    }

    fn push(&mut self, arrivals: &Arrivals, rate: f64) {
        let most = |time| most_within(Duration::from_millis(time), arrivals) as f64;
        self.mean.push(per_second(arrivals) / rate);
        self.steady.push(per_second(inner(arrivals)) / rate);
        self.second.push(most(1_000) / rate);
        self.tenth.push((most(100) - 1.0) / (rate / 10.0));
    }

    fn figures(self, case: &'static str, what: &str, mean: Target, tenth: Target) -> Vec<Figure> {
        let figure = |figure, samples, target| {
            Figure::alone(case, format!("{what}, {figure}"), "of it", samples, target)
        };
        vec![
            figure("mean", self.mean, mean),
            figure("mean, inner", self.steady, mean),
            figure("worst second", self.second, Target::NeverAbove(1.03)),
            figure("worst 0.1 s, less 1", self.tenth, tenth),
        ]
    }
}

/// Without the first and the last second.
fn inner(arrivals: &[u32]) -> &[u32] {
    const SECOND: u32 = 1_000_000;
    let last = arrivals[arrivals.len() - 1] - SECOND;
    let [begin, end] =
        [arrivals[0] + SECOND, last].map(|at| arrivals.partition_point(|arrival| *arrival < at));
    &arrivals[begin..end]
}

/// Whole runs of 1 to 8 workers, begin and end included.
pub(crate) fn shared(_: &Path) -> Vec<Figure> {
    let rates = [(200, "200/s"), (1_000, "1000/s")];
    let cases = rates.into_iter().flat_map(|rate| [1, 2, 4, 8].map(|workers| (rate, workers)));
    cases
        .flat_map(|((per_second, rate), workers)| {
            let terms = Terms { rate, lease: "30s", concurrency: "64" };
            let mut evenness = Evenness::new();
            let site = Site::new(&LATENCY, per_second * LASTS);
            await_end(site.crew(workers, &terms));
            evenness.push(&site.arrivals(Timestamp::MIN, Timestamp::MAX), per_second as f64);
            let what = format!("{rate}, {workers} workers");
            evenness.figures("a", &what, Target::Between(0.995, 1.002), Target::NeverAbove(1.2))
        })
        .collect()
}

/// How often somebody comes or goes, and how often in all.
const CHANGE: Duration = Duration::from_secs(2);
const CHANGES: usize = 24;

/// 200/s while workers join, leave, are killed and are stopped.
pub(crate) fn amid_changes(_: &Path) -> Vec<Figure> {
    let terms = Terms { rate: "200/s", lease: "2s", concurrency: "64" };
    let site = Site::new(&LATENCY, 200 * (CHANGES * 2 + 10));
    let mut crew = Crew { working: site.crew(4, &terms), hung: None };
    site.sandbox.await_calls(400);
    let from = Timestamp::now();
    for nth in 0..CHANGES {
        crew.change(nth, || site.worker(&terms));
        sleep(CHANGE);
    }
    let arrivals = site.arrivals(from, Timestamp::now());
    site.stop();
    let mut evenness = Evenness::new();
    evenness.push(&arrivals, 200.0);
    evenness.figures("b", "200/s amid changes", Target::AtLeast(0.97), Target::None)
}

/// The workers that there are, the oldest first.
struct Crew {
    working: Vec<Process>,
    hung: Option<Process>,
}

impl Crew {
    /// What happens the `nth` time: one joins, leaves, is killed, is stopped, goes on again, leaves; four or five stay.
    fn change(&mut self, nth: usize, joins: impl Fn() -> Process) {
        match nth % 6 {
            0 => self.working.push(joins()),
            1 | 5 => leave(self.working.remove(0)),
            2 => {
                self.working.remove(0).kill();
                self.working.push(joins());
            }
            3 => {
                let hangs = self.working.remove(0);
                hangs.signal("STOP");
                self.hung = Some(hangs);
                self.working.push(joins());
            }
            _ => {
                let hung = self.hung.take().unwrap();
                hung.signal("CONT");
                self.working.push(hung);
            }
        }
    }
}

fn leave(worker: Process) {
    worker.signal("INT");
    worker.end().exits(130);
}
