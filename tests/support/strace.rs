//! The program under strace, which makes its system calls fail.

use std::process::Command;

use crate::fixture::{Fixture, binary};
use crate::skip::skipped_but_on_ci;

/// The program in `wrapper`, with the environment that the fixture gives it.
pub fn wrapped(wrapper: &[&str], fixture: &Fixture, args: &[&str]) -> Command {
    let mut command = fixture.beside(wrapper[0]);
    command.args(&wrapper[1..]).arg(binary()).args(args);
    command
}

/// The program under strace; what it did is then in the file `trace`. Injections count in each thread by itself.
pub fn traced(options: &[&str], fixture: &Fixture, args: &[&str]) -> Command {
    wrapped(&[&["strace", "-f", "-qq", "-y", "-o", "trace"], options].concat(), fixture, args)
}

/// Whether strace is here and may do this; where not, the test says that it was skipped, and on CI it fails.
pub fn can(injection: &str) -> bool {
    let option = format!("inject={injection}");
    let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", &option, "true"]).output();
    match tried {
        Ok(output) if output.status.success() => true,
        Ok(output) => skipped_but_on_ci(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped_but_on_ci(&format!("strace cannot be run: {error}")),
    }
}
