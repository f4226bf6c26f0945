//! Reconciles the routed IPv6 prefixes of a VM fleet: one call per VM, one truthful row per VM.
//!
//! ```text
//! inventory → ledger → reconcile → (api, pace, retry) → outcome → ledger → report
//! ```

pub mod allocation;
pub mod inventory;
pub mod ledger;
pub mod outcome;
pub mod progress;
pub mod report;
pub mod stop;
pub mod text;
mod words;
