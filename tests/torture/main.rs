//! Long troubles: the real binary against the real sandbox, whose own record is the judge.
//!
//! Shortened, unless `V6FLEET_TORTURE` is `full`.
#![expect(clippy::print_stdout, reason = "the numbers of a long run are worth reading")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[expect(dead_code, reason = "the end-to-end tests use all of it")]
#[path = "../e2e/fixture.rs"]
mod fixture;
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
#[path = "../e2e/fleet.rs"]
mod fleet;
mod gentle;
mod judge;
mod racks;
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
#[path = "../e2e/sandbox.rs"]
mod sandbox;

fn is_full() -> bool {
    std::env::var_os("V6FLEET_TORTURE").is_some_and(|much| much == "full")
}
