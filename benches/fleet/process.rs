//! A whole process, from its start to its end, and what it cost.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use wait4::Wait4;

/// What a process cost.
///
/// The memory of a process is at least what this benchmark had at its start: the kernel counts that too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Of all cores, user and system.
    pub(crate) cpu: Duration,
    /// The most memory that was resident, in MiB.
    pub(crate) peak_mib: f64,
    /// Bytes that it had written to a disk: whole pages, each as often as it was changed between two syncs. What the
    /// file system writes for itself is not among them, nor what is kept in memory only.
    pub(crate) written: u64,
}

/// Runs `command` to its end, its output thrown away.
///
/// # Panics
///
/// Where it cannot be run, or does not end with 0.
pub(crate) fn cost(command: &mut Command) -> Cost {
    measured(command.stdout(Stdio::null())).0
}

/// Like [`cost`], with what it printed.
pub(crate) fn output(command: &mut Command) -> (Cost, String) {
    measured(command.stdout(Stdio::piped()))
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn measured(command: &mut Command) -> (Cost, String) {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut printed = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut printed).unwrap();
    }
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    let process = WaitId::Pid(Pid::from_child(&child));
    waitid(process, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let wall = begun.elapsed();
    let written = written(child.id());
    let used = child.wait4().unwrap();
    assert!(used.status.success(), "{command:?} ended with {}: {complaints}", used.status);
    let cpu = used.rusage.utime + used.rusage.stime;
    (Cost { wall, cpu, peak_mib: used.rusage.maxrss as f64 / 1_048_576.0, written }, printed)
}

/// The kernel's account of a process is there until that has been waited for.
fn written(process: u32) -> u64 {
    let account = fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    let bytes = account.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    bytes.unwrap().parse().unwrap()
}

/// `writer | reader`, with `result` as where it goes: how long until both have ended.
pub(crate) fn piped(writer: &mut Command, reader: &mut Command, result: File) -> Duration {
    let begun = Instant::now();
    let mut writing = writer.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut reading = reader.stdin(writing.stdout.take().unwrap()).stdout(result).spawn().unwrap();
    let ended = [writing.wait().unwrap(), reading.wait().unwrap()];
    assert!(ended.iter().all(std::process::ExitStatus::success), "{writer:?} | {reader:?}");
    begun.elapsed()
}
