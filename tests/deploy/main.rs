//! What lies in deploy/ fits the program: its commands are ones that it takes, its exit codes and delays are the program's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod compose;
mod cron;
mod example;
mod image;
mod kubernetes;
mod monitoring;
mod package;
mod systemd;
mod workflows;
