//! The program under strace, which makes its system calls fail.

use std::process::{Command, Stdio};

use crate::fixture::Fixture;

/// The program in `wrapper`, with the environment that the fixture gives it.
pub(crate) fn wrapped(wrapper: &[&str], fixture: &Fixture, args: &[&str]) -> Command {
    let program = fixture.command(args);
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().unwrap()).env_clear().stdin(Stdio::null());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// The program under strace; what it did is then in the file `trace`. Injections count in each thread by itself.
pub(crate) fn traced(options: &[&str], fixture: &Fixture, args: &[&str]) -> Command {
    wrapped(&[&["strace", "-f", "-qq", "-y", "-o", "trace"], options].concat(), fixture, args)
}

/// Whether strace is here and may do this; where not, the test says that it was skipped.
pub(crate) fn can(injection: &str) -> bool {
    let option = format!("inject={injection}");
    let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", &option, "true"]).output();
    match tried {
        Ok(output) if output.status.success() => true,
        Ok(output) => skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped(&format!("strace cannot be run: {error}")),
    }
}

/// Says that a test did not happen, and why.
#[expect(clippy::print_stderr, reason = "whoever reads the test's output has to know")]
pub(crate) fn skipped(why: &str) -> bool {
    eprintln!("SKIPPED, NOTHING WAS TESTED: {}", why.trim());
    false
}
