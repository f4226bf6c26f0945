//! What a limit costs that no answer tells, where four workers look for it together.

use std::path::Path;

use jiff::Timestamp;

use crate::arrivals::per_second;
use crate::crew::{Site, Terms, await_end};
use crate::figure::{Figure, Samples, Target};

const VMS: usize = 5_000;

/// A bucket of 50 calls, filled at 50/s.
const SANDBOX: [&str; 4] = ["--limit", "50/s", "--latency", "40ms"];

/// Seconds for all calls at the limit, but for those that the full bucket gives at once.
const IDEAL: f64 = 99.0;

/// The time that a run takes with a ceiling five times too high, and the share of its calls that are refused.
pub(crate) fn hidden(_: &Path) -> Vec<Figure> {
    let site = Site::new(&SANDBOX, VMS);
    await_end(site.crew(4, &Terms { rate: "250/s", lease: "30s", concurrency: "16" }));
    let arrivals = site.arrivals(Timestamp::MIN, Timestamp::MAX);
    let refused = site.sandbox.calls().iter().filter(|call| call.status == 429).count();
    let [mut time, mut share] = [const { Samples::new() }; 2];
    time.push((arrivals.len() - 1) as f64 / per_second(&arrivals) / IDEAL);
    share.push(refused as f64 / arrivals.len() as f64 * 100.0);
    vec![
        Figure::alone("c", "hidden 50/s, 4 workers, time", "of ideal", time, Target::AtMost(1.1)),
        Figure::alone("c", "the same, answered 429", "% of calls", share, Target::AtMost(1.5)),
    ]
}
