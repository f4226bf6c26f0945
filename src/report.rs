//! Reports: every row of a run, in each format that was asked for, and the recap of the whole.
//!
//! A report is a pure function of the ledger's rows and summary: nothing here knows the network or decides an
//! outcome. All outputs are written in one pass in bounded memory, and an old report stays until the new is whole.

mod advice;
mod api;
pub mod audit;
mod counts;
mod csv;
pub mod diff;
mod ended;
mod error;
mod files;
#[cfg(test)]
mod fixtures;
pub mod history;
mod html;
mod json;
mod jsonl;
mod junit;
pub mod listing;
mod output;
mod page;
mod prometheus;
mod racks;
pub mod recap;
mod run;
pub mod runs;
mod selection;
mod skipped;
pub mod status;
#[cfg(test)]
mod tool;
mod verdict;

pub use ended::RunEnded;
pub use error::ReportError;
pub use files::{FileFormat, ReportFile, Written};
pub use output::{destination, sweep};
pub use run::{Format, Reports};
pub use skipped::{SkippedList, check_skipped};
