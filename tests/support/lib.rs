//! What the end-to-end tests, the long loops and the benchmarks share: the real program in a place of its own, a sandbox to
//! call, and what their records say. It decides nothing of the program's, and no test is in it.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says so by failing"
)]
#![expect(
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    reason = "nothing but tests calls this"
)]

pub mod dialect;
pub mod faketime;
pub mod fixture;
pub mod fleet;
pub mod ledger;
pub mod pooler;
pub mod postgres;
pub mod proxy;
pub mod sandbox;
pub mod skip;
pub mod strace;
pub mod tmpfs;
