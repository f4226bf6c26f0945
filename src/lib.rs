//! Reconciles the routed IPv6 prefixes of a VM fleet: one call per VM, one truthful row per VM.
//!
//! ```text
//! inventory → ledger → reconcile → (api, pace, retry) → outcome → ledger → report
//! ```

pub mod allocation;
pub mod api;
pub mod brake;
/// Stands in for the real command line.
pub mod cli {
    mod sandbox;
    pub use sandbox::{SandboxArgs, TypedLimitKind, TypedRateLimitHeaders, TypedRetryAfter};
}
pub mod command;
pub mod inventory;
pub mod ledger;
pub mod outcome;
pub mod pace;
pub mod progress;
pub mod reconcile;
pub mod report;
pub mod retry;
pub mod sandbox;
pub mod stop;
pub mod text;
mod words;
