//! What the formats' own tools say of a report, for tests.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

/// Fails where the tool refuses `report` on its standard input, or says anything of it.
///
/// Where it is not installed the test says that it was skipped; on CI, which installs it, that is a failure.
#[track_caller]
pub(super) fn accepts(command: &[&str], report: &str) {
    let mut tool = Command::new(command[0]);
    tool.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = match tool.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is not installed", command[0]);
            return eprintln!("SKIPPED, NOTHING WAS TESTED: {} is not installed", command[0]);
        }
        tool => tool.unwrap(),
    };
    tool.stdin.take().unwrap().write_all(report.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).replace("- validates\n", "");
    assert!(output.status.success() && said.is_empty(), "{said}\n{report}");
}
