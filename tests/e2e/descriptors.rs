//! File descriptors: too few are told before the first call, and the API is not blamed for those that are missing later.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::fixture::{Fixture, Outcome, Process};
use crate::fleet;
use crate::sandbox::Sandbox;

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// The program under a shell's limits.
fn limited(fixture: &Fixture, limits: &str, args: &[&str]) -> Outcome {
    let program = fixture.command(args);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")])
        .arg(program.get_program())
        .args(program.get_args());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = program.get_current_dir() {
        shell.current_dir(directory);
    }
    fixture.spawn(shell).end()
}

#[test]
fn file_descriptors_are_made_room_for_or_the_number_that_is_needed_is_told() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(300));
    for (limits, concurrency, code) in
        [("ulimit -n 10", "16", 2), ("ulimit -n 200", "100", 2), ("ulimit -Sn 64", "256", 0)]
    {
        let outcome =
            limited(&fixture, limits, &[&RUN[..], &["--concurrency", concurrency]].concat()).exits(code);
        assert_eq!(outcome.stderr.contains("open files"), code == 2, "{limits}: {}", outcome.stderr);
    }
    assert_eq!(sandbox.calls().len(), 300);
    let few = ["--concurrency", "4", "--deadline", "1ms"];
    limited(&fixture, "ulimit -n 80", &[&RUN[..], &few].concat()).exits(5);
    limited(&fixture, "ulimit -n 80", &["resume", "--deadline", "1m"]).exits(0);
}

/// From now on the process may have so many descriptors. That closes none of those that it has.
fn limit_descriptors(process: &Process, most: u64) {
    let pid = Pid::from_raw(process.id().try_into().unwrap());
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(most), maximum }).unwrap();
}

fn open_descriptors(process: &Process) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count() as u64
}

/// A fleet run under way, over connections that the API now and then closes, and that need new descriptors then.
fn start(sandbox: &Sandbox, options: &[&str]) -> (Fixture, Process) {
    let fixture = Fixture::at(sandbox);
    fixture.write("fleet.csv", fleet::csv(120));
    let run = [&RUN[..4], &["--rate", "100/s", "--concurrency", "64"], options].concat();
    let process = fixture.start(&run);
    sandbox.await_calls(4);
    (fixture, process)
}

/// Nobody failed, and each row counts the calls that the API saw.
#[track_caller]
fn assert_true(outcome: &Outcome, sandbox: &Sandbox) {
    let called = sandbox.called_vmids();
    for row in outcome.rows() {
        let vmid = row["vmid"].as_str().unwrap();
        let is_old = fleet::is_allocated(vmid.parse().unwrap());
        assert_eq!(row["outcome"], if is_old { "unchanged" } else { "created" }, "{row}");
        assert_eq!(row["attempts"], called.iter().filter(|&called| called == vmid).count(), "{row}");
    }
    assert!(!outcome.stderr.contains("fail:"), "the API is not to blame: {}", outcome.stderr);
}

#[test]
fn descriptors_that_run_out_in_mid_run_cost_speed_and_are_not_the_apis_fault() {
    let sandbox = Sandbox::start(&["--latency", "100ms", "--fault", "reset-before=5%"]);
    let (_fixture, process) = start(&sandbox, &[]);
    limit_descriptors(&process, open_descriptors(&process));
    let outcome = process.end().exits(0);
    outcome.assert_in_stderr("no file descriptor was left");
    assert_true(&outcome, &sandbox);
}

#[test]
fn a_run_that_no_descriptor_is_left_for_ends_as_max_wait_says_and_goes_on_where_there_are_some() {
    let sandbox = Sandbox::start(&["--latency", "20ms", "--fault", "reset-before=20%"]);
    let (fixture, process) = start(&sandbox, &["--max-wait", "2s", "--output-dir", "none"]);
    limit_descriptors(&process, 3);
    let stopped = process.end().exits(5);
    stopped.assert_in_stderr("no file descriptor is left");
    let outcome = fixture.resume(&["--max-wait", "1m", "--output-dir", "reports"]).exits(0);
    assert_true(&outcome, &sandbox);
}
