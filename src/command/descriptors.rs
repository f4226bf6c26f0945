//! The file descriptors that a program may have open: enough of them, or none is used.
//!
//! One that is missing in mid-run would look as if the API could not be reached.

use anyhow::anyhow;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::failure::Refusal;

/// Files, pipes, timers and signals of the program itself, and of what it calls.
const OWN: u64 = 64;

/// Descriptors for each call in flight: its connection, and the one that takes its place while it is closed.
const PER_CALL: u64 = 2;

/// Makes room for so many calls at once, with both ends of each where the sandbox is embedded.
pub(super) fn make_room(calls: u32, embedded: bool) -> Result<(), Refusal> {
    let ends = if embedded { 2 } else { 1 };
    let needed = OWN + u64::from(calls) * PER_CALL * ends;
    let limit = getrlimit(Resource::Nofile);
    let Some(raised) =
        raised(limit.current, limit.maximum, needed).map_err(|most| too_few(calls, needed, most))?
    else {
        return Ok(());
    };
    setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum })
        .map_err(|_| too_few(calls, needed, limit.current.unwrap_or(raised)))
}

/// The limit to set, if any; the error is the most that there may be. `None` is no limit.
fn raised(current: Option<u64>, most: Option<u64>, needed: u64) -> Result<Option<u64>, u64> {
    match (current, most) {
        (None, _) => Ok(None),
        (Some(current), _) if current >= needed => Ok(None),
        (Some(_), Some(most)) if most < needed => Err(most),
        (Some(_), _) => Ok(Some(needed)),
    }
}

fn too_few(calls: u32, needed: u64, most: u64) -> Refusal {
    Refusal::usage(anyhow!(
        "{calls} calls at once need {needed} open files, and this process may have {most}: raise that limit (ulimit -n \
         {needed}, or LimitNOFILE in a systemd unit), or lower --concurrency"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_is_needed_and_allowed() {
        for (current, most, needed, expected) in [
            (Some(1024), Some(4096), 96, Ok(None)),
            (Some(1024), Some(1024), 1024, Ok(None)),
            (Some(1024), Some(4096), 2112, Ok(Some(2112))),
            (Some(1024), None, 2112, Ok(Some(2112))),
            (None, None, 2112, Ok(None)),
            (Some(10), Some(10), 96, Err(10)),
            (Some(1024), Some(2000), 2112, Err(2000)),
        ] {
            assert_eq!(raised(current, most, needed), expected, "{current:?} {most:?} {needed}");
        }
    }
}
