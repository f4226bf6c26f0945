//! Reconciles the routed IPv6 prefixes of a VM fleet: one call per VM, one truthful row per VM.
//!
//! ```text
//! inventory → ledger → reconcile → (api, pace, retry) → outcome → ledger → report
//! ```

pub mod allocation;
pub mod api;
pub mod audit;
pub mod brake;
pub mod breaker;
pub mod check;
pub mod cli;
pub mod clock;
pub mod command;
mod config;
pub mod dialect;
pub mod difference;
mod filter;
pub mod inventory;
pub mod ledger;
pub mod listing;
pub mod outcome;
pub mod pace;
pub mod ping;
pub mod progress;
pub mod reconcile;
pub mod report;
pub mod resumption;
pub mod retry;
pub mod sandbox;
mod seen;
pub mod shrink;
pub mod stop;
pub mod text;
pub mod trust;
pub mod vm;
mod words;
