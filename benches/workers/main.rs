//! How well several workers share a run in PostgreSQL: one rate among them, whoever comes and goes; what a limit costs that
//! nobody tells; and what the database costs beside a ledger in a file.
//!
//! Each case has a database of its own that keeps what it says it has written. Where the pace is what is measured, the
//! sandbox's own record is the judge; where speed is, a server that does next to nothing answers, and SQLite is measured in
//! turn. Client, server and database share the cores that there are.

#![expect(clippy::unwrap_used, reason = "what cannot be measured is no measurement")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark shows its table, and how far it is"
)]
#![expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^52")]

#[expect(dead_code, reason = "no process of this benchmark is the server alone")]
#[path = "../fleet/answerer.rs"]
mod answerer;
#[path = "../fleet/arrivals.rs"]
mod arrivals;
#[expect(dead_code, reason = "clients are kept on no core here")]
#[path = "../fleet/core.rs"]
mod core;
#[expect(dead_code, reason = "the other benchmark has more targets")]
#[path = "../fleet/figure.rs"]
mod figure;
#[expect(dead_code, reason = "the other benchmark measures other commands as well")]
#[path = "../fleet/fleet.rs"]
mod fleet;
#[path = "../fleet/measure.rs"]
mod measure;
#[expect(dead_code, reason = "the other benchmark measures more of a process")]
#[path = "../fleet/process.rs"]
mod process;
#[expect(dead_code, reason = "the other benchmark has more yardsticks")]
#[path = "../fleet/yardstick.rs"]
mod yardstick;

mod crew;
mod ledger;
mod limit;
mod rate;
mod takeover;

use std::process::ExitCode;

use measure::Measure;

/// Each case, by the letter that its figures carry. Memory is measured first: a process has at least as much as the one that
/// begins it.
const CASES: [(&str, Measure); 7] = [
    ("f", ledger::million),
    ("a", rate::shared),
    ("b", rate::amid_changes),
    ("c", limit::hidden),
    ("d", ledger::throughput),
    ("e", ledger::latency),
    ("g", takeover::takeover),
];

/// How often what is short is measured.
const ROUNDS: usize = 3;

/// As the other benchmark has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    measure::measure("workers", &CASES)
}
