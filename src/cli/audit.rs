//! What is typed after `v6fleet audit`.

use std::path::PathBuf;

use clap::Args;

use super::history::ReadingArgs;
use super::inventory::{InventoryArgs, SelectionArgs};
use super::run::EndpointArgs;
use crate::audit::Severity;

/// Check what is known of a fleet, without calling the API
///
/// Compares what the ledger last saw of each VM with what the inventory expects, with the rest of its rack, and with
/// the prefixes of all VMs that the ledger knows. Every finding says how bad it is, with the evidence and its date.
#[derive(Debug, Args)]
#[command(mut_arg("base_url", |arg| arg.help("Where the VMs were seen: the base URL of the runs")))]
#[command(mut_arg("skip_invalid", |arg| arg.help("Go on without invalid rows; they are only counted")))]
#[command(after_help = "Examples:\n  \
    v6fleet audit fleet.csv --whole-fleet                  all that is known, and what the inventory lost\n  \
    v6fleet audit plan.csv --rack 'dc1r*' -o audit.html    after a migration\n  \
    v6fleet audit fleet.csv --format json | jq -r '.findings[] | select(.severity == \"error\").vmid'\n\n\
    Exit codes: 0 no finding, 2 usage, configuration or inventory, 3 invalid rows were skipped,\n\
    7 nothing selected, 11 findings.")]
pub struct AuditArgs {
    /// Inventory files (CSV, JSON or JSON Lines); several make one fleet, - is standard input
    #[arg(required = true, value_name = "INVENTORY")]
    pub inventory: Vec<PathBuf>,

    /// A VM that was not seen for more days than this is a finding
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub max_age: u32,

    /// Leave out what is less bad: notice, warning or error
    #[arg(long, value_name = "SEVERITY", default_value = "notice", value_parser = severity)]
    pub min_severity: Severity,

    /// The inventory is the whole fleet: a VM in the ledger that it has not is a finding
    #[arg(long, conflicts_with = "limit")]
    pub whole_fleet: bool,

    /// Write every finding to this file: .csv, .json or .jsonl by its name; or a page for people: .html;
    /// or FORMAT:FILE (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    #[command(flatten)]
    pub endpoint: EndpointArgs,
    #[command(flatten)]
    pub reading: ReadingArgs,
    #[command(flatten)]
    pub inventory_options: InventoryArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
}

fn severity(text: &str) -> Result<Severity, &'static str> {
    Severity::from_word(text).ok_or("not a severity (notice, warning or error)")
}
