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
mod bare;
mod case;
mod core;
mod figure;
mod fleet;
mod ledger;
mod nights;
mod process;
mod yardstick;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use figure::Figure;

/// What measures a case, in a directory of its own.
type Measure = fn(&Path) -> Vec<Figure>;

/// Each case, by the letter that its figures carry.
const CASES: [(&str, Measure); 9] = [
    ("a", nights::throughput),
    ("b", nights::latency),
    ("c", case::million),
    ("d", case::rate_as_seen),
    ("e", case::start),
    ("f", case::inventory),
    ("h", ledger::alone),
    ("i", nights::ledger_size),
    ("j", case::ids),
];

/// As the program has it, for the sake of the bare client.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(bare::WORD) => bare::run(args),
        Some(answerer::WORD) => answerer::run(args),
        Some(_) | None => return measure(),
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    core::pin(core::Core::Client);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut figures = Vec::new();
    for (name, case) in CASES {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            eprintln!("case {name} …");
            figures.extend(case(dir.path()));
        }
    }
    print!("{}", figure::table(&figures));
    let result = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fleet.json");
    let text = serde_json::to_string_pretty(&figure::json(&figures, &machine(dir.path()))).unwrap();
    fs::write(&result, text).unwrap();
    println!("as JSON: {}", result.display());
    ExitCode::from(u8::from(!figures.iter().all(Figure::holds)))
}

/// Where the figures come from.
fn machine(dir: &Path) -> Value {
    let first = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    json!({
        "processor": first("/proc/cpuinfo", "model name"),
        "memory": first("/proc/meminfo", "MemTotal"),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "fsync_us": yardstick::fsync(dir).as_micros(),
        "program": process::output(fleet::v6fleet().arg("--version")).1.trim(),
    })
}
