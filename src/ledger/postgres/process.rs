//! A process as others on the same machine know it, so that one that is gone is known to be, whatever its lease says.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

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
            Err(error) => error.kind() == io::ErrorKind::NotFound && Path::new("/proc/self/stat").exists(),
        }
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
    use std::process::Command;

    use super::*;

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
}
