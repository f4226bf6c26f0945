//! A process as others on the same machine know it, so that one that is gone is known to be, whatever its lease says.

use std::fs;
use std::io;
use std::sync::LazyLock;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Where the pid and the state stand in `/proc/PID/stat`, and when the process began, counted behind its name.
const STATE: usize = 0;
const BEGAN: usize = 19;

static OURS: LazyLock<Option<String>> = LazyLock::new(|| {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // What a pid means is said by its namespace: another container's is none of ours.
    let pids = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}/{}", boot.trim(), pids.to_str()?, Stat::of(std::process::id()).ok()?.began))
});

/// Ours; `None` where the system does not say.
pub(super) fn ours() -> Option<&'static str> {
    OURS.as_deref()
}

/// Whether a process is gone for certain: one of this machine that is not there any more, or is another by now.
pub(super) fn is_gone(pid: u32, process: &str) -> bool {
    let Some((place, began)) = process.rsplit_once('/') else { return false };
    let is_here = ours().and_then(|ours| ours.rsplit_once('/')).is_some_and(|(here, _)| here == place);
    is_here
        && match Stat::of(pid) {
            Ok(stat) => stat.has_ended || stat.began != began,
            Err(error) => error.kind() == io::ErrorKind::NotFound && !exists(pid),
        }
}

/// Whether any process has this number: the system may hide other users' in `/proc`, and knows them nevertheless.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// What the system says of a process.
struct Stat {
    began: String,
    has_ended: bool,
}

impl Stat {
    fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name may have anything in it.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace().collect();
        let began = fields.get(BEGAN).ok_or(io::ErrorKind::InvalidData)?.to_string();
        Ok(Self { began, has_ended: matches!(fields[STATE], "Z" | "X") })
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::{Command, Output};

    use support::skip::skipped_but_on_ci;

    use super::*;

    /// Of a process: its id, and how others know it.
    const ANOTHERS: [&str; 2] = ["V6FLEET_TEST_PID", "V6FLEET_TEST_PROCESS"];

    #[test]
    fn a_process_is_gone_once_it_has_ended_and_never_for_one_of_another_machine() {
        let ours = ours().unwrap();
        assert!(!is_gone(std::process::id(), ours));
        let (here, _) = ours.rsplit_once('/').unwrap();
        assert!(is_gone(std::process::id(), &format!("{here}/1")), "another that has our number by now");
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(is_gone(child.id(), ours));
        for elsewhere in ["", "x", "other boot/pid:[1]/1"] {
            assert!(!is_gone(child.id(), elsewhere), "{elsewhere}");
        }
    }

    /// Runs only the test of this name once more, as somebody who sees no other user's processes.
    fn as_another_user(test: &str) -> Option<Output> {
        // A mount of its own: the options of one that is there would be everybody's.
        const HIDE: &str = "mount -t proc -o hidepid=2 proc /proc && echo hidden &&
            exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \"$@\"";
        let tests = env::current_exe().unwrap();
        let mut hidden = Command::new("unshare");
        hidden.args(["--mount", "--propagation=private", "sh", "-c", HIDE, "sh"]).arg(tests);
        hidden.args(["--exact", test, "--nocapture"]);
        hidden.envs(ANOTHERS.into_iter().zip([std::process::id().to_string(), ours()?.to_owned()]));
        hidden.output().ok().filter(|output| output.stdout.starts_with(b"hidden"))
    }

    #[test]
    fn a_process_that_is_hidden_is_not_gone() {
        if let [Ok(pid), Ok(process)] = ANOTHERS.map(env::var) {
            let pid = pid.parse().unwrap();
            assert!(Stat::of(pid).is_err(), "it is not hidden");
            assert!(!is_gone(pid, &process));
            return;
        }
        match as_another_user("ledger::postgres::process::tests::a_process_that_is_hidden_is_not_gone") {
            Some(output) => assert!(output.status.success(), "{output:?}"),
            None => drop(skipped_but_on_ci("no /proc can be had that hides the processes of others")),
        }
    }
}
