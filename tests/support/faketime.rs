//! The program's time of day in a test's hand: libfaketime, told by a file that may change while the program runs.

use std::process::Command;

use crate::fixture::Fixture;
use crate::skip::skipped_but_on_ci;

/// Programs that were killed leave memory behind that is named by their pid: a wrapper of the same pid cannot start.
const TRIES: usize = 10;

/// Named by `LD_PRELOAD` as the wrapper would.
fn library() -> Result<String, String> {
    let found = (1..TRIES).map(|_| asked()).find(Result::is_ok);
    found.unwrap_or_else(asked)
}

fn asked() -> Result<String, String> {
    let shown = Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let shown = shown.map_err(|error| format!("faketime cannot be run: {error}"))?;
    let library = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
    if library.is_empty() { Err(String::from_utf8_lossy(&shown.stderr).into_owned()) } else { Ok(library) }
}

/// From now on every command of the fixture has a time of day that [`set`] sets, and no other clock is touched.
/// Returns whether that is possible; where not, the test says that it was skipped, and in CI it fails.
pub fn can_set_the_time(fixture: &mut Fixture) -> bool {
    let library = match library() {
        Ok(library) => library,
        Err(why) => return skipped_but_on_ci(&why),
    };
    set(fixture, 0);
    fixture.set("LD_PRELOAD", &library);
    let file = fixture.path("time-of-day").display().to_string();
    fixture.set("FAKETIME_TIMESTAMP_FILE", &file);
    fixture.set("FAKETIME_NO_CACHE", "1");
    fixture.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    true
}

/// Sets the time of day to so many seconds after the true one, also of programs that are under way.
pub fn set(fixture: &Fixture, seconds: i64) {
    // Renamed into place: a program that reads it meanwhile finds one or the other.
    fixture.write("time-of-day.new", format!("{seconds:+}\n"));
    std::fs::rename(fixture.path("time-of-day.new"), fixture.path("time-of-day")).unwrap();
}
