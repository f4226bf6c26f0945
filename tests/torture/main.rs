//! The long loops: whatever goes wrong, and whenever the program is killed or told to stop, its report says what the
//! sandbox's own record says.
//!
//! With small counts they are part of the suite; `make torture` runs all of it. Chance comes from a seed that is
//! printed, and `V6FLEET_TORTURE_SEED` gives it again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]
#![expect(clippy::print_stdout, reason = "seeds and counts are told, for whoever tries again")]

mod clocks;
mod exact;
#[path = "../e2e/faketime.rs"]
mod faketime;
#[path = "../e2e/fixture.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod fixture;
#[path = "../e2e/fleet.rs"]
mod fleet;
mod gentle;
mod killed;
#[path = "../e2e/ledger.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod ledger;
mod mutated;
mod racks;
mod rfc4180;
#[path = "../e2e/sandbox.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod sandbox;
mod stopped;
#[path = "../e2e/strace.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod strace;
mod trouble;
mod truth;
