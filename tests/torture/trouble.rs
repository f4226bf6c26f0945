//! How much goes wrong, and when.

use std::time::Duration;

use crate::dialect::Dialect;
use crate::fixture::{Fixture, Outcome, Process};
use crate::fleet;
use crate::sandbox::{Sandbox, Transport};

/// Longer than the longest run here takes.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long an answer is waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// Every fault that a run survives, together a tenth of the calls.
const FAULTS: [&str; 20] = [
    "reset-before",
    "reset-after",
    "hang",
    "hang-after",
    "late",
    "500-before",
    "500-after",
    "502-before",
    "502-after",
    "503-before",
    "503-after",
    "504-before",
    "504-after",
    "html-403",
    "html-502",
    "html-520",
    "truncated",
    "garbage",
    "endless",
    // Of a look it would be a lie.
    "call:refused-by-api",
];

/// Fewer of these: the pace heeds a 429, and with many of them a run would take an hour.
const REFUSALS: [&str; 4] = ["429-zero", "429-negative", "429-fraction", "429-past"];

pub(crate) const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// What HTTP/2 has in place of a connection's reset, which there is that of all calls on it.
const STREAM_FAULTS: [&str; 3] = ["stream-reset-before", "stream-reset-after", "refused-stream"];

/// A connection's end takes along all calls that are on it: a few are plenty.
const CONNECTION_FAULTS: [&str; 5] =
    ["reset-before", "reset-after", "goaway", "silent-before", "silent-after"];

/// An API that goes wrong at a tenth of the calls.
pub(crate) fn sandbox(transport: Transport, seed: u64, latency: &str) -> Sandbox {
    going_wrong(transport, seed, latency, &[faults(transport), share(&REFUSALS, "0.05%")].concat())
}

/// The same, but that it never asks anybody to wait: for a run that may wait for next to nothing.
pub(crate) fn impatient_sandbox(seed: u64, latency: &str) -> Sandbox {
    going_wrong(Transport::Plain, seed, latency, &faults(Transport::Plain))
}

fn going_wrong(transport: Transport, seed: u64, latency: &str, faults: &[String]) -> Sandbox {
    let mut args = vec![format!("--seed={seed}"), format!("--latency={latency}"), "--late=30s".to_owned()];
    args.extend_from_slice(faults);
    Sandbox::speaking(transport, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn faults(transport: Transport) -> Vec<String> {
    match transport {
        Transport::Plain => share(&FAULTS, "0.49%"),
        Transport::Http2 => {
            let (_, of_both) = FAULTS.split_at(2);
            let of_http2 = [share(&STREAM_FAULTS, "0.4%"), share(&CONNECTION_FAULTS, "0.05%")];
            [share(of_both, "0.47%"), of_http2.concat()].concat()
        }
    }
}

fn share(kinds: &[&str], share: &str) -> Vec<String> {
    kinds.iter().map(|kind| format!("--fault={kind}={share}")).collect()
}

/// A fleet of so many VMs, to be run against `sandbox`. Its late answers come too late.
pub(crate) fn fixture(sandbox: &Sandbox, dialect: Dialect, vms: usize) -> Fixture {
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let fixture = Fixture::at(sandbox).speaking(dialect).env("V6FLEET_TIMEOUT", &timeout);
    fixture.write_fleet(fleet::csv(vms));
    fixture
}

/// Waits until every VM is settled.
pub(crate) fn finish(process: Process) -> Outcome {
    let outcome = process.end_within(PATIENCE);
    assert!(matches!(outcome.code, Some(0 | 3)), "exit code {:?}:\n{}", outcome.code, outcome.stderr);
    assert_eq!(outcome.summary()["complete"], true);
    outcome
}

/// Whether the environment asks for all of it.
pub(crate) fn is_full() -> bool {
    std::env::var_os("V6FLEET_TORTURE").is_some_and(|much| much == "full")
}

/// `little` in the ordinary suite, and `all` where the environment asks for it.
pub(crate) fn count(little: usize, all: usize) -> usize {
    if is_full() { all } else { little }
}

/// A seed, told so that what failed can be tried again.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("V6FLEET_TORTURE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("V6FLEET_TORTURE_SEED={seed}");
    seed
}

/// Lets some time pass, at most so much: what comes next comes at any moment.
pub(crate) fn pass_time(chance: &mut fastrand::Rng, most: Duration) {
    std::thread::sleep(most.mul_f64(chance.f64()));
}
