//! The cases of a benchmark, one after another, and what came of them: a table, and a file for other programs.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::figure::{self, Figure};
use crate::{fleet, process, yardstick};

/// What measures a case, in a directory of its own.
pub(crate) type Measure = fn(&Path) -> Vec<Figure>;

/// Measures the cases that the command line names, else all; succeeds where each figure is as it has to be.
pub(crate) fn measure(benchmark: &str, cases: &[(&str, Measure)]) -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut figures = Vec::new();
    for (name, case) in cases {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            eprintln!("case {name} …");
            figures.extend(case(dir.path()));
        }
    }
    print!("{}", figure::table(&figures));
    let result = Path::new(env!("CARGO_TARGET_TMPDIR")).join(benchmark).with_extension("json");
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
