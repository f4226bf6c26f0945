//! Tells the program which commit it is built from, for `v6fleet --version`.
//!
//! `V6FLEET_COMMIT` says so where it is set, else git does where this directory is a clone; elsewhere, in an unpacked
//! archive, nothing is said. No date is built in: the same source makes the same program.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=V6FLEET_COMMIT");
    let named = std::env::var("V6FLEET_COMMIT").ok();
    if let Some(commit) = named.or_else(commit).filter(|commit| !commit.is_empty()) {
        // `cargo run` hands it to the program too, which takes V6FLEET_… for options.
        println!("cargo::rustc-env=BUILT_FROM={commit}");
    }
}

/// The commit that is checked out here, and a rebuild when another one is.
fn commit() -> Option<String> {
    // Unpacked within a clone of something else, that one's commit is not ours.
    let clone = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var_os("CARGO_MANIFEST_DIR")?;
    if Path::new(&clone).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // The log of HEAD grows with every commit and checkout.
    for file in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
