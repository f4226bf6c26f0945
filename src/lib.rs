//! Reconciles the routed IPv6 prefixes of a VM fleet: one call per VM, one truthful row per VM.
//!
//! ```text
//! inventory → ledger → reconcile → (api, pace, retry) → outcome → ledger → report
//! ```

pub mod allocation;
/// Stands in for `src/cli.rs`.
pub mod cli {
    mod sandbox;
    pub use sandbox::{SandboxArgs, TypedLimitKind, TypedRateLimitHeaders, TypedRetryAfter};
}
pub mod command;
pub mod inventory;
pub mod ledger;
pub mod outcome;
pub mod sandbox;
pub mod stop;
mod words;
