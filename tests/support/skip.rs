//! A test that cannot happen here says so; on CI, which installs what tests need, that is a failure.

use std::fs::File;
use std::io::Write;
use std::process::Command;

/// The environment variable that names the file in which whoever runs all tests finds what was skipped: nobody sees the output
/// of one that passes.
const LIST: &str = "SKIPPED_TESTS";

/// Says that a test did not happen, and why.
#[expect(clippy::print_stderr, reason = "whoever reads the test's output has to know")]
fn skipped(why: &str) -> bool {
    let why = why.trim();
    eprintln!("SKIPPED, NOTHING WAS TESTED: {why}");
    if let Some(list) = std::env::var_os(LIST) {
        let mut list = File::options().create(true).append(true).open(list).unwrap();
        list.write_all(format!("{why}\n").as_bytes()).unwrap();
    }
    false
}

/// As [`skipped`], of what CI installs.
///
/// # Panics
///
/// On CI.
pub fn skipped_but_on_ci(why: &str) -> bool {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    skipped(why)
}

/// Whether a program is here; where not, the test says that it was skipped, and on CI it fails.
pub fn has(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    there || skipped_but_on_ci(&format!("{tool} is not installed"))
}
