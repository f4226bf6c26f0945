//! The real binary, as its users run it, against its real sandbox, whose own record is the judge.
//!
//! Where an answer is needed that the sandbox never gives, a scripted server on loopback gives it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod accounts;
mod answers;
mod audit;
mod brakes;
mod browser;
mod canary;
mod check;
mod clock;
mod copy;
mod crash;
mod database;
mod demo;
mod descriptors;
mod dialects;
mod disk;
mod endings;
mod files;
mod formats;
mod guests;
mod history;
mod http2;
mod inventory;
mod job;
mod key;
mod leases;
mod ledger;
mod listing;
mod locale;
mod lock;
mod migration;
mod monitor;
mod night;
mod pace;
mod page;
mod plan;
mod polling;
mod pruning;
mod refusals;
mod repeat;
mod retention;
mod script;
mod select;
mod settings;
mod shell;
mod status;
mod stop;
mod unattended;
mod webhook;
mod workers;

use support::{dialect, faketime, fixture, fleet, pooler, postgres, sandbox, skip, strace, tmpfs};
