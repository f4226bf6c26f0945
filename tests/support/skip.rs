//! A test that cannot happen here says so; on CI, which installs what tests need, that is a failure.

use std::process::Command;

/// Says that a test did not happen, and why.
#[expect(clippy::print_stderr, reason = "whoever reads the test's output has to know")]
fn skipped(why: &str) -> bool {
    eprintln!("SKIPPED, NOTHING WAS TESTED: {}", why.trim());
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
