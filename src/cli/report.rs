//! What is typed after `v6fleet report`.

use std::path::PathBuf;

use clap::Args;

use super::values::RecapFormat;

/// Write a run's report again, from the ledger
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet report                          the latest run's recap\n  \
    v6fleet report 20261123T02 -o mail.csv  a run by the start of its id, as CSV")]
pub struct ReportArgs {
    /// Run id, the start of one, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,

    /// Write a report to this file: .csv, .json, .jsonl, .html, .junit.xml or .prom by its name, or FORMAT:FILE, where
    /// - is standard output and the recap goes to standard error (repeatable; as it is typed: the environment and the
    ///   configuration file say it of runs)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    /// Form of the recap on standard output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: RecapFormat,

    /// Look in the rehearsals' ledger
    #[arg(long)]
    pub sandbox: bool,
}
