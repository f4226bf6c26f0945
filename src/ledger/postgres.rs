//! A ledger in a PostgreSQL database: several runs at a time, each with several workers, and readers at any time.
//!
//! What happens to an item changes its row, and what that tells of its VM is known at once: a reader sees one state of
//! all of it. A batch of requests is one transaction, and its statements share a round trip.

mod ahead;
mod begin;
mod board;
mod book;
mod breakers;
mod burial;
mod changes;
mod closing;
mod column;
mod connect;
mod database;
mod draft;
mod engine;
mod engine_error;
mod finish;
mod job_lock;
mod known;
mod leases;
mod pace;
mod page;
mod parameter;
mod passfile;
mod plain;
mod process;
mod prune;
mod question;
mod rates;
mod runs;
mod schema;
mod session;
mod settings;
mod sitting;
mod start;
mod statements;
mod tls;
mod url;
mod vms;
mod workers;

pub(super) use database::Postgres;
pub use url::{DatabaseUrl, InvalidUrl};
