//! How near the program comes to what this machine can do, each figure as a ratio to a yardstick of the same minutes.
//!
//! The whole process is measured, from an inventory to a synced ledger and a report, against a server that does next
//! to nothing. Client and server have a core each. Yardsticks are measured in turn with it: the bare client, which waits
//! for what the program waits for on any machine, and tools that do less.

#![expect(clippy::unwrap_used, reason = "what cannot be measured is no measurement")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark shows its table, and how far it is"
)]
#![expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^52")]

mod answerer;
mod arrivals;
mod bare;
mod case;
mod core;
#[expect(dead_code, reason = "the benchmark of workers has targets of its own")]
mod figure;
#[expect(dead_code, reason = "it keeps ledgers in a database as well")]
mod fleet;
mod ledger;
mod measure;
mod nights;
mod process;
mod watched;
mod yardstick;

use std::process::ExitCode;

use measure::Measure;

/// Each case, by the letter that its figures carry.
const CASES: [(&str, Measure); 10] = [
    ("a", nights::throughput),
    ("b", nights::latency),
    ("c", case::million),
    ("d", case::rate_as_seen),
    ("e", case::start),
    ("f", case::inventory),
    ("h", ledger::alone),
    ("i", nights::ledger_size),
    ("j", case::ids),
    ("k", watched::watched),
];

/// As the program has it, for the sake of the bare client.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(bare::WORD) => bare::run(args),
        Some(answerer::WORD) => answerer::run(args),
        Some(_) | None => {
            core::pin(core::Core::Client);
            return measure::measure("fleet", &CASES);
        }
    }
    ExitCode::SUCCESS
}
